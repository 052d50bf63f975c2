"""Signed tokens for unsubscribe links (RFC 8058: opaque, hard to forge, valid without a login, never expiring).

A token is 32 characters: the message's 8-byte id and 16 bytes of HMAC-SHA256 over it, in URL-safe base64.
"""

import base64
import hashlib
import hmac

_LABEL = b"mmcampaign unsubscribe 1 "
# Without a secret key links can be shown but never honoured: `read` refuses what this signed.
UNSIGNED = "mmcampaign has no secret key"


def _mac(key: str, message_id: bytes) -> bytes:
    return hmac.digest(key.encode(), _LABEL + message_id, hashlib.sha256)[:16]


def sign(message_id: str, key: str) -> str:
    """The token of a message; ``message_id`` is 16 hexadecimal digits."""
    raw = bytes.fromhex(message_id)
    return base64.urlsafe_b64encode(raw + _mac(key or UNSIGNED, raw)).decode()


def read(token: str, key: str) -> str | None:
    """The message a token was made for, or None for a token that this key did not sign."""
    try:
        raw = base64.urlsafe_b64decode(token.encode("ascii", "strict"))
    except (ValueError, UnicodeEncodeError):
        return None
    if len(token) != 32 or len(raw) != 24 or not key or not hmac.compare_digest(raw[8:], _mac(key, raw[:8])):
        return None
    return raw[:8].hex()

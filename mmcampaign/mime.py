"""The whole RFC 5322 message, fast: parts are encoded once per shape, each message only fills in what differs.

The standard library takes 7 ms for a message of this kind, more than merging and logging together. Here a shape's two
parts are quoted-printable once, with every token alone between two soft line breaks; a value is encoded as it is filled
in. The result is what `contract.md` 6 promises: ASCII, CRLF, body lines up to 76 bytes, and the same bytes every time.
"""

import base64
import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from email.utils import format_datetime
from functools import lru_cache
from itertools import chain
from typing import NamedTuple

from mmcampaign.model import Sender, Shape
from mmcampaign.shapes import Filler, one_line, split

# The same for every message of every campaign.
SHARED_HEADERS = {
    "List-Unsubscribe-Post": "List-Unsubscribe=One-Click",  # RFC 8058
    "Auto-Submitted": "auto-generated",  # RFC 3834
    "Precedence": "bulk",
}

# Stand for the id and the unsubscribe link in what is made ready for many messages; no domain has an underscore.
ID_HERE, LINK_HERE = "_id_here_", "https://_link_here_"

_SOFT_BREAK = "=\r\n"
_WIDTH = 73  # RFC 2045 6.7 allows 76 with the soft break; two are kept for `_LINE_START`
_WORD = 39  # bytes that an encoded-word of 75 characters holds as base64
_LITERAL = frozenset(chr(code) for code in range(0x20, 0x7F)) - {"="}
_QUOTED = tuple(chr(byte) if chr(byte) in _LITERAL else f"={byte:02X}" for byte in range(256))
_RUNS = re.compile(r"[ -<>-~]+|[^ -<>-~]")  # of _LITERAL, or one other character
# A dot could end the mail in a careless SMTP client, "From " could end it in an mbox file.
_LINE_START = re.compile(r"^(?:\.|F(?=rom ))")

_PHRASE = re.compile(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+(?: [A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+)*")  # RFC 5322 3.2.3 atoms
_ADDRESS = re.compile(r"[!#-'*+\--9=?A-Z^-~]+@[!#-'*+\--9=?A-Z^-~]+")  # printable ASCII without specials
_URL = re.compile(r"https?://[!-;=?-~]{1,900}")
_ID = re.compile(r"[A-Za-z0-9._-]{1,200}")
_WRITABLE = re.compile(f"(?:{_ID.pattern}\n{_URL.pattern}\n{_ADDRESS.pattern}\n)*+")


class Letters(NamedTuple):
    """What differs between messages of one shape, column by column.

    ``dated_at`` are aware; ``values`` are the columns of the plain values that fill the shape's tokens, by field.
    """

    message_ids: Sequence[str]
    names: Sequence[str]
    addresses: Sequence[str]
    subjects: Sequence[str]
    unsubscribe_urls: Sequence[str]
    dated_at: Sequence[datetime]
    values: Mapping[str, Sequence[str]]


class Composer:
    """Writes the messages of one shape from one sender."""

    def __init__(self, shape: Shape, sender: Sender) -> None:
        self._filler = Filler(shape)
        self._headers = _fixed_headers(sender)
        own = own_headers(ID_HERE, LINK_HERE, ascii_address(sender.email).rpartition("@")[2])
        lines = "".join(f"\r\n{name}: {value}" for name, value in own.items())
        self._own = re.split(f"({re.escape(ID_HERE)}|{re.escape(LINK_HERE)})", lines)
        self._body = split(_body(shape))

    def compose(
        self,
        *,
        message_id: str,
        to_name: str,
        to_email: str,
        subject: str,
        values: Mapping[str, str],
        unsubscribe_url: str,
        dated_at: datetime,
    ) -> bytes:
        """One message as ``compose_all`` writes it."""
        columns = {field: [value] for field, value in values.items()}
        one = Letters([message_id], [to_name], [to_email], [subject], [unsubscribe_url], [dated_at], columns)
        return self.compose_all(one)[0]

    def compose_all(self, letters: Letters) -> list[bytes]:
        """The messages as they go over the wire.

        Raises ``ValueError`` when an address, URL or id of any could not stand in a header unchanged (RFC 5322 3.6,
        RFC 2369, RFC 8058): those are checked long before, so it is a fault of the caller. ``KeyError``: a
        value is missing.
        """
        ids, links = letters.message_ids, letters.unsubscribe_urls
        addresses = ascii_addresses(letters.addresses)
        require_writable(ids, addresses, links)
        values = map(_encoded_values, self._filler.columns(letters.values))
        written = dict(zip(self._filler.tokens, values, strict=True))
        parts: list[str | Iterable[str]] = [
            *(f"{self._headers}To: ", map(_with_name, letters.names, addresses)),
            *("\r\nSubject: ", map(unstructured, letters.subjects)),
            *("\r\nDate: ", map(_date, letters.dated_at)),
            *({ID_HERE: ids, LINK_HERE: links}.get(piece, piece) for piece in self._own),
            "\r\n",
            *(written[part] if place % 2 else part for place, part in enumerate(self._body)),
        ]
        columns = [[part] * len(ids) if isinstance(part, str) else part for part in parts]
        return ["".join(row).encode("ascii") for row in zip(*columns, strict=True)]


def own_headers(message_id: str, unsubscribe_url: str, domain: str) -> dict[str, str]:
    """The headers beside address, subject and date that differ for each message.

    Raises ``ValueError`` when a value could not stand in a header unchanged.
    """
    identity = _checked(_ID, message_id, "message id")
    return {
        "Message-ID": f"<{identity}@{_checked(_ID, domain, 'domain')}>",
        "X-MMCampaign-Message": identity,
        "List-Unsubscribe": f"<{_checked(_URL, unsubscribe_url, 'unsubscribe address')}>",
    }


def require_writable(message_ids: Sequence[str], addresses: Sequence[str], unsubscribe_urls: Sequence[str]) -> None:
    """Raise ``ValueError`` as ``Composer.compose`` does, for messages that the provider writes: of any of them."""
    each = list(zip(message_ids, unsubscribe_urls, addresses, strict=True))
    lines = "\n".join([*chain.from_iterable(each), ""])
    if lines.count("\n") == 3 * len(each) and _WRITABLE.fullmatch(lines):
        return
    for message_id, unsubscribe_url, address in each:
        _checked(_ID, message_id, "message id")
        _checked(_URL, unsubscribe_url, "unsubscribe address")
        _checked(_ADDRESS, address, "address")


def _fixed_headers(sender: Sender) -> str:
    reply_to = f"Reply-To: {mailbox('', sender.reply_to)}\r\n" if sender.reply_to else ""
    shared = "".join(f"{name}: {value}\r\n" for name, value in SHARED_HEADERS.items())
    return f"From: {mailbox(sender.name, sender.email)}\r\n{reply_to}{shared}MIME-Version: 1.0\r\n"


def _body(shape: Shape) -> str:
    """Both parts, text first (RFC 2046 5.1.4: the preferred one last), tokens in place.

    The boundary holds "=_", which quoted-printable text never does.
    """
    boundary = f"=_{shape.digest[:32]}"
    parts = "".join(
        f"--{boundary}\r\n"
        f"Content-Type: text/{kind}; charset=utf-8\r\n"
        "Content-Transfer-Encoding: quoted-printable\r\n"
        f"\r\n{quoted_printable(content)}\r\n"
        for kind, content in (("plain", shape.text), ("html", shape.html))
    )
    return f'Content-Type: multipart/alternative; boundary="{boundary}"\r\n\r\n{parts}--{boundary}--\r\n'


def quoted_printable(text: str) -> str:
    """RFC 2045 6.7 with CRLF line ends; tokens stay whole, each alone on its line."""
    lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    return "\r\n".join(map(_encoded_line, lines))


@lru_cache(maxsize=4_096)  # the shapes of a campaign share most of their lines
def _encoded_line(line: str) -> str:
    pieces = (piece if place % 2 else _encoded(piece) for place, piece in enumerate(split(line)))
    return _SOFT_BREAK.join(piece for piece in pieces if piece)


def _encoded(text: str) -> str:
    """Text without line ends, broken softly between characters."""
    last = "=20" if text.endswith(" ") else ""
    lines = [""]
    for run in _RUNS.findall(text[:-1] if last else text):
        if run[0] in _LITERAL:
            room = _WIDTH - len(lines[-1])
            lines[-1] += run[:room]
            lines += [run[start : start + _WIDTH] for start in range(room, len(run), _WIDTH)]
        else:
            _add(lines, _hex(run))
    if last:
        _add(lines, last)
    return _SOFT_BREAK.join(_LINE_START.sub(lambda found: _hex(found[0]), line) for line in lines)


def _add(lines: list[str], unit: str) -> None:
    """What must not be broken, on this line or the next."""
    if len(lines[-1]) + len(unit) > _WIDTH:
        lines.append("")
    lines[-1] += unit


@lru_cache(maxsize=512)
def _hex(char: str) -> str:
    return "".join(f"={byte:02X}" for byte in char.encode("utf-8", "replace"))


def _encoded_values(values: Sequence[str]) -> Sequence[str]:
    """``_encoded_value`` of each. All are looked at as one text first: often there is nothing to do."""
    joined = f"|{'|'.join(values)}|"
    plain = joined.isascii() and joined.isprintable() and "=" not in joined and max(map(len, values)) <= _WIDTH
    if plain and not any(edge in joined for edge in (" |", "|.", "|From ")):
        return values
    return list(map(_encoded_value, values))


@lru_cache(maxsize=1_024)  # a name stands in both parts, and first names are often those of others
def _encoded_value(value: str) -> str:
    """A value between two soft line breaks; what fits on its line needs no more than a table."""
    if not value.endswith(" ") and not _LINE_START.match(value):
        plain = value.isascii() and value.isprintable() and "=" not in value
        quoted = value if plain else "".join(map(_QUOTED.__getitem__, value.encode("utf-8", "replace")))
        if len(quoted) <= _WIDTH:
            return quoted
    return _encoded(value)


def mailbox(name: str, address: str) -> str:
    """``name <address>`` for From, To and Reply-To; the address alone when there is no name (RFC 5322 3.4)."""
    return _with_name(name, _checked(_ADDRESS, ascii_address(address), "address"))


def _with_name(name: str, address: str) -> str:
    """The same of an address that can stand there."""
    phrase = _PHRASE.fullmatch(name)
    if not phrase:
        name = one_line(name)
        phrase = _PHRASE.fullmatch(name)
    if not name:
        return address
    if not name.isascii() or len(name) > 60 or "=?" in name:
        return f"{_encoded_words(name)}\r\n <{address}>"
    if not phrase:
        name = '"' + name.replace("\\", "\\\\").replace('"', '\\"') + '"'
    return f"{name} <{address}>"


def ascii_addresses(addresses: Sequence[str]) -> Sequence[str]:
    """``ascii_address`` of each. All are looked at as one text first: nearly always there is nothing to do."""
    return addresses if "".join(addresses).isascii() else [ascii_address(address) for address in addresses]


def ascii_address(address: str) -> str:
    """An international domain in its ASCII form (RFC 5890): a header holds no other without SMTPUTF8."""
    if address.isascii():
        return address
    local, _, domain = address.rpartition("@")
    try:
        return f"{local}@{domain.encode('idna').decode('ascii')}"
    except UnicodeError:
        return address


@lru_cache(maxsize=256)  # many messages have the same
def unstructured(text: str) -> str:
    """A subject: folded at spaces when it is ASCII, otherwise as encoded-words (RFC 2047)."""
    text = one_line(text)
    words = text.split(" ")
    if not text.isascii() or "=?" in text or max(map(len, words)) > 60:
        return _encoded_words(text)
    lines = [""]
    for word in words:
        if len(lines[-1]) + len(word) > 66:
            lines.append("")
        lines[-1] += f" {word}"
    return "\r\n".join(lines)[1:]


def _encoded_words(text: str) -> str:
    """RFC 2047 2 and 5(3): at most 75 characters each, never cutting a character, one to a folded line."""
    if len(whole := text.encode()) <= _WORD:
        return f"=?utf-8?b?{base64.b64encode(whole).decode()}?="
    words: list[bytes] = [b""]
    for char in text:
        encoded = char.encode()
        if len(words[-1]) + len(encoded) > _WORD:
            words.append(b"")
        words[-1] += encoded
    return "\r\n ".join(f"=?utf-8?b?{base64.b64encode(word).decode()}?=" for word in words)


@lru_cache(maxsize=64)
def _date(moment: datetime) -> str:
    if moment.tzinfo is None:
        raise ValueError("the date of a message needs a time zone")
    return format_datetime(moment)


def _checked(pattern: re.Pattern[str], value: str, what: str) -> str:
    if not pattern.fullmatch(value):
        raise ValueError(f"the {what} cannot stand in a mail header")
    return value

"""How long an HTTP service asks us to wait."""

import time
from collections.abc import Mapping
from email.utils import parsedate_to_datetime


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds to wait, an hour at most: Retry-After (RFC 9110 10.2.3) or X-RateLimit-Reset in Unix seconds."""
    later, reset = headers.get("Retry-After", ""), headers.get("X-RateLimit-Reset", "")
    if later.isdecimal():
        return min(float(later), 3600)
    try:
        at = parsedate_to_datetime(later).timestamp() if later else int(reset)
    except ValueError:
        return None
    return min(max(0.0, at - time.time()), 3600)

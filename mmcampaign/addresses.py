"""What is wrong with an email address, by RFC 5321/5322 and the special-use domains; nothing is looked up online."""

import re
from functools import lru_cache

from email_validator import EmailNotValidError, validate_email

# The plain form that nearly every address has. Anything else, also every special-use domain, goes to the library.
_PLAIN = re.compile(
    r"[a-z0-9_'+-]+(\.[a-z0-9_'+-]+)*@([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)+(?P<top>[a-z]{2,24})",
    re.ASCII | re.IGNORECASE,
)
_SPECIAL = frozenset({"arpa", "invalid", "local", "localhost", "onion", "test", "internal", "alt"})


@lru_cache(maxsize=4096)
def address_problem(address: str) -> str:
    """A short reason why mail cannot go there, or nothing.

    Apostrophes and ``+tags`` are fine (edX case E28). Addresses that need SMTPUTF8 are refused: not every provider
    takes them (delivery.md, part 2).
    """
    local = address.partition("@")[0]
    plain = _PLAIN.fullmatch(address)
    if plain and plain["top"].lower() not in _SPECIAL and len(local) <= 64 and len(address) <= 254:
        return ""
    try:
        validate_email(address, check_deliverability=False, allow_smtputf8=False, strict=True)
    except EmailNotValidError:
        return "not an address that mail can be sent to"
    return ""

"""What is wrong with an email address, by RFC 5321/5322 and the special-use domains; nothing is looked up online."""

import re
from functools import lru_cache

# The plain form that nearly every address has. Anything else, also every special-use domain, goes to the library.
_PLAIN = re.compile(
    r"[a-z0-9_'+-]+(\.[a-z0-9_'+-]+)*@([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z]{2,24}",
    re.ASCII | re.IGNORECASE,
)
_SPECIAL = frozenset({"arpa", "invalid", "local", "localhost", "onion", "test", "internal", "alt"})


@lru_cache(maxsize=4096)
def address_problem(address: str) -> str:
    """A short reason why mail cannot go there, or nothing.

    Apostrophes and ``+tags`` are fine (edX case E28). Addresses that need SMTPUTF8 are refused: not every provider
    takes them (delivery.md, part 2).
    """
    if _is_plain(address) and address.rpartition(".")[2].lower() not in _SPECIAL:
        return ""
    problem = _problem_by_library(address, strict=True)
    return "not an address that mail can be sent to" if problem else ""


def own_address_problem(address: str) -> str:
    """The same for an address of ours, in the library's words; it may be one of a closed network (``.local``)."""
    return "" if _is_plain(address) else _problem_by_library(address, globally_deliverable=False)


def _is_plain(address: str) -> bool:
    return bool(_PLAIN.fullmatch(address)) and address.index("@") <= 64 and len(address) <= 254


def _problem_by_library(address: str, *, strict: bool = False, globally_deliverable: bool = True) -> str:
    from email_validator import EmailNotValidError, validate_email  # noqa: PLC0415  slow to load, and seldom needed

    try:
        validate_email(
            address,
            check_deliverability=False,
            allow_smtputf8=False,
            strict=strict,
            globally_deliverable=globally_deliverable,
        )
    except EmailNotValidError as error:
        return str(error)
    return ""

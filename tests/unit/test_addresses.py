"""Which addresses mail can be sent to; the fast path must never take what the library refuses."""

import pytest
from email_validator import EmailNotValidError, validate_email
from hypothesis import given
from hypothesis import strategies as st

from mmcampaign.addresses import address_problem

GOOD = [
    "ana@mail.example",
    "Ana.Pine@MAIL.example",
    "d.o'connor+edx@post.example",
    "a@b.co",
    "x_y-z@sub.domain.example",
    "1234567890@mail.example",
    "ana@xn--bcher-kva.example",
    "ana@bücher.example",
    "a" * 64 + "@mail.example",
    "{odd}!#$%&*/=?^`|~@mail.example",
]
BAD = {
    "no at": "ana.mail.example",
    "two ats": "ana@pine@mail.example",
    "nothing before the at": "@mail.example",
    "nothing after it": "ana@",
    "a domain without a dot": "ana@localhost",
    "two dots in a row": "ana..pine@mail.example",
    "a dot at the start": ".ana@mail.example",
    "a dot before the at": "ana.@mail.example",
    "a blank inside": "ana pine@mail.example",
    "a line break at the end": "ana@mail.example\n",
    "a header smuggled in": "ana@mail.example\r\nBcc: all@mail.example",
    "a name around it": "Ana <ana@mail.example>",
    "two addresses": "ana@mail.example,bo@mail.example",
    "a label that begins with a hyphen": "ana@-mail.example",
    "a label that ends with a hyphen": "ana@mail-.example",
    "a label of 64 letters": "ana@" + "m" * 64 + ".example",
    "65 letters before the at": "a" * 65 + "@mail.example",
    "255 characters in all": "a" * 64 + "@" + ".".join(["m" * 60] * 3) + ".example",
    "a numeric top domain": "ana@mail.123",
    "an address literal": "ana@[192.0.2.1]",
    "quoted": '"ana pine"@mail.example',
    "a retired account": "retired__user_1a2b@retired.invalid",
    "a test domain": "ana@mail.test",
    "a local domain": "ana@printer.local",
    "needs SMTPUTF8": "añá@mail.example",
    "a long s that case folding takes for an s": "jo\u017fe@mail.example",
    "a Kelvin sign that case folding takes for a k": "\u212aim@mail.example",
    "a dotless i": "m\u0131a@mail.example",
    "right to left": "אנה@mail.example",
    "a zero-width space": "ana\u200b@mail.example",
}


@pytest.mark.parametrize("address", GOOD)
def test_usable_addresses(address: str):
    assert address_problem(address) == ""


@pytest.mark.parametrize("address", BAD.values(), ids=BAD)
def test_unusable_addresses(address: str):
    assert address_problem(address)


@pytest.mark.parametrize("address", BAD.values(), ids=BAD)
def test_the_reason_does_not_repeat_the_address(address: str):
    """It stands in the log of exclusions."""
    assert "ana" not in address_problem(address)
    assert len(address_problem(address)) < 60


parts = st.text("abzAZ09._+-'\u017f\u212a\u0131é ", min_size=1, max_size=12)
domains = st.lists(st.text("abz09-\u017f\u212a", min_size=1, max_size=8), min_size=1, max_size=3).map(".".join)
tops = st.sampled_from(["example", "org", "test", "invalid", "c", "1a", "museum", "lo\u212aal"])


@given(parts, domains, tops)
def test_the_fast_path_agrees_with_the_library(local: str, domain: str, top: str):
    address = f"{local}@{domain}.{top}"
    try:
        validate_email(address, check_deliverability=False, allow_smtputf8=False, strict=True)
    except EmailNotValidError:
        assert address_problem(address)
    else:
        assert not address_problem(address)

"""Unsubscribe tokens: opaque, forged by nobody without the key, read by nobody without it."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmcampaign.planning import new_message_id, unsubscribe_url
from mmcampaign.shapes import MARK, clean
from mmcampaign.tokens import UNSIGNED, read, sign

KEY = "a long random secret"
message_ids = st.binary(min_size=8, max_size=8).map(bytes.hex)


@given(message_ids, st.text(min_size=1, max_size=40))
def test_what_was_signed_is_read_with_the_same_key(message_id: str, key: str):
    token = sign(message_id, key)
    assert re.fullmatch(r"[A-Za-z0-9_-]{32}", token)
    assert read(token, key) == message_id


@given(message_ids)
def test_another_key_reads_nothing(message_id: str):
    assert read(sign(message_id, KEY), KEY + "x") is None


@given(message_ids, st.integers(0, 23), st.integers(1, 255))
def test_one_changed_byte_is_refused(message_id: str, place: int, change: int):
    import base64

    raw = bytearray(base64.urlsafe_b64decode(sign(message_id, KEY)))
    raw[place] ^= change
    assert read(base64.urlsafe_b64encode(raw).decode(), KEY) is None


@given(st.text(max_size=40))
def test_anything_else_is_refused_quietly(token: str):
    assert read(token, KEY) is None


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda token: token[:-1], id="cut off"),
        pytest.param(lambda token: token[:-4], id="cut off at a whole group"),
        pytest.param(lambda token: token + "AAAA", id="longer"),
        pytest.param(lambda token: token.swapcase(), id="case lost"),
        pytest.param(lambda token: "ä" + token[1:], id="not ASCII"),
        pytest.param(lambda token: token[:16] + "!" + token[16:], id="a sign that base64 would skip"),
    ],
)
def test_damaged_tokens_are_refused(change):
    assert read(change(sign("00112233445566ff", KEY)), KEY) is None


def test_links_made_without_a_key_are_never_honoured():
    token = sign("00112233445566ff", "")
    assert token == sign("00112233445566ff", UNSIGNED)
    assert read(token, "") is None
    assert read(token, KEY) is None


def test_the_link_stays_short_enough_for_one_header_line():
    """delivery.md 3.3: 75 characters, so that no line of List-Unsubscribe is folded."""
    assert len(unsubscribe_url("https://" + "x" * 32, "00112233445566ff", KEY)) == 75


@pytest.mark.parametrize("ill", [pytest.param(MARK, id="the mark of a shape's tokens"), "--"])
def test_a_message_gets_no_link_that_an_email_would_change(ill: str):
    """One link in some ten thousand held the mark, and would have been broken by a space."""
    ids = [f"{number:016x}" for number in range(40_000)]
    chosen = next(one for one in ids if ill in sign(one, KEY))
    safe = next(one for one in ids if clean(sign(one, KEY)) == sign(one, KEY) and "--" not in sign(one, KEY))
    drawn = iter([chosen, safe])
    assert new_message_id(KEY, lambda: next(drawn)) == safe

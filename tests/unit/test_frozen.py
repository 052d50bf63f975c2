"""What a campaign freezes: fingerprints that notice every change, and changes told by name."""

import copy
import json
from datetime import date
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmcampaign.frozen import RecipientsDigest, changes, fingerprint, frozen_settings, sender_of, to_json
from mmcampaign.model import Sender
from tests.builders import leaves, make_coming, make_course, make_program

SENDER = Sender(name="NX Updates", email="news@nx.example", reply_to="help@nx.example")


def make_settings(**changed: Any) -> dict[str, Any]:
    usual: dict[str, Any] = {
        "program": make_program(make_course(1, upgrade_deadline=date(2027, 6, 30))),
        "sender": SENDER,
        "site": {"name": "NX", "staff": ["kim", "@nx.example"]},
        "mail": {"postal_address": "1 River Road", "links_signed": True},
        "policy": {"cooldown_days": 14},
        "templates": {"river/body.html": "aa", "_base/layout.html": "bb"},
        "selection": {"campaign": 3, "limit": None},
    }
    return frozen_settings(**{**usual, **changed})


def stored(settings: dict[str, Any]) -> Any:
    """As the database gives them back."""
    return json.loads(to_json(settings))


def test_nothing_changed_after_a_trip_through_the_database():
    assert changes(stored(make_settings()), make_settings()) == []
    assert to_json(stored(make_settings())) == to_json(make_settings())


def test_the_sender_comes_back_whole():
    assert sender_of(stored(make_settings())) == SENDER


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        pytest.param(
            {"templates": {"river/body.html": "cc", "_base/layout.html": "bb"}},
            ["template river/body.html was edited"],
            id="a template edited",
        ),
        pytest.param({"policy": {"cooldown_days": 7}}, ["policy.cooldown_days: was 14, now 7"], id="a number"),
        pytest.param(
            {"sender": Sender(name="NX Updates", email="news@nx.example")},
            ['mail.reply_to: was "help@nx.example", now nothing'],
            id="a value taken away",
        ),
        pytest.param(
            {"program": make_program(make_course(1, upgrade_deadline=date(2027, 7, 1)))},
            ['program.courses[0].upgrade_deadline: was "2027-06-30", now "2027-07-01"'],
            id="a date",
        ),
        pytest.param(
            {"program": make_program(make_course(1, upgrade_deadline=date(2027, 6, 30), coming_run=make_coming()))},
            ['program.courses[0].coming_run.run: was nothing, now "2T2027"'],
            id="a table that was not there",
        ),
        pytest.param(
            {"site": {"name": "NX", "staff": ["kim"]}},
            ['site.staff[1]: was "@nx.example", now nothing'],
            id="an entry of a list taken away",
        ),
        pytest.param(
            {"selection": {"campaign": 3, "limit": 0}}, ["selection.limit: was nothing, now 0"], id="nothing is not 0"
        ),
    ],
)
def test_each_change_is_named(changed: dict[str, Any], said: list[str]):
    assert changes(stored(make_settings()), make_settings(**changed)) == said


SETTINGS = stored(make_settings(program=make_program(make_course(1, coming_run=make_coming()))))


@pytest.mark.parametrize("path", sorted(leaves(SETTINGS)))
def test_any_value_changes_the_fingerprint_and_is_reported(path: str):
    changed: Any = copy.deepcopy(SETTINGS)
    place = changed
    *way, last = _steps(changed, path)
    for step in way:
        place = place[step]
    place[last] = "something else"
    assert fingerprint(to_json(changed), "r") != fingerprint(to_json(SETTINGS), "r")
    assert len(changes(SETTINGS, changed)) == 1


def _steps(tree: Any, path: str) -> list[Any]:
    """The keys of a dotted path; file names hold dots themselves."""
    if path == "":
        return []
    if isinstance(tree, list):
        head, _, rest = path.partition(".")
        return [int(head), *_steps(tree[int(head)], rest)]
    key = next(key for key in tree if path == key or path.startswith(f"{key}."))
    return [key, *_steps(tree[key], path[len(key) + 1 :])]


rows = st.lists(st.tuples(st.integers(1, 9), st.text(max_size=3), st.text(max_size=3)), max_size=4)


@given(rows, rows)
def test_recipients_digest_tells_lists_apart(one: list[Any], other: list[Any]):
    digests = []
    for recipients in (one, other):
        digest = RecipientsDigest()
        for row in recipients:
            digest.add(row)
        digests.append(digest.hexdigest())
    assert (digests[0] == digests[1]) is (one == other)


def test_the_fingerprint_is_of_settings_and_recipients():
    assert len({fingerprint("a", "b"), fingerprint("a", "c"), fingerprint("c", "b"), fingerprint("b", "a")}) == 4

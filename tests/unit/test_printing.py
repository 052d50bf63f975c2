"""JSON documents written entry by entry are the documents they would be in one piece; numbers stand in sentences."""

import json
from collections.abc import Iterator
from datetime import UTC, date, datetime

import pytest

from mmcampaign.cli.campaign import say_what_is_open
from mmcampaign.cli.shell import print_json_lists
from mmcampaign.model import Reason

ENTRIES = [{"student_id": 7, "name": 'Zoë "Zo"\n', "reason": Reason.MERGED, "on": date(2027, 6, 15)}, {"at": None}]


@pytest.mark.parametrize(
    ("lists", "read"),
    [
        pytest.param({"chosen": []}, {"chosen": []}, id="an empty list"),
        pytest.param({"chosen": [], "excluded": [1, 2]}, {"chosen": [], "excluded": [1, 2]}, id="empty, then full"),
        pytest.param(
            {"messages": ENTRIES, "more": ENTRIES[1:]},
            {
                "messages": [
                    {"student_id": 7, "name": 'Zoë "Zo"\n', "reason": "merged", "on": "2027-06-15"},
                    {"at": None},
                ],
                "more": [{"at": None}],
            },
            id="several lists",
        ),
        pytest.param(
            {"messages": [{"at": datetime(2027, 6, 15, 3, 0, 0, 5, UTC)}]},
            {"messages": [{"at": "2027-06-15T03:00:00+00:00"}]},
            id="a time to the second",
        ),
    ],
)
def test_lists_are_one_document(lists: dict[str, list[object]], read: object, capsys: pytest.CaptureFixture[str]):
    print_json_lists(lists)
    out = capsys.readouterr().out
    assert json.loads(out) == read
    assert out.endswith("}\n")


def test_an_entry_is_written_before_the_next_is_made(capsys: pytest.CaptureFixture[str]):
    """A history of a million messages is never held in memory."""
    seen = []

    def entries() -> Iterator[int]:
        for number in (1, 2, 3):
            yield number
            seen.append(capsys.readouterr().out.strip(" ,\n"))

    print_json_lists({"messages": entries()})
    assert seen[1:] == ["2", "3"]


@pytest.mark.parametrize(
    ("warnings", "said"),
    [
        (0, ""),
        (1, "1 warning about its emails is open; see its report.\n"),
        (1_200, "1,200 warnings about its emails are open; see its report.\n"),
    ],
)
def test_open_warnings_are_told_in_a_sentence(capsys: pytest.CaptureFixture[str], warnings: int, said: str):
    say_what_is_open(warnings)
    assert capsys.readouterr().err == said

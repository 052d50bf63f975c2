"""docs/delivery-proofs.md says what the tables say, and every line of them is tried by a test."""

import re
from pathlib import Path

import pytest

from mmcampaign.delivery import BACKENDS, SendgridOptions, SesOptions, SmtpOptions, most_in_one_batch
from mmcampaign.delivery.smtp_proofs import PROVES
from mmcampaign.model import Outcome
from tests.contract import proofs
from tests.contract.proofs_page import LINES, PAGE, written

TESTS = "".join(path.read_text("utf-8") for path in Path(__file__).parent.glob("test_*.py"))


def test_the_page_has_the_tables_of_the_tests() -> None:
    page = PAGE.read_text("utf-8")
    assert page == written(page), "run: python -m tests.contract.proofs_page"


@pytest.mark.parametrize(
    ("backend", "options"),
    [("smtp", SmtpOptions(host="h")), ("ses", SesOptions(region="r")), ("sendgrid", SendgridOptions(api_key="k"))],
)
def test_the_page_says_how_many_can_be_in_doubt(
    backend: str, options: SmtpOptions | SesOptions | SendgridOptions
) -> None:
    """Two hand-overs of the size that the options give."""
    size = options.batch_size if isinstance(options, SendgridOptions) else most_in_one_batch(options)
    line = next(line for line in PAGE.read_text("utf-8").splitlines() if line.startswith(f"| `{backend}` |"))
    assert f"({2 * size:,})" in line.rpartition("|")[0].rpartition("|")[2]


@pytest.mark.parametrize(("connections", "batch", "size"), [(4, 25, 50), (1, 1, 1), (3, 7, 10), (100, 100, 5_000)])
def test_two_hand_overs_are_no_more_than_connections_times_batch(connections: int, batch: int, size: int) -> None:
    assert most_in_one_batch(SmtpOptions(host="h", connections=connections, batch=batch)) == size
    assert 2 * size <= max(2, connections * batch)


def test_every_backend_has_its_table() -> None:
    assert set(LINES) == set(BACKENDS)


@pytest.mark.parametrize("table", ["SMTP", "SENDGRID", "SES"])
def test_every_scripted_line_is_tried(table: str) -> None:
    assert re.search(rf"parametrize\([^@]*{table}\.values\(\), ids={table}\)\n(?:@.*\n)*def test_", TESTS)


@pytest.mark.parametrize("table", ["SMTP_OTHER", "SENDGRID_OTHER", "SES_OTHER", "FILE_OTHER"])
def test_every_other_line_is_named_by_a_test(table: str) -> None:
    missing = [what for what in getattr(proofs, table) if f'"{what}"' not in TESTS]
    assert not missing


def test_only_what_follows_the_final_dot_can_be_in_doubt() -> None:
    in_doubt = {step.name for step, outcomes in PROVES.items() if Outcome.UNKNOWN in outcomes}
    assert in_doubt == {"END"}
    assert {step for _, (step, _, (outcome, _)) in proofs.SMTP.items() if outcome is Outcome.UNKNOWN} == in_doubt

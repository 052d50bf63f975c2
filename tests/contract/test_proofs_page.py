"""docs/delivery-proofs.md says what the tables say, and every line of them is tried by a test."""

import re
from pathlib import Path

import pytest

from mmcampaign.delivery import BACKENDS
from mmcampaign.delivery.smtp_proofs import PROVES
from mmcampaign.model import Outcome
from tests.contract import proofs
from tests.contract.proofs_page import LINES, PAGE, written

TESTS = "".join(path.read_text("utf-8") for path in Path(__file__).parent.glob("test_*.py"))


def test_the_page_has_the_tables_of_the_tests() -> None:
    page = PAGE.read_text("utf-8")
    assert page == written(page), "run: python -m tests.contract.proofs_page"


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

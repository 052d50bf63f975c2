"""Every edge case of the edX files, E1 to E51, has a test that is named by it: ``test_e08_…``, ``test_e11_e12_…``."""

import ast
import re
from pathlib import Path

TESTS = Path(__file__).parents[1]
LAST = 51


def cases_tested() -> dict[int, list[str]]:
    """Case number -> the tests that carry it in front."""
    found: dict[int, list[str]] = {}
    for path in TESTS.rglob("test_*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef) and (name := re.match(r"test_((?:e\d{1,2}_)+)", node.name)):
                for number in re.findall(r"\d+", name[1]):
                    found.setdefault(int(number), []).append(f"{path.name}::{node.name}")
    return found


def test_every_case_has_a_test_named_by_it() -> None:
    found = cases_tested()
    missing = [f"E{number}" for number in range(1, LAST + 1) if number not in found]
    assert not missing, f"no test is named by {', '.join(missing)}"
    assert max(found) <= LAST

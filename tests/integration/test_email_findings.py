"""The shipped templates, and what `templates new` starts from, leave the checks nothing to mend, in any branch."""

from dataclasses import replace
from pathlib import Path
from types import MappingProxyType

import pytest

from mmcampaign.app import App
from mmcampaign.checking import check_program
from mmcampaign.config import load_settings
from mmcampaign.findings import Severity
from mmcampaign.store.engine import Store
from tests.builders import NOW
from tests.worlds import on_sqlite

ROOT = Path(__file__).parents[2]


@on_sqlite
@pytest.mark.parametrize("template", ["buslead", "corpinn", "engy", "lgdm", "_new"])
def test_nothing_is_found_above_a_note(store: Store, template: str) -> None:
    settings = load_settings(ROOT / "config.toml", {"MMCAMPAIGN_SECRET_KEY": "a secret"})
    code = template.replace("_new", "engy")
    program = replace(settings.programs[code], template=template)
    settings = settings._replace(programs=MappingProxyType({code: program}))
    checked = check_program(App(settings=settings, store=store, clock=lambda: NOW, actor="kim"), code)
    assert len(checked.emails) >= 10
    assert [each for each in checked.findings if each.severity is not Severity.NOTE] == []

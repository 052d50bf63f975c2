"""What a command loads before it answers. Counted in modules, not in seconds: those depend on the machine."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

from mmcampaign.cli import NOUNS, command_line
from mmcampaign.store.engine import open_store
from tests.worlds import fill, make_settings, people

# Measured: pandas with pyarrow costs more than a second, premailer (with requests) and Jinja half a second.
HEAVY = {
    *("adbc_driver_manager", "alembic", "email_validator", "jinja2", "numpy", "pandas", "premailer", "psycopg"),
    *("pyarrow", "requests", "rich", "sendgrid", "xlsxwriter"),
}
RUN = """
import json, sys
from mmcampaign.__main__ import main
try:
    main()
except SystemExit as ended:
    code = ended.code
print(json.dumps([code, sorted({name.partition(".")[0] for name in sys.modules})]), file=sys.stderr)
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """An installation with one learner who would be written to."""
    place = tmp_path_factory.mktemp("start-up")
    settings = make_settings(place)
    store = open_store(settings.database.url)
    fill(store, people(1))
    store.close()
    yield place


@pytest.mark.parametrize(
    ("words", "forbidden"),
    [
        pytest.param("--help", HEAVY | {"pydantic", "sqlalchemy"}, id="help"),
        pytest.param("cohort --help", HEAVY | {"sqlalchemy"}, id="help of a command"),
        pytest.param("status", HEAVY, id="status"),
        pytest.param("history --learner ana", HEAVY, id="history"),
        pytest.param("cohort river --json", HEAVY, id="cohort"),
        pytest.param("explain river 1", HEAVY, id="explain"),
        pytest.param("suppress list", HEAVY, id="suppress"),
    ],
)
def test_light_commands_load_nothing_heavy(folder: Path, words: str, forbidden: set[str]):
    assert not forbidden & loaded(folder, *words.split())


def loaded(folder: Path, *words: str) -> set[str]:
    """What a command that succeeds has loaded when it ends."""
    command = [sys.executable, "-c", RUN, *words]
    ran = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    code, modules = json.loads(ran.stderr.splitlines()[-1])
    assert code == 0, ran.stderr
    return set(modules)


def test_an_ingest_loads_what_it_needs_only(folder: Path):
    downloads, header = folder / "downloads", "id,username,name,email,enrollment_mode,country\r\n"
    downloads.mkdir()
    for month in (1, 2):
        export = downloads / f"NX_RIVER1x_1T2030_student_profile_info_2030-0{month}-01-0000.csv"
        export.write_text(f"{header}{100 + month},zoe{month},Zoe,zoe@mail.example,audit,AU\r\n")
        assert loaded(folder, "ingest", "downloads") & {"numpy", "pandas", "pyarrow"} == {"numpy", "pyarrow"}
    assert not HEAVY & loaded(folder, "ingest", "downloads")


def test_every_command_is_found_in_its_file():
    for noun, commands in NOUNS.items():
        for command in commands:
            assert set(commands) == set(commands_of(command, "--config", "elsewhere.toml")), f"{command}: {noun}.py"
    every = commands_of()
    assert every == commands_of("ingest", "--help") == commands_of("no-such-command") == commands_of("sned", "history")
    assert every == commands_of("--config", "ingest"), "a command is still to come"
    assert set(every) == {command for commands in NOUNS.values() for command in commands}


def commands_of(*words: str) -> list[str]:
    group: Any = get_command(command_line(words))
    return list(group.commands)


@pytest.mark.parametrize("loading", ["mmcampaign.cli", "mmcampaign.ingest"])
def test_ctrl_c_while_a_command_is_loaded_is_said_in_a_word(loading: str) -> None:
    script = """
import sys
from mmcampaign.__main__ import main

class Interrupted:
    def find_spec(self, name, *_rest):
        if name == sys.argv[-1]:
            raise KeyboardInterrupt

sys.meta_path.insert(0, Interrupted())
main()
"""
    words = [sys.executable, "-c", script, "ingest", loading]
    ended = subprocess.run(words, capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stdout, ended.stderr) == (130, "", "Interrupted.\n")

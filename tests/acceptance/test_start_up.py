"""What a command loads before it answers. Counted in modules, not in seconds: those depend on the machine."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from mmcampaign.store.engine import open_store
from tests.worlds import fill, make_settings, people

# Measured: pandas with pyarrow costs more than a second, premailer (with requests) and Jinja half a second.
HEAVY = {
    *("alembic", "jinja2", "numpy", "pandas", "premailer", "psycopg", "pyarrow", "requests", "sendgrid", "xlsxwriter"),
}
RUN = """
import json, sys
from mmcampaign.cli import main
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
    command = [sys.executable, "-c", RUN, *words.split()]
    ran = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    code, loaded = json.loads(ran.stderr.splitlines()[-1])
    assert code == 0, ran.stderr
    assert not forbidden & set(loaded)

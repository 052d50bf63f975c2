"""Imports point down only: read from the sources, for every module there is.

    cli  api
    use cases      ingest  selection  planning  campaigns  sending  settling  handover  watch  history  previews
                   dry_run  reports  doctor  demo
    wiring         app
    adapters       edx_csv  store  merge  delivery  pages  config  addresses  resources  testing  demo_*
    pure core      columns  model  errors  completion  rules  cohorts  lifecycle  context  shapes  mime  tokens  frozen
                   pace  send_window  figures  findings

Adapters do not know each other. A use case that needs no built ``App`` (``ingest``, ``reports``) is given its parts.
"""

import ast
import sys
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "mmcampaign"

CORE = {
    "columns",
    "model",
    "errors",
    "completion",
    "rules",
    "cohorts",
    "lifecycle",
    "context",
    "shapes",
    "mime",
    "tokens",
    "frozen",
    "pace",
    "send_window",
    "figures",
    "findings",
    "examples",
    "synthetic",
}
# Each group is one adapter: its modules may use each other.
ADAPTERS = {
    "addresses": {"addresses"},
    "edx_csv": {"edx_csv"},
    "store": {"store"},
    "merge": {"merge"},
    "delivery": {"delivery"},
    "checks": {"checks"},
    "pages": {"pages"},
    "config": {"config", "config_schema", "config_programs"},
    "resources": {"resources"},
    "scratch": {"scratch"},
    "arrow values": {"arrow_values"},
    "testing": {"testing"},
    "demo data": {"demo_data", "demo_people", "demo_enrollments"},
}
WIRING = {"app"}
USE_CASES = {
    "ingest",
    "ingest_file",
    "ingest_ready",
    "ingest_rows",
    "ingest_unit",
    "read_ahead",
    "reading_order",
    "tally",
    "mending",
    "selection",
    "planning",
    "telling",
    "campaigns",
    "sending",
    "sending_run",
    "settling",
    "handover",
    "outgoing",
    "watch",
    "worker",
    "following",
    "history",
    "previews",
    "samples",
    "template_folders",
    "dry_run",
    "checking",
    "marked",
    "acceptances",
    "campaign_findings",
    "reports",
    "doctor",
    "demo",
}
ENTRY = {"cli", "__main__", "api"}

# An adapter that may look at another one, and why.
TOLERATED = {
    ("store", "resources"): "finds the migrations",
    ("pages", "resources"): "finds its own templates",
    ("config", "addresses"): "what an address is",
    ("edx_csv", "arrow values"): "values without pandas",
    ("store", "arrow values"): "values without pandas",
}

# Third-party libraries and the only modules that may import them.
HOMES = {
    "pandas": ("edx_csv", "demo_data", "api"),
    "sqlalchemy": ("store",),
    "alembic": ("store",),
    "psycopg": ("store",),
    "procrastinate": ("store",),
    "adbc_driver_manager": ("store",),
    "adbc_driver_sqlite": ("store",),
    "jinja2": ("merge", "pages"),
    "premailer": ("merge",),
    "lxml": ("merge", "pages", "checks"),
    "tinycss2": ("checks",),
    "sendgrid": ("delivery.sendgrid",),
    "python_http_client": ("delivery.sendgrid",),
    "boto3": ("delivery.ses",),
    "botocore": ("delivery.ses",),
    "xlsxwriter": ("reports",),
    "pydantic": ("config", "config_schema"),
    "pydantic_core": ("config", "config_schema"),
    "email_validator": ("addresses",),
    "typer": ("cli",),
    "rich": ("cli",),
}


def modules() -> dict[str, Path]:
    """Dotted name below the package -> file; the package of a folder has the folder's name."""
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


MODULES = modules()


def imports(path: Path) -> Iterator[tuple[str, set[str], int]]:
    """Every imported module with the names taken from it and the line, wherever in the file it stands."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, set(), node.lineno
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute"
            yield node.module or "", {alias.name for alias in node.names}, node.lineno


def own_imports(name: str) -> Iterator[tuple[str, int]]:
    """The modules of the package that a module imports; ``from package import module`` counts as that module."""
    for module, names, line in imports(MODULES[name]):
        if module.split(".")[0] != "mmcampaign":
            continue
        inner = module.removeprefix("mmcampaign").lstrip(".")
        submodules = {f"{inner}.{each}".lstrip(".") for each in names} & set(MODULES)
        for target in submodules or {inner}:
            yield target, line


def level(name: str) -> int:
    top = name.partition(".")[0]
    if top == "":
        return 0  # the package itself: its version
    if top in CORE:
        return 1
    if any(top in group for group in ADAPTERS.values()):
        return 2
    return 3 if top in WIRING else 4 if top in USE_CASES else 5


def adapter(name: str) -> str:
    return next((label for label, group in ADAPTERS.items() if name.partition(".")[0] in group), "")


def test_every_module_has_its_layer():
    tops = {name.partition(".")[0] for name in MODULES}
    adapters = set().union(*ADAPTERS.values())
    assert tops == CORE | adapters | WIRING | USE_CASES | ENTRY | {""}


@pytest.mark.parametrize("name", sorted(MODULES))
def test_imports_point_down(name: str):
    for target, line in own_imports(name):
        where = f"{name}, line {line}: imports {target}"
        assert level(target) <= level(name), f"{where}, which stands above it"
        if level(name) == level(target) == 2 and adapter(name) != adapter(target):
            assert (adapter(name), adapter(target)) in TOLERATED, f"{where}, another adapter"


@pytest.mark.parametrize("name", sorted(name for name in MODULES if level(name) == 1))
def test_the_pure_core_needs_the_standard_library_only(name: str):
    for module, _, line in imports(MODULES[name]):
        top = module.split(".")[0]
        assert top == "mmcampaign" or top in sys.stdlib_module_names, f"{name}, line {line}: imports {module}"


def test_no_import_goes_in_a_circle():
    graph = {name: {target for target, _ in own_imports(name) if target != name} for name in MODULES}
    # A package that gives out the names of its modules is imported by them for those names: one unit.
    graph = {
        name: {target for target in targets if not name.startswith(f"{target}.")} for name, targets in graph.items()
    }
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(" → ".join(reversed(error.args[1])))


@pytest.mark.parametrize("library", sorted(HOMES))
def test_each_library_has_one_home(library: str):
    users = {
        (name, frozenset(names))
        for name, path in MODULES.items()
        for module, names, _ in imports(path)
        if module.split(".")[0] == library
    }
    assert users, f"nothing imports {library} any more: take it out of this table and of pyproject.toml"
    for name, names in users:
        if library == "sqlalchemy" and names == {"Connection"}:
            continue  # what use cases hand from one function of the store to the next
        assert any(name == home or name.startswith(f"{home}.") for home in HOMES[library]), f"{name} imports {library}"

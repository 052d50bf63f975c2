"""Use case: is everything in order? Each check is told with what it found; none changes anything."""

from collections.abc import Iterator, Mapping
from pathlib import Path

from mmcampaign.addresses import address_problem
from mmcampaign.app import App, open_app
from mmcampaign.errors import ConfigError, MmcampaignError
from mmcampaign.store import audit, campaigns, outbox, queue
from mmcampaign.store.engine import head_revision, is_healthy

Finding = dict[str, str]


def examine(config: Path | None, environ: Mapping[str, str], cwd: Path) -> list[Finding]:
    """All checks, in the order in which things build on each other; a broken foundation ends the list."""
    try:
        app = open_app(config, environ, cwd=cwd)
    except MmcampaignError as error:
        problems = "; ".join(error.problems) if isinstance(error, ConfigError) else ""
        return [_bad("configuration and database", f"{error.what} {problems or error.todo}")]
    try:
        return [
            _ok("configuration", f"{app.settings.path}, {len(app.settings.programs)} programs"),
            _ok("database", f"schema {head_revision()}"),
            *_database(app),
            *_templates(app),
            *_delivery(app),
            *_workers(app),
        ]
    finally:
        app.store.close()


def _database(app: App) -> Iterator[Finding]:
    damage = is_healthy(app.store)
    yield _bad("database file", damage) if damage else _ok("database file", "sound")
    with app.store.read() as connection:
        broken = audit.first_broken(connection)
        yield _bad("audit log", f"altered at entry {broken}") if broken else _ok("audit log", "chain intact")
        wrong, loose = [], []
        for campaign in campaigns.list_campaigns(connection):
            counted = outbox.count_by_status(connection, campaign.id)
            if counted != dict(campaign.ledger) or sum(counted.values()) != campaign.chosen:
                wrong.append(str(campaign.id))
            if campaign.unfinished:
                loose.append(str(campaign.id))
    yield _bad("ledger", f"campaigns {', '.join(wrong)} do not add up") if wrong else _ok("ledger", "adds up")
    if loose:
        yield _warn("unfinished campaigns", f"{', '.join(loose)}; mmcampaign status CAMPAIGN")


def _templates(app: App) -> Iterator[Finding]:
    merger = app.merger()
    for program in app.settings.programs.values():
        try:
            merger.load(program.template, subject=program.subject)
            yield _ok(f"template {program.template}", "complete")
        except MmcampaignError as error:
            yield _bad(f"template {program.template}", error.what)


def _delivery(app: App) -> Iterator[Finding]:
    name = app.settings.mail.backend
    try:
        app.backend().close()
        yield _ok("delivery", f"backend {name}")
    except MmcampaignError as error:
        yield _bad("delivery", error.what)
    if problem := address_problem(app.settings.mail.sender.email):
        yield _bad("sender", f"mail.from is {problem}")
    if not app.settings.secrets.secret_key:
        severity = _warn if name == "file" else _bad
        yield severity("secret key", "MMCAMPAIGN_SECRET_KEY is not set: unsubscribe links would not work")


def _workers(app: App) -> Iterator[Finding]:
    if app.store.dialect != "postgresql":
        return
    with app.store.read() as connection:
        alive = queue.count_workers(connection, takeover_seconds=app.settings.worker.takeover_seconds)
    none = "none is running: start mmcampaign worker, or send with --local"
    yield _ok("workers", f"{alive} running") if alive else _warn("workers", none)


def _ok(what: str, finding: str) -> Finding:
    return {"state": "ok", "what": what, "finding": finding}


def _warn(what: str, finding: str) -> Finding:
    return {"state": "warn", "what": what, "finding": finding}


def _bad(what: str, finding: str) -> Finding:
    return {"state": "bad", "what": what, "finding": finding}

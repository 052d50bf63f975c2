"""Opening the database: dialects, transactions, schema revisions.

A ``Store`` hands out connections; ``read()`` sees one consistent state, ``write()`` is one transaction that takes the
write lock at its start, so that what it read is still true when it commits.
"""

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

from sqlalchemy import Column, Connection, Engine, MetaData, String, Table, create_engine, event, inspect, text
from sqlalchemy.exc import ArgumentError, DBAPIError, InterfaceError, NoSuchModuleError, OperationalError

from mmcampaign.errors import ConfigError, UnavailableError
from mmcampaign.resources import resource
from mmcampaign.store.tables import metadata

LOCK_WAIT_SECONDS = 15.0
PATIENT_SECONDS = 300.0  # for what must not be lost: the record of mail that has gone out
_VERSION = Table(  # as Alembic has it
    "alembic_version", MetaData(), Column("version_num", String(32), primary_key=True)
)
# The page size holds for a new file only: tables that are filled out of order are written in fewer pieces.
# FULL: what is committed outlives a power cut, or a claimed message could be sent a second time (decision 17).
_PRAGMAS = ("page_size = 8192", "journal_mode = WAL", "synchronous = FULL", "foreign_keys = ON")


class Store:
    """The campaign database. ``dialect`` is ``sqlite`` or ``postgresql``; ``path`` is the file of the former."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.dialect = engine.dialect.name
        file = engine.url.database if self.dialect == "sqlite" else None
        self.path = Path(file) if file else None
        self._writers: dict[tuple[bool, float | None], Engine] = {}  # making one takes as long as a statement

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """A connection for reading; anything it may have written is rolled back."""
        with explained(self), self.engine.connect() as connection:
            yield connection

    @contextmanager
    def write(self, *, patient: bool = False, wait: float | None = None) -> Iterator[Connection]:
        """One transaction: committed at the end, rolled back when anything is raised.

        Raises UnavailableError when the database stays locked for longer than LOCK_WAIT_SECONDS; a patient one waits
        for PATIENT_SECONDS. ``wait`` is another number of seconds.
        """
        writer = self._writers.get((patient, wait))
        if writer is None:
            writer = self.engine.execution_options(write=True, patient=patient, wait=wait)
            self._writers[patient, wait] = writer
        with explained(self), writer.begin() as connection:
            yield connection

    def close(self) -> None:
        self.engine.dispose()


@contextmanager
def explained(store: Store) -> Iterator[None]:
    """Turn the database's own troubles (locked, full, gone) into a sentence; other errors pass."""
    try:
        yield
    except (OperationalError, InterfaceError) as error:
        reason = str(error.orig)
        if store.dialect == "sqlite" and ("no such" in reason or isinstance(error, InterfaceError)):
            raise
        raise trouble(store, reason) from error


def trouble(store: Store, reason: str, *, unchanged: str = "") -> UnavailableError:
    """What the database says of itself, as a sentence; ``unchanged`` where more than the last step is undone."""
    reason = reason.strip().splitlines()[0]
    where = str(store.path) if store.path else store.engine.url.render_as_string(hide_password=True)
    unchanged = unchanged or "The unfinished step was rolled back; everything before it is kept."
    if "locked" in reason or "busy" in reason:
        todo = "Another mmcampaign or a database browser holds it: close that, then run the same command again."
        return UnavailableError(f"The database {where} is locked by another program.", unchanged=unchanged, todo=todo)
    if "disk is full" in reason or "No space left" in reason:
        return UnavailableError(
            f"No space left for the database {where}.", unchanged=unchanged, todo="Free some space, then run it again."
        )
    if "readonly" in reason:
        return UnavailableError(
            f"The database {where} cannot be written to.", unchanged=unchanged, todo="Check the file's permissions."
        )
    return UnavailableError(
        f"The database {where} does not answer: {reason}.", unchanged=unchanged, todo="Check it, then run it again."
    )


def open_store(url: str) -> Store:
    """Open the database of ``config.toml``.

    A new SQLite file is created with the newest schema at once. An existing database whose schema is older raises
    UnavailableError with the command that upgrades it: only ``db upgrade`` changes a schema that holds data.
    """
    store = connect(url)
    try:
        if store.path is not None and (not store.path.exists() or store.path.stat().st_size == 0):
            store.path.parent.mkdir(parents=True, exist_ok=True)
            _create(store)
        else:
            require_current(store)
    except BaseException:
        store.close()
        raise
    return store


def _create(store: Store) -> None:
    """The newest schema at once: Alembic needs a quarter of a second for the same, which a test holds equal."""
    with store.write() as connection:
        if inspect(connection).has_table(_VERSION.name):
            return  # another process was quicker
        metadata.create_all(connection, checkfirst=False)
        _VERSION.create(connection)
        connection.execute(_VERSION.insert().values(version_num=head_revision()))


@contextmanager
def alone(store: Store) -> Iterator[bool]:
    """SQLite: keep this process from opening the database meanwhile, and give it a rollback journal.

    False, and nothing is done, where it is open elsewhere. The next connection that is opened goes back to the
    write-ahead log.
    """
    store.engine.dispose()
    with closing(sqlite3.connect(str(store.path), timeout=0)) as connection:
        try:
            connection.execute("PRAGMA journal_mode = DELETE")  # refused while anybody else is connected
        except sqlite3.OperationalError:
            yield False
            return
    event.listen(store.engine, "do_connect", _refuse)
    try:
        yield True
    finally:
        event.remove(store.engine, "do_connect", _refuse)


def _refuse(*_: object) -> None:
    raise UnavailableError(
        "The database is being filled for the first time.", unchanged="Nothing was changed.", todo="Wait for its end."
    )


def connect(url: str) -> Store:
    """A Store whose schema nobody has looked at yet. Raises ConfigError for a URL that means nothing."""
    try:
        # A connection that died with the server is noticed before it is used.
        engine = create_engine(url, pool_pre_ping=url.startswith("postgresql"))
    except (ArgumentError, NoSuchModuleError) as error:
        raise ConfigError(
            f"database.url is not a database address: {error}",
            todo='Use "sqlite:///mmcampaign.db" or "postgresql+psycopg://user@host/name".',
        ) from error
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"database.url needs the Python package {error.name}, which is not installed.",
            todo="pip install 'mmcampaign[postgres]'",
        ) from error
    if engine.dialect.name == "sqlite":
        event.listen(engine, "connect", _prepare_sqlite)
        event.listen(engine, "begin", _begin_sqlite)
    return Store(engine)


def _prepare_sqlite(connection: Any, _record: Any) -> None:
    connection.isolation_level = None  # we say BEGIN ourselves, see _begin_sqlite
    cursor = connection.cursor()
    for pragma in (f"busy_timeout = {int(LOCK_WAIT_SECONDS * 1000)}", *_PRAGMAS):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _begin_sqlite(connection: Connection) -> None:
    options = connection.get_execution_options()
    if not options.get("write"):  # a reader waits for no writer, and so not for long, whatever it was told last
        connection.exec_driver_sql("BEGIN")
        return
    seconds = options.get("wait")
    if seconds is None:
        seconds = PATIENT_SECONDS if options.get("patient") else LOCK_WAIT_SECONDS
    if connection.info.get("lock_wait") != seconds:
        connection.exec_driver_sql(f"PRAGMA busy_timeout = {int(seconds * 1000)}")
        connection.info["lock_wait"] = seconds
    connection.exec_driver_sql("BEGIN IMMEDIATE")


def upgrade(store: Store) -> str:
    """Bring the schema to the newest revision, all steps or none; returns that revision."""
    from alembic import command  # noqa: PLC0415  only upgrades need it, and it is slow to import
    from alembic.config import Config  # noqa: PLC0415  as above

    config = Config()
    config.set_main_option("script_location", str(resource("migrations")).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    before = current_revision(store)
    with store.write() as connection:
        if store.dialect == "postgresql":
            connection.execute(text("SELECT pg_advisory_xact_lock(7261001)"))
        # env.py gets the open connection, so no URL is interpolated into a configuration anywhere.
        config.attributes["connection"] = connection
        command.upgrade(config, "head")
        if store.dialect == "postgresql":
            from mmcampaign.store import queue  # noqa: PLC0415  PostgreSQL's alone

            queue.install(connection)
    if store.dialect == "sqlite" and before != head_revision():
        _give_back_pages(store)
    return head_revision()


def _give_back_pages(store: Store) -> None:
    """A table that was built anew leaves as many empty pages behind, which would stay in the file.

    They do where there is no room for the copy that this makes.
    """
    with suppress(sqlite3.OperationalError), closing(store.engine.raw_connection()) as connection:
        connection.cursor().execute("VACUUM")


def require_current(store: Store) -> None:
    """Raise UnavailableError unless the schema is the one this program was written for."""
    if is_current(store):
        return
    found, wanted = current_revision(store), head_revision()
    if found is None:
        raise UnavailableError(
            "The database has no mmcampaign tables yet.", unchanged="Nothing was changed.", todo="mmcampaign db upgrade"
        )
    if found == wanted:
        raise UnavailableError(
            "The database has the work queue of another version.",
            unchanged="Nothing was changed.",
            todo="Stop the workers, then run: mmcampaign db upgrade",
        )
    if found > wanted:
        raise UnavailableError(
            f"The database was written by a newer mmcampaign (schema {found}, this one knows {wanted}).",
            unchanged="Nothing was changed.",
            todo="Install the newer mmcampaign.",
        )
    raise UnavailableError(
        f"The database has an older schema ({found}, needed: {wanted}).",
        unchanged="Nothing was changed.",
        todo="Back it up, then run: mmcampaign db upgrade",
    )


def is_current(store: Store) -> bool:
    """Whether the tables, and on PostgreSQL those of the workers' queue, are the ones this program was written for."""
    if current_revision(store) != head_revision():
        return False
    if store.dialect != "postgresql":
        return True
    from mmcampaign.store import queue  # noqa: PLC0415  as above

    with store.read() as connection:
        return queue.is_current(connection)


def current_revision(store: Store) -> str | None:
    """The revision the database is at, or None before the first."""
    try:
        with store.read() as connection:
            if not inspect(connection).has_table("alembic_version"):
                return None
            found = connection.execute(text("SELECT version_num FROM alembic_version")).scalar()
            return None if found is None else str(found)
    except DBAPIError as error:
        if "not a database" not in str(error.orig):
            raise
        raise ConfigError(
            f"{store.path} is not a database file.",
            unchanged="The file was not touched.",
            todo="Point database.url in config.toml at another file.",
        ) from error


def head_revision() -> str:
    """The newest revision: they are numbered, and each is the file of that number."""
    return max(file.name[:4] for file in (resource("migrations") / "versions").glob("[0-9]*.py"))


def is_healthy(store: Store) -> str:
    """Empty when the database file is sound, else what SQLite's own check says."""
    if store.dialect != "sqlite":
        return ""
    with store.read() as connection, suppress(DBAPIError):
        answer = str(connection.execute(text("PRAGMA quick_check(1)")).scalar())
        return "" if answer == "ok" else answer
    return "the file cannot be checked"

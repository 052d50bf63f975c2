"""Rows of one file on their way in: bulk-loaded beside the tables, then merged by set-based SQL in one transaction.

On SQLite the rows go through ADBC into a scratch file that is attached to the connection; on PostgreSQL through COPY
into a temporary table. Either way they are called ``staged_rows`` and nothing of the database itself has changed until
``merge()``.
"""

import io
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Self

import adbc_driver_manager
import adbc_driver_sqlite.dbapi
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.csv
from sqlalchemy import BigInteger, Column, Connection, Double, MetaData, Table, Text, text

from mmcampaign.errors import InputError, UnavailableError
from mmcampaign.store.engine import Store, explained

_PEOPLE = (("student_id", BigInteger), ("username", Text), ("email", Text), ("email_key", Text))
_PROFILE = (("name", Text), ("country", Text), ("profile_track", Text))
_GRADES = (
    ("grade", Double),
    ("enrollment_track", Text),
    ("verification_status", Text),
    ("certificate_eligible", Text),
    ("certificate_delivered", Text),
    ("certificate_type", Text),
    ("enrollment_status", Text),
)


def _staged(columns: tuple[tuple[str, Any], ...]) -> Table:
    named = [Column(name, kind) for name, kind in (*_PEOPLE, *columns)]
    return Table("staged_rows", MetaData(), *named, prefixes=["TEMPORARY"])


staged_profiles = _staged(_PROFILE)
staged_grades = _staged(_GRADES)

# For the connection that merges. With SQLite's usual 2 MB of pages, and a log copied back after every 4 MB, the pages
# of large tables would be read and written many times over in each file: 192 MB of pages, 100 MB of log.
_MERGING = ("cache_size = -196608", "temp_store = MEMORY", "wal_autocheckpoint = 25000")
_SCRATCH = ("journal_mode = OFF", "synchronous = OFF", "cache_size = -65536")  # nobody misses it after a crash


class Staging:
    """The staged rows of one file; a context manager. ``add`` takes Arrow tables with the columns of ``table``."""

    def __init__(self, store: Store, table: Table) -> None:
        self.store = store
        self.table = table
        self._learners: list[npt.NDArray[np.int64]] = []
        self._open = ExitStack()
        self._connection = store.engine.execution_options(write=True).connect()
        self._open.callback(self._connection.close)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self._open.close()

    def add(self, rows: pa.Table) -> None:
        self._learners.append(rows["student_id"].to_numpy())
        self._load(rows.select(self.table.columns.keys()).sort_by("student_id"))

    def _load(self, rows: pa.Table) -> None:
        raise NotImplementedError  # each database loads in its own way, below

    @contextmanager
    def merge(self) -> Iterator[Connection]:
        """One write transaction that sees the staged rows; committed at the end, rolled back when anything is raised.

        One ingest at a time merges. Raises InputError when a learner stands in the file twice (edX case E21).
        """
        with explained(self.store):
            self._seal()
            with self._connection.begin():
                self._require_unique()
                yield self._connection

    def _seal(self) -> None:
        """After the last row, before the transaction."""

    def _require_unique(self) -> None:
        learners, rows = np.unique(np.concatenate(self._learners), return_counts=True)
        if len(twice := learners[rows > 1]):
            raise InputError(
                f"A learner stands in the file twice (id {', '.join(map(str, twice[:3]))}), which edX never writes: "
                "several files were put together.",
                todo="Download the report again from edX.",
            )


class _ScratchFile(Staging):
    """SQLite: a file of its own, filled through ADBC in the order of its key, then attached."""

    def __init__(self, store: Store, table: Table) -> None:
        super().__init__(store, table)
        with _writable():
            folder = self._open.enter_context(tempfile.TemporaryDirectory(prefix="mmcampaign-"))
            self._path = str(Path(folder) / "staged.db")
            self._bulk = self._open.enter_context(adbc_driver_sqlite.dbapi.connect(self._path, autocommit=True))
            for setting in _SCRATCH:
                self._run(f"PRAGMA {setting}")
            _, *others = table.columns
            columns = ", ".join(f"{column.name} {column.type}" for column in others)
            # A learner twice does not fit here; the second is dropped, and merge() refuses the file.
            self._run(f"CREATE TABLE staged_rows (student_id INTEGER PRIMARY KEY ON CONFLICT IGNORE, {columns})")

    def _run(self, statement: str) -> None:
        with self._bulk.cursor() as cursor:
            cursor.execute(statement)

    def _load(self, rows: pa.Table) -> None:
        with _writable(), self._bulk.cursor() as cursor:
            cursor.adbc_ingest("staged_rows", rows, mode="append")

    def _seal(self) -> None:
        with _writable():
            self._bulk.close()
        raw = self._connection.connection.driver_connection
        assert raw is not None
        for setting in _MERGING:
            raw.execute(f"PRAGMA {setting}")
        raw.execute("ATTACH DATABASE ? AS staging", (self._path,))
        self._open.callback(raw.execute, "DETACH DATABASE staging")


class _TemporaryTable(Staging):
    """PostgreSQL: a temporary table of the session, filled by COPY."""

    def __init__(self, store: Store, table: Table) -> None:
        super().__init__(store, table)
        with self._connection.begin():
            self.table.create(self._connection)
        self._open.callback(self._drop)

    def _drop(self) -> None:
        with self._connection.begin():
            self.table.drop(self._connection)

    def _load(self, rows: pa.Table) -> None:
        """A null is written as nothing and an empty text as ``""``; COPY tells them apart the same way."""
        buffer = io.BytesIO()
        pyarrow.csv.write_csv(rows, buffer, pyarrow.csv.WriteOptions(include_header=False))
        columns = ", ".join(rows.column_names)
        with explained(self.store), self._connection.begin():
            raw: Any = self._connection.connection.driver_connection
            with raw.cursor() as cursor, cursor.copy(f"COPY staged_rows ({columns}) FROM STDIN (FORMAT csv)") as copy:
                copy.write(buffer.getvalue())

    @contextmanager
    def merge(self) -> Iterator[Connection]:
        with super().merge() as connection:
            connection.execute(text("ANALYZE staged_rows"))
            connection.execute(text("LOCK TABLE imports IN SHARE ROW EXCLUSIVE MODE"))
            yield connection


def open_staging(store: Store, table: Table, columns: pa.Schema) -> Staging:
    """A place for the rows of one file, as ``staged_profiles`` or ``staged_grades``; all of it is gone at the end."""
    with explained(store):
        staging = (_ScratchFile if store.dialect == "sqlite" else _TemporaryTable)(store, table)
    staging.add(columns.empty_table())  # the table is there even if no row is
    return staging


@contextmanager
def _writable() -> Iterator[None]:
    try:
        yield
    except (OSError, adbc_driver_manager.Error) as error:
        raise UnavailableError(
            f"The scratch file in {tempfile.gettempdir()} cannot be written: {error}.",
            unchanged="The file being read was not ingested; those before it were.",
            todo="Free some space there, or set TMPDIR to another folder, then run the same command again.",
        ) from error

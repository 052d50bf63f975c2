"""Rows of one file on their way in: bulk-loaded beside the tables, then merged by set-based SQL in one transaction.

On SQLite the rows go through ADBC into a scratch file that is attached to the connection; on PostgreSQL through COPY
into a temporary table. Either way they are called ``staged_grades`` or ``staged_profiles``, and nothing of the database
itself has changed until ``merge()``. Some megabytes of rows stay in memory until they must be loaded, so that the first
load can join both reports of a run (``first_load.py``).
"""

import io
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.csv
from sqlalchemy import BigInteger, Column, Connection, Double, MetaData, Table, Text, text

from mmcampaign.arrow_values import empty_table, to_numpy
from mmcampaign.errors import InputError, UnavailableError
from mmcampaign.store.bulk import Bulk, BulkError
from mmcampaign.store.bulk_rows import into, places
from mmcampaign.store.engine import Store, explained

Learners = npt.NDArray[np.int64]

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


def _staged(name: str, columns: tuple[tuple[str, Any], ...]) -> Table:
    named = [Column(column, kind) for column, kind in (*_PEOPLE, *columns)]
    return Table(name, MetaData(), *named, prefixes=["TEMPORARY"])


staged_profiles = _staged("staged_profiles", _PROFILE)
staged_grades = _staged("staged_grades", _GRADES)

KEPT_BYTES = 64 << 20  # of a file's rows in memory, before they go to the scratch file
# For the connection that merges. With SQLite's usual 2 MB of pages, and a log copied back after every 4 MB, the pages
# of large tables would be read and written many times over in each file: 112 MB of pages, 100 MB of log.
_MERGING = ("cache_size = -114688", "wal_autocheckpoint = 12500")
_SCRATCH = ("journal_mode = OFF", "synchronous = OFF", "cache_size = -16384")  # nobody misses it after a crash


class Staging:
    """The staged rows of one file; a context manager. ``add`` takes Arrow tables with the columns of ``table``.

    One thread may fill it and another one merge it, after ``seal``.
    """

    keeps = 0  # bytes of rows that may wait in memory

    def __init__(self, store: Store, table: Table) -> None:
        self.store = store
        self.table = table
        self._learners: list[Learners] = []
        self._waiting: list[pa.Table] = []
        self._bytes = 0
        self._loaded = False
        self._open = ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    def close(self) -> None:
        """The rows are gone after this; may be called twice."""
        self._waiting.clear()
        self._open.close()

    def add(self, rows: pa.Table) -> None:
        self._learners.append(to_numpy(rows["student_id"]))
        self._waiting.append(rows.select(self.table.columns.keys()))
        self._bytes += rows.nbytes
        if self._bytes > self.keeps:
            self._load_waiting()

    def _load_waiting(self) -> None:
        rows = pa.concat_tables(self._waiting)
        self._waiting.clear()
        self._bytes = 0
        self._loaded = True
        self._load(rows.sort_by("student_id"))

    def _load(self, rows: pa.Table) -> None:
        raise NotImplementedError  # each database loads in its own way, below

    def seal(self) -> None:
        """After the last row. Raises InputError when a learner stands in the file twice (edX case E21)."""
        learners = np.concatenate(self._learners)
        self._learners.clear()
        if (learners[1:] > learners[:-1]).all():
            return
        known, rows = np.unique(learners, return_counts=True)
        if len(twice := known[rows > 1]):
            raise InputError(
                f"A learner stands in the file twice (id {', '.join(map(str, twice[:3]))}), which edX never writes: "
                "several files were put together.",
                todo="Download the report again from edX.",
            )

    @property
    def is_in_memory(self) -> bool:
        return not self._loaded

    def take(self) -> pa.Table:
        """All rows, out of memory; nothing is staged any more. After ``seal``, if ``is_in_memory``."""
        rows = pa.concat_tables(self._waiting)
        self._waiting.clear()
        return rows

    def load(self) -> None:
        """Bring what is still in memory to where it is merged from; ``merge`` does so where nobody has before."""
        if self._waiting:
            self._load_waiting()

    @contextmanager
    def merge(self) -> Iterator[Connection]:
        """One write transaction that sees the staged rows; committed at the end, rolled back when anything is raised.

        One ingest at a time merges.
        """
        self.load()
        with explained(self.store), self._connected() as connection, connection.begin():
            self._prepare(connection)
            yield connection

    @contextmanager
    def _connected(self) -> Iterator[Connection]:
        raise NotImplementedError

    def _prepare(self, connection: Connection) -> None:
        """First thing in the transaction."""


class _ScratchFile(Staging):
    """SQLite: a file of its own, filled through ADBC in the order of its key, then attached."""

    keeps = KEPT_BYTES

    def __init__(self, store: Store, table: Table, folder: Path) -> None:
        super().__init__(store, table)
        self.path = folder / f"{uuid.uuid4().hex}.db"
        self._bulk: Bulk | None = None

    def _load(self, rows: pa.Table) -> None:
        with writable():
            if self._bulk is None:
                self._open.callback(self.path.unlink, missing_ok=True)
                self._bulk = self._open.enter_context(closing(Bulk(self.path, _SCRATCH)))
                _, *others = self.table.columns
                columns = ", ".join(f"{column.name} {column.type}" for column in others)
                # A learner twice does not fit here; the second is dropped, and seal() refuses the file.
                key = "student_id INTEGER PRIMARY KEY ON CONFLICT IGNORE"
                self._bulk.run(f"CREATE TABLE {self.table.name} ({key}, {columns})")
            self._bulk.run("BEGIN")
            self._bulk.run(into(self.table, places(rows.column_names)), rows)
            self._bulk.run("COMMIT")

    def load(self) -> None:
        super().load()
        if self._bulk is not None:
            with writable():
                self._bulk.close()

    @contextmanager
    def _connected(self) -> Iterator[Connection]:
        with ExitStack() as stack:
            connection = stack.enter_context(self.store.engine.execution_options(write=True).connect())
            raw = connection.connection.driver_connection
            assert raw is not None
            for setting in _MERGING:
                raw.execute(f"PRAGMA {setting}")
            raw.execute("ATTACH DATABASE ? AS staging", (str(self.path),))
            stack.callback(raw.execute, "DETACH DATABASE staging")
            yield connection


class _TemporaryTable(Staging):
    """PostgreSQL: a temporary table of the session, filled by COPY."""

    def __init__(self, store: Store, table: Table, _folder: Path) -> None:
        super().__init__(store, table)
        self._connection = store.engine.execution_options(write=True).connect()
        self._open.callback(self._connection.close)
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
        into = f"{self.table.name} ({', '.join(rows.column_names)})"
        with explained(self.store), self._connection.begin():
            raw: Any = self._connection.connection.driver_connection
            with raw.cursor() as cursor, cursor.copy(f"COPY {into} FROM STDIN (FORMAT csv)") as copy:
                copy.write(buffer.getvalue())

    @contextmanager
    def _connected(self) -> Iterator[Connection]:
        yield self._connection

    def _prepare(self, connection: Connection) -> None:
        connection.execute(text(f"ANALYZE {self.table.name}"))
        connection.execute(text("LOCK TABLE imports IN SHARE ROW EXCLUSIVE MODE"))


def open_staging(store: Store, table: Table, columns: pa.Schema, folder: Path) -> Staging:
    """A place for the rows of one file, as ``staged_profiles`` or ``staged_grades``; all of it is gone at the end.

    ``folder`` takes the scratch file, where the database needs one.
    """
    with explained(store):
        staging = (_ScratchFile if store.dialect == "sqlite" else _TemporaryTable)(store, table, folder)
    staging.add(empty_table(columns))  # the table is there even if no row is
    return staging


def staged_rows(table: Table) -> pa.Table:
    """The rows of a report that has none."""
    return empty_table(pa.schema([(column.name, _arrow_type(column)) for column in table.columns]))


def _arrow_type(column: Column[Any]) -> pa.DataType:
    if isinstance(column.type, BigInteger):
        return pa.int64()
    return pa.float64() if isinstance(column.type, Double) else pa.string()


@contextmanager
def writable(unchanged: str = "The file being read was not ingested; those reported before it were.") -> Iterator[None]:
    """Turn the trouble of a scratch file into a sentence."""
    try:
        yield
    except (OSError, BulkError) as error:
        raise UnavailableError(
            f"The scratch file in {tempfile.gettempdir()} cannot be written: {error}.",
            unchanged=unchanged,
            todo="Free some space there, or set TMPDIR to another folder, then run the same command again.",
        ) from error

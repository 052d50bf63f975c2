"""Arrow rows into SQLite through ADBC, with no step of Python for each."""

from collections.abc import Sequence
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import adbc_driver_manager
import adbc_driver_sqlite
import pyarrow as pa

BulkError = adbc_driver_manager.Error


class Bulk:
    """A connection of its own to a SQLite file; each statement is its own transaction unless one was begun.

    It is ADBC's plain interface: its DB-API one loads pandas, which costs half a second and is not needed. ADBC brings
    a SQLite of its own, whose locks Python's does not see in the same process: nothing else may have the file open.
    """

    def __init__(self, path: Path, settings: Sequence[str] = ()) -> None:
        with ExitStack() as stack:
            database = stack.enter_context(closing(adbc_driver_sqlite.connect(str(path.absolute()))))
            self._connection = stack.enter_context(closing(adbc_driver_manager.AdbcConnection(database)))
            for setting in settings:
                self.run(f"PRAGMA {setting}")
            self._open = stack.pop_all()

    def close(self) -> None:
        """What was begun and not committed is rolled back; may be called twice."""
        self._open.close()

    def run(self, statement: str, rows: Any = None) -> None:
        """Run a statement once, or once for each row of an Arrow table or reader; ``?1`` is its first column."""
        with closing(adbc_driver_manager.AdbcStatement(self._connection)) as prepared:
            prepared.set_sql_query(statement)
            if rows is not None:
                prepared.bind_stream(rows)
            prepared.execute_update()

    def read(self, query: str, rows: Any = None) -> list[dict[str, Any]]:
        """All rows of a small result."""
        with closing(adbc_driver_manager.AdbcStatement(self._connection)) as prepared:
            prepared.set_sql_query(query)
            if rows is not None:
                prepared.bind_stream(rows)
            stream, _ = prepared.execute_query()
            with pa.RecordBatchReader._import_from_c(stream.address) as found:
                return list(found.read_all().to_pylist())

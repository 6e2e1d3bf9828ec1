"""DuckDB as the reader of PostgreSQL's binary rows: one session for each thread that reads.

DuckDB's own threads do nothing here. The extension is loaded from the wheel that brings it; installing and loading by
itself are off, so that DuckDB never asks its extension server.

A session that still has a transaction when it is destroyed rolls it back in a destructor; if the server has gone by
then, the exception that this throws ends the whole process. So each transaction is ended by `Lane.end`, whatever
happened, and `Lane.close` ends it too.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import duckdb
import pyarrow as pa

from lading.sources.postgres_sql import literal

EXTENSION = "postgres_scanner"
FAILURES = (duckdb.Error, OSError, pa.ArrowException)

_SETTINGS: dict[str, str | bool | int | float | list[str]] = {
    "autoinstall_known_extensions": False,
    "autoload_known_extensions": False,
    # Checking the signature of the one extension that is loaded, of 40 MB, takes longer than many a reading. It stands
    # among the installed packages, and whoever can change those needs no extension.
    "allow_unsigned_extensions": True,
    "threads": 1,
}


class Lane:
    """A DuckDB with one PostgreSQL connection. Used by one thread at a time; ended and closed by any.

    Failures are those of `FAILURES`; their text may hold the connection string, so it is not for people.
    """

    def __init__(self, conninfo: str) -> None:
        self._lock = threading.Lock()
        self._open = False
        self.pid = 0  # of the PostgreSQL backend, in a transaction
        self._duckdb = duckdb.connect(config=_SETTINGS)
        # It would be drawn on standard output, which belongs to whoever called. As a setting of connect it is refused.
        self._duckdb.execute("set enable_progress_bar = false")
        # Text counts for nothing in what DuckDB reads ahead, and is most of it: so it shall hold one vector.
        self._duckdb.execute("set streaming_buffer_size = '1KB'")
        self._duckdb.execute(f"load {literal(str(_extension()))}")
        self._duckdb.execute(f"attach {literal(conninfo)} as source (type postgres, read_only)")

    def begin(self, snapshot: str, settings: str) -> None:
        """Starts a transaction in an exported snapshot, with statements that set how it reads."""
        self._open = True
        self._duckdb.execute("begin")
        command = f"set transaction snapshot {literal(snapshot)}; {settings}"
        self._duckdb.execute(f"call postgres_execute('source', {literal(command)})")
        row = self._duckdb.execute(
            "select * from postgres_query('source', 'select pg_backend_pid()')"
        ).fetchone()
        self.pid = int(row[0]) if row else 0

    def read(self, sql: str, rows: int) -> Iterator[pa.RecordBatch]:
        """Batches of at most ``rows`` rows, as DuckDB's types map to Arrow."""
        reader = self._duckdb.execute(f"select * from postgres_query('source', {literal(sql)})")
        yield from reader.to_arrow_reader(rows)

    def end(self) -> bool:
        """Ends the transaction; says whether the lane can be used again."""
        with self._lock:
            if not self._open:
                return True
            self._open = False
            self.pid = 0
            try:
                self._duckdb.execute("rollback")
            except FAILURES:  # the server has gone: DuckDB has let go of the transaction all the same
                return False
            return True

    def close(self) -> None:
        self.end()
        self._duckdb.close()


def _extension() -> Path:
    import duckdb_extension_postgres_scanner as wheel  # type: ignore[import-not-found,import-untyped,unused-ignore]

    return Path(wheel.__path__[0]) / "extensions" / f"v{duckdb.__version__}" / f"{EXTENSION}.duckdb_extension"

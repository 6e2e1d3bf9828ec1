"""Iceberg tables as other engines read them: DuckDB with its extensions from wheels, ClickHouse, pyiceberg."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import duckdb

from lading.channels.catalogues import SqlOptions, sql_tables
from lading.channels.iceberg import Tables
from lading.ports import Store


def sqlite_tables(root: Path, store: Store, *, history: timedelta = timedelta(days=5)) -> Tables:
    options = SqlOptions(store="lake", url=f"sqlite:///{root}/catalogue.db", history=history)
    return sql_tables("tables", options, store, root, 64 << 20)


def locations(root: Path) -> dict[str, str]:
    """Where each table's metadata stand now, by the catalogue's own rows."""
    if not (root / "catalogue.db").exists():
        return {}
    connection = sqlite3.connect(root / "catalogue.db")
    try:
        return dict(connection.execute("select table_name, metadata_location from iceberg_tables order by 1"))
    finally:
        connection.close()


def by_duckdb(metadata: str, query: str = "select * from rows") -> list[tuple[Any, ...]]:
    """What ``query`` gives of the table ``rows``."""
    config: dict[str, str | bool | int | float | list[str]] = {
        "autoinstall_known_extensions": False,
        "autoload_known_extensions": False,
        "allow_unsigned_extensions": True,
    }
    with duckdb.connect(config=config) as connection:
        for name in ("avro", "iceberg"):
            wheel = __import__(f"duckdb_extension_{name}")
            folder = Path(wheel.__path__[0]) / "extensions" / f"v{duckdb.__version__}"
            connection.execute(f"load '{folder / name}.duckdb_extension'")
        connection.execute("set timezone = 'UTC'")
        connection.execute(f"create view rows as select * from iceberg_scan('{metadata}')")
        return connection.execute(query).fetchall()


def by_clickhouse(root: Path, table_folder: str, columns: Sequence[str], order: str) -> list[str]:
    """Rows as tab-separated text. In a process of its own: chdb reads files below its working directory alone."""
    script = (
        "import sys, chdb; "
        f"print(chdb.query(\"select {', '.join(columns)} from icebergLocal('{table_folder}') order by {order}\", 'TSV'))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=root, capture_output=True, text=True, timeout=120, check=False,
        env={**os.environ, "TZ": "UTC"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return [line for line in done.stdout.splitlines() if line]

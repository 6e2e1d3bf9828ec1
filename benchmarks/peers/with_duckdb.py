"""DuckDB: `COPY … TO` with two threads; PostgreSQL attached by its extension, which a wheel brings."""

import json
import os
from pathlib import Path

import duckdb

OPTIONS = {
    "parquet": "format parquet, compression {compression}",
    "csv": "format csv, header, compression {compression}",
    "jsonl": "format json, compression {compression}",
}


def attach(connection: duckdb.DuckDBPyConnection, conninfo: str, read_only: bool = True) -> None:
    import duckdb_extension_postgres_scanner as wheel

    folder = Path(wheel.__path__[0]) / "extensions" / f"v{duckdb.__version__}"
    connection.execute(f"load '{folder / 'postgres_scanner.duckdb_extension'}'")
    connection.execute(f"attach '{conninfo}' as pg (type postgres{', read_only' if read_only else ''})")


def main(job: dict[str, str]) -> None:
    connection = duckdb.connect(config={"threads": 2})
    connection.execute("set enable_progress_bar = false")
    source = f"'{job.get('parquet')}'"
    if "conninfo" in job:
        attach(connection, job["conninfo"])
        source = f"pg.{job['table']}"
    options = OPTIONS[job["format"]].format(compression=job["compression"])
    connection.execute(f"copy (from {source}) to '{job['output']}/{job['file']}' ({options})")


if __name__ == "__main__":
    main(json.loads(os.environ["BENCH_JOB"]))

"""TPC-H's lineitem, orders and customer: as Parquet files, and the same rows in PostgreSQL."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import psycopg

# name -> columns as TPC-H 3.0.1, section 1.4, has them
TABLES = {
    "lineitem": """l_orderkey bigint, l_partkey bigint, l_suppkey bigint, l_linenumber integer,
        l_quantity numeric(15,2), l_extendedprice numeric(15,2), l_discount numeric(15,2), l_tax numeric(15,2),
        l_returnflag char(1), l_linestatus char(1), l_shipdate date, l_commitdate date, l_receiptdate date,
        l_shipinstruct char(25), l_shipmode char(10), l_comment varchar(44)""",
    "orders": """o_orderkey bigint, o_custkey bigint, o_orderstatus char(1), o_totalprice numeric(15,2),
        o_orderdate date, o_orderpriority char(15), o_clerk char(15), o_shippriority integer,
        o_comment varchar(79)""",
    "customer": """c_custkey bigint, c_name varchar(25), c_address varchar(40), c_nationkey bigint, c_phone char(15),
        c_acctbal numeric(15,2), c_mktsegment char(10), c_comment varchar(117)""",
}
KEYS = {"lineitem": ["l_orderkey", "l_linenumber"], "orders": ["o_orderkey"], "customer": ["c_custkey"]}
AMOUNTS = {"lineitem": "l_extendedprice", "orders": "o_totalprice", "customer": "c_acctbal"}


@dataclass(frozen=True)
class Sums:
    """What every copy of a table must show again."""

    rows: int
    keys: int
    amount: str  # exactly, with two decimals


@dataclass(frozen=True)
class Data:
    scale: str
    folder: Path  # of the Parquet files
    url: str  # of the database
    sums: dict[str, Sums]

    def parquet(self, table: str) -> Path:
        return self.folder / f"{table}.parquet"

    def checkpoint(self) -> None:
        """So that no run pays for what an earlier one left behind; without the privilege, nothing."""
        with psycopg.connect(self.url, autocommit=True) as connection:
            try:
                connection.execute("checkpoint")
            except psycopg.errors.InsufficientPrivilege:
                return

    def postgres_version(self) -> str:
        with psycopg.connect(self.url) as connection:
            return str(_one(connection, "show server_version"))


def columns(table: str) -> list[tuple[str, str]]:
    """Name and type of each column."""
    words = [column.split() for column in TABLES[table].replace(", ", ",\n").split(",\n")]
    return [(name, kind) for name, kind in words]


def prepare(scale: str, folder: Path, generator: str, url: str) -> Data:
    """Makes what is missing, in ``folder`` and in the database of ``url``, and looks at what is there.

    Raises SystemExit where the database holds tables of these names with other numbers of rows.
    """
    folder.mkdir(parents=True, exist_ok=True)
    missing = [table for table in TABLES if not (folder / f"{table}.parquet").exists()]
    if missing:
        part = folder / "part"
        words = ["parquet", "-s", scale, "--overwrite", "--quiet", "--tables", ",".join(missing)]
        subprocess.run([generator, *words, "--output-dir", str(part)], check=True)
        for table in missing:
            (part / f"{table}.parquet").rename(folder / f"{table}.parquet")
        part.rmdir()
    data = Data(scale, folder, url, {table: _sums(folder, table) for table in TABLES})
    with psycopg.connect(url, autocommit=True) as connection:
        for table in TABLES:
            _load(connection, data, table)
    return data


def _sums(folder: Path, table: str) -> Sums:
    with duckdb.connect() as connection:
        answer = connection.execute(
            f"select count(*), sum({KEYS[table][0]}), sum({AMOUNTS[table]}) from '{folder / table}.parquet'"
        ).fetchone()
    assert answer is not None
    return Sums(int(answer[0]), int(answer[1]), str(answer[2]))


def _load(connection: psycopg.Connection[Any], data: Data, table: str) -> None:
    if _one(connection, f"select to_regclass('public.{table}')::text") is None:
        part = f"lading_bench_{table}"  # named when it is whole: whoever is interrupted begins again
        made = TABLES[table].replace(", ", " not null, ").replace(",\n", " not null,\n")
        connection.execute(f"drop table if exists {part}".encode())
        connection.execute(f"create table {part} ({made} not null)".encode())
        _fill(data, table, part)
        connection.execute(f"alter table {part} add primary key ({', '.join(KEYS[table])})".encode())
        connection.execute(f"vacuum analyze {part}".encode())
        connection.execute(f"alter table {part} rename to {table}".encode())
    rows = _one(connection, f"select count(*) from {table}")
    if rows != data.sums[table].rows:
        raise SystemExit(f"The database's {table} has {rows} rows and not {data.sums[table].rows}: drop it, or give "
                         "another database.")  # fmt: skip


def _fill(data: Data, table: str, target: str) -> None:
    from benchmarks.peers.with_duckdb import attach

    with duckdb.connect(config={"threads": 2}) as connection:
        attach(connection, data.url, read_only=False)
        connection.execute(f"insert into pg.{target} from '{data.parquet(table)}'")


def _one(connection: psycopg.Connection[Any], query: str) -> Any:
    answer = connection.execute(query.encode()).fetchone()
    assert answer is not None
    return answer[0]


def embedded(folder: Path, database: str) -> str:
    """The URL of a database on an embedded server in ``folder``, which runs until this process ends."""
    from lading.sources.embedded import start

    server = start(folder / "data")  # a folder of its own: as root, the permissions above it are loosened
    url = str(server.get_uri())
    with psycopg.connect(url, autocommit=True) as connection:
        if connection.execute("select from pg_database where datname = %s", [database]).fetchone() is None:
            connection.execute(f"create database {database}".encode())
    return str(server.get_uri(database))

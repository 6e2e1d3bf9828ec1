"""Tables of every mode as Spark, ClickHouse and Trino read them.

`make interop` gets the engines; without one its tests skip. Spark opens the metadata file, ClickHouse the table's
folder, Trino the catalogue.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import boto3
import pytest
import trino_server
from moto.server import ThreadedMotoServer
from tables import SCHEMA, Shop, by_duckdb, row

FOLDER = Path(os.environ.get("LADING_INTEROP", Path(__file__).parents[2] / ".interop"))
PYTHON = FOLDER / "bin/python"
COLUMNS = ("id", "customer", "region", "amount")
Engine = Callable[[str], list[tuple[Any, ...]]]  # what it reads of the table with this metadata file
SPARK = """
import json, sys
from pyspark.sql import SparkSession
settings = {"spark.jars": sys.argv[2], "spark.ui.enabled": "false", "spark.driver.bindAddress": "127.0.0.1",
            "spark.driver.host": "127.0.0.1", "spark.sql.session.timeZone": "UTC"}
builder = SparkSession.builder.master("local[1]")
for key, value in settings.items():
    builder = builder.config(key, value)
rows = builder.getOrCreate().read.format("iceberg").load(sys.argv[1]).select(*sys.argv[3:]).orderBy("id").collect()
print("ROWS " + json.dumps([[None if v is None else str(v) for v in row] for row in rows]))
"""
CLICKHOUSE = """
import json, sys, chdb
columns = ", ".join(f"toString({name})" for name in sys.argv[3:])
found = chdb.query(f"select {columns} from icebergLocal('{sys.argv[1]}') order by id", "JSONCompact")
print("ROWS " + json.dumps(json.loads(str(found))["data"]))
"""


@pytest.fixture
def spark() -> Engine:
    jars = sorted(FOLDER.glob("iceberg-spark-runtime-*.jar"))
    if not PYTHON.exists() or not jars:
        pytest.skip(f"no Spark in {FOLDER}: make interop gets it")
    return lambda metadata: _asked(SPARK, metadata, str(jars[0]), Path.cwd())


@pytest.fixture
def clickhouse() -> Engine:
    if not PYTHON.exists():
        pytest.skip(f"no ClickHouse in {FOLDER}: make interop gets it")

    def read(metadata: str) -> list[tuple[str | None, ...]]:
        # It reads files below its working directory alone.
        folder = Path(metadata.removeprefix("file://")).parents[1]
        return _asked(CLICKHOUSE, str(folder), "", folder.parents[3])

    return read


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[trino_server.Trino]:
    with trino_server.trino(FOLDER, tmp_path_factory.mktemp("trino")) as running:
        yield running


@pytest.fixture
def trino(server: trino_server.Trino) -> Engine:
    def read(metadata: str) -> list[tuple[str | None, ...]]:
        table = Path(metadata.removeprefix("file://")).parents[1]
        root = table.parents[3]
        # A location is looked for below the one that is set.
        files = {"fs.native-local.enabled": "true", "local.location": "/"}
        columns = ", ".join(f"cast({name} as varchar)" for name in COLUMNS)
        with server.catalogue(_sql_catalogue(root, f"file://{root}/lake") | files) as lake:
            found = server.rows(f"select {columns} from {lake}.{table.parent.name}.{table.name} order by id")
        return [tuple(each) for each in found]

    return read


def _sql_catalogue(root: Path, warehouse: str) -> dict[str, str]:
    """The project's catalogue in SQLite as Iceberg's JDBC catalogue."""
    jdbc = {
        "catalog-name": "lading",
        "driver-class": "org.sqlite.JDBC",
        "connection-url": f"jdbc:sqlite:{root}/catalogue.db",
        "default-warehouse-dir": warehouse,
    }
    return {"iceberg.catalog.type": "jdbc", **{f"iceberg.jdbc-catalog.{k}": v for k, v in jdbc.items()}}


def _asked(script: str, place: str, jar: str, cwd: Path) -> list[tuple[str | None, ...]]:
    done = subprocess.run(
        [PYTHON, "-c", script, place, jar, *COLUMNS],
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=250,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    (line,) = [line for line in done.stdout.splitlines() if line.startswith("ROWS ")]
    return [tuple(each) for each in json.loads(line.removeprefix("ROWS "))]


def appended(shop: Shop) -> None:
    shop.export(layout={"partition_by": ["region"]})
    shop.orders([row(n, month=1 + n // 10, region=("north", "a/b", None)[n % 3]) for n in range(30)])
    shop.run()
    shop.orders(
        [row(n, month=1 + n // 10, region=("north", "a/b", None)[n % 3]) for n in range(30) if n != 4]
    )
    january = {"start": datetime(2024, 1, 1, tzinfo=UTC), "end": datetime(2024, 2, 1, tzinfo=UTC)}
    shop.run(**january, revise=True, reason="a row was wrong")


def merged(shop: Shop) -> None:
    window = {"column": "at", "clock": "event", "late": "ignore", "start": "2024-01-01"}
    shop.export(mode="incremental", window=window, merge_key=["id"])
    shop.orders([row(n) for n in range(20)])
    shop.at(datetime(2024, 2, 15, tzinfo=UTC))
    shop.orders([row(n, month=3, amount=9) for n in (3, 7, 40)])
    shop.at(datetime(2024, 3, 15, tzinfo=UTC))


def evolved(shop: Shop) -> None:
    shop.export(mode="full_refresh", window=None)
    shop.orders([row(n) for n in range(5)])
    shop.at(datetime(2024, 6, 1, 12, tzinfo=UTC))
    import pyarrow as pa

    shop.contract("1.1.0", note=("string", "text"))
    shop.orders([{**row(n), "note": "x"} for n in range(7)], SCHEMA.append(pa.field("note", pa.string())))
    shop.at(datetime(2024, 6, 2, 12, tzinfo=UTC))


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["spark", "clickhouse", "trino"])
@pytest.mark.parametrize("make", [appended, merged, evolved])
def test_engines_read_the_rows_that_duckdb_reads(  # S1
    tmp_path: Path, make: Callable[[Shop], None], engine: str, request: pytest.FixtureRequest
) -> None:
    read: Engine = request.getfixturevalue(engine)
    shop = Shop(tmp_path)
    make(shop)
    found = [(*each[:3], float(each[3])) for each in read(shop.table())]
    expected = by_duckdb(shop.table(), f"select {', '.join(COLUMNS)} from rows order by id")
    assert found == [(str(n), customer, region, float(amount)) for n, customer, region, amount in expected]
    assert len(found) > 6


@pytest.fixture
def aws() -> Iterator[str]:
    moto = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    moto.start()
    host, port = moto.get_host_and_port()
    yield f"http://{host}:{port}"
    moto.stop()


@pytest.mark.slow
def test_trino_reads_a_table_in_a_bucket(tmp_path: Path, server: trino_server.Trino, aws: str) -> None:  # S1
    access = {"region": "us-east-1", "endpoint": aws}
    client = boto3.client("s3", endpoint_url=aws, region_name="us-east-1",
                          aws_access_key_id="k", aws_secret_access_key="s")  # fmt: skip
    client.create_bucket(Bucket="lake")
    keys = {"access_key_id": "k", "secret_access_key": "s", "allow_http": True}
    shop = Shop(tmp_path, lake={"url": "s3://lake/a%20b/deep", **access, **keys})
    appended(shop)
    files = {**access, "path-style-access": "true", "aws-access-key": "k", "aws-secret-key": "s"}
    s3 = {"fs.native-s3.enabled": "true", **{f"s3.{key}": value for key, value in files.items()}}
    with server.catalogue(_sql_catalogue(tmp_path, "s3://lake") | s3) as lake:
        found = server.rows(f"select id, region from {lake}.shop_test.orders_v1__a order by id")
    assert found == [[n, ("north", "a/b", None)[n % 3]] for n in range(30) if n != 4]

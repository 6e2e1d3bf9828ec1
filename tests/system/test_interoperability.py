"""What recipients open deliveries with: DuckDB, pandas, sha256sum. Nothing of ours reads here."""

from __future__ import annotations

import json
import shutil
import subprocess
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import pandas
import pytest

FIELDS = {"id": "integer", "customer": "string", "region": "string", "made_at": "timestamp", "local_at": "timestamp",
          "day": "date", "amount": "number", "exact": "number", "ratio": "number", "paid": "boolean",
          "small": "integer", "note": "string"}  # fmt: skip
TABLE = """
create table orders (
  id bigint primary key, customer text not null, region text, made_at timestamptz not null, local_at timestamp,
  day date, amount numeric(12,2), exact numeric(38,10), ratio double precision, paid boolean, small smallint,
  note text)"""
FILL = """
insert into orders select
  i, 'c' || i % 3, case i % 4 when 0 then null when 1 then 'EU' when 2 then 'a/b' else 'US' end,
  timestamptz '2024-01-01 00:00:00.000001Z' + (i % 59) * interval '1 day',
  case when i % 7 > 0 then timestamp '2024-01-01 12:00' + i * interval '1 minute' end,
  case when i % 5 > 0 then date '2024-02-29' - (i % 400)::int end,
  case when i % 11 > 0 then (i - 1500) * 1.01 end,
  12345678901234567890123456.0123456789 + i, i / 3.0::float8,
  case i % 3 when 0 then null when 1 then true else false end, (i % 30000) - 15000,
  case i % 6 when 0 then null when 1 then '' when 2 then 'quote " and, comma' when 3 then E'two\nlines'
              when 4 then 'שלום ☃ é' else 'NULL' end
from generate_series(1, 3000) i"""
WINDOW = {"column": "made_at", "clock": "event", "late": "ignore", "every": "1 month",
          "start": "2024-01-01", "end": "2024-03-01"}  # fmt: skip
FORMATS: dict[str, dict[str, Any]] = {
    "parquet": {"type": "parquet"},
    "csv": {"type": "csv", "compression": "gzip"},
    "jsonl": {"type": "jsonl", "compression": "gzip"},
}
RUNS = 6  # 3 customers in 2 months


@pytest.fixture
def shop(place: Any) -> Any:
    place.sql(TABLE, FILL)
    place.contract("orders", FIELDS, key=["id"])
    return place


def deliver(place: Any, name: str = "orders_drop", **sections: Any) -> None:
    given = {"mode": "append", "window": WINDOW, "tenants": {"column": "customer", "discover": True}}
    place.export(name, "orders", **{**given, **sections})
    assert {r.status for r in place.run(name)} == {"succeeded"}


@pytest.fixture
def three(shop: Any) -> Any:
    """The same rows in each format, under one prefix."""
    for name, format in FORMATS.items():
        deliver(shop, f"orders_{name}", format=format)
    shop.assert_whole(RUNS * len(FORMATS))
    return shop


def expected(place: Any, *columns: str) -> list[tuple[Any, ...]]:
    return place.answer(f"select {', '.join(columns)} from orders order by id")


def ask(query: str) -> list[tuple[Any, ...]]:
    with duckdb.connect() as connection:
        connection.execute("set timezone = 'UTC'")
        return connection.sql(query).fetchall()


def types_of(query: str) -> dict[str, str]:
    with duckdb.connect() as connection:
        relation = connection.sql(query)
        return dict(zip(relation.columns, map(str, relation.types), strict=True))


COLUMNS = ("id", "customer", "region", "local_at", "day", "amount", "exact", "ratio", "paid", "small", "note")
PLACES = {
    "parquet": "read_parquet('{}/**/*.parquet')",
    "csv": """read_csv('{}/**/*.csv.gz', quote = '"', escape = '"', allow_quoted_nulls = false,
        types = {{exact: 'DECIMAL(38,10)', amount: 'DECIMAL(12,2)', made_at: 'TIMESTAMPTZ', local_at: 'TIMESTAMP',
                  note: 'VARCHAR'}})""",
    "jsonl": "read_ndjson('{}/**/*.jsonl.gz', columns = {{id: 'BIGINT', customer: 'VARCHAR', region: 'VARCHAR', "
    "made_at: 'TIMESTAMPTZ', local_at: 'TIMESTAMP', day: 'DATE', amount: 'DECIMAL(12,2)', exact: 'DECIMAL(38,10)', "
    "ratio: 'DOUBLE', paid: 'BOOLEAN', small: 'SMALLINT', note: 'VARCHAR'}})",
}


@pytest.mark.parametrize("format", FORMATS)
def test_duckdb_opens_a_whole_prefix_at_once(three: Any, format: str):  # D2 D3 D4
    source = PLACES[format].format(three.lake)
    assert ask(f"select {', '.join(COLUMNS)} from {source} order by id") == expected(three, *COLUMNS)
    microseconds = ask(f"select epoch_us(made_at) from {source} order by id")
    assert microseconds == expected(three, "(extract(epoch from made_at) * 1000000)::bigint")


def test_parquet_carries_exact_types(three: Any):  # D2
    found = types_of(f"select * from read_parquet('{three.lake}/**/*.parquet', hive_partitioning = false)")
    assert found == {
        "id": "BIGINT", "customer": "VARCHAR", "region": "VARCHAR", "made_at": "TIMESTAMP WITH TIME ZONE",
        "local_at": "TIMESTAMP", "day": "DATE", "amount": "DECIMAL(12,2)", "exact": "DECIMAL(38,10)",
        "ratio": "DOUBLE", "paid": "BOOLEAN", "small": "SMALLINT", "note": "VARCHAR",
    }  # fmt: skip


def test_duckdb_guesses_the_types_of_json_lines_and_csv(three: Any):  # D3 D4
    # Of many files DuckDB guesses the dialect by the first, which need not hold a quote inside quotes.
    for source in (
        f"""read_csv('{three.lake}/**/*.csv.gz', escape = '"')""",
        f"read_ndjson('{three.lake}/**/*.jsonl.gz')",
    ):
        found = types_of(f"select * from {source}")
        assert found["id"] == "BIGINT"
        assert found["day"] == "DATE"
        assert found["paid"] == "BOOLEAN"
        assert found["ratio"] == "DOUBLE"
        assert found["made_at"].startswith("TIMESTAMP")
        assert ask(f"select count(*), count(distinct id), count(paid) from {source}") == [(3000, 3000, 2000)]


def opened(place: Any, suffix: str) -> list[Path]:
    paths = sorted(place.lake.rglob(f"*.{suffix}"))
    assert len(paths) == RUNS
    return paths


def amounts(place: Any) -> list[Decimal | None]:
    return [amount for (amount,) in expected(place, "amount")]


def test_pandas_opens_parquet(three: Any):  # D2
    frame = pandas.concat(pandas.read_parquet(path) for path in opened(three, "parquet")).sort_values("id")
    assert len(frame) == 3000
    assert str(frame["made_at"].dtype) == "datetime64[us, UTC]"
    assert [None if pandas.isna(a) else a for a in frame["amount"]] == amounts(three)
    assert list(frame["exact"]) == [value for (value,) in expected(three, "exact")]
    assert {type(value) for value in frame["day"].dropna()} == {date}
    assert frame["paid"].isna().sum() == 1000


def test_pandas_opens_csv(three: Any):  # D4
    frames = [pandas.read_csv(path, dtype={"amount": str, "exact": str}) for path in opened(three, "csv.gz")]
    frame = pandas.concat(frames).sort_values("id")
    assert len(frame) == 3000
    assert [None if pandas.isna(a) else Decimal(a) for a in frame["amount"]] == amounts(three)
    assert [Decimal(value) for value in frame["exact"]] == [value for (value,) in expected(three, "exact")]
    first = pandas.to_datetime(frame["made_at"], utc=True, format="ISO8601").iloc[0]
    assert first == datetime(2024, 1, 2, 0, 0, 0, 1, UTC)
    assert frame["paid"].isna().sum() == 1000


def test_pandas_opens_json_lines(three: Any):  # D3
    frames = [pandas.read_json(path, lines=True, dtype=False) for path in opened(three, "jsonl.gz")]
    frame = pandas.concat(frames).sort_values("id")
    assert len(frame) == 3000
    assert [Decimal(value) for value in frame["exact"]] == [value for (value,) in expected(three, "exact")]
    assert frame["made_at"].iloc[0] == "2024-01-02T00:00:00.000001Z"
    assert frame["paid"].isna().sum() == 1000


def check_sums(folder: Path, sums: str) -> None:
    if shutil.which("sha256sum") is None:
        pytest.skip("there is no sha256sum on this machine")
    done = subprocess.run(
        ["sha256sum", "--check", "--strict", sums], cwd=folder, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_sha256sum_accepts_every_delivery_as_it_stands(three: Any):  # S2
    folders = [path.parent for path in three.lake.rglob("_SHA256SUMS")]
    assert len(folders) == RUNS * len(FORMATS)
    for folder in folders:
        check_sums(folder, "_SHA256SUMS")
    victim = next(folders[0].glob("orders_*"))
    victim.write_bytes(victim.read_bytes()[:-1] + b"!")
    with pytest.raises(AssertionError, match="FAILED"):
        check_sums(folders[0], "_SHA256SUMS")


def test_the_dated_layout_has_the_documents_names(shop: Any):  # D5 D6 D8 D10
    deliver(shop, layout={"preset": "dated"}, tenants=None)
    assert shop.verify(deep=True).record() | {"notes": []} == {
        "ok": True, "signed": False, "signatures": {}, "deliveries": 2, "files": 2, "rows": 3000, "problems": [],
        "notes": [], "delivery": None,
    }  # fmt: skip
    (folder,) = (shop.lake / "test/shop/orders/2024/01/01").iterdir()
    run = json.loads((folder / "manifest_20240101_000000.json").read_text())["run_id"][:8]
    assert folder.name == f"000000_{run}-a1"
    data = f"orders_20240101_000000_{run}_001.parquet.snappy"
    assert sorted(path.name for path in folder.iterdir()) == sorted(
        [
            data,
            f"{data}.sha256",
            f"{data}.metadata.json",
            "manifest_20240101_000000.json",
            "SHA256SUMS",
            "SUCCESS",
        ]
    )
    success = json.loads((folder / "SUCCESS").read_text())
    assert (success["status"], success["manifest"]) == ("SUCCESS", "manifest_20240101_000000.json")
    check_sums(folder, "SHA256SUMS")
    check_sums(folder, f"{data}.sha256")


def test_the_svc002_layout_has_the_documents_names(shop: Any):  # S2 S5 S6
    deliver(shop, layout={"preset": "svc002"})
    assert shop.verify(deep=True).record()["problems"] == []
    shop.assert_whole(RUNS)
    (folder,) = (shop.lake / "c1/v1/2024-02-01/hour=00").iterdir()
    data = "export.orders.20240201.parquet"
    assert sorted(path.name for path in folder.iterdir()) == sorted(
        [data, f"{data}.sha256", f"{data}.metadata.json", "export.orders.20240201.json",
         "manifest_20240201_000000.json", "SHA256SUMS", "SUCCESS"]
    )  # fmt: skip
    record = json.loads((folder / "export.orders.20240201.json").read_text())
    manifest = json.loads((folder / "manifest_20240201_000000.json").read_text())
    assert record == {
        "dataset": "orders", "generated_at": manifest["export_timestamp"], "encryption": "none",
        "records": manifest["rows"]["written"], "schema_version": "export.customer_drop.v1",
    }  # fmt: skip
    check_sums(folder, f"{data}.sha256")
    check_sums(folder, "SHA256SUMS")


def test_partitions_are_hive_folders(shop: Any):  # D5
    deliver(shop, layout={"partition_by": ["region", {"column": "id", "shards": 4}]}, tenants=None)
    source = f"read_parquet('{shop.lake}/**/*.parquet', hive_partitioning = true)"
    assert ask(
        f"select region, shard::int, count(*) from {source} group by all order by all nulls first"
    ) == (
        shop.answer(
            "select region, (id % 4)::int, count(*) from orders group by 1, 2 order by 1 nulls first, 2"
        )
    )
    assert ask(f"select count(*) from {source} where id % 4 <> shard::int") == [(0,)]
    assert ask(f"select id, region, note from {source} order by id") == expected(shop, "id", "region", "note")
    shop.assert_whole(2)
    for marker in shop.markers():
        check_sums(marker.parent, "_SHA256SUMS")


def test_no_file_passes_its_greatest_size(shop: Any):  # D2
    limit = 50_000
    deliver(shop, format={"type": "csv", "max_file_size": f"{limit}B"}, tenants=None)
    files = sorted(shop.lake.rglob("*.csv"))
    assert len(files) > 4
    assert max(path.stat().st_size for path in files) <= limit
    assert ask(f"select count(*), count(distinct id) from read_csv('{shop.lake}/**/*.csv')") == [(3000, 3000)]
    shop.assert_whole(2)

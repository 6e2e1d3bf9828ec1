"""Projects whose exports are Iceberg tables, opened by engines that know nothing of Lading."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from tables import SCHEMA, Shop, by_duckdb, locations, row

from lading import InvalidProject, SchemaMismatch, verify

FEBRUARY = datetime(2024, 2, 15, tzinfo=UTC)
INCREMENTAL: dict[str, Any] = {
    "mode": "incremental",
    "window": {"column": "at", "clock": "event", "late": "ignore", "start": "2024-01-01"},
    "merge_key": ["id"],
}


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    made = Shop(tmp_path)
    made.orders([row(n, "ab"[n % 2], 1 + n // 10) for n in range(30)])
    return made


def metadata_of(shop: Shop, tenant: str = "a") -> dict[str, Any]:
    found: dict[str, Any] = json.loads(Path(shop.table(tenant).removeprefix("file://")).read_text())
    return found


# --- what engines see


def test_every_tenant_has_a_table_of_its_rows_alone(shop: Shop) -> None:  # S1 D7
    shop.export()
    assert len(shop.run()) == 6
    assert list(locations(shop.root)) == ["orders_v1__a", "orders_v1__b"]
    assert shop.ids("a") == list(range(0, 30, 2))
    assert shop.ids("b") == list(range(1, 30, 2))
    assert verify(str(shop.root / "lake")).record()["problems"] == []
    assert verify(str(shop.root / "lake")).notes == []


def test_a_run_is_one_commit_that_names_it(shop: Shop) -> None:  # S1
    shop.export()
    results = [r for r in shop.run() if r.tenant == "a"]
    snapshots = metadata_of(shop)["snapshots"]
    assert [s["summary"]["lading.run-id"] for s in snapshots] == [r.run_id for r in results]
    assert [s["summary"]["lading.manifest"] for s in snapshots] == [r.manifest for r in results]
    assert {s["summary"]["operation"] for s in snapshots} == {"append"}
    assert {r.status for r in shop.run()} == {"skipped"}
    assert metadata_of(shop)["snapshots"] == snapshots


def test_types_and_values_are_those_of_the_source(shop: Shop) -> None:  # S1 D2
    rows = [row(1, amount=-5), row(2, region=None), {**row(3), "amount": None}, row(4, region='שלום, "☃"\n')]
    shop.orders(rows)
    shop.export()
    shop.run()
    found = by_duckdb(shop.table(), 'select id, customer, region, amount, "at" from rows order by id')
    assert found == [tuple(each[name] for name in SCHEMA.names) for each in rows]


@pytest.mark.parametrize("names", [["a", "A", "_41"], ["a/b", "a_2fb", "a%2Fb"], ["", "_z", "empty"]])
def test_tenants_of_names_alike_have_tables_apart(shop: Shop, names: list[str]) -> None:  # S1
    shop.orders([row(n, customer) for n, customer in enumerate(names)])
    shop.export()
    shop.run()
    tables = locations(shop.root)
    assert len({name.lower() for name in tables}) == len(names)
    found = [by_duckdb(metadata, "select customer from rows") for metadata in tables.values()]
    assert sorted(found) == sorted([(name,)] for name in names)


def test_a_partitioned_table_prunes_by_what_its_files_are_of(shop: Shop) -> None:  # S1
    shop.orders([row(n, region=(None, "north", "a/b", "true")[n % 4]) for n in range(20)])
    shop.export(layout={"partition_by": ["region"]})
    shop.run()
    table = shop.project()._workshop.catalogue("tables").load(("shop_test", "orders_v1__a"))
    assert table is not None
    assert [f.name for f in table.spec().fields] == ["region"]
    for region, ids in (("a/b", [2, 6, 10, 14, 18]), ("true", [3, 7, 11, 15, 19])):
        scan = table.scan(row_filter=f"region == '{region}'")
        assert len(list(scan.plan_files())) == 1
        assert sorted(scan.to_arrow()["id"].to_pylist()) == ids
        assert by_duckdb(shop.table(), f"select id from rows where region = '{region}' order by 1") == [
            (n,) for n in ids
        ]
    assert by_duckdb(shop.table(), "select count(*) from rows where region is null") == [(5,)]


@pytest.mark.parametrize(
    ("column", "physical", "values"),
    [
        ("date", "date", [datetime(2024, 1, 5).date(), datetime(1960, 2, 29).date()]),
        (
            "timestamp",
            "timestamptz",
            [datetime(2024, 1, 5, 1, 2, 3, 4, tzinfo=UTC), datetime(1960, 1, 1, tzinfo=UTC)],
        ),
        ("number", "numeric(9,2)", [Decimal("-1.50"), Decimal("2.00")]),
        ("integer", "integer", [-7, 8]),
        ("boolean", "boolean", [True, False]),
    ],
)
def test_partitions_of_every_type_are_found_by_their_values(
    shop: Shop, column: str, physical: str, values: list[Any]
) -> None:
    kinds = {"date": pa.date32(), "timestamp": pa.timestamp("us", "UTC"), "number": pa.decimal128(9, 2),
             "integer": pa.int32(), "boolean": pa.bool_()}  # fmt: skip
    schema = SCHEMA.append(pa.field("part", kinds[column]))
    shop.orders([{**row(n), "part": value} for n, value in enumerate([*values, None])], schema)
    shop.contract(part=(column, physical))
    shop.export(layout={"partition_by": ["part"]})
    shop.run()
    assert by_duckdb(shop.table(), "select part from rows order by id") == [*((v,) for v in values), (None,)]
    table = shop.project()._workshop.catalogue("tables").load(("shop_test", "orders_v1__a"))
    assert table is not None
    for value in values:
        text = f"'{value.isoformat()}'" if hasattr(value, "isoformat") else str(value).lower()
        found = by_duckdb(shop.table(), f"select count(*) from rows where part = {text}")
        assert found == [(1,)]


def test_statistics_of_classified_columns_stand_in_no_metadata(shop: Shop) -> None:
    contract = json.loads((shop.root / "contracts/orders.v1.odcs.yaml").read_text())
    for each in contract["schema"][0]["properties"]:
        each["classification"] = "confidential" if each["name"] == "amount" else "public"
    shop.write("contracts/orders.v1.odcs.yaml", contract)
    shop.export()
    shop.run()
    table = shop.project()._workshop.catalogue("tables").load(("shop_test", "orders_v1__a"))
    assert table is not None
    ids = {field.name: field.field_id for field in table.schema().fields}
    for task in table.scan().plan_files():
        assert ids["amount"] not in task.file.lower_bounds
        assert ids["id"] in task.file.lower_bounds
    assert table.properties["write.metadata.metrics.column.amount"] == "none"


# --- modes


def test_a_revision_takes_the_place_of_what_it_revises(shop: Shop) -> None:  # D7
    shop.export()
    shop.run()
    shop.orders([row(n, "ab"[n % 2], 1 + n // 10, amount=7) for n in range(30) if n != 4])
    shop.run(
        start=datetime(2024, 1, 1, tzinfo=UTC), end=datetime(2024, 2, 1, tzinfo=UTC), revise=True, reason="x"
    )
    assert shop.ids("a") == [n for n in range(0, 30, 2) if n != 4]
    assert by_duckdb(shop.table(), "select distinct amount from rows where id < 10") == [(Decimal("1.75"),)]
    last = metadata_of(shop)["snapshots"][-1]["summary"]
    assert (last["operation"], last["lading.revision"]) == ("overwrite", "1")
    assert verify(str(shop.root / "lake")).record()["problems"] == []


def test_a_full_refresh_replaces_the_table_in_one_commit_and_never_goes_back(shop: Shop) -> None:  # D7
    shop.export(mode="full_refresh", window=None)
    shop.at(datetime(2024, 6, 1, 12, tzinfo=UTC))
    shop.orders([row(n) for n in range(100, 103)])
    shop.at(datetime(2024, 6, 2, 12, tzinfo=UTC))
    assert shop.ids("a") == [100, 101, 102]
    before = metadata_of(shop)
    assert [s["summary"]["operation"] for s in before["snapshots"]] == ["append", "overwrite"]
    old = before["snapshots"][0]["snapshot-id"]
    assert len(by_duckdb(shop.table().replace("'", ""), "select 1 from rows")) == 3
    assert len(_at(shop, old)) == 15


def _at(shop: Shop, snapshot: int) -> list[Any]:
    table = shop.project()._workshop.catalogue("tables").load(("shop_test", "orders_v1__a"))
    assert table is not None
    found: list[Any] = table.scan(snapshot_id=snapshot).to_arrow()["id"].to_pylist()
    return found


def test_keep_removes_old_refreshes_from_the_table_and_then_from_the_store(shop: Shop) -> None:  # D7
    shop.settings(lease="1s")
    shop.export(mode="full_refresh", window=None, keep=1, tenants=None)
    for day in (1, 2, 3):
        shop.orders([row(n) for n in range(day * 10, day * 10 + 3)])
        shop.at(datetime(2024, 6, day, 12, tzinfo=UTC))
        if day == 2:
            time.sleep(1.2)
    first, second, third = (f"2024/06/0{day}" for day in (1, 2, 3))
    shop.at(datetime(2024, 6, 3, 13, tzinfo=UTC))
    folders = {str(path.relative_to(shop.root / "lake")) for path in (shop.root / "lake").rglob("*.parquet")}
    assert not [name for name in folders if first in name]
    assert [name for name in folders if third in name]
    assert shop.ids("default") == [30, 31, 32]
    assert len(metadata_of(shop, "default")["snapshots"]) == 2
    time.sleep(1.2)
    shop.orders([row(40)])
    shop.at(datetime(2024, 6, 4, 12, tzinfo=UTC))
    assert not list((shop.root / "lake").glob(f"test/shop/orders/{second}/*/*.parquet"))
    assert shop.ids("default") == [40]
    assert verify(str(shop.root / "lake")).record()["problems"] == []


def test_incremental_rows_take_the_place_of_those_with_their_key(shop: Shop) -> None:  # D7
    shop.export(**INCREMENTAL)
    shop.orders([row(n, amount=1) for n in range(20)])
    shop.at(FEBRUARY)
    newer = [row(n, month=3, amount=9) for n in (3, 7, 40)]
    shop.orders([*(row(n, amount=1) for n in range(20) if n not in (3, 7)), *newer])
    shop.at(FEBRUARY.replace(month=3))
    found = dict(by_duckdb(shop.table(), "select id, amount from rows order by id"))
    assert sorted(found) == [*range(20), 40]
    assert {n for n, amount in found.items() if amount == Decimal("2.25")} == {3, 7, 40}
    assert verify(str(shop.root / "lake")).record()["problems"] == []


def test_merging_leaves_untouched_files_alone_and_moves_keys_between_partitions(shop: Shop) -> None:  # D7
    shop.export(**INCREMENTAL, layout={"partition_by": ["region"]})
    shop.orders([row(n, region=("north", "south", None)[n // 10]) for n in range(30)])
    shop.at(FEBRUARY)
    before = {path for (path,) in _paths(shop)}
    shop.orders([row(5, month=3, region="south", amount=9)])
    shop.at(FEBRUARY.replace(month=3))
    assert shop.ids() == list(range(30))
    assert by_duckdb(shop.table(), "select region, amount from rows where id = 5") == [
        ("south", Decimal("2.25"))
    ]
    after = {path for (path,) in _paths(shop)}
    assert len(before & after) == 2  # south and NULL are as they were
    assert len(after) == 4


def _paths(shop: Shop) -> list[tuple[str]]:
    table = shop.project()._workshop.catalogue("tables").load(("shop_test", "orders_v1__a"))
    assert table is not None
    return [(task.file.file_path,) for task in table.scan().plan_files()]


def test_keys_and_partitions_go_by_the_names_that_recipients_see(shop: Shop) -> None:
    contract = json.loads((shop.root / "contracts/orders.v1.odcs.yaml").read_text())
    for each in contract["schema"][0]["properties"]:
        told = {"id": "order_id", "region": "area"}.get(each["name"])
        if told is not None:
            each.update(name=told, physicalName=each["name"])
    shop.write("contracts/orders.v1.odcs.yaml", contract)
    shop.export(**INCREMENTAL, layout={"partition_by": ["region"]}, sort_by=["id"])
    shop.orders([row(n, region=("north", "south")[n % 2]) for n in range(6)])
    shop.at(FEBRUARY)
    shop.orders([row(3, month=3, region="north", amount=9)])
    shop.at(FEBRUARY.replace(month=3))
    found = by_duckdb(shop.table(), "select order_id, area from rows order by 1")
    assert found == [(0, "north"), (1, "south"), (2, "north"), (3, "north"), (4, "north"), (5, "south")]


# --- evolution


def test_a_new_column_is_null_in_what_was_there_before(shop: Shop) -> None:  # S1 D2
    shop.export()
    shop.orders([row(n) for n in range(4)])
    shop.run(start=datetime(2024, 1, 1, tzinfo=UTC), end=datetime(2024, 2, 1, tzinfo=UTC))
    schema = SCHEMA.append(pa.field("note", pa.string()))
    shop.orders([{**row(n, month=1 + n // 4), "note": f"n{n}"} for n in range(8)], schema)
    shop.contract("1.1.0", note=("string", "text"))
    shop.run()
    assert by_duckdb(shop.table(), "select id, note from rows order by id") == [
        *((n, None) for n in range(4)),
        *((n, f"n{n}") for n in range(4, 8)),
    ]


def test_a_column_that_goes_and_a_type_that_changes_are_refused_before_anything_is_read(
    shop: Shop,
) -> None:  # S1
    shop.export()
    shop.run()
    shop.contract("1.1.0", region=None)
    with pytest.raises(SchemaMismatch, match=r"orders_v1__a: the table has a column 'region'"):
        shop.project().job("orders_table").channel.check_schema(  # type: ignore[attr-defined]
            _names(shop), shop.project().job("orders_table").binding().output
        )
    results = shop.project().run(
        "orders_table", start=datetime(2024, 1, 1, tzinfo=UTC), end=datetime(2024, 2, 1, tzinfo=UTC),
        revise=True, reason="x",
    )  # fmt: skip
    assert {r.status for r in results} == {"failed"}
    assert "the table has a column 'region'" in str(results[0].error)
    assert shop.ids("a") == list(range(0, 30, 2))


def _names(shop: Shop) -> Any:
    from lading.export.layout import Names

    return Names("test", "shop", "orders", "a", 1, FEBRUARY, "0" * 32, 1)


# --- what is refused


@pytest.mark.parametrize(
    ("sections", "told"),
    [
        ({"destination": "lake"}, 'there is no catalogue "lake"'),
        ({"format": {"type": "csv"}}, "write parquet"),
        ({"copies": ["raw"]}, "one catalogue"),
        ({"encryption": {"key": "tenant"}}, "no engine opens tables of encrypted files"),
        ({"layout": {"partition_by": [{"column": "id", "shards": 4}]}}, "shards partition no table"),
        ({"sort_by": ["amuont"]}, "sort_by"),
        (
            {"channel": "drop", "destination": "lake", "sort_by": ["id"]},
            "sort_by belongs to the channel snapshot",
        ),
        ({"channel": "sync"}, "not available"),
    ],
)
def test_what_a_table_cannot_be_is_refused_with_its_place(
    shop: Shop, sections: dict[str, Any], told: str
) -> None:
    shop.export(**sections)
    with pytest.raises(InvalidProject) as caught:
        shop.project().validate()
    assert told in str(caught.value)
    assert "exports/orders_table.yaml:" in str(caught.value)

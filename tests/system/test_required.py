"""What the contract requires: the plan, the manifest, the sidecars and the files say alike that it is always there."""

from __future__ import annotations

import json
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

ORDERS = pa.table({"id": [1, 2], "Customer": ["a", "b"], "email": ["a@x.org", "b@x.org"], "note": ["", None]})


@pytest.fixture
def shop(new_place: Any) -> Any:
    """A contract that requires more than the files of its source prove: any of their columns may hold a NULL."""
    place = new_place("unused")
    place.settings(
        connections={"ops": {"type": "files", "store": "landing"}},
        stores={
            name: {"url": f"file://./{name}", "durable": False} for name in ("lake", "journal", "landing")
        },
    )
    fields = {
        "id": "integer",
        "customer": {"logicalType": "string", "physicalName": "Customer", "required": True},
        "email": {"logicalType": "string", "required": True},
        "note": "string",
    }
    place.contract("orders", fields, key=["id"])
    place.export(
        "drop", "orders",
        source={"connection": "ops", "files": "*.parquet"}, transforms=[{"mask": {"email": "null"}}],
    )  # fmt: skip
    (place.root / "landing").mkdir()
    pq.write_table(ORDERS, place.root / "landing/orders.parquet")
    return place


def nullable(columns: Any) -> dict[str, bool]:
    return {column["name"]: column["nullable"] for column in columns}


def test_a_required_column_is_so_in_the_plan_the_manifest_and_the_file(shop: Any) -> None:
    promised = {"id": False, "customer": False, "email": True, "note": True}  # a mask may make NULLs
    assert nullable(shop.load().plan("drop").schema) == promised
    assert [result.status for result in shop.run("drop")] == ["succeeded"]
    (manifest,) = shop.lake.rglob("_manifest.json")
    assert nullable(json.loads(manifest.read_bytes())["schema"]) == promised
    (data,) = shop.lake.rglob("*.parquet")
    assert {field.name: field.nullable for field in pq.read_schema(data)} == promised
    shop.assert_whole(1)


def test_a_null_in_a_required_column_is_refused_and_can_be_looked_at(shop: Any) -> None:
    broken = ORDERS.set_column(1, "Customer", pa.array(["a", None]))
    pq.write_table(broken, shop.root / "landing/orders.parquet")
    assert shop.load().preview("drop").column("customer").to_pylist() == ["a", None]
    (result,) = shop.run("drop")
    assert (result.status, result.exit_code) == ("failed", 5)
    assert "'customer': at least 1 NULL" in (result.error or "")
    assert list(shop.markers()) == []

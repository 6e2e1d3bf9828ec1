"""Real deliveries to tamper with: two kinds of small jobs in memory, and a project on disk in every layout."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from worlds import World, snapshot, some_orders

from lading import Project
from lading.ports import Bound, Dataset, Source
from lading.run import run
from lading.stores.memory import MemoryStore

Objects = dict[str, bytes]


def store_of(objects: Mapping[str, bytes]) -> MemoryStore:
    store = MemoryStore()
    for name, data in objects.items():
        store.put(name, data)
    return store


def appended() -> Objects:
    world = World(some_orders(months=2, per_customer=2, customers="ab"))
    run(world.job())
    return snapshot(world.lake)


def refreshed() -> Objects:
    world = World(some_orders(months=1, customers="ab"))
    for day in (1, 2):
        world.now = datetime(2024, 6, day, 12, tzinfo=UTC)
        run(world.job(mode="full_refresh"))
    return snapshot(world.lake)


# --- a project on disk


def _write(root: Path, name: str, content: Mapping[str, Any]) -> None:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))


def _field(name: str, kind: str, physical: str, **more: Any) -> dict[str, Any]:
    return {"name": name, "logicalType": kind, "physicalType": physical, "classification": "public", **more}


def _export(root: Path, name: str, **sections: Any) -> None:
    shape = {
        "name": name,
        "contract": "orders@1",
        "source": {"connection": "incoming", "files": "orders.parquet"},
        "tenants": {"column": "customer", "discover": True},
        "destination": "lake",
        "mode": "append",
        "window": {"column": "at", "clock": "event", "late": "ignore", "every": "1 month", "start": "2024-01-01",
                   "end": "2024-03-01"},
    }  # fmt: skip
    _write(root, f"exports/{name}.yaml", {k: v for k, v in {**shape, **sections}.items() if v is not None})


def make_project(root: Path) -> Path:
    """Orders of two customers, in Parquet; four exports of them."""
    rows = [
        (n, "ab"[n % 2], (None, "north", "a/b")[n % 3], Decimal(n) / 4,
         datetime(2024, 1 + n // 20, 3, tzinfo=UTC) + timedelta(hours=n))
        for n in range(40)
    ]  # fmt: skip
    schema = pa.schema(
        [
            pa.field("id", pa.int64(), nullable=False),
            pa.field("customer", pa.string(), nullable=False),
            ("region", pa.string()),
            ("amount", pa.decimal128(9, 2)),
            pa.field("at", pa.timestamp("us", "UTC"), nullable=False),
        ]
    )
    (root / "raw").mkdir(parents=True)
    columns = [pa.array(c, f.type) for c, f in zip(zip(*rows, strict=True), schema, strict=True)]
    pq.write_table(pa.table(columns, schema=schema), root / "raw/orders.parquet")
    _write(root, "lading.yaml", {
        "name": "shop",
        "environment": "test",
        "connections": {"incoming": {"type": "files", "store": "raw", "immutable": True}},
        "stores": {name: {"url": f"file://./{name}", "durable": False} for name in ("raw", "lake", "journal")},
    })  # fmt: skip
    _write(root, "contracts/orders.v1.odcs.yaml", {
        "apiVersion": "v3.1.0", "kind": "DataContract", "id": "orders", "name": "orders", "version": "1.0.0",
        "status": "active",
        "schema": [{"name": "orders", "logicalType": "object", "physicalType": "table", "properties": [
            _field("id", "integer", "bigint", primaryKey=True, primaryKeyPosition=1, required=True),
            _field("customer", "string", "text", required=True),
            _field("region", "string", "text"),
            _field("amount", "number", "numeric(9,2)"),
            _field("at", "timestamp", "timestamptz", required=True, logicalTypeOptions={"timezone": True}),
        ]}],
    })  # fmt: skip
    _export(root, "to_lake", layout={"preset": "lake", "partition_by": ["region"]})
    _export(root, "to_dated", layout={"preset": "dated"}, format={"type": "csv", "compression": "gzip"})
    _export(root, "to_svc", layout={"preset": "svc002"})
    _export(root, "whole", mode="full_refresh", window=None, layout={"preset": "dated"},
            format={"type": "jsonl", "compression": "gzip"})  # fmt: skip
    return root


def bundled(root: Path, **sections: Any) -> Path:
    """The same project with its export to_lake as a signed bundle."""
    make_project(root)
    settings = root / "lading.yaml"
    signing = {"signing": {"url": "file://./keys/signing"}}
    settings.write_text(json.dumps({**json.loads(settings.read_text()), **signing}))
    export = root / "exports/to_lake.yaml"
    shape = {**json.loads(export.read_text()), "channel": "bundle"}
    wanted = {key: value for key, value in {**shape, **sections}.items() if value is not None}
    export.write_text(json.dumps(wanted))
    Project.load(root).new_signing_key()
    return root


def deliver(root: Path) -> None:
    project = Project.load(root)
    for name in ("to_lake", "to_dated", "to_svc"):
        assert {r.status for r in project.run(name)} == {"succeeded"}
    for day in (1, 2):
        job = project.job("whole")
        source: Any = _Clocked(job.source, datetime(2024, 6, day, 12, tzinfo=UTC))
        assert {r.status for r in run(replace(job, source=source))} == {"succeeded"}


class _Clocked:
    """A source at another time."""

    def __init__(self, source: Source, now: datetime) -> None:
        self._source, self._now = source, now

    def bound(self, dataset: Dataset) -> Bound:
        return Bound(self._now, self._now)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._source, name)


def objects_in(folder: Path) -> Objects:
    found = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in found}


def lay_out(objects: Mapping[str, bytes], folder: Path) -> Path:
    for name, data in objects.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return folder

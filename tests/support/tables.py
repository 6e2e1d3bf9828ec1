"""Iceberg tables as DuckDB reads them, with its extensions from wheels; and projects that make tables."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from lading import Project
from lading.channels.catalogues import SqlOptions, sql_tables
from lading.channels.iceberg import Tables
from lading.ports import Bound, Dataset, Source, Store
from lading.run import Result, run


def sqlite_tables(root: Path, store: Store, *, history: timedelta = timedelta(days=5)) -> Tables:
    options = SqlOptions(store="lake", url=f"sqlite:///{root}/catalogue.db")
    made = sql_tables("tables", options, store, root, 64 << 20)
    made._history = history
    return made


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
        # By Arrow: DuckDB's own way to Python wants pytz for instants.
        found = connection.execute(query).to_arrow_table()
        return list(zip(*(column.to_pylist() for column in found.columns), strict=True))


FIELDS: dict[str, tuple[str, str]] = {
    "id": ("integer", "bigint"),
    "customer": ("string", "text"),
    "region": ("string", "text"),
    "amount": ("number", "numeric(9,2)"),
    "at": ("timestamp", "timestamptz"),
}
SCHEMA = pa.schema(
    [
        pa.field("id", pa.int64(), nullable=False),
        pa.field("customer", pa.string(), nullable=False),
        ("region", pa.string()),
        ("amount", pa.decimal128(9, 2)),
        pa.field("at", pa.timestamp("us", "UTC"), nullable=False),
    ]
)
JANUARY = datetime(2024, 1, 1, tzinfo=UTC)


def row(
    n: int, customer: str = "a", month: int = 1, region: str | None = "north", amount: int = 0
) -> dict[str, Any]:
    at = JANUARY.replace(month=month) + timedelta(hours=n % 600)
    return {"id": n, "customer": customer, "region": region, "amount": Decimal(amount or n) / 4, "at": at}


@dataclass
class Shop:
    """A project in a folder: orders in a Parquet file, delivered to tables of a catalogue in SQLite."""

    root: Path
    catalogue: dict[str, Any] = field(default_factory=dict)
    lake: dict[str, Any] = field(default_factory=lambda: {"url": "file://./lake", "durable": False})

    def __post_init__(self) -> None:
        self.settings()
        self.contract()

    def settings(self, **changes: Any) -> None:
        stores = {name: {"url": f"file://./{name}", "durable": False} for name in ("raw", "journal")}
        self.write("lading.yaml", {
            "name": "shop",
            "environment": "test",
            "connections": {"incoming": {"type": "files", "store": "raw", "immutable": True}},
            "stores": {**stores, "lake": self.lake},
            "catalogues": {"tables": {k: v for k, v in {
                "type": "sql", "url": "sqlite:///./catalogue.db", "store": "lake", **self.catalogue
            }.items() if v is not None}},
            **changes,
        })  # fmt: skip

    def write(self, name: str, content: Mapping[str, Any]) -> None:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(content))

    def contract(self, version: str = "1.0.0", **changes: tuple[str, str] | None) -> None:
        fields = {name: kind for name, kind in {**FIELDS, **changes}.items() if kind is not None}
        required = ("id", "customer", "at")
        properties = [
            {"name": name, "logicalType": kind, "physicalType": physical, "classification": "public",
             "required": name in required}
            for name, (kind, physical) in fields.items()
        ]  # fmt: skip
        self.write("contracts/orders.v1.odcs.yaml", {
            "apiVersion": "v3.1.0", "kind": "DataContract", "id": "orders", "name": "orders", "version": version,
            "status": "active",
            "schema": [{"name": "orders", "logicalType": "object", "physicalType": "table", "properties": properties}],
        })  # fmt: skip

    def orders(self, rows: Sequence[Mapping[str, Any]], schema: pa.Schema = SCHEMA) -> None:
        (self.root / "raw").mkdir(exist_ok=True)
        pq.write_table(pa.Table.from_pylist(list(rows), schema=schema), self.root / "raw/orders.parquet")

    def export(self, **sections: Any) -> None:
        window = {"column": "at", "clock": "event", "late": "ignore", "every": "1 month", "start": "2024-01-01",
                  "end": "2024-04-01"}  # fmt: skip
        shape = {
            "name": "orders_table",
            "contract": "orders@1",
            "source": {"connection": "incoming", "files": "orders.parquet"},
            "tenants": {"column": "customer", "discover": True},
            "channel": "snapshot",
            "destination": "tables",
            "mode": "append",
            "window": window,
        }
        given = {k: v for k, v in {**shape, **sections}.items() if v is not None}
        self.write("exports/orders_table.yaml", given)

    def project(self) -> Project:
        return Project.load(self.root)

    def run(self, **options: Any) -> list[Result]:
        results = self.project().run("orders_table", **options)
        assert not [r.error for r in results if r.status == "failed"]
        return results

    def at(self, now: datetime, **changes: Any) -> list[Result]:
        """A run at another time of the source's clock."""
        job = self.project().job("orders_table")
        source: Any = Clocked(job.source, now)
        results = run(replace(job, source=source, **changes))
        assert not [r.error for r in results if r.status == "failed"]
        return results

    def table(self, tenant: str = "a") -> str:
        return locations(self.root)[f"orders_v1__{tenant}"]

    def ids(self, tenant: str = "a") -> list[int]:
        return [n for (n,) in by_duckdb(self.table(tenant), "select id from rows order by id")]


class Clocked:
    """A source at another time."""

    def __init__(self, source: Source, now: datetime) -> None:
        self._source, self._now = source, now

    def bound(self, dataset: Dataset) -> Bound:
        return Bound(self._now, self._now)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._source, name)

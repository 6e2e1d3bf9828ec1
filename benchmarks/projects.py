"""Projects of Lading as a user would write them, with every setting left at its default."""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.data import KEYS, columns

LOGICAL = {"bigint": "integer", "integer": "integer", "numeric": "number", "date": "date"}

GOVERNED: dict[str, Any] = {
    "transforms": [
        {"mask": {"l_shipmode": "hmac_sha256", "l_comment": "hmac_sha256", "l_shipdate": "date_to_month"}}
    ],
    "checks": [
        {"not_null": ["l_orderkey", "l_linenumber", "l_shipdate"]},
        {"range": {"l_quantity": [1, 50], "l_discount": [0, 0.1]}},
        {"in": {"l_returnflag": ["A", "N", "R"], "l_linestatus": ["F", "O"]}},
        {"row_count": {"min": 1}},
    ],
}
MASKED: dict[str, Any] = {"transforms": [{"mask": {"l_shipmode": "hmac_sha256"}}]}


def write(
    root: Path, connection: Mapping[str, Any], table: str, export: Mapping[str, Any],
    lake: Mapping[str, Any] | None = None, contract: Mapping[str, tuple[str, str]] | None = None,
) -> None:  # fmt: skip
    """A project in ``root`` with one export, ``copy``, of ``table`` from the connection ``source``.

    ``lake`` is the store of its deliveries, a folder by default. ``contract``: column -> logical and physical type, by
    default those of TPC-H.
    """
    fields = contract or {
        name: (LOGICAL.get(kind.split("(")[0], "string"), kind) for name, kind in columns(table)
    }
    # A database proves its keys; of files, uniqueness would have to be checked, which no peer does.
    key = [] if "store" in connection else KEYS.get(table, [])
    properties = [_property(name, *types, key) for name, types in fields.items()]
    stores = {"lake": lake or {"url": "file://./lake"}, "journal": {"url": "file://./journal"}}
    sources = {"source": connection}
    if "store" in connection:
        stores["incoming"] = {"url": f"file://{connection['store']}"}
        sources = {"source": {"type": "files", "store": "incoming", "immutable": True}}
    _json(root / "lading.yaml", {"name": "tpch", "environment": "bench", "connections": sources, "stores": stores,
                                 "keys": {"url": "file://./keys"}})  # fmt: skip
    _json(root / f"contracts/{table}.v1.odcs.yaml", {
        "apiVersion": "v3.1.0", "kind": "DataContract", "id": table, "name": table, "version": "1.0.0",
        "status": "active",
        "schema": [{"name": table, "logicalType": "object", "physicalType": "table", "properties": properties}],
    })  # fmt: skip
    read = {"files": f"{table}.parquet"} if "store" in connection else {"table": f"public.{table}"}
    _json(root / "exports/copy.yaml", {
        "name": "copy", "contract": f"{table}@1", "source": {"connection": "source", **read},
        "destination": "lake", "mode": "full_refresh", **export,
    })  # fmt: skip


def put_aside(root: Path) -> None:
    """All that a project delivered, and that it did; keys stay.

    For thousands of small files: where they are deleted, a file system may search long for the place of a new one past
    them, which whoever writes next would pay for.
    """
    aside = root.parent / f"{root.name}-aside" / uuid.uuid4().hex
    for name in ("lake", "journal"):
        if (root / name).exists():
            aside.mkdir(parents=True, exist_ok=True)
            (root / name).rename(aside / name)


def _property(name: str, logical: str, physical: str, key: list[str]) -> dict[str, Any]:
    placed = {"primaryKey": True, "primaryKeyPosition": key.index(name) + 1} if name in key else {}
    return {"name": name, "logicalType": logical, "physicalType": physical, "required": True,
            "classification": "public", **placed}  # fmt: skip


def _json(path: Path, content: Mapping[str, Any]) -> None:
    """JSON, which YAML 1.2 includes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=1), encoding="utf-8")

"""What a recipient does with a delivery, by its URL alone: prove it, and list what to open."""

from __future__ import annotations

import posixpath
from collections.abc import Iterator, Mapping
from typing import Any

import pyarrow as pa

from lading.assemble import format_of, open_url
from lading.errors import Failed, IntegrityError, InvalidProject
from lading.formats.statistics import Statistics
from lading.formats.type_names import parse_type
from lading.ports import LOGICAL, Store
from lading.proof import Report, current
from lading.proof import verify as prove


def verify(url: str, *, deep: bool = False) -> Report:
    """Proves every delivery under ``url`` (a folder or a bucket's prefix) from its bytes alone.

    ``deep`` also reads every row and checks types, counts and statistics. Raises StoreDenied or StoreUnavailable where
    the bytes cannot be read; what is wrong with them is in the report.
    """
    return prove(open_url(url), deep=_deep if deep else None)


def files(url: str) -> list[str]:
    """The data files of complete deliveries that nothing supersedes, as URLs, in the order of their names."""
    store = open_url(url)
    base = url.rstrip("/")
    return sorted(
        posixpath.join(base, delivery.folder, file["name"])
        for delivery in current(store)
        for file in delivery.manifest["files"]
    )


def schema_of(manifest: Mapping[str, Any]) -> pa.Schema:
    """The Arrow schema that a manifest describes."""
    return pa.schema(
        pa.field(
            column["name"],
            parse_type(column["type"]),
            bool(column["nullable"]),
            {LOGICAL: column["logical"].encode()} if column.get("logical") else None,
        )
        for column in manifest["schema"]
    )


def _deep(store: Store, name: str, manifest: Mapping[str, Any], entry: Mapping[str, Any]) -> Iterator[str]:
    try:
        reader = format_of(manifest["format"])
        schema = schema_of(manifest)
        statistics, rows = Statistics(schema), 0
        file = store.read(name)
        try:
            for batch in reader.scan(file, schema):
                statistics.observe(batch)
                rows += batch.num_rows
        finally:
            file.close()
    except (Failed, InvalidProject, IntegrityError, ValueError, KeyError, pa.ArrowException) as error:
        yield f"cannot be read as the manifest describes it: {error}"
        return
    if rows != entry["rows"]:
        yield f"holds {rows} rows where the manifest says {entry['rows']}"
    for column, found in statistics.result().items():
        told = entry["columns"].get(column)
        if told is None:
            continue
        if found.nulls != told["nulls"]:
            yield f"column {column} has {found.nulls} NULLs where the manifest says {told['nulls']}"
        for side, value in (("min", found.min), ("max", found.max)):
            if told[side] is not None and value is not None and value != told[side]:
                yield f"column {column}: its {side} is not what the manifest says"

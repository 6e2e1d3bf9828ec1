"""What a recipient does with a delivery, by its URL alone: prove it, and list what to open."""

from __future__ import annotations

import json
import posixpath
from collections.abc import Iterator, Mapping
from typing import Any

import pyarrow as pa

from lading.assemble import format_of, open_url
from lading.errors import Failed, IntegrityError
from lading.formats.statistics import Statistics
from lading.formats.type_names import parse_type
from lading.manifest import canonical
from lading.ports import LOGICAL, ColumnStats, Store
from lading.proof import Report, current
from lading.proof import verify as prove


def verify(url: str, *, deep: bool = False) -> Report:
    """Proves every delivery under ``url`` (a folder or a bucket's prefix) from its bytes alone.

    ``deep`` also reads every row and checks types, counts and statistics. Raises StoreDenied or StoreUnavailable where
    the bytes cannot be read; what is wrong with them is in the report.
    """
    return prove(open_url(url), deep=_deep if deep else None)


def files(url: str) -> list[str]:
    """The data files of complete deliveries that nothing supersedes, as URLs, in the order of their names.

    Raises IntegrityError where a marker or a pointer is not what was published.
    """
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
    """What is wrong with a data file's rows, though its bytes are those that the manifest names."""
    try:
        reader, schema = format_of(manifest["format"]), schema_of(manifest)
        statistics, rows = Statistics(schema), 0
        file = store.read(name)
        try:
            for batch in reader.scan(file, schema):
                statistics.observe(batch)
                rows += batch.num_rows
        finally:
            file.close()
    except (
        Failed,
        IntegrityError,
        ValueError,
        KeyError,
        TypeError,
        AttributeError,
        pa.ArrowException,
    ) as error:
        yield f"cannot be read as the manifest describes it: {error}"
        return
    if rows != entry["rows"]:
        yield f"holds {rows} rows where the manifest says {entry['rows']}"
    yield from _compared(statistics.result(), entry["columns"])


def _compared(found: Mapping[str, ColumnStats], told: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    """Columns whose statistics differ. Those of classified columns are not told, and None says nothing."""
    for column in sorted(told.keys() - found.keys()):
        yield f"column {column} is not there, and the manifest tells of it"
    for column, here in found.items():
        there = told.get(column)
        if there is None:
            continue
        if there.get("nulls") != here.nulls:
            yield f"column {column} has {here.nulls} NULLs where the manifest says {there.get('nulls')}"
        # As the manifest's JSON spells them: whole numbers beyond 2^53 - 1 are text there.
        spelt = json.loads(canonical({"min": here.min, "max": here.max}))
        for side in ("min", "max"):
            if there.get(side) is not None and there[side] != spelt[side]:
                yield f"column {column}: its {side} is not what the manifest says"

"""What is in the data files of a delivery, by its manifest: their rows, and a statement that reads them.

Loading it loads Arrow, which a proof of bytes does not need.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pyarrow as pa

from lading.assemble import format_of
from lading.errors import Failed, IntegrityError, counted
from lading.formats.duckdb_sql import query
from lading.formats.statistics import Statistics
from lading.formats.type_names import parse_type
from lading.manifest import canonical
from lading.ports import LOGICAL, ColumnStats, Store


def select(manifest: Mapping[str, Any], names: Sequence[str]) -> str:
    """What reads these files in DuckDB. Raises ValueError where it cannot, or would change a value."""
    return query(format_of(manifest["format"]), schema_of(manifest), names)


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


def check_rows(
    store: Store, name: str, manifest: Mapping[str, Any], entry: Mapping[str, Any]
) -> Iterator[str]:
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
        yield f"holds {counted(rows, 'row')} where the manifest says {entry['rows']}"
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
            yield f"column {column} has {counted(here.nulls, 'NULL')} where the manifest says {there.get('nulls')}"
        # As the manifest's JSON spells them: whole numbers beyond 2^53 - 1 are text there.
        spelt = json.loads(canonical({"min": here.min, "max": here.max}))
        for side in ("min", "max"):
            if there.get(side) is not None and there[side] != spelt[side]:
                yield f"column {column}: its {side} is not what the manifest says"

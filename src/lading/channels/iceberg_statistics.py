"""What a table's manifests say of a data file: rows, sizes, and bounds of values, from its Parquet footer.

A bound may be left out (table specification, "Data file fields"), and whatever cannot be made into one is: files are
described when their run is sealed, and nothing that they hold may keep it from its table.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, cast

import pyarrow as pa
import pyarrow.parquet as pq
from pyiceberg.io.pyarrow import (
    StatsAggregator,
    compute_statistics_plan,
    data_file_statistics_from_parquet_metadata,
    parquet_path_to_id_mapping,
)
from pyiceberg.schema import Schema
from pyiceberg.types import IcebergType, PrimitiveType

METRICS = "write.metadata.metrics.column."
"""A table's properties that say what is told of a column begin like this."""
_UNTOLD = (ValueError, OverflowError, pa.ArrowException)
"""What Python says to dates that it does not have, and to texts that are none."""


def statistics(footer: pq.FileMetaData, schema: Schema, properties: Mapping[str, str]) -> dict[str, Any]:
    """The arguments of `DataFile.from_args` that tell of a file's values. ``properties``: those with `METRICS`."""
    columns = [footer.schema.column(index) for index in range(footer.num_columns)]
    numbers = parquet_path_to_id_mapping(schema)
    kinds = [schema.find_type(numbers[column.path]) for column in columns]
    unread = _unreadable(footer) | {n for n, column in enumerate(columns) if not _told(kinds[n], column)}
    asked = {f"{METRICS}{columns[index].path}": "counts" for index in unread}
    # Arrow tells the extremes of JSON as bytes, which pyiceberg takes for text.
    asked |= {f"{METRICS}{c.path}": "none" for c in columns if c.logical_type.type == "JSON"}
    found = data_file_statistics_from_parquet_metadata(
        parquet_metadata=footer,
        stats_columns=compute_statistics_plan(schema, {**asked, **properties}),
        parquet_column_mapping=numbers,
    )
    extremes = found.column_aggregates
    return replace(found, column_aggregates={}).to_serialized_dict() | {
        "lower_bounds": _bounds({number: each.min_as_bytes for number, each in extremes.items()}),
        "upper_bounds": _bounds({number: each.max_as_bytes for number, each in extremes.items()}),
    }


def _told(kind: IcebergType, column: pq.ColumnSchema) -> bool:
    """Whether pyiceberg makes bounds of what the file has for this type of the table: the file's own may be narrower,
    and a decimal of fewer digits is another physical type."""
    try:
        StatsAggregator(cast(PrimitiveType, kind), column.physical_type)
    except ValueError:
        return False
    return True


def _unreadable(footer: pq.FileMetaData) -> set[int]:
    """Columns whose extremes Python does not have, by number: it has no years beyond 9999."""
    found: set[int] = set()
    for group in (footer.row_group(index) for index in range(footer.num_row_groups)):
        for index in set(range(group.num_columns)) - found:
            kept = group.column(index).statistics
            try:
                _ = kept and (kept.min, kept.max)
            except NotImplementedError:
                continue  # of types of which Arrow keeps none, as pyiceberg knows
            except _UNTOLD:
                found.add(index)
    return found


def _bounds(extremes: Mapping[int, Callable[[], bytes | None]]) -> dict[int, bytes]:
    found: dict[int, bytes] = {}
    for number, extreme in extremes.items():
        try:
            bound = extreme()
        except _UNTOLD:
            continue  # a text above another may be none: U+D7FF is followed by surrogates
        if bound is not None:
            found[number] = bound
    return found

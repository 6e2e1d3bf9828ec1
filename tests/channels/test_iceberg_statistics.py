"""What manifests say of a file's values: bounds that hold, and none where one cannot be told."""

from __future__ import annotations

import io
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from pyiceberg.conversions import from_bytes
from pyiceberg.schema import Schema

from lading.channels.iceberg_schema import iceberg_schema
from lading.channels.iceberg_statistics import statistics


def told(column: pa.Array, rows_per_group: int = 2) -> tuple[Schema, dict[str, Any]]:
    sink = io.BytesIO()
    table = pa.table({"value": column})
    pq.write_table(table, sink, row_group_size=rows_per_group, store_decimal_as_integer=True)
    schema = iceberg_schema(table.schema)
    return schema, statistics(pq.ParquetFile(sink).metadata, schema, {})


def bounds(schema: Schema, found: dict[str, Any]) -> tuple[Any, Any]:
    field = schema.find_field("value")
    given = (found[name].get(field.field_id) for name in ("lower_bounds", "upper_bounds"))
    low, high = (None if each is None else from_bytes(field.field_type, each) for each in given)  # type: ignore[arg-type]
    return low, high


LAST = "\ud7ff"
"""The next code point is a surrogate, which no text holds."""
TEXTS = st.text(
    st.one_of(st.characters(codec="utf-8"), st.sampled_from(LAST + "\ue000\uffff\U0010ffffaz")), max_size=24
)


@given(st.lists(st.none() | TEXTS, min_size=1, max_size=6))
@example(["x" * 15 + LAST + "y"])
@example([LAST * 17, "a"])
@example(["\U0010ffff" * 17])
@example([None])
def test_bounds_of_texts_enclose_them_whatever_they_are(values: list[str | None]) -> None:
    low, high = bounds(*told(pa.array(values, pa.string())))
    for value in values:
        if value is not None:
            assert low is None or low <= value
            assert high is None or value <= high


def test_a_text_whose_bound_no_text_can_be_has_the_other_bound() -> None:
    low, high = bounds(*told(pa.array(["x" * 15 + LAST + "y"])))
    assert (low, high) == ("x" * 15 + LAST, None)


@given(st.lists(st.binary(max_size=24), min_size=1, max_size=6))
def test_bounds_of_bytes_enclose_them(values: list[bytes]) -> None:
    low, high = bounds(*told(pa.array(values, pa.binary())))
    assert low <= min(values)
    assert high is None or high >= max(values)


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        (pa.date32(), [0, 5_000_000]),  # in the year 15659, as PostgreSQL has them
        (pa.date32(), [-1_000_000, 0]),  # before the first year
        (pa.timestamp("us"), [0, 1 << 62]),
        (pa.timestamp("us", "UTC"), [-(1 << 62), 0]),
        (pa.timestamp("ms", "UTC"), [0, 1 << 53]),
        (pa.float64(), [float("nan"), float("inf")]),
        (pa.float32(), [float("nan"), float("nan")]),
    ],
    ids=str,
)
def test_values_that_python_does_not_have_take_no_bounds_from_the_rest(kind: Any, values: list[Any]) -> None:
    storage = pa.array(values) if pa.types.is_floating(kind) else pa.array(values, _integer(kind))
    schema, found = told(pa.array(storage.cast(kind)), rows_per_group=1)
    assert found["record_count"] == 2
    assert found["value_counts"] == {schema.find_field("value").field_id: 2}


def _integer(kind: Any) -> Any:
    return pa.int32() if pa.types.is_date32(kind) else pa.int64()


@pytest.mark.parametrize(("digits", "wanted"), [(9, 30), (18, 19), (30, 9), (9, 18), (9, 9)])
def test_a_decimal_of_fewer_digits_than_its_table_has_bounds_that_hold_or_none(
    digits: int, wanted: int
) -> None:
    values = [Decimal("-1.25"), Decimal("2.50")]
    sink = io.BytesIO()
    pq.write_table(
        pa.table({"value": pa.array(values, pa.decimal128(digits, 2))}), sink, store_decimal_as_integer=True
    )
    schema = iceberg_schema(pa.schema([("value", pa.decimal128(max(digits, wanted), 2))]))
    found = statistics(pq.ParquetFile(sink).metadata, schema, {})
    assert bounds(schema, found) in [(None, None), tuple(values)]
    assert found["value_counts"] == {1: 2}
    assert found["null_value_counts"] == {1: 0}


def test_instants_have_the_bounds_that_they_have() -> None:
    low, high = bounds(*told(pa.array([datetime(1960, 1, 1, tzinfo=UTC), datetime(2024, 1, 1, tzinfo=UTC)])))
    assert (low, high) == (-315_619_200_000_000, 1_704_067_200_000_000)
    assert bounds(*told(pa.array([date(1970, 1, 3)]))) == (2, 2)

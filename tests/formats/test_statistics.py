from __future__ import annotations

import json
import math
from datetime import UTC, date, datetime, time
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lading.formats.statistics import Statistics
from lading.ports import LOGICAL, ColumnStats


def of(*arrays: Any, meaning: bytes | None = None) -> ColumnStats:
    schema = pa.schema([pa.field("c", arrays[0].type, metadata={LOGICAL: meaning} if meaning else None)])
    statistics = Statistics(schema)
    for array in arrays:
        statistics.observe(pa.RecordBatch.from_arrays([array], schema=schema))
    result = statistics.result()["c"]
    json.dumps([result.min, result.max], allow_nan=False)
    return result


@pytest.mark.parametrize(
    ("array", "low", "high"),
    [
        (pa.array([3, None, -1]), -1, 3),
        (pa.array([2**53, 2**53 + 1]), 2**53, str(2**53 + 1)),
        (pa.array([2**64 - 1], pa.uint64()), str(2**64 - 1), str(2**64 - 1)),
        (pa.array([True, False]), False, True),
        (pa.array([1.5, math.nan, -0.25]), -0.25, 1.5),
        (pa.array([math.nan, None]), None, None),
        (pa.array([math.inf, -math.inf]), "-Infinity", "Infinity"),
        (pa.array([0.5], pa.float16()), 0.5, 0.5),
        (pa.array([Decimal("9.50"), Decimal("10.00")]), "9.50", "10.00"),
        (pa.array([Decimal("0E-10")], pa.decimal128(38, 10)), "0.0000000000", "0.0000000000"),
        (pa.array([date(1, 1, 1), date(9999, 12, 31)]), "0001-01-01", "9999-12-31"),
        (pa.array([date(2013, 1, 1)], pa.date64()), "2013-01-01", "2013-01-01"),
        (pa.array([4_000_000], pa.int32()).view(pa.date32()), None, None),
        (
            pa.array([datetime(2013, 1, 1, 5)], pa.timestamp("s")),
            "2013-01-01T05:00:00",
            "2013-01-01T05:00:00",
        ),
        (
            pa.array([datetime(2013, 1, 1, 5, tzinfo=UTC)], pa.timestamp("us", "Asia/Tokyo")),
            "2013-01-01T05:00:00.000000Z",
            "2013-01-01T05:00:00.000000Z",
        ),
        (pa.array([time(1, 2, 3)], pa.time32("s")), "01:02:03", "01:02:03"),
        (pa.array(["b", "a", None]), "a", "b"),
        (pa.array(["b", "a"]).dictionary_encode(), "a", "b"),
        (pa.array(["a" * 65, "b"]), None, "b"),
        (pa.array(["é" * 32, "é" * 33]), "é" * 32, None),
        (pa.array([b"x"]), None, None),
        (pa.array([[1]]), None, None),
        (pa.array([None], pa.null()), None, None),
        (pa.array([], pa.int64()), None, None),
    ],
    ids=str,
)
def test_extremes_are_json_and_exact(array: Any, low: object, high: object) -> None:
    found = of(array)
    assert (found.min, found.max) == (low, high)
    assert type(found.min) is type(low)
    assert found.nulls == array.null_count


def test_a_negative_zero_is_a_zero() -> None:
    assert math.copysign(1, of(pa.array([-0.0])).min) == 1  # type: ignore[arg-type]


@pytest.mark.parametrize("meaning", [b"json", b"decimal", b"interval", b"base64"])
def test_text_whose_order_is_not_that_of_its_letters_has_no_extremes(meaning: bytes) -> None:
    assert of(pa.array(["9", "10", None]), meaning=meaning) == ColumnStats(None, None, 1)


def test_uuids_are_text_in_the_order_of_their_bytes() -> None:
    found = of(pa.array([b"\xff" * 16, b"\x00" * 16], pa.binary(16)), meaning=b"uuid")
    assert found.min == "00000000-0000-0000-0000-000000000000"
    assert found.max == "ffffffff-ffff-ffff-ffff-ffffffffffff"


@given(st.lists(st.lists(st.none() | st.integers(-99, 99), max_size=5), max_size=5))
def test_batches_add_up(lists: list[list[int | None]]) -> None:
    found = of(pa.array([], pa.int64()), *(pa.array(values, pa.int64()) for values in lists))
    known = [value for values in lists for value in values if value is not None]
    assert (found.min, found.max) == (min(known, default=None), max(known, default=None))
    assert found.nulls == sum(value is None for values in lists for value in values)

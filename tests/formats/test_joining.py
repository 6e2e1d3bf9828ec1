"""Columns of few values are looked up: the lines are the same as if they were not."""

from __future__ import annotations

import math
from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lading.formats.csv import CsvFormat, CsvOptions
from lading.formats.joining import Few, Lookups, joined
from lading.formats.jsonl import JsonlFormat, JsonlOptions
from lading.ports import FileStats, Format
from lading.testing.format import Sink, batch_of, rows, write_all

MANY = 2000  # rows: enough to be looked up
FORMATS: dict[str, Format] = {
    "jsonl": JsonlFormat(),
    "jsonl with strings": JsonlFormat(JsonlOptions(int64="string", nan="string")),
    "csv": CsvFormat(),
    "csv with a guard": CsvFormat(CsvOptions(formula_guard=True, null_marker="\\N", line_ending="crlf")),
}


def written(format: Format, batch: Any, step: int) -> tuple[bytes, FileStats]:
    sink = Sink()
    writer = format.open(sink, batch.schema, "portable", 1 << 30)
    for begin in range(0, batch.num_rows, step):
        writer.append(batch.slice(begin, step))
    return sink.data, writer.finish()


def few(values: list[Any], places: list[int]) -> Few:
    return Few(pa.array(values, pa.string()), np.array(places, np.int32))


# D3, design law 8
@pytest.mark.parametrize("name", FORMATS)
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(values=rows().filter(len), seed=st.integers(0, 2**32 - 1))
def test_many_rows_at_once_are_written_as_few_at_a_time(
    name: str, values: list[dict[str, Any]], seed: int
) -> None:
    random = np.random.default_rng(seed)
    batch = batch_of(values).take(pa.array(random.integers(0, len(values), MANY)))
    assert Lookups(batch.schema).find(batch)
    data, stats = written(FORMATS[name], batch, MANY)
    again, same = written(FORMATS[name], batch, 100)
    assert data == again
    assert stats == same


# D3: a file that takes some of the rows tells the extremes of those
@pytest.mark.parametrize("name", FORMATS)
def test_a_file_that_is_full_knows_what_is_in_it(name: str) -> None:
    batch = pa.record_batch({"n": pa.array(np.arange(20_000) // 100), "t": pa.array(["x" * 40] * 20_000)})
    files = write_all(FORMATS[name], [batch], 200_000)
    assert len(files) > 2
    begin = 0
    for _, stats in files:
        column = stats.columns["n"]
        assert (column.min, column.max) == (begin // 100, (begin + stats.rows - 1) // 100)
        begin += stats.rows
    assert begin == 20_000


# D3
def test_what_has_few_values_is_found_and_what_had_many_is_not_looked_at_again() -> None:
    def batch(t: list[str]) -> Any:
        return pa.record_batch(
            {
                "id": pa.array(range(MANY)),
                "price": pa.array([Decimal(i % 9) for i in range(MANY)], pa.decimal128(9, 2)),
                "zero": pa.array([0.0, -0.0] * (MANY // 2)),
                "t": pa.array(t),
            }
        )

    lookups = Lookups(batch(["a"] * MANY).schema)
    assert sorted(lookups.find(batch(["a"] * MANY))) == [1, 3]
    assert sorted(lookups.find(batch([str(i) for i in range(MANY)]))) == [1]
    assert sorted(lookups.find(batch(["a"] * MANY))) == [1]
    assert lookups.find(batch(["a"] * MANY).slice(0, 100)) == {}


# D3
def test_pieces_of_few_values_follow_each_other_in_their_order() -> None:
    places = [[row // step % 3 for row in range(900)] for step in (1, 3, 9)]
    a, b, c = (
        few([f"{name}{i}" for i in range(3)], place) for name, place in zip("abc", places, strict=True)
    )
    many = pa.array([str(row) for row in range(900)])
    pieces = ["<", a, ",", b, "|", many, "|", c, ">"]
    lines = [line for part in joined(pieces, "", 900, 128) for line in part.to_pylist()]
    expected = zip(*places, range(900), strict=True)
    assert lines == [f"<a{i},b{j}|{row}|c{k}>" for i, j, k, row in expected]


# D21: looking up takes no more memory than the rows themselves
def test_long_values_are_not_combined() -> None:
    long = [
        few([name * 200_000 + str(i) for i in range(20)], [row % 20 for row in range(2000)]) for name in "ab"
    ]
    (line,) = (part.slice(0, 1) for part in joined(long, ",", 10, 10))
    assert line.to_pylist() == ["a" * 200_000 + "0," + "b" * 200_000 + "0"]
    assert pa.total_allocated_bytes() < 64 << 20


# D3
@pytest.mark.parametrize("name", FORMATS)
def test_any_number_of_columns_may_have_few_values(name: str) -> None:
    columns = {f"c{i}": pa.nulls(MANY, pa.int32()) if i % 3 else pa.array(["v"] * MANY) for i in range(200)}
    batch = pa.record_batch(columns)
    assert written(FORMATS[name], batch, MANY) == written(FORMATS[name], batch, 100)


# D3: a text that is in no row is nobody's extreme
def test_extremes_are_those_of_the_rows() -> None:
    whole = pa.record_batch(
        {"t": pa.array(["z"] + ["m"] * MANY + ["a"]), "d": pa.array([math.pi] * (MANY + 2))}
    )
    _, stats = written(JsonlFormat(), whole.slice(1, MANY), MANY)
    assert (stats.columns["t"].min, stats.columns["t"].max) == ("m", "m")

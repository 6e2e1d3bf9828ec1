"""`max_file_size` is a greatest size: of whatever rows, in whatever format and compression."""

from __future__ import annotations

import gzip
import io
import random
import subprocess
from pathlib import Path
from typing import Any

import duckdb
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lading.formats.arrow import ArrowFormat, ArrowOptions
from lading.formats.compression import Counted, compressed, fitting
from lading.formats.csv import CsvFormat, CsvOptions
from lading.formats.jsonl import JsonlFormat, JsonlOptions
from lading.formats.parquet import ParquetFormat, ParquetOptions
from lading.ports import Format
from lading.testing.format import Sink, batch_of, rows, write, write_all

DELTA = {"small": "DELTA_BINARY_PACKED", "text": "DELTA_BYTE_ARRAY", "many": "DELTA_BINARY_PACKED"}
FORMATS: dict[str, Format] = {
    **{f"parquet {c}": ParquetFormat(ParquetOptions(compression=c, row_group_rows=500))
       for c in ("snappy", "zstd", "gzip", "brotli", "none")},
    "parquet small pages": ParquetFormat(ParquetOptions(page_size=1_000)),
    "parquet delta": ParquetFormat(ParquetOptions(encodings=DELTA, dictionary=False)),
    **{f"arrow {c}": ArrowFormat(ArrowOptions(compression=c, batch_rows=500)) for c in ("none", "zstd", "lz4")},
    **{f"csv {c}": CsvFormat(CsvOptions(compression=c)) for c in ("none", "gzip", "zstd")},
    **{f"jsonl {c}": JsonlFormat(JsonlOptions(compression=c)) for c in ("none", "gzip", "zstd")},
}  # fmt: skip


def noise(chance: random.Random, count: int, longest: int) -> Any:
    """Rows that do not compress, or do very well, by ``chance``: lists and texts from nothing to ``longest``."""

    def text() -> str | None:
        kind = chance.randrange(4)
        if kind == 0:
            return None
        if kind == 1:
            return "a" * chance.randrange(longest)
        return chance.randbytes(chance.randrange(longest)).hex()

    return pa.record_batch(
        {
            "small": pa.array([chance.randrange(-128, 128) for _ in range(count)], pa.int8()),
            "wide": pa.array([chance.getrandbits(63) for _ in range(count)], pa.int64()),
            "flag": pa.array([chance.random() < 0.5 for _ in range(count)]),
            "text": pa.array([text() for _ in range(count)], pa.string()),
            "raw": pa.array([chance.randbytes(chance.randrange(longest)) for _ in range(count)], pa.binary()),
            "many": pa.array(
                [[chance.randrange(128) for _ in range(chance.randrange(20))] for _ in range(count)],
                pa.list_(pa.int8()),
            ),
            "empty": pa.array(
                [[] if chance.random() < 0.5 else None] * count, pa.list_(pa.list_(pa.int64()))
            ),
            "tags": pa.array([[("k", text())] for _ in range(count)], pa.map_(pa.string(), pa.string())),
            "pair": pa.array([{"a": None, "b": chance.random()} for _ in range(count)]),
        },
        schema=pa.schema(
            [
                ("small", pa.int8()),
                ("wide", pa.int64()),
                ("flag", pa.bool_()),
                ("text", pa.string()),
                ("raw", pa.binary()),
                ("many", pa.list_(pa.int8())),
                ("empty", pa.list_(pa.list_(pa.int64()))),
                ("tags", pa.map_(pa.string(), pa.string())),
                ("pair", pa.struct([("a", pa.int16()), ("b", pa.float64())])),
            ]
        ),
    )


def assert_bounded(format: Format, batches: list[Any], limit: int) -> list[bytes]:
    files = write_all(format, batches, limit)
    assert sum(stats.rows for _, stats in files) == sum(batch.num_rows for batch in batches)
    for data, stats in files:
        assert len(data) <= limit or stats.rows <= 1, (len(data), limit, stats.rows)
    return [data for data, _ in files]


@pytest.mark.slow
@pytest.mark.parametrize("name", FORMATS)
@settings(max_examples=10, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    counts=st.lists(st.integers(0, 200), min_size=1, max_size=3),
    longest=st.sampled_from([1, 8, 100, 5_000]),
    limit=st.integers(1, 4_000) | st.integers(4_000, 300_000),
)
def test_no_file_passes_its_greatest_size_unless_one_row_does(
    name: str, seed: int, counts: list[int], longest: int, limit: int
) -> None:
    if longest == 5_000 or limit < 4_000:
        counts = [min(count, 60) for count in counts]
    chance = random.Random(seed)
    assert_bounded(FORMATS[name], [noise(chance, count, longest) for count in counts], limit)


@pytest.mark.parametrize("name", FORMATS)
@settings(max_examples=8, deadline=None)
@given(values=st.lists(rows(), min_size=1, max_size=8), limit=st.integers(1, 40_000))
def test_no_file_of_any_type_passes_its_greatest_size(
    name: str, values: list[list[dict[str, Any]]], limit: int
) -> None:
    if name == "parquet delta":
        return  # its columns are those of the other test
    assert_bounded(FORMATS[name], [batch_of(some) for some in values], limit)


@pytest.mark.parametrize("compression", ["none", "gzip", "zstd"])
@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    steps=st.lists(st.integers(0, 40_000), min_size=1, max_size=8),
    alphabet=st.integers(1, 256),
)
def test_what_fits_at_worst_does_fit(compression: Any, seed: int, steps: list[int], alphabet: int) -> None:
    """From one flush to the next, and to the stream's end."""
    chance = random.Random(seed)
    for last in range(len(steps)):
        sink = Sink()
        stream = compressed(Counted(sink), compression)
        for number, room in enumerate(steps[: last + 1]):
            size = max(0, fitting(compression, room))
            before = len(sink.data)
            stream.write(bytes(chance.choices(range(alphabet), k=size)))
            stream.finish() if number == last else stream.flush()
            assert not size or len(sink.data) - before <= room


@pytest.mark.parametrize(
    "name", ["jsonl gzip", "jsonl zstd", "jsonl none", "csv gzip", "csv zstd", "csv none"]
)
def test_text_files_are_filled_whatever_they_compress_to(name: str) -> None:
    count, limit = 120_000, 40_000
    batch = pa.record_batch(
        {"id": range(count), "text": [f"row {n} of many that look alike" for n in range(count)]}
    )
    files = assert_bounded(FORMATS[name], [batch], limit)
    assert len(files) > 2
    assert all(len(data) > 0.98 * limit for data in files[:-1])


@pytest.mark.parametrize(
    "format",
    [
        *(ParquetFormat(ParquetOptions(compression=c)) for c in ("snappy", "zstd", "gzip", "brotli", "none")),
        *(ArrowFormat(ArrowOptions(compression=c)) for c in ("none", "zstd", "lz4")),
    ],
    ids=lambda format: f"{format.name} {format.codec}",
)
def test_columnar_files_are_filled_to_three_quarters(format: Format) -> None:
    count, limit = 240_000, 200_000
    batch = pa.record_batch(
        {"id": range(count), "text": [f"row {n} of many that look alike" for n in range(count)]}
    )
    files = assert_bounded(format, [batch], limit)
    assert len(files) > 1
    assert all(len(data) > 0.75 * limit for data in files[:-1])


@pytest.mark.parametrize("name", ["csv gzip", "csv zstd", "jsonl gzip", "jsonl zstd"])
def test_files_that_were_cut_short_open_with_other_tools(name: str, tmp_path: Path) -> None:
    """DuckDB, pandas, and the tools that everybody has: each file is one gzip member or one Zstandard frame."""
    format, count = FORMATS[name], 20_000
    batch = pa.record_batch(
        {"id": range(count), "text": [random.Random(n).randbytes(9).hex() for n in range(count)]}
    )
    files = assert_bounded(format, [batch], 60_000)
    assert len(files) > 3
    plain = b""
    for number, data in enumerate(files):
        path = tmp_path / f"{number:03}.{format.suffix}"
        path.write_bytes(data)
        tool = ["gzip", "-dc"] if format.codec == "gz" else ["zstd", "-dcq"]
        text = subprocess.run([*tool, str(path)], check=True, capture_output=True).stdout
        if format.codec == "gz":
            assert gzip.decompress(data) == text
        # For Zstandard, pandas wants a package that is not ours: it gets what `zstd` gave.
        source = path if format.codec == "gz" else io.BytesIO(text)
        frame = pd.read_csv(source) if format.name == "csv" else pd.read_json(source, lines=True)
        assert list(frame.columns) == ["id", "text"]
        assert len(frame) == text.count(b"\n") - (format.name == "csv")
        plain += text if format.name == "jsonl" or not number else text.partition(b"\n")[2]
    whole = {"csv": CsvFormat(), "jsonl": JsonlFormat()}[format.name]
    assert plain == write(whole, [batch])[0]
    with duckdb.connect() as connection:
        found = connection.execute(
            f"select count(*), count(distinct id), sum(id) from '{tmp_path}/*.{format.suffix}'"
        ).fetchone()
    assert found == (count, count, count * (count - 1) // 2)


def test_every_csv_file_has_its_header() -> None:
    batch = pa.record_batch({"id": range(1_000), "text": ["x" * 50] * 1_000})
    for data in assert_bounded(FORMATS["csv gzip"], [batch], 700):
        assert pd.read_csv(io.BytesIO(data), compression="gzip").columns.tolist() == ["id", "text"]


def test_a_row_larger_than_the_greatest_size_has_a_file_to_itself() -> None:
    texts = ["a", random.Random(3).randbytes(2_000).hex(), "b", "c"]
    files = write_all(JsonlFormat(), [pa.record_batch({"t": texts})], 100)
    assert [stats.rows for _, stats in files] == [1, 1, 2]

from __future__ import annotations

import gzip
import random
from pathlib import Path

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lading.formats.compression import Compression, Counted, compressed, decompressed
from lading.testing.format import Bytes, Sink

DATA = random.Random(1).randbytes(1000) * 3500  # three and a half blocks


def encoded(data: bytes, compression: Compression, cuts: list[int]) -> bytes:
    sink = Sink()
    out = Counted(sink)
    stream = compressed(out, compression)
    for start, end in zip([0, *cuts], [*cuts, len(data)], strict=True):
        stream.write(memoryview(data)[start:end])
    stream.finish()
    assert out.size == len(sink.data)
    return sink.data


@pytest.mark.parametrize("compression", ["none", "gzip", "zstd"])
@settings(max_examples=15, deadline=None)
@given(cuts=st.lists(st.integers(0, len(DATA)), max_size=6).map(sorted))
def test_how_bytes_are_cut_into_writes_changes_nothing(compression: Compression, cuts: list[int]) -> None:
    assert encoded(DATA, compression, cuts) == encoded(DATA, compression, [])


def test_gzip_is_one_member_without_name_or_time() -> None:
    data = encoded(DATA, "gzip", [])
    assert gzip.decompress(data) == DATA
    assert data[:8] == b"\x1f\x8b\x08\x00\x00\x00\x00\x00"
    assert gzip.decompress(encoded(b"", "gzip", [])) == b""


def test_zstd_opens_with_another_reader(tmp_path: Path) -> None:
    path = tmp_path / "t.csv.zst"
    path.write_bytes(encoded(b"a\n1\n2\n" + b"3\n" * 2_000_000, "zstd", []))
    with duckdb.connect() as connection:
        assert connection.execute(f"select count(*) from '{path}'").fetchone() == (2_000_002,)


@pytest.mark.parametrize("compression", ["none", "gzip", "zstd"])
def test_what_was_compressed_is_read_back(compression: Compression) -> None:
    for data in (b"", b"x", DATA):
        assert decompressed(Bytes(encoded(data, compression, [])), compression).read() == data


def test_after_a_detach_nothing_reaches_the_sink() -> None:
    sink = Sink()
    out = Counted(sink)
    out.write(b"a")
    out.detach()
    out.write(b"b")
    assert (sink.data, out.size) == (b"a", 1)

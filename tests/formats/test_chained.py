"""Chained lines keep what every format promises, and hold together by their bytes alone."""

# S4
from __future__ import annotations

import gzip
import hashlib
import json
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings

from lading.errors import DataRefused, IntegrityError
from lading.evidence.verifier import LONGEST, seed
from lading.formats.chained import ChainedFormat
from lading.formats.jsonl import JsonlFormat, JsonlOptions
from lading.testing.format import FormatSuite, batch_of, rows, scan, write

GZIP = JsonlOptions(compression="gzip")
RUN = seed("0123456789abcdef")


class TestChained(FormatSuite):
    can_limit = False  # a chain is one file

    @pytest.fixture
    def format(self) -> ChainedFormat:
        return ChainedFormat(GZIP)


def written(batch: Any) -> tuple[list[bytes], str]:
    data, stats = write(ChainedFormat(GZIP).of(RUN), [batch])
    assert stats.head is not None
    return gzip.decompress(data).splitlines(), stats.head


@settings(max_examples=40, deadline=None)
@given(values=rows())
def test_each_line_names_the_one_before_and_holds_what_plain_lines_hold(values: list[dict[str, Any]]) -> None:
    batch = batch_of(values)
    lines, head = written(batch)
    plain, _ = write(JsonlFormat(), [batch])
    before = RUN
    for number, (line, row) in enumerate(zip(lines, plain.splitlines(), strict=True), 1):
        assert line == b'{"n":%d,"previous":"%s","record":%s}' % (number, before.encode(), row)
        assert json.loads(line)["record"] == json.loads(row)
        before = hashlib.sha256(line).hexdigest()
    assert head == before


def test_equal_rows_give_equal_bytes_however_they_come_and_no_two_runs_share_a_line() -> None:
    batch = pa.record_batch({"id": range(1000), "text": ["ä\n" * (n % 7) for n in range(1000)]})
    whole, _ = write(ChainedFormat(GZIP, RUN), [batch])
    pieces, _ = write(ChainedFormat(GZIP, RUN), [batch.slice(0, 1), batch.slice(1, 600), batch.slice(601)])
    assert whole == pieces
    assert whole[4:8] == b"\0\0\0\0"  # RFC 1952: no time
    other, _ = write(ChainedFormat(GZIP, seed("f" * 16)), [batch])
    assert not set(gzip.decompress(whole).splitlines()) & set(gzip.decompress(other).splitlines())


def test_lines_that_do_not_follow_each_other_are_refused() -> None:
    batch = pa.record_batch({"id": range(5)})
    lines, _ = written(batch)
    swapped = gzip.compress(b"".join(line + b"\n" for line in [lines[1], lines[0], *lines[2:]]))
    with pytest.raises(IntegrityError, match="record 1 is missing"):
        scan(ChainedFormat(GZIP), swapped, batch.schema)
    cut, _ = write(ChainedFormat(GZIP, RUN), [batch])
    with pytest.raises(IntegrityError, match="is cut off"):
        scan(ChainedFormat(GZIP), cut[:-3], batch.schema)


def test_only_gzip_is_chained() -> None:
    with pytest.raises(ValueError, match="compressed by gzip"):
        ChainedFormat(JsonlOptions())


def test_a_record_that_no_verifier_would_read_is_refused() -> None:
    batch = pa.record_batch({"id": [1], "text": ["x" * LONGEST]})
    with pytest.raises(DataRefused, match="a record makes a line of"):
        write(ChainedFormat(GZIP, RUN), [batch])

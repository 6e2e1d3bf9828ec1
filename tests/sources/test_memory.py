"""Tables in memory."""

from __future__ import annotations

import pyarrow as pa
import pytest

from lading.errors import InvalidProject, SchemaMismatch, SourceUnavailable
from lading.ports import Dataset, Part, Query, Reading, Source
from lading.sources.memory import MemorySource
from lading.testing.source import SourceSuite, collect, rows


class TestMemory(SourceSuite):
    def make(self, rows: pa.Table, unique: tuple[str, ...] = ()) -> tuple[Source, Dataset]:
        keys = {"t": frozenset({frozenset(unique)})} if unique else {}
        return MemorySource({"t": rows}, unique=keys, rows_per_part=97, rows_per_batch=40), Dataset(table="t")


def test_equal_tables_have_equal_versions_and_changed_ones_do_not() -> None:
    def version(table: pa.Table, **settings: int) -> str:
        with MemorySource({"t": table}, **settings).open(Query(Dataset(table="t"), ("id",))) as reading:
            assert isinstance(reading, Reading)
            assert reading.replayable
            return reading.survey().version

    assert version(rows(10)) == version(rows(10))
    assert version(rows(10)) != version(rows(11))
    assert version(rows(10)) != version(rows(10), rows_per_part=3)


def test_a_hook_may_end_the_reading_before_a_batch() -> None:
    def lose(part: Part, batch: int) -> None:
        if (part.index, batch) == (1, 1):
            raise SourceUnavailable

    source = MemorySource({"t": rows(100)}, rows_per_part=50, rows_per_batch=25, before_batch=lose)
    with source.open(Query(Dataset(table="t"), ("id",))) as reading, pytest.raises(SourceUnavailable):
        collect(reading)


def test_columns_that_differ_in_case_only_and_other_datasets_are_refused() -> None:
    source = MemorySource({"t": pa.table({"a": [1], "A": [2]})})
    with pytest.raises(SchemaMismatch, match="case"):
        source.describe(Dataset(table="t"), "portable")
    with pytest.raises(InvalidProject):
        source.describe(Dataset(sql="select 1"), "portable")

"""What every source promises, as tests. An adapter's test file subclasses `SourceSuite` and says how to make a table.

::

    class TestMemory(SourceSuite):
        def make(self, rows, unique=()):
            return MemorySource({"t": rows}, rows_per_part=97), Dataset(table="t")
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest

from lading.errors import DataRefused, SchemaMismatch
from lading.ports import NATIVE, Dataset, Member, Newest, Query, Range, Reading, Source

EPOCH = datetime(2024, 1, 1, tzinfo=UTC)
COLUMNS = ("id", "tenant", "at", "amount", "note")


def rows(count: int = 500, *, holes: bool = False) -> pa.Table:
    """``count`` rows: ids from 0, tenants a, b and c by turns, one minute apart; ``holes``: some NULLs, but in id."""
    schema = pa.schema(
        [
            pa.field("id", pa.int64(), nullable=False),
            ("tenant", pa.string()),
            ("at", pa.timestamp("us", "UTC")),
            ("amount", pa.decimal128(12, 2)),
            ("note", pa.string()),
        ]
    )

    def row(i: int) -> dict[str, Any]:
        full = {
            "id": i,
            "tenant": "abc"[i % 3],
            "at": EPOCH + timedelta(minutes=i),
            "amount": Decimal(i - 250).scaleb(-2),
            "note": f"é“{i}'\"\\\n",
        }
        return {
            k: None if holes and k != "id" and (i + n) % 7 == 0 else v
            for n, (k, v) in enumerate(full.items())
        }

    return pa.Table.from_pylist([row(i) for i in range(count)], schema=schema)


def collect(reading: Reading) -> pa.Table:
    """All rows of a reading, part by part."""
    survey = reading.survey()
    return pa.Table.from_batches((b for part in survey.parts for b in reading.read(part)), survey.schema)


class SourceSuite(ABC):
    """Subclass it as ``Test…``; what a source cannot do is declared by its class attributes."""

    can_range = True
    can_member = True
    can_newest = True

    @abstractmethod
    def make(self, rows: pa.Table, unique: tuple[str, ...] = ()) -> tuple[Source, Dataset]:
        """A source that holds these rows, in several parts if it can, and what to read of it.

        ``unique``: columns that the source shall know to be unique together.
        """

    def missing(self) -> Dataset:
        """Names what is not there."""
        return Dataset(table="nowhere.nothing")

    def test_every_row_arrives_exactly_once_over_all_parts(self) -> None:
        expected = rows(holes=True)
        source, dataset = self.make(expected)
        with source.open(Query(dataset, COLUMNS)) as reading:
            assert _same(collect(reading), expected)

    def test_an_empty_dataset_has_a_part_and_no_rows(self) -> None:
        source, dataset = self.make(rows(0))
        with source.open(Query(dataset, COLUMNS)) as reading:
            assert len(reading.survey().parts) >= 1
            assert collect(reading).num_rows == 0

    def test_batches_have_the_surveys_schema_and_the_querys_columns_in_order(self) -> None:
        source, dataset = self.make(rows())
        query = Query(dataset, ("note", "id", "amount"))
        with source.open(query) as reading:
            survey = reading.survey()
            assert tuple(survey.schema.names) == query.columns
            for part in survey.parts:
                assert all(b.schema.equals(survey.schema, check_metadata=True) for b in reading.read(part))
        described = source.describe(dataset, "portable")
        for field in survey.schema:
            assert field.equals(described.field(field.name), check_metadata=True)
            assert NATIVE in field.metadata

    def test_a_column_declared_a_string_arrives_as_text(self) -> None:
        source, dataset = self.make(rows(20))
        with source.open(Query(dataset, ("id", "amount"), as_text=frozenset({"amount"}))) as reading:
            got = collect(reading)
        assert got.schema.field("amount").type == pa.string()
        texts = {r["id"]: r["amount"] for r in got.to_pylist()}
        assert texts == {i: str(Decimal(i - 250).scaleb(-2)) for i in range(20)}

    def test_parts_are_numbered_from_zero_and_can_be_forced_into_one(self) -> None:
        source, dataset = self.make(rows())
        with source.open(Query(dataset, COLUMNS)) as reading:
            parts = reading.survey().parts
            assert [part.index for part in parts] == list(range(len(parts)))
        with source.open(Query(dataset, COLUMNS, whole_parts=True)) as reading:
            assert len(reading.survey().parts) == 1
            assert collect(reading).num_rows == 500

    def test_a_part_can_be_read_again_and_gives_the_same_rows(self) -> None:
        source, dataset = self.make(rows())
        with source.open(Query(dataset, COLUMNS)) as reading:
            for part in reading.survey().parts:
                again = [pa.Table.from_batches(reading.read(part), reading.survey().schema) for _ in range(2)]
                assert _same(*again)

    def test_two_threads_read_parts_at_once(self) -> None:
        expected = rows(2000)
        source, dataset = self.make(expected)
        with source.open(Query(dataset, COLUMNS)) as reading, ThreadPoolExecutor(2) as threads:
            parts = reading.survey().parts
            batches = [b for part in threads.map(lambda p: list(reading.read(p)), parts) for b in part]
        assert _same(pa.Table.from_batches(batches, reading.survey().schema), expected)

    def test_a_reading_left_halfway_leaves_the_source_usable(self) -> None:
        source, dataset = self.make(rows())
        with source.open(Query(dataset, COLUMNS)) as reading:
            next(iter(reading.read(reading.survey().parts[0])))
        with source.open(Query(dataset, COLUMNS)) as reading:
            assert collect(reading).num_rows == 500

    @pytest.mark.parametrize("hidden", [False, True])
    def test_ranges_are_half_open(self, hidden: bool) -> None:
        self._needs(self.can_range)
        source, dataset = self.make(rows())
        window = Range("at", EPOCH + timedelta(minutes=10), EPOCH + timedelta(minutes=20))
        columns = ("id",) if hidden else ("at", "id")
        with source.open(Query(dataset, columns, ranges=(window,))) as reading:
            assert _ids(reading) == list(range(10, 20))
        with source.open(Query(dataset, columns, ranges=(Range("at", start=window.start),))) as reading:
            assert _ids(reading) == list(range(10, 500))
        late = Range("at", end=EPOCH + timedelta(minutes=12))
        with source.open(Query(dataset, columns, ranges=(window, late))) as reading:
            assert _ids(reading) == [10, 11]

    @pytest.mark.parametrize("columns", [("id",), ("id", "at")])
    def test_a_null_in_a_range_column_refuses_and_is_counted(self, columns: tuple[str, ...]) -> None:
        self._needs(self.can_range)
        source, dataset = self.make(rows(20, holes=True))  # minutes 5, 12 and 19 are NULL
        window = Range("at", EPOCH, EPOCH + timedelta(minutes=1))
        with (
            source.open(Query(dataset, columns, ranges=(window,), whole_parts=True)) as reading,
            pytest.raises(DataRefused, match=r'"at" holds NULLs \(3 in all\)'),
        ):
            collect(reading)

    def test_member_keeps_listed_values_and_nulls_only(self) -> None:
        self._needs(self.can_member)
        table = rows(60, holes=True)
        source, dataset = self.make(table)
        wanted = [r["id"] for r in table.to_pylist() if r["tenant"] in ("a", "c", None)]
        for columns in (("id", "tenant"), ("id",)):
            with source.open(Query(dataset, columns, member=Member("tenant", ("a", "c", "it's")))) as reading:
                assert _ids(reading) == wanted

    def test_member_compares_as_text(self) -> None:
        self._needs(self.can_member)
        source, dataset = self.make(rows(60))
        with source.open(Query(dataset, ("id",), member=Member("id", ("7", "8", "9.0")))) as reading:
            assert _ids(reading) == [7, 8]

    def test_newest_keeps_one_row_of_each_key_and_counts_the_others(self) -> None:
        self._needs(self.can_newest)
        source, dataset = self.make(rows(60))
        with source.open(Query(dataset, ("id",), newest=Newest(("tenant",), "at"))) as reading:
            assert _ids(reading) == [57, 58, 59]
            assert reading.superseded() == {"": 57}

    def test_superseded_rows_are_counted_by_a_column_that_need_not_be_read(self) -> None:
        self._needs(self.can_newest)
        source, dataset = self.make(rows(7))  # a b c a b c a
        with source.open(Query(dataset, ("id",), newest=Newest(("tenant",), "at", by="tenant"))) as reading:
            assert _ids(reading) == [4, 5, 6]
            assert reading.superseded() == {"a": 2, "b": 1, "c": 1}

    def test_rows_of_different_tenants_with_equal_keys_never_supersede_each_other(self) -> None:
        self._needs(self.can_newest)
        at = [EPOCH + timedelta(minutes=i) for i in range(3)]
        table = pa.Table.from_pylist(
            [
                {"id": 1, "tenant": "a", "at": at[0], "note": "k"},
                {"id": 2, "tenant": "a", "at": at[1], "note": "k"},
                {"id": 3, "tenant": "b", "at": at[2], "note": "k"},
                {"id": 4, "tenant": None, "at": at[0], "note": "k"},
                {"id": 5, "tenant": None, "at": at[1], "note": "k"},
            ],
            schema=rows(0).schema,
        )
        source, dataset = self.make(table)
        with source.open(Query(dataset, ("id",), newest=Newest(("note",), "at", by="tenant"))) as reading:
            assert _ids(reading) == [2, 3, 5]
            assert reading.superseded() == {"a": 1, "": 1}

    def test_newest_orders_null_last_and_takes_null_keys_for_different(self) -> None:
        self._needs(self.can_newest)
        table = pa.Table.from_pylist(
            [
                {"id": 1, "tenant": "a", "at": None},
                {"id": 2, "tenant": "a", "at": EPOCH},
                {"id": 3, "tenant": None, "at": EPOCH},
                {"id": 4, "tenant": None, "at": None},
            ],
            schema=rows(0).schema,
        )
        source, dataset = self.make(table)
        with source.open(Query(dataset, ("id",), newest=Newest(("tenant",), "at"))) as reading:
            assert _ids(reading) == [2, 3, 4]
            assert reading.superseded() == {"": 1}

    def test_unique_keys_are_those_that_the_source_knows(self) -> None:
        source, dataset = self.make(rows(10), unique=("id",))
        assert source.unique_keys(dataset) <= {frozenset({"id"})}
        with source.open(Query(dataset, ("tenant",))) as reading:
            assert reading.unique_keys == source.unique_keys(dataset)

    def test_a_bound_is_aware_and_not_in_the_future(self) -> None:
        source, dataset = self.make(rows(10))
        bound = source.bound(dataset)
        assert bound.now.utcoffset() == timedelta(0)
        assert (bound.at is not None and bound.at <= bound.now) or bound.why

    def test_a_missing_dataset_or_column_does_not_fit(self) -> None:
        source, dataset = self.make(rows(10))
        with pytest.raises(SchemaMismatch):
            source.describe(self.missing(), "portable")
        with pytest.raises(SchemaMismatch), source.open(Query(self.missing(), ("id",))) as reading:
            collect(reading)
        with (
            pytest.raises(SchemaMismatch, match="nope"),
            source.open(Query(dataset, ("id", "nope"))) as reading,
        ):
            collect(reading)

    def test_the_source_says_in_one_line_what_it_is(self) -> None:
        source, _ = self.make(rows(1))
        said = source.test()
        assert said
        assert "\n" not in said

    def _needs(self, capability: bool) -> None:
        if not capability:
            pytest.skip("the source declares that it cannot do this")


def _ids(reading: Reading) -> list[int]:
    return sorted(collect(reading).column("id").to_pylist())


def _same(left: pa.Table, right: pa.Table) -> bool:
    """Equal rows in any order, by ``id``."""
    return _sorted(left.to_pylist()) == _sorted(right.to_pylist())


def _sorted(found: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    return sorted(found, key=lambda row: int(row["id"]))

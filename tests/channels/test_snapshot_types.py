"""Types and keys in Iceberg tables: carried, widened and merged, or refused before a row is read."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pytest
from commits import NAME, channel, ids, prepared, runs
from tables import by_duckdb, locations

from lading.channels import iceberg
from lading.channels.iceberg_merge import Keys
from lading.errors import IntegrityError, SchemaMismatch, StoreDenied
from lading.ports import FileNumber, Past
from lading.testing.channel import JANUARY, SCHEMA, Delivery, never


@pytest.mark.parametrize("types", ["portable", "exact"])
def test_nested_and_rare_types_are_carried_and_a_second_run_finds_them_unchanged(
    tmp_path: Path, types: Any
) -> None:
    schema = pa.schema(
        [
            pa.field("id", pa.int64(), nullable=False),
            ("uid", pa.uuid()),
            pa.field("doc", pa.string(), metadata={b"lading.logical": b"json"}),
            ("tags", pa.list_(pa.int32())),
            ("map", pa.map_(pa.string(), pa.int64())),
            ("where", pa.struct([pa.field("lat", pa.float64()), pa.field("names", pa.list_(pa.string()))])),
            ("small", pa.int8()),
            ("time", pa.time64("us")),
            ("raw", pa.binary()),
            ("day", pa.date32()),
            ("many", pa.decimal128(38, 10)),
        ]
    )
    value = {
        "uid": b"0123456789abcdef", "doc": '{"a": 1}', "tags": [1, None], "map": [("k", 1)],
        "where": {"lat": 1.5, "names": ["x"]}, "small": -3, "time": time(1, 2, 3, 4), "raw": b"\x00\xff",
        "day": date(1969, 12, 31), "many": Decimal("-1234567890123456789.0123456789"),
    }  # fmt: skip
    for n in range(2):
        made, run = (
            channel(tmp_path, types=types),
            Delivery((n,), f"{n:032x}", start=JANUARY + timedelta(days=n)),
        )
        made.check_schema(run.names, schema)
        writer = made.open(run.names, FileNumber(0, 1, 1), {}, schema, 1 << 20)
        batch = pa.RecordBatch.from_pylist([{"id": n, **value}], schema)
        writer.append(batch)
        made.publish(run.commit(made, [writer.finish()]), never)
    table = made._tables.load(NAME)
    assert table is not None
    assert len(table.metadata.schemas) == 1
    found = by_duckdb(
        locations(tmp_path)[NAME[1]],
        'select id, uid::varchar, doc, tags, "map", "where", small, "time", raw, "day", many from rows order by id',
    )
    rest = tuple(
        value[name] for name in ("doc", "tags", "map", "where", "small", "time", "raw", "day", "many")
    )
    uid = "30313233-3435-3637-3839-616263646566"
    assert found == [(n, uid, *rest) for n in range(2)]


@pytest.mark.parametrize(
    "kind", [pa.uint32(), pa.uint64(), pa.timestamp("ns"), pa.list_(pa.uint32()), pa.float16()]
)
def test_types_that_a_table_would_garble_are_refused_before_a_row_is_read(tmp_path: Path, kind: Any) -> None:
    with pytest.raises(SchemaMismatch, match=r"column 'odd.*: an Iceberg table of version 2 cannot hold"):
        channel(tmp_path, types="exact").check_schema(runs(1)[0].names, pa.schema([("odd", kind)]))


@pytest.mark.parametrize(
    ("before", "after", "ok"),
    [
        (pa.int32(), pa.int64(), True),
        (pa.int64(), pa.int32(), True),  # the table stays as wide as it is
        (pa.float32(), pa.float64(), True),
        (pa.decimal128(9, 2), pa.decimal128(12, 2), True),
        (pa.decimal128(9, 2), pa.decimal128(30, 2), True),  # which files keep in another way
        (pa.decimal128(30, 2), pa.decimal128(9, 2), True),
        (pa.decimal128(9, 2), pa.decimal128(12, 3), False),
        (pa.int64(), pa.string(), False),
        (pa.int64(), pa.float64(), False),
        (pa.date32(), pa.timestamp("us"), False),
    ],
)
def test_columns_widen_and_do_nothing_else(tmp_path: Path, before: Any, after: Any, ok: bool) -> None:
    for n, kind in enumerate((before, after)):
        made, run = channel(tmp_path), Delivery((n,), f"{n:032x}", start=JANUARY + timedelta(days=n))
        schema = pa.schema([pa.field("id", pa.int64(), nullable=False), ("value", kind)])
        if n and not ok:
            with pytest.raises(SchemaMismatch, match=r"shop_test\.orders_v1__a: column 'value' is"):
                made.check_schema(run.names, schema)
            return
        made.check_schema(run.names, schema)
        writer = made.open(run.names, FileNumber(0, 1, 1), {}, schema, 1 << 20)
        number = Decimal(7 + n) if pa.types.is_decimal(kind) else 7 + n
        value = pa.array([None if pa.types.is_date(kind) else number]).cast(kind)
        writer.append(pa.RecordBatch.from_arrays([pa.array([n]), value], schema=schema))
        made.publish(run.commit(made, [writer.finish()]), never)
    found = by_duckdb(locations(tmp_path)[NAME[1]], "select value::double from rows order by id")
    assert found == [(7.0,), (8.0,)]


@pytest.mark.parametrize("digits", [(9, 30), (18, 19), (30, 9), (9, 18)], ids=str)
@pytest.mark.parametrize("key", ["id", "value"])
def test_rows_are_merged_into_files_of_another_decimal(
    tmp_path: Path, digits: tuple[int, int], key: str
) -> None:
    rounds = [[(1, "-1.25"), (2, "2.50"), (3, None)], [(1, "-1.25"), (4, "2.50")], [(5, "7.75")]]
    for n, (precision, rows) in enumerate(zip((*digits, max(digits)), rounds, strict=True)):
        kind = pa.decimal128(precision, 2)
        schema = pa.schema([pa.field("id", pa.int64(), nullable=False), ("value", kind)])
        run = Delivery(tuple(i for i, _ in rows), f"{n:032x}", start=JANUARY + timedelta(days=n))
        made = channel(tmp_path, None, "incremental", merge_key=(key,))
        made.check_schema(run.names, schema)
        writer = made.open(run.names, FileNumber(0, 1, 1), {}, schema, 1 << 20)
        values = pa.array([value and Decimal(value) for _, value in rows], kind)
        writer.append(pa.RecordBatch.from_arrays([pa.array(run.ids), values], schema=schema))
        made.publish(run.commit(made, [writer.finish()]), never)
    kept = [(1, "-1.25"), (2, "2.50"), (3, None), (4, "2.50"), (5, "7.75")]
    expected = [
        (n, value and Decimal(value)) for n, value in kept if key == "id" or (n, value) != (2, "2.50")
    ]
    assert by_duckdb(locations(tmp_path)[NAME[1]], "select * from rows order by id") == expected
    table = channel(tmp_path)._tables.load(NAME)
    assert table is not None
    assert sorted(map(tuple, (row.values() for row in table.scan().to_arrow().to_pylist()))) == expected


def test_the_order_that_a_table_declares_follows_the_export(tmp_path: Path) -> None:
    for n, order in enumerate((("id",), ("text", "id"), ())):
        run = runs(3)[n]
        channel(tmp_path, sort_by=order).publish(prepared(tmp_path, run, sort_by=order), never)
        table = channel(tmp_path)._tables.load(NAME)
        assert table is not None
        fields = [table.schema().find_column_name(f.source_id) for f in table.sort_order().fields]
        assert fields == list(order)
    assert ids(tmp_path) == list(range(6))


def test_another_partitioning_is_refused(tmp_path: Path) -> None:
    channel(tmp_path).publish(prepared(tmp_path, runs(1)[0]), never)
    with pytest.raises(SchemaMismatch, match="is partitioned by nothing, and the export by text"):
        channel(tmp_path, partition_by=("text",)).check_schema(runs(1)[0].names, SCHEMA)


def test_delete_files_of_another_engine_refuse_a_merge(tmp_path: Path, monkeypatch: Any) -> None:
    first, second = runs(1)[0], Delivery((1,), "f" * 32, start=JANUARY + timedelta(days=1))
    made = channel(tmp_path, None, "incremental", merge_key=("id",))
    made.publish(prepared(tmp_path, first, "incremental", merge_key=("id",)), never)
    commit = prepared(tmp_path, second, "incremental", merge_key=("id",))
    data = iceberg.ManifestContent.DATA
    monkeypatch.setattr(iceberg, "ManifestContent", SimpleNamespace(DATA=data, DELETES=data))
    with pytest.raises(StoreDenied, match="holds delete files, which Lading never writes"):
        made.check_past(second.names, Past((first.run,)))
    with pytest.raises(StoreDenied, match="holds delete files, which Lading never writes"):
        made.publish(commit, never)
    assert ids(tmp_path) == [0, 1]


def test_a_commit_of_an_older_version_is_published_unless_it_replaces_what_only_that_version_finds(
    tmp_path: Path,
) -> None:
    first, second = (prepared(tmp_path, run) for run in runs(2))
    for commit in (first, second):
        del commit["table"]["published"], commit["table"]["superseded"]
    first["table"]["replaced"] = []
    second["table"]["replaced"] = ["file:///lake/a(\\d+)/"]
    channel(tmp_path).publish(first, never)
    with pytest.raises(IntegrityError, match="a version of Lading that did not note which files it replaces"):
        channel(tmp_path).publish(second, never)
    assert ids(tmp_path) == [0, 1]


# --- keys


FIRST, LAST = datetime(1, 1, 1), datetime(9999, 12, 31, 23, 59, 59, 999_999)
LAST_MS = LAST.replace(microsecond=999_000, tzinfo=UTC)
KEYS: dict[str, tuple[Any, list[Any]]] = {
    "int8": (pa.int8(), [-3, 0, 7]),
    "int16": (pa.int16(), [-3, 0, 7]),
    "int32": (pa.int32(), [-3, 0, 7]),
    "int64": (pa.int64(), [-(1 << 62), 0, 1 << 62]),
    "text": (pa.string(), ["", "ä" * 20, "\U0010ffff" * 20]),
    "decimal": (pa.decimal128(38, 2), [Decimal("-9.99"), Decimal(0), Decimal(1 << 70)]),
    "date": (pa.date32(), [date(1, 1, 1), date(1969, 12, 31), date(9999, 12, 31)]),
    "timestamp": (pa.timestamp("us"), [FIRST, FIRST + timedelta(microseconds=1), LAST]),
    "timestamptz": (
        pa.timestamp("us", "UTC"),
        [each.replace(tzinfo=UTC) for each in (FIRST, FIRST + timedelta(microseconds=1), LAST)],
    ),
    "milliseconds": (pa.timestamp("ms", "UTC"), [FIRST.replace(tzinfo=UTC), JANUARY, LAST_MS]),
    "time": (pa.time64("us"), [time(0), time(1, 2, 3, 4), time(23, 59, 59, 999_999)]),
    "boolean": (pa.bool_(), [True, False, None]),
    "binary": (pa.binary(), [b"", b"\x00\xff", b"\xff" * 20]),
    "uuid": (pa.uuid(), [bytes(16), b"0123456789abcdef", b"\xff" * 16]),
    "float": (pa.float64(), [float("-inf"), 0.5, float("inf")]),
}


@pytest.mark.parametrize("types", ["portable", "exact"])
@pytest.mark.parametrize("kind", KEYS)
def test_rows_are_merged_by_keys_of_every_type(tmp_path: Path, kind: str, types: Any) -> None:
    """The greatest and the least are both found in what is there, and what is outside of them is no key of it."""
    type_, values = KEYS[kind]
    schema = pa.schema([pa.field("id", pa.int64(), nullable=False), ("key", type_)])
    rounds = [
        [(0, values[0]), (1, values[1])],
        [(2, values[1]), (3, values[2])],
        [(4, values[0])],
        [(5, values[2])],
    ]
    for n, rows in enumerate(rounds):
        run = Delivery(tuple(range(len(rows))), f"{n:032x}", start=JANUARY + timedelta(days=n))
        made = channel(tmp_path, None, "incremental", merge_key=("key",), types=types)
        made.check_schema(run.names, schema)
        writer = made.open(run.names, FileNumber(0, 1, 1), {}, schema, 1 << 20)
        columns = [pa.array([each[0] for each in rows]), pa.array([each[1] for each in rows], type_)]
        writer.append(pa.RecordBatch.from_arrays(columns, schema=schema))
        made.publish(run.commit(made, [writer.finish()]), never)
    assert ids(tmp_path) == [2, 4, 5]


@pytest.mark.parametrize(
    "kind", ["int64", "text", "decimal", "date", "timestamp", "timestamptz", "milliseconds"]
)
def test_a_file_whose_bounds_exclude_the_keys_is_not_read(
    tmp_path: Path, kind: str, monkeypatch: Any
) -> None:
    type_, values = KEYS[kind]
    values = ["", "ä" * 20, "ö" * 20] if kind == "text" else values  # the greatest text has no upper bound
    schema = pa.schema([pa.field("id", pa.int64(), nullable=False), ("key", type_)])
    read: list[str] = []
    real = Keys.rows_in
    monkeypatch.setattr(Keys, "rows_in", lambda self, at: [read.append(at), real(self, at)][1])
    for n, value in enumerate((*values, values[1])):
        run = Delivery((n,), f"{n:032x}", start=JANUARY + timedelta(days=n))
        made = channel(tmp_path, None, "incremental", merge_key=("key",))
        writer = made.open(run.names, FileNumber(0, 1, 1), {}, schema, 1 << 20)
        key = pa.array([value], type_)
        writer.append(pa.RecordBatch.from_arrays([pa.array([n]), key], schema=schema))
        files = [writer.finish()]
        made.publish(run.commit(made, files), never)
    assert ids(tmp_path) == [0, 2, 3]
    assert len(read) == 1


@pytest.mark.parametrize("key", [("id", "line"), ("line", "id"), ("line",)], ids="+".join)
def test_a_key_that_takes_a_new_column_in_finds_rows_without_it_by_null(
    tmp_path: Path, key: tuple[str, ...]
) -> None:
    number, text = pa.field("id", pa.int64(), nullable=False), pa.field("text", pa.string())
    before, after = pa.schema([number, text]), pa.schema([number, text, ("line", pa.int32())])
    rounds = [
        (before, ("id",), [(1, "old", None), (2, "old", None), (3, "old", None)]),
        (after, key, [(1, "new", None), (2, "new", 7)]),
        (after, key, [(2, "newer", 7), (4, "newer", 8)]),
    ]
    for n, (schema, by, rows) in enumerate(rounds):
        made = channel(tmp_path, None, "incremental", merge_key=by)
        run = Delivery(tuple(range(len(rows))), f"{n:032x}", start=JANUARY + timedelta(days=n))
        made.check_schema(run.names, schema)
        writer = made.open(run.names, FileNumber(0, 1, 1), {}, schema, 1 << 20)
        columns = [
            pa.array(values, field.type)
            for values, field in zip(zip(*rows, strict=True), schema, strict=False)
        ]
        writer.append(pa.RecordBatch.from_arrays(columns, schema=schema))
        made.publish(run.commit(made, [writer.finish()]), never)
    kept = [(2, "old", None), (3, "old", None)] if "id" in key else []  # to a key of line alone all are one
    found = by_duckdb(
        locations(tmp_path)[NAME[1]], "select id, text, line from rows order by id, line nulls first"
    )
    assert found == sorted(
        [(1, "new", None), *kept, (2, "newer", 7), (4, "newer", 8)], key=lambda row: (row[0], row[2] or 0)
    )


@pytest.mark.parametrize("kind", [pa.uuid(), pa.time64("us"), pa.binary(), pa.float64()], ids=str)
def test_columns_whose_values_name_no_partition_of_a_table_are_refused_before_a_row_is_read(
    tmp_path: Path, kind: Any
) -> None:
    schema = pa.schema([("key", kind)])
    made = channel(tmp_path, types="exact", partition_by=("key",))
    with pytest.raises(SchemaMismatch, match="which partitions no table"):
        made.check_schema(runs(1)[0].names, schema)

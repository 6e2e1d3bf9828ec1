"""A run is in its table once: whatever dies, races, answers wrongly, or is forgotten."""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import os
import threading
from collections.abc import Callable
from dataclasses import replace
from datetime import date, time, timedelta
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pytest
from pyiceberg.exceptions import CommitFailedException, CommitStateUnknownException
from pyiceberg.table.update.snapshot import ExpireSnapshots
from sqlalchemy.exc import OperationalError
from tables import by_duckdb, locations, sqlite_tables

from lading.channels import iceberg
from lading.channels.drop import Destination
from lading.channels.snapshot import SnapshotChannel, TableSettings
from lading.errors import IntegrityError, SchemaMismatch, StoreDenied, StoreUnavailable
from lading.export.layout import Layout
from lading.formats.parquet import ParquetFormat
from lading.ports import FileNumber, Store
from lading.stores.local import LocalStore
from lading.testing.channel import JANUARY, SCHEMA, Delivery, never
from lading.testing.faults import Crash, Faults

Commit = Callable[..., Any]
NAME = ("shop_test", "orders_v1__a")


def channel(root: Path, store: Store | None = None, mode: Any = "append", **settings: Any) -> SnapshotChannel:
    store = store or LocalStore(root / "lake", durable=False)
    tables = sqlite_tables(root, store, history=settings.pop("history", timedelta(days=5)))
    types = settings.pop("types", "portable")
    return SnapshotChannel(
        tables,
        TableSettings("tables", "shop_test", mode, **settings),
        Destination("lake", store),
        Layout(),
        ParquetFormat(),
        types,
        export="orders_drop",
    )


def ids(root: Path) -> list[int]:
    return [n for (n,) in by_duckdb(locations(root)[NAME[1]], "select id from rows order by id")]


def prepared(root: Path, run: Delivery, mode: Any = "append", **settings: Any) -> dict[str, Any]:
    made = channel(root, None, mode, **settings)
    return json.loads(json.dumps(run.commit(made, run.write(made))))  # type: ignore[no-any-return]


def runs(count: int, size: int = 2) -> list[Delivery]:
    return [
        Delivery(tuple(range(n * size, (n + 1) * size)), f"{n:032x}", start=JANUARY + timedelta(days=n))
        for n in range(count)
    ]


def disturbed(made: SnapshotChannel, act: Callable[[Commit, tuple[Any, ...]], Any]) -> SnapshotChannel:
    """``act`` is called in place of the catalogue's commits, with the real one and its arguments."""
    catalog: Any = made._tables._access.catalog
    real = catalog.commit_table
    catalog.commit_table = lambda *given: act(real, given)
    made._tables._sleep = lambda seconds: None
    return made


def states(root: Path) -> list[dict[str, Any]]:
    metadata = json.loads(Path(locations(root)[NAME[1]].removeprefix("file://")).read_text())
    found: list[dict[str, Any]] = metadata["snapshots"]
    return found


# --- deaths


# Who dies right after opening a file does not close it.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.slow
@pytest.mark.parametrize("mode", ["append", "full_refresh", "incremental"])
def test_a_publisher_killed_at_any_step_leaves_what_the_next_one_finishes_once(
    tmp_path: Path, mode: Any
) -> None:
    first = runs(1)[0]
    second = Delivery((1, 2, 3), "f" * 32, start=JANUARY + timedelta(days=1))
    expected = {"append": [0, 1, 1, 2, 3], "full_refresh": [1, 2, 3], "incremental": [0, 1, 2, 3]}[mode]
    last = point = 0
    while point == last:
        point += 1
        for side in ("before", "after"):
            root = tmp_path / f"{point}{side}"
            root.mkdir()
            channel(root, None, mode, merge_key=("id",)).publish(
                prepared(root, first, mode, merge_key=("id",)), never
            )
            commit = prepared(root, second, mode, merge_key=("id",))
            faults = Faults(crash=(point, side))
            lake = faults.wrap(LocalStore(root / "lake", durable=False))
            with contextlib.suppress(Crash):
                channel(root, lake, mode, merge_key=("id",)).publish(commit, never)
            channel(root, None, mode, merge_key=("id",)).publish(commit, never)
            assert ids(root) == expected, f"killed {side} point {point}"
            assert len(states(root)) == 2
            if faults.crashed:
                last = point
    assert point > 10


@pytest.mark.parametrize("after", [False, True])
def test_a_publisher_killed_at_the_commit_itself(tmp_path: Path, after: bool) -> None:
    run = runs(1)[0]
    commit = prepared(tmp_path, run)

    def die(real: Commit, given: tuple[Any, ...]) -> None:
        if after:
            real(*given)
        raise Crash

    with pytest.raises(Crash):
        disturbed(channel(tmp_path), die).publish(commit, never)
    assert not list((tmp_path / "lake").rglob("_SUCCESS"))
    channel(tmp_path).publish(commit, never)
    assert ids(tmp_path) == [0, 1]
    assert len(states(tmp_path)) == 1
    assert len(list((tmp_path / "lake").rglob("_SUCCESS"))) == 1


@pytest.mark.parametrize("mode", ["append", "incremental"])
@pytest.mark.parametrize("left", [b"", b"PAR1", b"PAR1" + b"x" * 400 + b"PAR1"])
def test_a_sealed_file_that_cannot_be_read_is_told_and_nothing_is_published(
    tmp_path: Path, left: bytes, mode: Any
) -> None:
    commit = prepared(tmp_path, runs(1)[0], mode, merge_key=("id",))
    (file,) = (tmp_path / "lake").rglob("*.parquet")
    file.write_bytes(left)
    made = channel(tmp_path, None, mode, merge_key=("id",))
    with pytest.raises(IntegrityError, match=f"{file.name} cannot be read"):
        made.publish(commit, never)
    assert not list((tmp_path / "lake").rglob("_SUCCESS"))
    with pytest.raises(IntegrityError, match=f"{file.name} has {len(left)} bytes where"):
        made.require_standing(commit)


# --- answers that are lost or wrong


LOST = [
    CommitStateUnknownException("?"),
    CommitFailedException("a proxy repeated the request, and the second one met the first"),
    OperationalError("UPDATE", {}, Exception("server closed the connection")),
]


@pytest.mark.parametrize("mode", ["append", "full_refresh", "incremental"])
@pytest.mark.parametrize("landed", [True, False])
@pytest.mark.parametrize("error", LOST, ids=["unknown", "refused", "database"])
def test_a_commit_whose_answer_is_lost_or_wrong_is_looked_for(
    tmp_path: Path, error: Exception, landed: bool, mode: Any
) -> None:
    before, run = runs(1)[0], Delivery((1, 2, 3), "f" * 32, start=JANUARY + timedelta(days=1))
    channel(tmp_path, None, mode, merge_key=("id",)).publish(
        prepared(tmp_path, before, mode, merge_key=("id",)), never
    )
    commit = prepared(tmp_path, run, mode, merge_key=("id",))
    calls = []

    def lose(real: Commit, given: tuple[Any, ...]) -> Any:
        calls.append(1)
        if len(calls) > 1:
            return real(*given)
        if landed:
            real(*given)
        raise error

    disturbed(channel(tmp_path, None, mode, merge_key=("id",)), lose).publish(commit, never)
    assert (
        ids(tmp_path)
        == {"append": [0, 1, 1, 2, 3], "full_refresh": [1, 2, 3], "incremental": [0, 1, 2, 3]}[mode]
    )
    assert len(states(tmp_path)) == 2
    assert len(calls) == (1 if landed else 2)


def test_a_catalogue_that_stays_away_leaves_the_run_for_later(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(iceberg, "UNREACHABLE", 0.2)
    commit = prepared(tmp_path, runs(1)[0])

    def away(real: Commit, given: tuple[Any, ...]) -> Any:
        raise LOST[2]

    made = disturbed(channel(tmp_path), away)
    with pytest.raises(
        StoreUnavailable, match=r"is not known to be in its table: The catalogue 'tables' cannot be"
    ):
        made.publish(commit, never)
    assert not list((tmp_path / "lake").rglob("_SUCCESS"))
    channel(tmp_path).publish(commit, never)
    assert ids(tmp_path) == [0, 1]


def test_a_failure_that_nobody_knows_is_not_swallowed(tmp_path: Path) -> None:
    def fail(real: Commit, given: tuple[Any, ...]) -> Any:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        disturbed(channel(tmp_path), fail).publish(prepared(tmp_path, runs(1)[0]), never)


def test_refused_commits_leave_nothing_behind(tmp_path: Path) -> None:
    for run in runs(2):
        channel(tmp_path).publish(prepared(tmp_path, run), never)
    third, other = runs(4)[2:]
    raced = []

    def race(real: Commit, given: tuple[Any, ...]) -> Any:
        if not raced:
            raced.append(1)
            channel(tmp_path).publish(prepared(tmp_path, other), never)
        return real(*given)

    disturbed(channel(tmp_path), race).publish(prepared(tmp_path, third), never)
    assert ids(tmp_path) == list(range(8))
    metadata = json.loads(Path(locations(tmp_path)[NAME[1]].removeprefix("file://")).read_text())
    table = channel(tmp_path)._tables.load(NAME)
    assert table is not None
    used = {s.manifest_list for s in table.metadata.snapshots}
    used |= {m.manifest_path for s in table.metadata.snapshots for m in s.manifests(table.io)}
    used |= {each["metadata-file"] for each in metadata["metadata-log"]} | {table.metadata_location}
    there = {path.as_uri() for path in (tmp_path / "lake/_iceberg").rglob("*.*")}
    assert there == used


# --- races


def test_publishers_of_one_run_at_once_commit_it_once(tmp_path: Path) -> None:
    commit = prepared(tmp_path, runs(1)[0])
    threads = [threading.Thread(target=channel(tmp_path).publish, args=(commit, never)) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert ids(tmp_path) == [0, 1]
    assert len(states(tmp_path)) == 1


def test_runs_that_are_published_at_once_are_all_there(tmp_path: Path) -> None:
    commits = [prepared(tmp_path, run) for run in runs(6)]
    threads = [threading.Thread(target=channel(tmp_path).publish, args=(commit, never)) for commit in commits]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert ids(tmp_path) == list(range(12))
    assert len(states(tmp_path)) == 6


def _writer(root: Path, number: int, commits: int) -> None:
    made = channel(root)
    for n in range(commits):
        run = Delivery(
            (number * 1000 + n,), f"{number:016x}{n:016x}", start=JANUARY + timedelta(days=number, minutes=n)
        )
        made.publish(run.commit(made, run.write(made)), never)


@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_ten_writers_of_many_commits_each_end_with_the_exact_rows(tmp_path: Path) -> None:  # S1
    """`make interop` has each of them make a hundred, which takes minutes."""
    commits = int(os.environ.get("LADING_TEST_COMMITS", "10"))
    spawn = multiprocessing.get_context("spawn")
    writers = [spawn.Process(target=_writer, args=(tmp_path, number, commits)) for number in range(10)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert [writer.exitcode for writer in writers] == [0] * 10
    assert ids(tmp_path) == sorted(number * 1000 + n for number in range(10) for n in range(commits))


# --- what is forgotten


def expire_everything(root: Path) -> None:
    """As another engine does: only the current state stays."""
    table = channel(root)._tables.load(NAME)
    assert table is not None
    transaction = table.transaction()
    current = table.metadata.current_snapshot_id
    others = [s.snapshot_id for s in table.metadata.snapshots if s.snapshot_id != current]
    ExpireSnapshots(transaction).by_ids(others).commit()
    transaction.commit_transaction()


def test_a_run_whose_snapshot_has_expired_is_not_committed_again(tmp_path: Path) -> None:
    commits = [prepared(tmp_path, run) for run in runs(3)]
    for commit in commits:
        channel(tmp_path).publish(commit, never)
    expire_everything(tmp_path)
    for commit in commits:
        channel(tmp_path).publish(commit, never)
    assert ids(tmp_path) == list(range(6))
    assert len(states(tmp_path)) == 1


def test_a_run_that_the_properties_forgot_is_known_by_its_files(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(iceberg, "REMEMBERED", 2)
    commits = [prepared(tmp_path, run) for run in runs(5)]
    for commit in commits:
        channel(tmp_path).publish(commit, never)
    expire_everything(tmp_path)
    for commit in commits:
        channel(tmp_path).publish(commit, never)
    assert ids(tmp_path) == list(range(10))


def test_a_run_that_was_superseded_before_it_came_never_comes(tmp_path: Path) -> None:
    first = runs(1)[0]
    late = prepared(tmp_path, first)
    made = channel(tmp_path)
    revision = replace(first, run="e" * 32, revision=1, ids=(7,))
    files = revision.write(made)
    bill = lambda uri: {**revision.bill(uri, files), "supersedes": [first.run]}  # noqa: E731
    made.publish(made.prepare(revision.names, bill, files), never)
    channel(tmp_path).publish(late, never)
    assert ids(tmp_path) == [7]


def test_states_older_than_the_history_go_with_the_files_that_only_they_had(tmp_path: Path) -> None:
    mode: Any = "incremental"
    settings: dict[str, Any] = {"merge_key": ("id",), "history": timedelta(0)}
    for n in range(5):
        run = Delivery((0, 1, 10 + n), f"{n:032x}", start=JANUARY + timedelta(days=n))
        channel(tmp_path, None, mode, **settings).publish(
            prepared(tmp_path, run, mode, merge_key=("id",)), never
        )
    assert ids(tmp_path) == [0, 1, *range(10, 15)]
    assert len(states(tmp_path)) <= 2
    table = channel(tmp_path)._tables.load(NAME)
    assert table is not None
    used = {s.manifest_list for s in table.metadata.snapshots}
    used |= {m.manifest_path for s in table.metadata.snapshots for m in s.manifests(table.io)}
    for s in table.metadata.snapshots:
        used |= {f.file_path for f in iceberg._live(table, s)}
    own = [path for path in (tmp_path / "lake/_iceberg").rglob("*.*") if path.suffix != ".json"]
    assert {path.as_uri() for path in own} <= used


# --- what a table is not


def test_a_table_of_somebody_else_is_left_alone(tmp_path: Path) -> None:
    made = channel(tmp_path)
    catalog = made._tables._catalog
    catalog.create_namespace("shop_test")
    catalog.create_table(NAME, pa.schema([("id", pa.int64())]), location=f"file://{tmp_path}/lake/_iceberg/x")
    with pytest.raises(
        StoreDenied, match=r"shop_test\.orders_v1__a is not one of this export's: Lading did not make"
    ):
        made.publish(prepared(tmp_path, runs(1)[0]), never)
    assert not list((tmp_path / "lake").rglob("_SUCCESS"))


def test_metadata_outside_of_the_store_is_refused(tmp_path: Path) -> None:
    channel(tmp_path).publish(prepared(tmp_path, runs(1)[0]), never)
    elsewhere = LocalStore(tmp_path / "other", durable=False)
    with pytest.raises(StoreDenied, match="does not lie in the store"):
        channel(tmp_path, elsewhere)._tables.load(NAME)


def test_metadata_that_is_lost_is_told_as_such(tmp_path: Path) -> None:
    channel(tmp_path).publish(prepared(tmp_path, runs(1)[0]), never)
    Path(locations(tmp_path)[NAME[1]].removeprefix("file://")).unlink()
    with pytest.raises(IntegrityError, match=r"metadata\.json is gone, and a table refers to it"):
        channel(tmp_path)._tables.load(NAME)


def test_an_empty_run_is_a_commit_without_files(tmp_path: Path) -> None:
    for run in (Delivery(()), *runs(1)):
        channel(tmp_path).publish(prepared(tmp_path, run), never)
        assert ids(tmp_path) == list(run.ids)
    assert len(states(tmp_path)) == 2


# --- types


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


@pytest.mark.parametrize("kind", [pa.uint32(), pa.uint64(), pa.timestamp("ns"), pa.list_(pa.uint32())])
def test_types_that_a_table_would_garble_are_refused_before_a_row_is_read(tmp_path: Path, kind: Any) -> None:
    with pytest.raises(SchemaMismatch, match=r"column 'odd.*: an Iceberg table of version 2 cannot hold"):
        channel(tmp_path).check_schema(runs(1)[0].names, pa.schema([("odd", kind)]))


@pytest.mark.parametrize(
    ("before", "after", "ok"),
    [
        (pa.int32(), pa.int64(), True),
        (pa.int64(), pa.int32(), True),  # the table stays as wide as it is
        (pa.float32(), pa.float64(), True),
        (pa.decimal128(9, 2), pa.decimal128(12, 2), True),
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
        made.publish(commit, never)
    assert ids(tmp_path) == [0, 1]

"""A run is in its table once: whatever dies, races, answers wrongly, or is forgotten."""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import os
import threading
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyiceberg.exceptions import CommitFailedException, CommitStateUnknownException
from pyiceberg.table.update import SetSnapshotRefUpdate
from pyiceberg.table.update.snapshot import ExpireSnapshots
from sqlalchemy.exc import OperationalError
from tables import by_duckdb, locations, sqlite_tables

from lading.channels import iceberg
from lading.channels.drop import Destination
from lading.channels.iceberg_merge import Keys
from lading.channels.iceberg_state import files_of
from lading.channels.snapshot import SnapshotChannel, TableSettings
from lading.errors import IntegrityError, SchemaMismatch, StoreDenied, StoreUnavailable
from lading.export.layout import Layout
from lading.formats.parquet import ParquetFormat
from lading.ports import FileNumber, Past, Store
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


def revised(root: Path, run: Delivery, *before: dict[str, Any], published: bool = True) -> dict[str, Any]:
    """A revision's commit, which takes the place of what these others add."""
    made = channel(root)
    files = run.write(made)
    supersedes = [commit["run_id"] for commit in before]
    commit = made.prepare(run.names, lambda uri: {**run.bill(uri, files), "supersedes": supersedes}, files)
    past = Past(tuple(supersedes) if published else (), before)
    return json.loads(json.dumps(made.follow(commit, past)))  # type: ignore[no-any-return]


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.slow
def test_a_revision_killed_at_any_step_replaces_what_it_supersedes_once(tmp_path: Path) -> None:
    first = runs(1)[0]
    revision = replace(first, run="e" * 32, revision=1, ids=(7, 8, 9))
    last = point = 0
    while point == last:
        point += 1
        for side in ("before", "after"):
            root = tmp_path / f"{point}{side}"
            root.mkdir()
            before = prepared(root, first)
            channel(root).publish(before, never)
            commit = revised(root, revision, before)
            faults = Faults(crash=(point, side))
            with contextlib.suppress(Crash):
                channel(root, faults.wrap(LocalStore(root / "lake", durable=False))).publish(commit, never)
            channel(root).publish(commit, never)
            assert ids(root) == [7, 8, 9], f"killed {side} point {point}"
            assert len(states(root)) == 2
            if faults.crashed:
                last = point
    assert point > 10


def test_publishers_of_a_run_and_of_its_revision_at_once_leave_the_revision_alone(tmp_path: Path) -> None:
    first, *others = runs(4)
    before = prepared(tmp_path, first)
    channel(tmp_path).publish(before, never)
    commits = [revised(tmp_path, replace(first, run="e" * 32, revision=1, ids=(70, 71, 72)), before)]
    commits += [before, *(prepared(tmp_path, run) for run in others)]
    threads = [threading.Thread(target=channel(tmp_path).publish, args=(each, never)) for each in commits * 2]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert ids(tmp_path) == [2, 3, 4, 5, 6, 7, 70, 71, 72]
    assert len(states(tmp_path)) == 5


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


def spoil(path: Path, column: str, value: bool = False) -> None:
    """The first page of a column says of itself what is not so; or one bit of its last value is another, which only the
    page's checksum tells. The file is as long as before."""
    chunk = pq.read_metadata(path).row_group(0)
    (found,) = (chunk.column(n) for n in range(chunk.num_columns) if chunk.column(n).path_in_schema == column)
    content = bytearray(path.read_bytes())
    if value:
        content[found.data_page_offset - 1] ^= 1
    else:
        at = found.dictionary_page_offset
        content[at : at + 8] = bytes(255 - byte for byte in content[at : at + 8])
    path.write_bytes(content)


# D9
def test_a_spoiled_value_is_one_that_a_reader_without_checksums_takes(tmp_path: Path) -> None:
    ((name, *_),) = prepared(tmp_path, Delivery((0, 1)))["table"]["files"]
    path = Path(name.removeprefix("file://"))
    before = pq.read_table(path)
    spoil(path, "id", value=True)
    assert pq.read_table(path)["id"].to_pylist() != before["id"].to_pylist()
    with pytest.raises(OSError, match="CRC"):
        pq.read_table(path, page_checksum_verification=True)


@pytest.mark.parametrize("value", [False, True], ids=["header", "value"])
@pytest.mark.parametrize(("which", "column"), [("fresh", "id"), ("old", "id"), ("old", "text")])
def test_a_merge_names_the_file_that_it_cannot_read_and_goes_on_once_it_is_put_back(
    tmp_path: Path, which: str, column: str, value: bool
) -> None:
    kind: Any = {"mode": "incremental", "merge_key": ("id",)}
    first, second = Delivery((0, 1)), Delivery((1,), "f" * 32, start=JANUARY + timedelta(days=1))
    commits = [prepared(tmp_path, first, **kind)]
    channel(tmp_path, None, **kind).publish(commits[0], never)
    commits.append(prepared(tmp_path, second, **kind))
    ((name, *_),) = commits[which == "fresh"]["table"]["files"]
    path = Path(name.removeprefix("file://"))
    whole = path.read_bytes()
    spoil(path, column, value)
    with pytest.raises(IntegrityError, match=f"{path.name} cannot be read") as told:
        channel(tmp_path, None, **kind).publish(commits[1], never)
    assert "Put it back as it was" in (told.value.hint or "")
    assert ids(tmp_path) == [0, 1] if which == "fresh" else len(states(tmp_path)) == 1
    path.write_bytes(whole)
    channel(tmp_path, None, **kind).publish(commits[1], never)
    assert ids(tmp_path) == [0, 1]
    assert len(states(tmp_path)) == 2
    # What was begun of the old file's rows before the page was met is gone.
    assert len(list((tmp_path / "lake/_iceberg").rglob("*.parquet"))) == 1


def test_a_revision_merges_without_the_damaged_file_of_its_interval_once_that_is_deleted(
    tmp_path: Path,
) -> None:
    kind: Any = {"mode": "incremental", "merge_key": ("id",)}
    first = runs(1)[0]
    before = prepared(tmp_path, first, **kind)
    channel(tmp_path, None, **kind).publish(before, never)
    made = channel(tmp_path, None, **kind)
    revision = replace(first, run="e" * 32, revision=1, ids=(1, 7))
    files = revision.write(made)
    bill = {"supersedes": [first.run]}
    commit = made.prepare(revision.names, lambda uri: {**revision.bill(uri, files), **bill}, files)
    commit = made.follow(commit, Past((first.run,), (before,)))
    path = Path(before["table"]["files"][0][0].removeprefix("file://"))
    spoil(path, "id")
    with pytest.raises(IntegrityError, match=f"{path.name} cannot be read") as told:
        made.publish(commit, never)
    assert "delete it first" in (told.value.hint or "")
    path.unlink()
    made.publish(commit, never)
    assert ids(tmp_path) == [1, 7]


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


def make_current(root: Path, snapshot: int) -> None:
    """As another engine rolls a table back, or forward again."""
    table = channel(root)._tables.load(NAME)
    assert table is not None
    with table.transaction() as transaction:
        update = SetSnapshotRefUpdate.model_validate(
            {"action": "set-snapshot-ref", "ref-name": "main", "type": "branch", "snapshot-id": snapshot}
        )
        transaction._apply((update,))


def take_out(root: Path, *snapshots: int) -> None:
    table = channel(root)._tables.load(NAME)
    assert table is not None
    with table.transaction() as transaction:
        ExpireSnapshots(transaction).by_ids(list(snapshots)).commit()


@pytest.mark.parametrize("mode", ["append", "incremental"])
@pytest.mark.parametrize("expired", [0, 1, 2])
@pytest.mark.parametrize("since", [False, True])
def test_a_table_that_was_rolled_back_takes_no_run_until_it_is_rolled_forward(
    tmp_path: Path, mode: Any, expired: int, since: bool
) -> None:
    kind: Any = {"mode": mode, "merge_key": ("id",)}
    commits = [prepared(tmp_path, run, **kind) for run in runs(6)]
    for commit in commits[:4]:
        channel(tmp_path, None, **kind).publish(commit, never)
    _, second, third, fourth = (snapshot["snapshot-id"] for snapshot in states(tmp_path))
    take_out(tmp_path, *(snapshot["snapshot-id"] for snapshot in states(tmp_path)[:expired]))
    make_current(tmp_path, third if expired == 2 else second)
    left = ids(tmp_path)
    if since:
        table = channel(tmp_path)._tables.load(NAME)
        assert table is not None
        table.overwrite(table.scan().to_arrow())
    made = channel(tmp_path, None, **kind)
    gone = commits[3]["run_id"]
    # The next run, and one that is in no current state and whose publisher died before its marker.
    for commit in (commits[4], commits[3]):
        with pytest.raises(
            IntegrityError, match=r"orders_v1__a was rolled back: it had .* whose rows are not"
        ):
            made.publish(commit, never)
    with pytest.raises(IntegrityError, match="was rolled back: it had") as told:
        made.check_past(runs(1)[0].names, Past((commits[0]["run_id"],)))
    assert f"make {fourth} its current snapshot" in (told.value.hint or "")
    state, lost = made._tables.standing(NAME, commits[0]["table"]["owner"], [gone])
    assert state is not None
    assert "was rolled back: it had 1 run whose" in str(lost)
    assert ids(tmp_path) == left
    make_current(tmp_path, fourth)
    for commit in commits:
        channel(tmp_path, None, **kind).publish(commit, never)
    assert ids(tmp_path) == list(range(12))


@pytest.mark.parametrize("out", [(0,), (1,), (2, 3), (1, 3)])
def test_a_run_before_an_expired_state_is_taken_for_no_rolled_back_one(
    tmp_path: Path, out: tuple[int, ...]
) -> None:
    commits = [prepared(tmp_path, run) for run in runs(6)]
    for commit in commits[:5]:
        channel(tmp_path).publish(commit, never)
    take_out(tmp_path, *(states(tmp_path)[n]["snapshot-id"] for n in out))
    channel(tmp_path).check_past(runs(1)[0].names, Past(tuple(commit["run_id"] for commit in commits[:5])))
    channel(tmp_path).publish(commits[5], never)
    assert ids(tmp_path) == list(range(12))


def test_a_full_refresh_takes_the_place_of_whatever_a_table_was_rolled_back_to(tmp_path: Path) -> None:
    commits = [prepared(tmp_path, run, "full_refresh") for run in runs(3)]
    for commit in commits[:2]:
        channel(tmp_path, None, "full_refresh").publish(commit, never)
    make_current(tmp_path, states(tmp_path)[0]["snapshot-id"])
    tables = channel(tmp_path)._tables
    _, lost = tables.standing(NAME, commits[0]["table"]["owner"], [commits[1]["run_id"]])
    assert "was rolled back" in str(lost)
    channel(tmp_path, None, "full_refresh").publish(commits[2], never)
    assert ids(tmp_path) == [4, 5]
    assert tables.standing(NAME, commits[0]["table"]["owner"], [commits[2]["run_id"]])[1] is None


def test_what_another_engine_compacted_may_be_rolled_back_while_nothing_came_since(tmp_path: Path) -> None:
    first, second = runs(2)
    before = prepared(tmp_path, first)
    channel(tmp_path).publish(before, never)
    table = channel(tmp_path)._tables.load(NAME)
    assert table is not None
    table.overwrite(table.scan().to_arrow())
    commit = revised(tmp_path, replace(first, run="e" * 32, revision=1, ids=(70,)), before)
    with pytest.raises(IntegrityError, match="another engine has rewritten") as told:
        channel(tmp_path).publish(commit, never)
    assert "Only where no run was delivered since" in (told.value.hint or "")
    make_current(tmp_path, states(tmp_path)[0]["snapshot-id"])
    channel(tmp_path).publish(commit, never)
    channel(tmp_path).publish(prepared(tmp_path, second), never)
    assert ids(tmp_path) == [2, 3, 70]


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


def test_a_revision_that_comes_before_what_it_supersedes_needs_no_files_of_it(tmp_path: Path) -> None:
    first, second = runs(2)
    late = prepared(tmp_path, first)
    channel(tmp_path).publish(prepared(tmp_path, second), never)
    revision = revised(tmp_path, replace(first, run="e" * 32, revision=1, ids=(7,)), late, published=False)
    for commit in (revision, late):
        channel(tmp_path).publish(commit, never)
    assert ids(tmp_path) == [2, 3, 7]


@pytest.mark.parametrize("came", [True, False])
def test_a_revision_of_lost_revisions_takes_the_place_of_all_before_it(tmp_path: Path, came: bool) -> None:
    first = runs(1)[0]
    lost = prepared(tmp_path, first)
    if came:  # and its publisher died right after that
        channel(tmp_path).publish(lost, never)
    for file in (tmp_path / "lake").rglob("*.parquet"):
        file.unlink()
    second = replace(first, run="e" * 32, revision=1, ids=(7,))
    never_came = revised(tmp_path, second, lost, published=False)
    third = replace(first, run="f" * 32, revision=2, ids=(8,))
    channel(tmp_path).publish(revised(tmp_path, third, never_came, lost, published=False), never)
    channel(tmp_path).publish(never_came, never)
    assert ids(tmp_path) == [8]


@pytest.mark.parametrize("again", [(7,), ()])
def test_a_revision_merges_without_the_lost_file_whose_place_it_takes(
    tmp_path: Path, again: tuple[int, ...]
) -> None:
    kind: Any = {"mode": "incremental", "merge_key": ("id",)}
    other, first = runs(2)
    commits = [prepared(tmp_path, run, **kind) for run in (other, first)]
    for commit in commits:
        channel(tmp_path, None, **kind).publish(commit, never)
    for name, *_ in commits[1]["table"]["files"]:
        Path(name.removeprefix("file://")).unlink()
    made = channel(tmp_path, None, **kind)
    revision = replace(first, run="e" * 32, revision=1, ids=again)
    files = revision.write(made)
    bill = {"supersedes": [first.run]}
    commit = made.prepare(revision.names, lambda uri: {**revision.bill(uri, files), **bill}, files)
    made.publish(made.follow(commit, Past((other.run,), (commits[1],))), never)
    assert ids(tmp_path) == [*other.ids, *again]


def test_a_revision_of_what_the_table_forgot_must_find_its_files(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(iceberg, "REMEMBERED", 2)
    commits = [prepared(tmp_path, run) for run in runs(5)]
    for commit in commits:
        channel(tmp_path).publish(commit, never)
    expire_everything(tmp_path)
    revision = replace(runs(1)[0], run="e" * 32, revision=1, ids=(70,))
    channel(tmp_path).publish(revised(tmp_path, revision, commits[0]), never)
    assert ids(tmp_path) == [2, 3, 4, 5, 6, 7, 8, 9, 70]
    table = channel(tmp_path)._tables.load(NAME)
    assert table is not None
    table.delete("id == 3")
    expire_everything(tmp_path)
    other = replace(runs(2)[1], run="f" * 32, revision=1, ids=(71,))
    with pytest.raises(IntegrityError, match="another engine has rewritten or removed"):
        channel(tmp_path).publish(revised(tmp_path, other, commits[1]), never)
    assert ids(tmp_path) == [2, 4, 5, 6, 7, 8, 9, 70]


def test_a_revision_of_a_run_without_rows_replaces_nothing(tmp_path: Path) -> None:
    empty, other = replace(runs(1)[0], ids=()), runs(2)[1]
    commits = [prepared(tmp_path, run) for run in (empty, other)]
    for commit in commits:
        channel(tmp_path).publish(commit, never)
    revision = replace(empty, run="e" * 32, revision=1, ids=(7,))
    channel(tmp_path).publish(revised(tmp_path, revision, commits[0]), never)
    assert ids(tmp_path) == [2, 3, 7]


def test_delete_files_of_another_engine_refuse_a_revision(tmp_path: Path, monkeypatch: Any) -> None:
    first = runs(1)[0]
    before = prepared(tmp_path, first)
    channel(tmp_path).publish(before, never)
    commit = revised(tmp_path, replace(first, run="e" * 32, revision=1, ids=(7,)), before)
    data = iceberg.ManifestContent.DATA
    monkeypatch.setattr(iceberg, "ManifestContent", SimpleNamespace(DATA=data, DELETES=data))
    with pytest.raises(StoreDenied, match="holds delete files, which Lading never writes"):
        channel(tmp_path).check_past(first.names, Past((first.run,), (before,)))
    channel(tmp_path).check_past(first.names, Past((first.run,)))  # what is only added is in nobody's way
    with pytest.raises(StoreDenied, match="holds delete files, which Lading never writes"):
        channel(tmp_path).publish(commit, never)
    assert ids(tmp_path) == [0, 1]


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
        used |= {f.file_path for f in files_of(table, s)}
    own = [path for path in (tmp_path / "lake/_iceberg").rglob("*.*") if path.suffix != ".json"]
    assert {path.as_uri() for path in own} <= used


def merged_files(root: Path) -> set[str]:
    """What merging wrote and is there."""
    return {path.as_uri() for path in (root / "lake/_iceberg").rglob("*.parquet")}


def referred(root: Path) -> set[str]:
    table = channel(root)._tables.load(NAME)
    assert table is not None
    return {file.file_path for snapshot in table.metadata.snapshots for file in files_of(table, snapshot)}


def dies(real: Commit, given: tuple[Any, ...]) -> None:
    raise Crash


def lands_and_dies(real: Commit, given: tuple[Any, ...]) -> None:
    real(*given)
    raise Crash


@pytest.mark.parametrize("forgotten", [False, True])
def test_what_a_merge_wrote_that_died_goes_though_the_next_one_died_too(
    tmp_path: Path, forgotten: bool
) -> None:
    kind: Any = {"mode": "incremental", "merge_key": ("id",)}
    first, second, third = (Delivery(n, f"{n[0]}" * 32) for n in ((0, 1), (1,), (2,)))
    channel(tmp_path, None, **kind).publish(prepared(tmp_path, first, **kind), never)
    commit = prepared(tmp_path, second, **kind)
    for death in (dies, dies, lands_and_dies):
        with pytest.raises(Crash):
            disturbed(channel(tmp_path, None, **kind), death).publish(commit, never)
    assert len(merged_files(tmp_path)) == 3
    if forgotten:  # its own state, of which later ones still have files
        channel(tmp_path, None, **kind).publish(prepared(tmp_path, third, **kind), never)
        expire_everything(tmp_path)
    channel(tmp_path, None, **kind).publish(commit, never)
    assert len(merged_files(tmp_path)) == 1
    assert merged_files(tmp_path) <= referred(tmp_path)
    assert ids(tmp_path) == ([0, 1, 2] if forgotten else [0, 1])


@pytest.mark.parametrize("landed", [False, True])
def test_what_a_merge_wrote_that_died_goes_with_the_revision_that_takes_its_place(
    tmp_path: Path, landed: bool
) -> None:
    kind: Any = {"mode": "incremental", "merge_key": ("id",)}
    first, second = Delivery((0, 1), "0" * 32), Delivery((1,), "1" * 32)
    channel(tmp_path, None, **kind).publish(prepared(tmp_path, first, **kind), never)
    before = prepared(tmp_path, second, **kind)
    for death in (dies, lands_and_dies) if landed else (dies,):
        with pytest.raises(Crash):
            disturbed(channel(tmp_path, None, **kind), death).publish(before, never)
    made = channel(tmp_path, None, **kind)
    revision = replace(second, run="e" * 32, revision=1)
    files = revision.write(made)
    bill = {"supersedes": [second.run]}
    commit = made.prepare(revision.names, lambda uri: {**revision.bill(uri, files), **bill}, files)
    made.publish(made.follow(commit, Past((), (before,))), never)
    assert merged_files(tmp_path) <= referred(tmp_path)
    assert len(merged_files(tmp_path)) == 1
    assert ids(tmp_path) == [0, 1]


@pytest.mark.parametrize("wins", ["other", "self"])
def test_what_another_publisher_of_a_run_has_written_is_not_taken_from_under_it(
    tmp_path: Path, wins: str
) -> None:
    kind: Any = {"mode": "incremental", "merge_key": ("id",)}
    channel(tmp_path, None, **kind).publish(prepared(tmp_path, Delivery((0, 1), "0" * 32), **kind), never)
    commit = prepared(tmp_path, Delivery((1,), "1" * 32), **kind)
    raced = []

    def race(real: Commit, given: tuple[Any, ...]) -> Any:
        """Another one begins, and ends or dies, when this one has written its files."""
        if not raced:
            raced.append(1)
            if wins == "other":
                channel(tmp_path, None, **kind).publish(commit, never)
            else:
                with pytest.raises(Crash):
                    disturbed(channel(tmp_path, None, **kind), dies).publish(commit, never)
            assert len(merged_files(tmp_path)) == (1 if wins == "other" else 2)
        return real(*given)

    disturbed(channel(tmp_path, None, **kind), race).publish(commit, never)
    assert merged_files(tmp_path) <= referred(tmp_path)
    assert len(merged_files(tmp_path)) == 1
    assert ids(tmp_path) == [0, 1]


def test_what_a_superseded_run_has_written_is_left_to_it_while_its_table_does_not_know_it(
    tmp_path: Path,
) -> None:
    kind: Any = {"mode": "incremental", "merge_key": ("id",)}

    def revision(run: str, number: int, of: str, ids: tuple[int, ...]) -> dict[str, Any]:
        made, delivery = channel(tmp_path, None, **kind), Delivery(ids, run * 32, revision=number)
        files = delivery.write(made)
        bill = {"supersedes": [of * 32]}
        return made.prepare(delivery.names, lambda uri: {**delivery.bill(uri, files), **bill}, files)

    channel(tmp_path, None, **kind).publish(prepared(tmp_path, Delivery((0, 1), "0" * 32), **kind), never)
    first = prepared(tmp_path, Delivery((1,), "1" * 32), **kind)
    second = revision("2", 1, of="1", ids=(1,))
    channel(tmp_path, None, **kind).publish(revision("3", 2, of="2", ids=(5,)), never)

    def race(real: Commit, given: tuple[Any, ...]) -> Any:
        """The table has gone beyond the second, and so takes nothing of it; but not beyond the first."""
        channel(tmp_path, None, **kind).publish(second, never)
        return real(*given)

    disturbed(channel(tmp_path, None, **kind), race).publish(first, never)
    assert merged_files(tmp_path) <= referred(tmp_path)
    assert len(merged_files(tmp_path)) == 1
    assert ids(tmp_path) == [0, 1, 5]


def test_a_state_that_cannot_be_looked_at_keeps_no_run_from_its_marker(tmp_path: Path) -> None:
    kind: Any = {"mode": "incremental", "merge_key": ("id",)}
    channel(tmp_path, None, **kind).publish(prepared(tmp_path, Delivery((0, 1), "0" * 32), **kind), never)
    commit = prepared(tmp_path, Delivery((1,), "1" * 32), **kind)
    for death in (dies, lands_and_dies):
        with pytest.raises(Crash):
            disturbed(channel(tmp_path, None, **kind), death).publish(commit, never)
    there = merged_files(tmp_path)
    Path(states(tmp_path)[1]["manifest-list"].removeprefix("file://")).unlink()
    channel(tmp_path, None, **kind).publish(commit, never)
    assert merged_files(tmp_path) == there
    assert len(list((tmp_path / "lake").rglob("_SUCCESS"))) == 2


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

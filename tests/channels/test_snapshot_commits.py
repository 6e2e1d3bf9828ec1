"""A run is in its table once: whatever dies, races, answers wrongly, or is forgotten."""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import os
import threading
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from commits import NAME, Commit, channel, disturbed, expire_everything, ids, prepared, revised, runs, states
from pyiceberg.exceptions import CommitFailedException, CommitStateUnknownException
from sqlalchemy.exc import OperationalError
from tables import locations

from lading.channels import iceberg
from lading.errors import IntegrityError, StoreDenied, StoreUnavailable
from lading.ports import Past
from lading.stores.local import LocalStore
from lading.testing.channel import JANUARY, Delivery, never
from lading.testing.faults import Crash, Faults

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


# --- revisions


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

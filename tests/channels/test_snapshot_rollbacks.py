"""What a table has forgotten, was rolled back to, or left behind: no run is committed twice or lost by it."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from commits import NAME, Commit, channel, disturbed, expire_everything, ids, prepared, revised, runs, states
from pyiceberg.table.update import SetSnapshotRefUpdate
from pyiceberg.table.update.snapshot import ExpireSnapshots

from lading.channels import iceberg
from lading.channels.iceberg_state import files_of
from lading.errors import IntegrityError
from lading.ports import Past
from lading.testing.channel import JANUARY, Delivery, never
from lading.testing.faults import Crash


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

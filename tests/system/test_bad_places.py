"""Disks that fill up, databases that stop, buckets that refuse: nothing half counts, and the next call finishes."""

from __future__ import annotations

import os
import subprocess
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from worlds import World, ids, some_orders

from lading.errors import SourceUnavailable, StoreDenied, StoreFull
from lading.events import RowsRead
from lading.proof import verify
from lading.run import run
from lading.stores.memory import MemoryStore
from lading.testing.faults import Faults


def all_ids(world: World) -> Counter[int]:
    return Counter(world.table["id"].to_pylist())


def markers(store: Any) -> list[str]:
    return [info.name for info in store.list() if info.name.endswith("_SUCCESS")]


# --- disks


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 2 MB of its own."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(folder)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True).returncode != 0:
        pytest.skip("a file system of 2 MB can only be mounted by root")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


@pytest.mark.slow
@pytest.mark.parametrize("what", ["lake", "journal"])
def test_a_full_disk_leaves_no_half_delivery_and_space_is_all_it_takes(
    place: Any, sell: Any, small_disk: Path, what: str
):
    sell(place, rows=60_000, customers=4)
    stores = {"lake": {"url": "file://./lake"}, "journal": {"url": "file://./journal"}}
    place.settings(stores={**stores, what: {"url": f"file://{small_disk}/{what}"}})
    if what == "lake":
        place.root.joinpath("lake").symlink_to(small_disk / "lake")
    else:
        (small_disk / "ballast").write_bytes(b"x" * ((2 << 20) - 64 * 1024))
    try:
        results = place.run("orders_drop")
        assert "failed" in {r.status for r in results}
        failed = [r for r in results if r.status == "failed"]
        told = [r.error or "" for r in failed]
        codes = {r.exit_code for r in failed}
    except StoreFull as error:
        told, codes = [str(error)], {error.exit_code}
    assert codes == {StoreFull.exit_code}
    assert all(str(small_disk) in each and "space" in each for each in told), told
    if place.lake.exists():
        assert place.verify().problems == []
    subprocess.run(["mount", "-o", "remount,size=200m", str(small_disk)], check=True)
    assert {r.status for r in place.run("orders_drop")} <= {"succeeded", "skipped"}
    place.assert_whole(12)
    (count,) = place.answer("select count(*) from orders")
    assert place.read("select count(*) n, count(distinct id) d from delivered").to_pylist() == [
        {"n": count[0], "d": count[0]}
    ]


# --- databases


@pytest.mark.slow
def test_a_database_that_stops_midway_is_no_end_of_the_delivery(
    doomed_postgres: Any, new_place: Any, sell: Any
):
    place = sell(new_place(doomed_postgres.database()), rows=150_000, customers=4)
    # So much that it cannot all be under way when the server stops.
    place.sql("alter table orders alter note type text using repeat(note, 30)")
    place.settings(buffer_memory="16MB")

    def stop(event: object) -> None:
        if isinstance(event, RowsRead) and not stopped:
            stopped.append(event)
            doomed_postgres.stop()

    stopped: list[RowsRead] = []
    results = place.run("orders_drop", on_event=stop)
    assert {r.status for r in results} == {"failed"}
    assert {r.exit_code for r in results} == {SourceUnavailable.exit_code}
    assert "PostgreSQL" in str(results[0].error)
    assert place.markers() == []
    with pytest.raises(SourceUnavailable):
        place.run("orders_drop")
    doomed_postgres.restart()
    assert {r.status for r in place.run("orders_drop")} == {"succeeded"}
    place.assert_whole(12)
    assert place.read("select count(*) n, count(distinct id) d from delivered").to_pylist() == [
        {"n": 150_000, "d": 150_000}
    ]


# --- buckets


def test_a_bucket_that_refuses_to_write_is_named_and_nothing_counts():
    world = World(some_orders())
    denied = Faults(denied={"write"}).wrap(world.lake)
    results = run(world.job(lake=denied))
    assert {r.status for r in results} == {"failed"}
    assert {r.exit_code for r in results} == {StoreDenied.exit_code}
    assert all("denied" in str(r.error) for r in results)
    assert markers(world.lake) == []
    assert {r.status for r in run(world.job())} == {"succeeded"}
    assert ids(world.lake) == all_ids(world)


def test_a_journal_that_refuses_to_write_stops_everything_before_the_first_byte():
    world = World(some_orders())
    with pytest.raises(StoreDenied):
        run(world.job(journal=Faults(denied={"write"}).wrap(world.journal)))
    assert list(world.lake.list()) == []


@pytest.mark.parametrize("denied", [{"list"}, {"delete"}, {"read"}, {"list", "read", "delete"}])
def test_a_destination_may_be_write_only(denied: Any):
    world = World(some_orders())
    assert {r.status for r in run(world.job(lake=Faults(denied=denied).wrap(world.lake)))} == {"succeeded"}
    assert ids(world.lake) == all_ids(world)
    assert verify(world.lake).notes == []


def test_what_a_write_only_destination_keeps_of_a_death_is_noted_and_harms_nobody():
    world = World(some_orders(months=1))
    results = run(
        world.job(discover=False, listed=("a", "b"), lake=Faults(denied={"list", "delete"}).wrap(world.lake))
    )
    assert "failed" in {r.status for r in results}
    run(world.job(lake=Faults(denied={"list", "delete"}).wrap(world.lake)))
    assert ids(world.lake) == all_ids(world)
    report = verify(world.lake)
    assert report.problems == []
    failures = [note for note in report.notes if "nothing of it counts" in note]
    assert len(failures) == 2  # the markers of the failure
    assert [info.name for info in world.journal.list() if info.name.endswith("orphans.json")]


class Expiring:
    """A store whose credentials are good for so many calls."""

    def __init__(self, store: MemoryStore, calls: int) -> None:
        self._store, self._left, self.url = store, calls, store.url

    def __getattr__(self, operation: str) -> Any:
        act = getattr(self._store, operation)

        def call(*args: Any, **options: Any) -> Any:
            self._left -= 1
            if self._left < 0:
                raise StoreDenied(f"{operation} in {self.url}: the credentials have expired")
            return act(*args, **options)

        return call


@pytest.mark.slow
def test_credentials_that_expire_at_any_call_lose_nothing():
    counted = Expiring(MemoryStore("memory://lake"), 1_000_000)
    run(World(some_orders()).job(lake=counted))
    calls = 1_000_000 - counted._left
    for number in range(calls):
        world = World(some_orders())
        failed = [r for r in run(world.job(lake=Expiring(world.lake, number))) if r.status == "failed"]
        assert failed, number
        assert all("expired" in str(r.error) for r in failed), number
        assert {r.exit_code for r in failed} <= {4, 5}, number
        assert ids(world.lake) <= all_ids(world), number
        assert "failed" not in {r.status for r in run(world.job())}, number
        assert ids(world.lake) == all_ids(world), number
        report = verify(world.lake)
        assert (report.problems, report.notes) == ([], []), number

"""Two processes at once, held still at the moments that hurt. Each test replays one interleaving of the model."""

from __future__ import annotations

import threading
from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from worlds import JANUARY, Held, Hooked, World, creates, ids, orders, snapshot, some_orders, under

from lading.errors import InProgress, InvalidProject, StoreUnavailable
from lading.journal.owner import Owner
from lading.plan import Asked
from lading.proof import current, verify
from lading.run import Job, run
from lading.stores.memory import MemoryStore


def day(month: int, number: int = 1) -> datetime:
    return datetime(2024, month, number, tzinfo=UTC)


def test_an_owner_that_seals_while_it_is_looked_at_keeps_its_delivery():
    w = World(some_orders(months=1))
    held = Held(creates("20240101T000000Z/a0001/end.json"))

    def let_it_finish(operation: str, name: str) -> None:
        if operation == "get" and name.endswith("claim.json"):
            held.go(thread)

    thread = threading.Thread(
        target=lambda: held.results.extend(run(w.job(journal=Hooked(w.journal, held.hook), lease=60)))
    )
    thread.start()
    assert held._reached.wait(30)
    results = run(w.job(journal=Hooked(w.journal, let_it_finish), lease=60))
    thread.join(30)
    assert not [r for r in (*results, *held.results) if r.status == "failed"]
    assert ids(w.lake) == Counter(w.table["id"].to_pylist())
    assert verify(w.lake).ok


def test_what_was_sealed_after_the_look_is_not_reported_as_skipped():
    w = World(some_orders(months=1))
    sealed, listings = threading.Event(), []
    held = Held(creates("20240101T000000Z/a0001/end.json"))

    def dies_sealed(operation: str, name: str) -> None:
        held.hook(operation, name)
        if sealed.is_set() and operation == "put":
            threading.Event().wait(2)
        if operation == "put" and name.endswith("end.json"):
            sealed.set()

    def second_look(operation: str, name: str) -> None:
        if operation == "list":
            listings.append(name)
            if len(listings) == 2:
                held.go()
                assert sealed.wait(30)

    january = Asked(start=JANUARY, end=day(2))
    with held.running(lambda: run(w.job(journal=Hooked(w.journal, dies_sealed), lease=60), january)):
        run(w.job(journal=Hooked(w.journal, second_look), lease=60), january)
        assert ids(w.lake) == Counter(w.table["id"].to_pylist())


def test_a_row_that_arrives_while_a_slow_process_sleeps_is_not_lost():
    rows = [(0, "a", day(1, 2), day(1, 2)), (1, "a", day(2, 2), day(2, 2))]
    w = World(orders(rows), now=day(2, 10))
    run(w.job(late=True))
    w.now = day(3, 5)
    held = Held(creates("20240201T000000Z/a0001/claim.json"))
    with held.running(lambda: run(w.job(journal=Hooked(w.journal, held.hook), late=True, lease=60))):
        w.table, w.now = orders([*rows, (2, "a", day(2, 3), day(3, 10))]), day(3, 20)
        run(w.job(late=True, lease=60), Asked(start=JANUARY, end=day(2)))
    w.now = day(6)
    run(w.job(late=True))
    run(w.job(late=True))
    assert ids(w.lake) == Counter([0, 1, 2])


def test_two_bounds_for_one_incremental_start_deliver_no_row_twice():
    w = World(orders([(0, "a", day(3, 5), day(3, 5))]), now=day(3, 20))
    held = Held(lambda operation, name: operation == "list" and "20240101T000000Z" in name)
    slow = {"mode": "incremental", "lease": 60}
    with held.running(lambda: run(w.job(journal=Hooked(w.journal, held.hook), **slow))):
        w.now = day(3, 1)
        run(w.job(**slow))
        w.now = day(3, 20)
        run(w.job(**slow))
    assert ids(w.lake) == Counter([0])


def test_a_fenced_process_that_then_fails_leaves_nothing_behind():
    w = World(some_orders(months=1))
    writes = []
    held = Held(lambda operation, name: operation == "write" and len(writes) == 2)

    def lake(operation: str, name: str) -> None:
        if operation == "write":
            writes.append(name)
            held.hook(operation, name)
            if len(writes) == 3:
                raise StoreUnavailable("gone")

    with held.running(lambda: run(w.job(lake=Hooked(w.lake, lake), lease=3600))):
        run(w.job(lease=0.05))
    run(w.job())
    assert ids(w.lake) == Counter(w.table["id"].to_pylist())
    assert verify(w.lake).notes == []


def test_a_live_owner_is_waited_for_or_left_alone():
    w = World(some_orders(months=1))
    held = Held(creates("20240101T000000Z/a0001/end.json"))
    with held.running(lambda: run(w.job(journal=Hooked(w.journal, held.hook), lease=60))):
        with pytest.raises(InProgress, match="is at work on it"):
            run(w.job(lease=60), wait=False)
        waiter = threading.Thread(target=lambda: waited.extend(run(w.job(lease=60))))
        waited: list = []
        waiter.start()
    waiter.join(30)
    assert {r.status for r in waited} <= {"skipped", "succeeded"}
    assert ids(w.lake) == Counter(w.table["id"].to_pylist())


def test_ten_threads_at_one_export_deliver_each_run_once():
    w = World(some_orders())
    results: list = []
    threads = [threading.Thread(target=lambda: results.extend(run(w.job(lease=30)))) for _ in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    delivered = Counter((r.tenant, r.interval.start) for r in results if r.status == "succeeded")
    assert len(delivered) == 12
    assert set(delivered.values()) == {1}
    assert ids(w.lake) == Counter(w.table["id"].to_pylist())


def test_a_sweep_whose_owner_dies_half_published_is_finished_from_its_seal():
    w = World(some_orders(months=1, customers="abcdefghij"))
    markers = []

    class Died(BaseException):
        pass

    def die_after_five(operation: str, name: str) -> None:
        if len(markers) == 5:
            raise Died
        if operation == "put" and name.endswith("_SUCCESS"):
            markers.append(name)

    january = Asked(start=JANUARY, end=day(2))
    with pytest.raises(Died):
        run(w.job(lake=Hooked(w.lake, die_after_five)), january)
    read = []
    w.extra = {"before_batch": lambda part, batch: read.append(part)}
    assert {r.status for r in run(w.job(), january)} == {"skipped"}
    assert read == []
    assert ids(w.lake) == Counter(w.table["id"].to_pylist())
    assert verify(w.lake).ok


class Aging(MemoryStore):
    """A store whose clock the test moves."""

    age = timedelta(0)

    def list(self, prefix=""):
        from dataclasses import replace

        for info in super().list(prefix):
            yield replace(info, modified=self._times.setdefault(info.name, self._base + self.age))

    def __init__(self, url):
        super().__init__(url)
        self._times, self._base = {}, datetime(2024, 1, 1, tzinfo=UTC)


def refreshed(w: World, days: int, keep: int) -> None:
    for _ in range(days):
        run(w.job(mode="full_refresh", keep=keep, lease=60))
        list(w.journal.list())
        w.journal.age += timedelta(hours=1)
        w.now += timedelta(days=1)


def test_keep_removes_what_newer_refreshes_replaced_one_lease_later():  # D22
    w = World(some_orders(months=1, customers="a"), journal=Aging("memory://journal"))
    refreshed(w, 5, keep=2)
    run(w.job(mode="full_refresh", keep=2, lease=60))
    markers = [name for name in snapshot(w.lake) if name.endswith("_SUCCESS")]
    assert len(markers) in (2, 3)
    assert ids(w.lake) == Counter(w.table["id"].to_pylist())
    assert verify(w.lake).ok
    assert current(w.lake)


def test_what_expired_is_not_delivered_again():
    w = World(some_orders(months=1, customers="a"), journal=Aging("memory://journal"))
    refreshed(w, 4, keep=1)
    first = w.now - timedelta(days=4)
    w.now = first
    before = snapshot(w.lake)
    assert {r.status for r in run(w.job(mode="full_refresh", keep=1, lease=60))} == {"skipped"}
    assert snapshot(w.lake) == before


def test_a_process_of_this_host_that_is_gone_is_dead_at_once():
    owner = Owner.new()
    assert owner.gone()
    owner.begin()
    assert not owner.gone()
    owner.end()
    another = Owner(owner.host, 2**22 + 1, "1", "x")
    assert another.gone()
    assert not Owner("another host", 1, "1", "x").gone()


def of_major(job: Job, major: int) -> Job:
    """The job under another major of its contract."""
    before = job.standing
    contract = {**job.own.contract, "version": f"{major}.0.0"}
    return replace(
        under(job, major=major, contract=contract),
        standing=lambda clock, upto: replace(before(clock, upto), major=major),
    )


def test_two_majors_of_a_contract_at_one_interval_deliver_it_once():
    w = World(some_orders(months=1))
    known = ("a", "b", "c")
    asked = Asked(start=JANUARY, end=day(2))
    # Planned, and about to look at the sweep once more.
    slow = Held(lambda operation, name: operation == "list" and "/20240101T000000Z/" in name)
    late = of_major(w.job(journal=Hooked(w.journal, slow.hook), listed=known), 2)
    with slow.running(lambda: run(late, asked)):
        first = run(w.job(listed=known), asked)
    assert {result.status for result in first} == {"succeeded"}
    assert {result.status for result in slow.results} == {"skipped"}
    assert len([name for name in snapshot(w.lake) if name.endswith("_SUCCESS")]) == 3
    assert ids(w.lake) == Counter(w.table["id"].to_pylist())


def test_what_was_delivered_under_another_major_is_skipped_by_the_name_that_it_has():
    w = World(some_orders(months=1))
    asked = Asked(start=JANUARY, end=day(2))
    delivered = {result.run_id for result in run(w.job(), asked)}
    again = run(of_major(w.job(), 2), asked)
    assert {result.status for result in again} == {"skipped"}
    assert {result.run_id for result in again} == delivered


# --- what is merged into one table: a revision of the newest interval, and the one that follows it


def merging(w: World, hook=lambda operation, name: None) -> Job:
    return w.job(journal=Hooked(w.journal, hook), mode="incremental", tenants=False, merged=True, lease=60)


def two_months() -> World:
    """The first is delivered, and the second is due."""
    w = World(orders([(0, "a", day(1, 2), day(1, 2))]), now=day(2))
    assert [r.status for r in run(merging(w))] == ["succeeded"]
    w.table, w.now = orders([(0, "a", day(1, 2), day(1, 2)), (1, "a", day(2, 2), day(2, 2))]), day(3)
    return w


REVISION = Asked(start=JANUARY, end=day(2), revise=True, reason="corrected")


@pytest.mark.parametrize("step", ["a0002/end.json", "a0002/published/"])
def test_an_interval_that_follows_a_revision_is_published_after_it(step: str):
    w, published = two_months(), []

    def note(operation: str, name: str) -> None:
        if operation == "put" and "/published/" in name:
            published.append(name.split("/")[2])

    held = Held(creates(step))

    def hook(operation: str, name: str) -> None:
        held.hook(operation, name)
        note(operation, name)

    later: list = []
    thread = threading.Thread(target=lambda: later.extend(run(merging(w, note))), daemon=True)
    with held.running(lambda: run(merging(w, hook), REVISION)):
        thread.start()
        thread.join(0.5)
        assert published == []
    thread.join(30)
    assert [r.status for r in (*held.results, *later)] == ["succeeded", "succeeded"]
    assert published == ["20240101T000000Z", "20240201T000000Z"]


def test_a_revision_that_was_planned_before_a_newer_interval_was_sealed_is_refused():
    w = two_months()
    held = Held(creates("20240101T000000Z/a0002/claim.json"))

    def revise() -> list:
        with pytest.raises(InvalidProject, match="older than the newest"):
            run(merging(w, held.hook), REVISION)
        return ["refused"]

    with held.running(revise):
        assert [r.status for r in run(merging(w))] == ["succeeded"]
    assert held.results == ["refused"]
    assert b'"status":"failed"' in w.journal.get("sweeps/orders_drop/20240101T000000Z/a0002/end.json")
    assert ids(w.lake) == Counter([0, 1])


def test_a_revision_that_meets_a_newer_interval_under_way_is_refused():
    w = two_months()
    held = Held(creates("20240201T000000Z/a0001/end.json"))
    with held.running(lambda: run(merging(w, held.hook))):
        results = run(merging(w), REVISION)
        assert [(r.status, r.exit_code) for r in results] == [("failed", 4)]
        assert "a newer interval" in str(results[0].error)
    assert [r.status for r in held.results] == ["succeeded"]
    assert ids(w.lake) == Counter([0, 1])

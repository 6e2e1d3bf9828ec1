"""A run may be killed anywhere and called again by anything: every store call, before and after it.

The process "dies" by a `Crash` at one numbered store call, after which every later call of that process dies too, its
heartbeats included. The next call finds an owner that is gone.
"""

from __future__ import annotations

import contextlib
import random
import threading
from collections import Counter
from datetime import UTC, datetime

import pytest
from worlds import JANUARY, Hooked, World, ids, orders, snapshot, some_orders

from lading.errors import Retryable, StoreUnavailable
from lading.plan import Asked
from lading.proof import verify
from lading.run import run
from lading.stores.retry import RetryStore
from lading.testing.faults import Crash, Faults

JOBS = {
    "append": {"late": True},
    "incremental": {"mode": "incremental"},
    "full_refresh": {"mode": "full_refresh"},
    "one tenant, several lanes": {"tenants": False, "workers": 1},
    "two majors": {"late": True, "beside": True},
}


def job(world: World, faults: Faults | None, kind: dict):
    if faults is None:
        return world.job(**kind)
    # A lease too long for any heartbeat, so that equal runs have equal points.
    journal, lake = faults.wrap(world.journal, "journal"), faults.wrap(world.lake, "lake")
    return world.job(journal=journal, lake=lake, lease=3600, **kind)


def points(kind: dict) -> int:
    faults = Faults()
    run(job(World(some_orders()), faults, kind))
    return faults.count


def read(world: World, kind: dict) -> list[Counter[int]]:
    """What recipients read, of each major."""
    return [ids(world.lake, major=major) for major in ((1, 2) if kind.get("beside") else (None,))]


def undisturbed(kind: dict) -> list[Counter[int]]:
    world = World(some_orders())
    run(job(world, None, kind))
    return read(world, kind)


def attempt_folders_are_unique(world: World) -> bool:
    """One success marker for each run and nothing of another attempt beside it."""
    markers = Counter(name.rpartition("-a")[0] for name in snapshot(world.lake) if name.endswith("_SUCCESS"))
    folders = {name.split("-a", 1)[0] + "-a" + name.split("-a", 1)[1].split("/")[0]
               for name in snapshot(world.lake) if "-a" in name}  # fmt: skip
    return all(count == 1 for count in markers.values()) and len(folders) == len(markers)


def chosen(kind: str) -> list[tuple[int, str]]:
    every = [(n, side) for n in range(1, points(JOBS[kind]) + 1) for side in ("before", "after")]
    return random.Random(f"lading {kind}").sample(every, min(60, len(every)))


@pytest.mark.slow
@pytest.mark.parametrize("kind", JOBS)
def test_a_run_killed_at_any_point_and_called_again_delivers_as_if_undisturbed(kind):  # D15
    expected = undisturbed(JOBS[kind])
    for point, side in chosen(kind):
        world = World(some_orders())
        faults = Faults(crash=(point, side))
        with contextlib.suppress(Crash):
            run(job(world, faults, JOBS[kind]))
        # A get that answers "not found" has no side after it.
        assert faults.crashed or side == "after"
        results = run(job(world, None, JOBS[kind]))
        told = f"{kind}, killed {side} point {point}"
        assert not [r for r in results if r.status == "failed"], told
        assert read(world, JOBS[kind]) == expected, told
        assert attempt_folders_are_unique(world), told
        assert verify(world.lake).record()["problems"] == [], told
        assert verify(world.lake).notes == [], told
        before = snapshot(world.lake)
        run(job(world, None, JOBS[kind]))
        assert snapshot(world.lake) == before, told


@pytest.mark.slow
def test_a_run_killed_again_and_again_gets_there():
    expected = undisturbed(JOBS["append"])
    world, chance = World(some_orders()), random.Random(7)
    for _ in range(300):
        faults = Faults(crash=(chance.randint(1, 60), chance.choice(("before", "after"))))
        try:
            run(job(world, faults, JOBS["append"]))
        except Crash:
            continue
        break
    run(job(world, None, JOBS["append"]))
    assert read(world, JOBS["append"]) == expected
    assert verify(world.lake).ok


def test_passing_faults_of_the_stores_end_in_a_whole_delivery_or_a_failure():  # D13
    expected = undisturbed(JOBS["append"])
    whole = 0
    for seed in range(12):
        world = World(some_orders())
        for turn in range(40):
            faults = Faults(transient=0.03, seed=seed * 1000 + turn)
            try:
                results = run(job(world, faults, JOBS["append"]))
            except Retryable:
                continue
            if not any(r.status == "failed" for r in results):
                assert read(world, JOBS["append"]) == expected, (seed, turn)
                assert verify(world.lake).record()["problems"] == [], (seed, turn)
                whole += 1
                break
            assert {r.exit_code for r in results if r.status == "failed"} == {4}
        run(job(world, None, JOBS["append"]))
        assert read(world, JOBS["append"]) == expected, seed
        assert verify(world.lake).record()["problems"] == [], seed
        assert verify(world.lake).notes == [], seed
    assert whole


def test_a_run_behind_retry_does_not_notice_passing_faults():  # D13
    expected = undisturbed(JOBS["append"])
    for seed in range(4):
        world, faults = World(some_orders()), Faults(transient=0.05, seed=seed)
        stores = {
            name: RetryStore(faults.wrap(store, name), sleep=lambda seconds: None)
            for name, store in (("journal", world.journal), ("lake", world.lake))
        }
        run(world.job(**stores, lease=3600, late=True))
        run(world.job(late=True))
        assert read(world, JOBS["append"]) == expected
        assert verify(world.lake).ok


def test_a_seal_whose_answer_is_lost_keeps_its_files():
    expected = undisturbed(JOBS["append"])
    world = World(some_orders())

    class Lossy(type(world.journal)):
        """Does what it is told and then loses the answer, once."""

        lossy = True

        def put(self, name, data, *, create=False):
            super().put(name, data, create=create)
            if name.endswith("end.json") and self.lossy:
                self.lossy = False
                raise StoreUnavailable("the answer was lost")

    world.journal = Lossy("memory://journal")
    first = run(world.job(late=True))
    assert [r.exit_code for r in first if r.status == "failed"]
    run(world.job(late=True))
    assert read(world, JOBS["append"]) == expected
    assert verify(world.lake).record()["problems"] == []
    assert attempt_folders_are_unique(world)


def test_a_process_that_slept_through_its_lease_commits_nothing():
    world = World(some_orders(months=1))
    asleep, woken = threading.Event(), threading.Event()
    outcome: list[object] = []

    def hold(point) -> float:
        if point.store == "journal" and point.name.endswith("end.json") and point.operation == "create":
            asleep.set()
            assert woken.wait(30)
        return 0.0

    sleeper = Faults(latency=hold)
    # A heart that beats once an hour is a silent one for whoever believes in a lease of a twentieth of a second.
    slow = job(world, sleeper, {})
    thread = threading.Thread(target=lambda: outcome.append(run(slow)))
    thread.start()
    assert asleep.wait(30)
    results = run(world.job(lease=0.05))
    woken.set()
    thread.join()
    assert not [r for r in results if r.status == "failed"]
    assert [r.status for r in outcome[0] if r.interval.start.month == 1] == ["failed"] * len(
        [r for r in outcome[0] if r.interval.start.month == 1]
    )
    assert ids(world.lake) == Counter(world.table["id"].to_pylist())
    assert attempt_folders_are_unique(world)
    assert verify(world.lake).notes == []


def test_a_retry_uses_finished_parts_again_and_does_not_read_them():
    world = World(some_orders(months=1, per_customer=6))
    read: list[int] = []
    failing = iter([True])

    def unreachable(operation: str, name: str) -> None:
        if operation == "write" and "_003-001" in name and next(failing, False):
            raise StoreUnavailable("gone")

    january = Asked(start=JANUARY, end=datetime(2024, 2, 1, tzinfo=UTC))
    alone = {"tenants": False, "workers": 1}
    first = run(world.job(lake=Hooked(world.lake, unreachable), **alone), january)
    assert [r.status for r in first] == ["failed"]
    world.extra = {"before_batch": lambda part, batch: read.append(part.index)}
    assert [r.status for r in run(world.job(**alone), january)] == ["succeeded"]
    assert 0 not in read
    assert 2 in read
    assert ids(world.lake) == Counter(world.table["id"].to_pylist())
    assert attempt_folders_are_unique(world)
    assert verify(world.lake).record()["problems"] == []
    assert verify(world.lake).notes == []
    undisturbed_world = World(world.table)
    run(undisturbed_world.job(**alone), january)
    assert _data(world) == _data(undisturbed_world)


def _data(world: World) -> list[bytes]:
    return [data for name, data in sorted(snapshot(world.lake).items()) if name.endswith(".jsonl")]


def test_parts_are_read_again_where_the_source_has_changed():
    world = World(some_orders(months=1, per_customer=6))
    failing = iter([True])

    def unreachable(operation: str, name: str) -> None:
        if operation == "write" and "_003-001" in name and next(failing, False):
            raise StoreUnavailable("gone")

    january = Asked(start=JANUARY, end=datetime(2024, 2, 1, tzinfo=UTC))
    run(world.job(lake=Hooked(world.lake, unreachable), tenants=False, workers=1), january)
    rows = [*zip(*world.table.to_pydict().values(), strict=True)]
    world.table = orders([(99, "a", JANUARY, JANUARY), *rows])
    assert [r.status for r in run(world.job(tenants=False), january)] == ["succeeded"]
    assert ids(world.lake) == Counter(world.table["id"].to_pylist())


STEPS = {
    "claim": "claim.json",
    "announce": "/opened/",
    "write": ".jsonl",
    "prepare": "/runs/",
    "seal": "end.json",
    "publish": "_manifest.json",
    "mark": "_SUCCESS",
    "note as published": "/published/",
    "close": "done.json",
}
TAKE_OVER = {
    "abandon": "end.json",
    "clean": "-a1/",
    "note as cleaned": "cleaned.json",
    "claim anew": "a0002/claim.json",
}


def points_of(faults: Faults, part: str) -> list[int]:
    """The first, the middle and the last call that changes something of this name."""
    changing = ("put", "create", "upload.finish", "delete", "write")
    found = [p.number for p in faults.points if part in p.name and p.operation in changing]
    assert found, part
    return sorted({found[0], found[len(found) // 2], found[-1]})


def killed(world: World, point: int, side: str) -> None:
    with contextlib.suppress(Crash):
        run(job(world, Faults(crash=(point, side)), JOBS["append"]))


def as_if_undisturbed(world: World) -> bool:
    results = run(job(world, None, JOBS["append"]))
    return (
        not [r for r in results if r.status == "failed"]
        and ids(world.lake) == Counter(world.table["id"].to_pylist())
        and attempt_folders_are_unique(world)
        and verify(world.lake).ok
        and verify(world.lake).notes == []
    )


@pytest.mark.parametrize("step", STEPS)
def test_dying_around_a_step_costs_nothing(step):
    dry = Faults()
    run(job(World(some_orders()), dry, JOBS["append"]))
    for point in points_of(dry, STEPS[step]):
        for side in ("before", "after"):
            world = World(some_orders())
            killed(world, point, side)
            assert as_if_undisturbed(world), (step, point, side)


@pytest.mark.parametrize("step", TAKE_OVER)
def test_dying_while_taking_over_from_the_dead_costs_nothing(step):
    def left_behind() -> World:
        world, dry = World(some_orders()), Faults()
        run(job(World(some_orders()), dry, JOBS["append"]))
        killed(world, points_of(dry, "end.json")[0], "before")
        return world

    dry = Faults()
    run(job(left_behind(), dry, JOBS["append"]))
    for point in points_of(dry, TAKE_OVER[step]):
        for side in ("before", "after"):
            world = left_behind()
            killed(world, point, side)
            assert as_if_undisturbed(world), (step, point, side)

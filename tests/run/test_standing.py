"""What a run has sealed and a later call publishes is looked at before anybody is told that it is whole."""

# D15
from __future__ import annotations

import contextlib
import json
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pyarrow as pa
import pytest
from worlds import JANUARY, Hooked, World, creates, ids, orders, snapshot, some_orders
from worlds import Held as Stopped

from lading.channels.bundle import BundleChannel
from lading.channels.drop import Destination
from lading.errors import InProgress, IntegrityError, Lost, StoreUnavailable
from lading.export.identity import instant
from lading.export.interval import Interval, parse_instant
from lading.export.layout import Layout
from lading.formats.jsonl import JsonlFormat, JsonlOptions
from lading.journal.log import Attempt
from lading.plan import Asked, Clock, RunPlan, SweepPlan
from lading.proof import verify
from lading.run import Job, record, run
from lading.run.outlook import outlook
from lading.run.publish import Blocked, Held, replaced
from lading.run.turns import take_turn
from lading.testing.faults import Crash, Faults

ENDS = {"drop": ".jsonl", "bundle": ".zip"}


def job(channel: str, world: World, faults: Faults | None = None, **kind: Any) -> Job:
    lake, journal, lease = world.lake, world.journal, 0.05
    if faults is not None:
        lake, journal, lease = faults.wrap(lake, "lake"), faults.wrap(journal, "journal"), 3600
    if channel == "drop":
        return world.job(journal=journal, lake=lake, lease=lease, **kind)
    made = BundleChannel(
        [Destination("lake", lake)],
        Layout(tenanted=True),
        JsonlFormat(JsonlOptions()),
        "portable",
        export="orders_drop",
        papers=lambda manifest: [("openapi.json", b"{}")],
    )
    return world.job(journal=journal, channel=made, lease=lease)


def sealed(channel: str, **kind: Any) -> World:
    """A process that died between the seal and the first object that it would have published."""
    world = World(some_orders(months=1))
    die_sealed(world, channel, **kind)
    assert not [info.name for info in world.lake.list() if info.name.endswith("_SUCCESS")]
    return world


def die_sealed(world: World, channel: str, asked: Asked | None = None, **kind: Any) -> None:
    """A call that dies when it has sealed its first sweep."""
    faults = Faults()
    run(job(channel, world.copy(), faults, **kind), asked)
    seal = next(p.number for p in faults.points if p.name.endswith("end.json") and p.operation == "create")
    with contextlib.suppress(Crash):
        run(job(channel, world, Faults(crash=(seal, "after")), **kind), asked)


def data_of(world: World, channel: str) -> str:
    return next(
        i.name for i in world.lake.list() if i.name.endswith(ENDS[channel]) and "_parts" not in i.name
    )


@pytest.mark.parametrize("channel", ENDS)
def test_a_commit_whose_files_stand_is_rolled_forward(channel: str) -> None:
    world = sealed(channel)
    assert {r.status for r in run(job(channel, world))} <= {"succeeded", "skipped"}
    assert verify(world.lake).ok


@pytest.mark.parametrize("how", ["is gone", "bytes where"])
@pytest.mark.parametrize("channel", ENDS)
def test_a_commit_whose_files_were_removed_or_cut_is_not_published(channel: str, how: str) -> None:
    world = sealed(channel)
    name = data_of(world, channel)
    whole = world.lake.get(name)
    if how == "is gone":
        world.lake.delete(name)
    else:
        world.lake.put(name, whole[:-1])
    staged = [i.name for i in world.lake.list() if "_parts/" in i.name]
    for _ in range(2):
        results = run(job(channel, world))
        failed, *behind = [r for r in results if r.status == "failed"]
        assert {r.tenant for r in behind} <= {failed.tenant}  # nothing newer overtakes it
        assert failed.exit_code == 6
        assert name in (failed.error or "")
        assert how in (failed.error or "")
        folder = name.partition("/data/")[0].rpartition("/")[0]
        assert not [i.name for i in world.lake.list(folder) if i.name.endswith("_SUCCESS")]
    assert [n for n in staged if n.startswith(folder)] == [
        i.name for i in world.lake.list(folder) if "_parts/" in i.name
    ]
    world.lake.put(name, whole)
    assert {r.status for r in run(job(channel, world))} <= {"succeeded", "skipped"}
    assert verify(world.lake).ok


def test_a_destination_that_does_not_list_is_published_to_as_it_was_sealed() -> None:
    world, faults = sealed("drop"), Faults(denied=["list"])
    results = run(world.job(lake=faults.wrap(world.lake, "lake")))
    assert {r.status for r in results} <= {"succeeded", "skipped"}
    assert verify(world.lake).ok


def test_what_is_published_by_the_call_that_sealed_it_costs_no_listing() -> None:
    world, faults = World(some_orders(months=1)), Faults()
    run(job("drop", world, faults))
    listed = {p.name for p in faults.points if (p.store, p.operation) == ("lake", "list")}
    assert not [name for name in listed if name.endswith("-a1/")]


# --- lost for good

FEBRUARY, MARCH = JANUARY.replace(month=2), JANUARY.replace(month=3)
AGAIN = Asked(start=JANUARY, end=FEBRUARY, revise=True, reason="its file was lost")


def lost(channel: str = "drop", **kind: Any) -> tuple[World, str]:
    """A world in which a file of a sealed run is gone, and that run's tenant."""
    world = sealed(channel, **kind)
    world.lake.delete(data_of(world, channel))
    results = run(job(channel, world, **kind))
    assert {r.exit_code for r in results if r.status == "failed"} == {6}
    (tenant,) = {r.tenant for r in results if r.status == "failed"}
    return world, tenant


def every_row_once(world: World) -> bool:
    return ids(world.lake) == dict.fromkeys(world.table["id"].to_pylist(), 1)


def statuses(world: World, tenant: str, month: datetime = JANUARY) -> list[str]:
    """Of the tenant's runs of a month, in the order of their seals."""
    known = [r.summary for r in record.runs(world.job().journal) if r.run["tenant"] == tenant]
    return [each["status"] for each in known if each["interval"]["start"] == instant(month)]


@pytest.mark.parametrize("channel", ENDS)
def test_a_revision_takes_the_place_of_what_was_lost_and_lets_newer_runs_through(channel: str) -> None:
    world, tenant = lost(channel)
    assert statuses(world, tenant) == ["committed"]
    assert statuses(world, tenant, FEBRUARY) == ["committed"]
    results = run(job(channel, world), AGAIN)
    assert {r.status for r in results} == {"succeeded"}
    assert statuses(world, tenant) == ["replaced", "published"]
    assert statuses(world, tenant, FEBRUARY) == ["published"]
    assert verify(world.lake).record()["problems"] == []
    assert channel != "drop" or every_row_once(world)
    assert {r.status for r in run(job(channel, world))} == {"skipped"}
    made = world.job()
    standing = made.standing(Clock(world.now, world.now, world.now), None)
    assert record.status(made.journal, made.export, world.now, None, standing)["unpublished"] == 0


def test_a_revision_that_is_lost_too_is_revised_in_its_turn() -> None:
    world, tenant = lost()
    die_sealed(world, "drop", AGAIN)
    second = next(n for n in names(world, tenant) if "-a2/" in n)
    world.lake.delete(second)
    assert {r.exit_code for r in run(world.job()) if r.status == "failed"} == {6}
    run(world.job(), replace(AGAIN, reason="lost again"))
    assert statuses(world, tenant) == ["replaced", "replaced", "published"]
    assert every_row_once(world)
    (newest,) = [r.run for r in record.runs(world.job().journal) if r.run["reason"] == "lost again"
                 and r.run["tenant"] == tenant]  # fmt: skip
    assert len(newest["supersedes"]) == 2, (
        "readers may yet meet the first, and never the second, which names it"
    )


def names(world: World, tenant: str) -> list[str]:
    return [i.name for i in world.lake.list() if f"tenant={tenant}/" in i.name and i.name.endswith(".jsonl")]


@pytest.mark.slow
def test_a_revision_of_what_was_lost_may_be_killed_anywhere() -> None:
    world, tenant = lost()
    faults = Faults()
    run(job("drop", world.copy(), faults), AGAIN)
    for number in range(1, faults.count + 1):
        again, told = world.copy(), f"killed before point {number}"
        with contextlib.suppress(Crash):
            run(job("drop", again, Faults(crash=(number, "before"))), AGAIN)
        assert max(ids(again.lake).values(), default=1) == 1, told
        assert {r.status for r in run(again.job(), AGAIN)} <= {"succeeded", "skipped"}, told
        run(again.job())
        assert "committed" not in statuses(again, tenant) + statuses(again, tenant, FEBRUARY), told
        assert every_row_once(again), told
        assert verify(again.lake).record()["problems"] == [], told


def test_a_revision_of_another_interval_does_not_pass_what_was_lost() -> None:
    world, tenant = lost()
    results = run(world.job(), replace(AGAIN, start=FEBRUARY, end=MARCH))
    assert {(r.tenant, r.exit_code) for r in results if r.status == "failed"} == {(tenant, 6)}
    assert statuses(world, tenant, FEBRUARY) == ["committed", "committed"]
    run(world.job(), AGAIN)
    assert statuses(world, tenant, FEBRUARY) == ["published", "published"]
    assert every_row_once(world)


def test_what_is_not_lost_is_waited_for_and_never_replaced() -> None:
    attempt = Attempt("orders_drop", JANUARY, 1)
    run_ = {"tenant": "a", "major": 1, "run_id": "1", "supersedes": [], "reason": ""}
    revision = {**run_, "run_id": "2", "supersedes": ["1"], "reason": "again"}
    away, refused = StoreUnavailable("It is out of reach."), IntegrityError("The table lacks runs.")
    for error, passes in ((away, False), (refused, False), (Lost("A file is gone."), True)):
        before = [Held(attempt, {}, run_, error)]
        assert replaced(before, revision, "append") is passes
        assert replaced(before, revision, "full_refresh") is passes
        assert not replaced(before, {**revision, "supersedes": []}, "append")


def test_a_lost_full_refresh_is_replaced_by_a_revision_of_whatever_tick_is_the_latest() -> None:
    kind = {"mode": "full_refresh", "tenants": False, "keep": 1}
    world, _ = lost(**kind)
    world.now += timedelta(days=1)
    assert {r.exit_code for r in run(world.job(**kind))} == {6}
    results = run(world.job(**kind), Asked(revise=True, reason="lost"))
    assert {r.status for r in results} == {"succeeded"}
    assert every_row_once(world)
    known = record.runs(world.job().journal)
    assert [r.summary["status"] for r in known] == ["replaced", "replaced", "published"]
    for _ in range(2):  # `keep` removes what is left of them
        run(world.job(lease=0.0, **kind))
    assert len({name.rpartition("/")[0] for name in snapshot(world.lake) if name.endswith(".jsonl")}) == 1


def lose(world: World, part: str) -> None:
    world.lake.delete(next(i.name for i in world.lake.list() if part in i.name and i.name.endswith(".jsonl")))


def test_who_replaces_a_run_publishes_what_waited_though_others_are_found_blocked() -> None:
    world = World(some_orders(months=3), now=JANUARY.replace(month=4))

    def away(operation: str, name: str) -> None:
        if operation == "put" and name.endswith("_SUCCESS"):
            raise StoreUnavailable("It is out of reach.")

    run(world.job(lake=Hooked(world.lake, away)))
    for part in ("tenant=a/2024/01", "tenant=b/2024/01", "tenant=c/2024/02"):
        lose(world, part)
    assert {r.tenant for r in run(world.job()) if r.status == "failed"} == {"a", "b", "c"}
    run(world.job(), replace(AGAIN, start=FEBRUARY, end=MARCH))
    assert statuses(world, "c", FEBRUARY) == ["replaced", "published"]
    assert statuses(world, "c", MARCH) == ["published"]


def test_what_waits_behind_a_lost_run_of_another_major_is_not_taken_for_lost() -> None:
    attempt = Attempt("orders_drop", JANUARY, 1)
    waits = {"tenant": "a", "major": 1, "run_id": "1", "supersedes": [], "reason": ""}
    revision = {**waits, "major": 2, "run_id": "2", "supersedes": ["1"], "reason": "again"}
    gone = Lost("A file of an older interval is gone.")
    assert not replaced([Held(attempt, {}, waits, gone, behind=True)], revision, "append")
    first = Held(attempt, {}, {**waits, "run_id": "0"}, gone)
    both = {**revision, "supersedes": ["0", "1"]}
    assert replaced([first, Held(attempt, {}, waits, gone, behind=True)], both, "append")


def due_again(**kind: Any) -> tuple[World, Asked]:
    """One interval is delivered, and the next is due; and what asks for a revision of the first."""
    world = World(some_orders(months=1), now=FEBRUARY)
    (first,) = run(world.job(**kind))
    at = world.now + timedelta(hours=1)
    world.table = pa.concat_tables([world.table, orders([(100, "a", at, at)])])
    world.now += timedelta(days=1)
    return world, Asked(start=first.interval.start, end=first.interval.end, revise=True, reason="corrected")


def test_an_interval_that_meets_a_lost_revision_at_its_turn_gives_way() -> None:
    kind = {"mode": "incremental", "tenants": False, "merged": True}
    world, again = due_again(**kind)
    claims = Stopped(creates("claim.json"))
    with claims.running(lambda: run(world.job(journal=Hooked(world.journal, claims.hook), **kind))):
        die_sealed(world, "drop", again, **kind)
        lose(world, "-a2/")
    assert [r.exit_code for r in claims.results if r.status == "failed"] == [6, 6], "it, and the revision"
    assert not [r for r in run(world.job(**kind), replace(again, reason="lost")) if r.status == "failed"]
    assert not [r for r in run(world.job(**kind)) if r.status == "failed"]
    assert every_row_once(world)


def test_what_is_merged_begins_no_interval_while_its_newest_is_lost() -> None:
    kind = {"mode": "incremental", "tenants": False, "merged": True}
    world, _ = lost(**kind)
    world.now += timedelta(days=1)
    (failed,) = run(world.job(**kind))
    assert failed.exit_code == 6
    start, end = failed.interval.start, failed.interval.end
    results = run(world.job(**kind), Asked(start=start, end=end, revise=True, reason="lost"))
    assert [r.status for r in results] == ["succeeded"]
    assert not [r for r in run(world.job(**kind)) if r.status == "failed"]
    assert every_row_once(world)


@pytest.mark.parametrize("wait", [True, False])
def test_a_lost_revision_is_revised_though_another_host_died_over_the_next_interval(wait: bool) -> None:
    kind = {"mode": "incremental", "tenants": False, "merged": True}
    world, again = due_again(**kind)
    turn = Stopped(creates("a0002/runs/"))  # of the revision, when it has had its turn

    def away(operation: str, name: str) -> None:
        if operation == "put" and name.endswith("_SUCCESS"):
            raise StoreUnavailable("It is out of reach.")

    stores = {"journal": Hooked(world.journal, turn.hook), "lake": Hooked(world.lake, away)}
    with turn.running(lambda: run(world.job(**stores, **kind), again)):
        claim_elsewhere(world, **kind)
    lose(world, "-a2/")
    assert [r.exit_code for r in run(world.job(**kind)) if r.status == "failed"] == [6]
    results = run(world.job(**kind), replace(again, reason="lost"), wait=wait)
    if not wait:
        assert {r.exit_code for r in results} == {4, 6}, "nobody has looked for as long as the lease"
        return
    assert [r.status for r in results] == ["succeeded"]
    assert not [r for r in run(world.job(**kind)) if r.status == "failed"]
    assert every_row_once(world)


def claim_elsewhere(world: World, **kind: Any) -> None:
    """A process of another host that died when it had claimed the next interval."""
    before = set(snapshot(world.journal))

    def dead(operation: str, name: str) -> None:
        if claims():
            raise Crash

    def claims() -> list[str]:
        return [n for n in snapshot(world.journal).keys() - before if n.endswith("claim.json")]

    with contextlib.suppress(Crash):
        run(world.job(journal=Hooked(world.journal, dead), **kind))
    (claim,) = claims()
    record = json.loads(world.journal.get(claim))
    world.journal.put(
        claim, json.dumps({**record, "owner": {**record["owner"], "host": "elsewhere"}}).encode()
    )


def test_a_revision_gives_way_to_a_newer_interval_that_is_alive() -> None:
    kind = {"mode": "incremental", "tenants": False, "merged": True, "lease": 1.0}
    world = World(some_orders(months=1), now=FEBRUARY)
    (first,) = run(world.job(**kind))
    at = world.now + timedelta(hours=1)
    world.table = pa.concat_tables([world.table, orders([(100, "a", at, at)])])
    world.now += timedelta(days=1)
    sealing = Stopped(creates("a0001/runs/"))
    with sealing.running(lambda: run(world.job(journal=Hooked(world.journal, sealing.hook), **kind))):
        again = Asked(start=first.interval.start, end=first.interval.end, revise=True, reason="corrected")
        (failed,) = run(world.job(**kind), again)
        assert (failed.exit_code, "is being delivered" in str(failed.error)) == (4, True)
    assert {r.status for r in sealing.results} == {"succeeded"}


def test_a_sweep_that_revises_for_some_of_its_tenants_waits_its_turn_for_the_others() -> None:
    world = World(some_orders(months=1), now=FEBRUARY)
    job = world.job(mode="incremental", merged=True)
    first = run(job)[0].interval
    ends = {"start": instant(first.start), "end": instant(first.end)}
    claim = job.journal.claim(
        Attempt("orders_drop", first.start, 2), {"revises": True, "runs": [], "interval": ends}
    )
    assert claim is not None
    sweep = SweepPlan(
        Interval(FEBRUARY, MARCH), (RunPlan("a", 1, reason="r"), RunPlan("b", reason="r")), reason="r"
    )
    with claim, pytest.raises(InProgress):
        take_turn(job, sweep, Blocked(), wait=False, waiting=print)
    take_turn(job, replace(sweep, runs=sweep.runs[:1]), Blocked(), wait=False, waiting=print)


# --- what is told of it


def told(world: World, **kind: Any) -> dict[str, Any]:
    made = world.job(**kind)
    standing = made.standing(Clock(world.now, world.now, world.now), None)
    return record.status(made.journal, made.export, world.now, timedelta(days=40).total_seconds(), standing)


def missing(status: dict[str, Any]) -> list[int]:
    """The months."""
    return [int(each["start"][5:7]) for each in status["missing_intervals"]]


def test_what_waits_to_be_published_is_missing_and_not_fresh() -> None:
    world = World(some_orders(months=3), now=FEBRUARY + timedelta(days=1))
    die_sealed(world, "drop")
    status = told(world)
    assert (status["watermark"], status["fresh"], missing(status)) == (None, False, [1, 2, 3, 4])
    assert not [r for r in run(world.job()) if r.status == "failed"]
    status = told(world)
    assert (status["watermark"], status["fresh"], missing(status)) == (instant(FEBRUARY), True, [2, 3, 4])


def test_one_tenant_whose_run_was_lost_makes_its_interval_and_those_behind_it_missing() -> None:
    world, tenant = lost()
    status = told(world)
    assert (status["watermark"], status["fresh"]) == (None, False)
    assert missing(status) == [1, 2, 3, 4]
    others = tuple(set("abc") - {tenant})
    assert missing(told(world, discover=False, listed=others)) == [], "nobody waits for a tenant that is gone"
    run(world.job(), AGAIN)
    run(world.job())
    assert (told(world)["watermark"], missing(told(world))) == (instant(JANUARY.replace(month=5)), [])


def test_a_revision_that_waits_takes_nothing_away_from_what_was_delivered() -> None:
    world = World(some_orders(months=1), now=FEBRUARY + timedelta(days=1))
    run(world.job())
    before = told(world)
    die_sealed(world, "drop", AGAIN)
    after = told(world)
    assert after["unpublished"] == 3
    assert {**after, "last_run": None, "unpublished": 0} == {**before, "last_run": None}


def test_an_interval_without_news_makes_nothing_fresh_that_was_lost_before_it() -> None:
    kind = {"mode": "incremental", "tenants": False}
    world, _ = lost(**kind)
    world.now += timedelta(days=1)
    run(world.job(**kind))
    assert "unchanged" in {r.summary["status"] for r in record.runs(world.job().journal)}
    assert (told(world, **kind)["watermark"], told(world, **kind)["fresh"]) == (None, False)


def test_a_full_refresh_that_waits_is_as_old_as_the_one_before_it() -> None:
    kind = {"mode": "full_refresh", "tenants": False}
    world = World(some_orders(months=1))
    run(world.job(**kind))
    before = told(world, **kind)["watermark"]
    world.now += timedelta(days=1)
    die_sealed(world, "drop", **kind)
    assert told(world, **kind)["watermark"] == before
    run(world.job(**kind))
    assert told(world, **kind)["watermark"] > before


def test_the_plan_lists_nothing_that_a_run_will_not_begin() -> None:
    kind = {"mode": "incremental", "tenants": False, "merged": True}
    world, _ = lost(**kind)
    world.now += timedelta(days=1)
    found = outlook(world.job(**kind))
    assert (found.due, found.unpublished, found.something) == ((), 1, True)


@pytest.mark.parametrize("mode", ["append", "incremental"])
def test_what_a_new_major_has_taken_the_place_of_is_missed_no_more(mode: str) -> None:
    kind = {"mode": mode, "tenants": False}
    world, _ = lost(**kind)

    def second() -> Job:
        made = world.job(**kind)
        old = made.standing
        return replace(
            made,
            own=replace(made.own, major=2, contract={**made.own.contract, "version": "2.0.0"}),
            standing=lambda clock, upto: replace(old(clock, upto), major=2),
        )

    first = min((r.summary["interval"] for r in record.runs(world.job().journal)), key=lambda i: i["start"])
    again = replace(AGAIN, start=parse_instant(first["start"]), end=parse_instant(first["end"]))
    run(second(), again)
    world.now += timedelta(days=1)
    run(second())
    made = second()
    standing = made.standing(Clock(world.now, world.now, world.now), None)
    status = record.status(made.journal, made.export, world.now, None, standing)
    assert (missing(status), status["unpublished"]) == ([], 0)
    assert status["watermark"] > first["start"]

"""What a run promises, with every part in memory."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa
import pytest
from worlds import JANUARY, Hooked, World, ids, orders, snapshot, some_orders

from lading.engine import threads
from lading.errors import DataRefused, InvalidProject, StoreFull
from lading.keys.memory import MemoryKeyring
from lading.plan import Asked, plan
from lading.ports import Bound
from lading.proof import verify
from lading.run import lanes, run, story
from lading.stores.memory import MemoryStore


def every_id(world: World) -> Counter[int]:
    return Counter(world.table["id"].to_pylist())


def statuses(results) -> set[str]:
    return {result.status for result in results}


def test_every_row_of_every_due_interval_is_delivered_once():  # D7
    w = World(some_orders())
    assert statuses(run(w.job())) == {"succeeded"}
    assert ids(w.lake) == every_id(w)
    assert verify(w.lake).record()["problems"] == []


@pytest.mark.parametrize("cores", [1, 64])
@pytest.mark.parametrize("tenants", [True, False])
def test_cores_decide_about_threads_and_not_about_what_is_delivered(
    cores: int, tenants: bool, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(lanes, "_cores", lambda: cores)
    readers: list[int] = []

    def ahead(items: Any, *limits: Any) -> Any:
        readers.append(1)
        return threads.ahead(items, *limits)

    monkeypatch.setattr(lanes, "ahead", ahead)
    w = World(some_orders())
    run(w.job(tenants=tenants))
    assert bool(readers) == (cores == 64)
    assert ids(w.lake) == every_id(w)


def test_running_twice_changes_no_object_and_says_skipped():  # D15
    w = World(some_orders())
    run(w.job())
    before = snapshot(w.lake), snapshot(w.journal)
    assert statuses(run(w.job())) == {"skipped"}
    assert (snapshot(w.lake), snapshot(w.journal)) == before


def test_a_backlog_is_planned_once_and_again_only_for_a_tenant_who_was_met_in_it(monkeypatch):
    rows = [(n, "ab"[n % 2], JANUARY, JANUARY) for n in range(4)]
    march = JANUARY.replace(month=3)
    w = World(orders([*rows, (4, "c", march, march)]))
    plans = []
    monkeypatch.setattr(story, "plan", lambda *args: plans.append(args) or plan(*args))
    results = run(w.job())
    assert len(plans) == 3, "at first, when January had a and b, when March had c"
    assert Counter(r.tenant for r in results) == {"a": 4, "b": 4, "c": 2}
    assert ids(w.lake) == Counter(range(5))
    assert statuses(run(w.job())) == {"skipped"}


def test_an_empty_interval_of_a_known_tenant_is_delivered_empty():  # D7
    w = World(some_orders(months=1))
    results = run(w.job())
    empty = [r for r in results if r.interval.start.month == 2]
    assert [(r.tenant, r.rows, r.files) for r in empty] == [("a", 0, 1), ("b", 0, 1), ("c", 0, 1)]
    assert verify(w.lake).ok


def test_an_interval_beyond_the_bound_waits_and_is_never_shortened():
    w = World(some_orders(), bound=datetime(2024, 1, 31, 23, 59, tzinfo=UTC))
    assert run(w.job()) == []
    asked = Asked(start=JANUARY, end=datetime(2024, 2, 1, tzinfo=UTC))
    assert statuses(run(w.job(), asked)) == {"not_due"}
    w.bound = datetime(2024, 2, 1, tzinfo=UTC)
    assert statuses(run(w.job(), asked)) == {"succeeded"}


def test_an_unknown_bound_needs_a_safety_lag():
    w = World(some_orders())
    job = w.job()
    blind = replace(job.source, known_to=Bound(w.now, None, "the server is a standby"))
    with pytest.raises(InvalidProject, match="the server is a standby"):
        run(replace(job, source=blind))
    lagging = replace(job, source=blind, safety_lag=86_400.0)
    assert {r.interval.start.month for r in run(lagging)} == {1, 2, 3, 4}


def test_a_null_tenant_fails_the_sweep_and_delivers_nothing():
    at = JANUARY + timedelta(hours=1)
    w = World(orders([(1, "a", at, at), (2, None, at, at)]))
    results = run(w.job())
    assert statuses(r for r in results if r.interval.start == JANUARY) == {"failed"}
    assert "1 row has no tenant" in (results[0].error or "")
    assert results[0].exit_code == 5
    assert 1 not in ids(w.lake)


def test_an_unknown_tenant_fails_the_sweep_with_its_name():
    w = World(some_orders())
    results = run(w.job(discover=False, listed=("a", "b")))
    january = [r for r in results if r.interval.start == JANUARY]
    assert statuses(january) == {"failed"}
    assert "unknown tenant 'c'" in (january[0].error or "")
    assert not [n for n in snapshot(w.lake) if "2024/01" in n and "_FAILURE" not in n]


def test_a_revision_leaves_no_tenant_out_because_nobody_lists_it_any_more() -> None:
    w = World(some_orders(months=1))
    run(w.job(discover=False, listed=("a", "b", "c")))
    again = Asked(start=JANUARY, end=JANUARY.replace(month=2), revise=True, reason="a wrong price")
    results = run(w.job(discover=False, listed=("a", "b")), again)
    assert {(r.status, r.exit_code) for r in results} == {("failed", 5)}
    assert "unknown tenant 'c'" in (results[0].error or "")
    some = replace(again, tenants=("a", "b"))
    assert statuses(run(w.job(discover=False, listed=("a", "b")), some)) == {"succeeded"}


def test_a_failed_sweep_leaves_a_failure_marker_until_it_succeeds():  # D10
    w = World(some_orders(months=1))
    run(w.job(discover=False, listed=("a", "b")))
    assert [n for n in snapshot(w.lake) if n.endswith("_FAILURE_a1")]
    assert "failed" not in statuses(run(w.job(discover=False, listed=("a", "b", "c"))))
    assert not [n for n in snapshot(w.lake) if "_FAILURE" in n]
    assert ids(w.lake) == every_id(w)


def test_a_tenant_listed_later_catches_up_alone():
    w = World(some_orders())
    run(w.job())
    before = snapshot(w.lake)
    results = run(w.job(listed=("z",)))
    assert {r.tenant for r in results if r.status == "succeeded"} == {"z"}
    assert {name: data for name, data in snapshot(w.lake).items() if name in before} == before


def test_one_tenant_alone_and_the_others_later():
    w = World(some_orders())
    first = run(w.job(), Asked(tenants=("b",)))
    assert {r.tenant for r in first} == {"b"}
    assert statuses(run(w.job())) >= {"succeeded"}
    assert ids(w.lake) == every_id(w)


def test_a_tenant_that_nobody_knows_is_a_typo_not_an_empty_delivery():
    w = World(some_orders())
    results = run(w.job(), Asked(tenants=("nobody",)))
    assert statuses(results) == {"failed"}
    assert "not known from anywhere" in (results[0].error or "")
    assert not any("_manifest" in n for n in snapshot(w.lake))


def test_late_rows_arrive_as_an_addition_of_just_those_rows():
    w = World(some_orders(months=1), bound=datetime(2024, 5, 2, tzinfo=UTC))
    run(w.job(late=True))
    late_at = datetime(2024, 5, 3, tzinfo=UTC)
    more = orders([(100, "b", JANUARY + timedelta(hours=9), late_at)])
    w.table = orders(
        [*zip(*w.table.to_pydict().values(), strict=True), *zip(*more.to_pydict().values(), strict=True)]
    )
    w.bound = datetime(2024, 5, 4, tzinfo=UTC)
    results = run(w.job(late=True))
    added = [r for r in results if r.status == "succeeded"]
    assert [(r.tenant, r.revision, r.rows) for r in added] == [("b", 1, 1)]
    assert ids(w.lake) == every_id(w)
    again = snapshot(w.lake)
    assert "succeeded" not in statuses(run(w.job(late=True)))
    assert snapshot(w.lake) == again


def test_a_late_row_of_a_newcomer_is_its_first_delivery_there():
    w = World(some_orders(months=1), bound=datetime(2024, 5, 2, tzinfo=UTC))
    run(w.job(late=True))
    rows = [*zip(*w.table.to_pydict().values(), strict=True)]
    w.table = orders([*rows, (100, "new", JANUARY, datetime(2024, 5, 3, tzinfo=UTC))])
    w.bound = datetime(2024, 5, 4, tzinfo=UTC)
    added = [r for r in run(w.job(late=True)) if r.status == "succeeded"]
    assert [(r.tenant, r.revision, r.rows) for r in added] == [("new", 0, 1)]
    assert ids(w.lake) == every_id(w)


def test_a_revision_supersedes_what_went_before_and_its_reason_counts_once():
    w = World(some_orders(months=1))
    run(w.job())
    asked = Asked(start=JANUARY, end=datetime(2024, 2, 1, tzinfo=UTC), revise=True, reason="prices mended")
    revised = run(w.job(), asked)
    assert {(r.status, r.revision) for r in revised} == {("succeeded", 1)}
    assert statuses(run(w.job(), asked)) == {"skipped"}
    assert ids(w.lake) == every_id(w)
    assert verify(w.lake).ok


def test_incremental_runs_follow_on_one_another_without_gap_or_overlap():  # D7
    w = World(some_orders(months=2), bound=datetime(2024, 1, 15, tzinfo=UTC))
    first = run(w.job(mode="incremental"))
    assert {(r.interval.start, r.interval.end) for r in first} == {(JANUARY, w.bound)}
    w.bound = datetime(2024, 3, 1, tzinfo=UTC)
    second = run(w.job(mode="incremental"))
    assert {r.interval.start for r in second} == {datetime(2024, 1, 15, tzinfo=UTC)}
    assert ids(w.lake) == every_id(w)


def test_an_incremental_run_without_changes_is_noted_and_delivers_nothing():
    w = World(some_orders(months=1), bound=datetime(2024, 2, 1, tzinfo=UTC))
    run(w.job(mode="incremental"))
    before = snapshot(w.lake)
    w.bound = datetime(2024, 3, 1, tzinfo=UTC)
    assert statuses(run(w.job(mode="incremental"))) == {"skipped"}
    assert snapshot(w.lake) == before
    rows = [*zip(*w.table.to_pydict().values(), strict=True)]
    at = datetime(2024, 3, 2, tzinfo=UTC)
    w.table, w.bound = orders([*rows, (50, "a", at, at)]), datetime(2024, 4, 1, tzinfo=UTC)
    delivered = [r for r in run(w.job(mode="incremental")) if r.status == "succeeded"]
    assert [(r.tenant, r.rows, r.interval.start) for r in delivered] == [
        ("a", 1, datetime(2024, 3, 1, tzinfo=UTC))
    ]


def test_a_full_refresh_moves_its_pointer_only_forward():
    w = World(some_orders(months=1))
    run(w.job(mode="full_refresh"))
    first = [d for n, d in snapshot(w.lake).items() if n.endswith("latest.json")]
    assert statuses(run(w.job(mode="full_refresh"))) == {"skipped"}
    w.now += timedelta(days=1)
    assert statuses(run(w.job(mode="full_refresh"))) == {"succeeded"}
    second = [d for n, d in snapshot(w.lake).items() if n.endswith("latest.json")]
    assert len(first) == len(second) == 3
    assert first != second
    assert ids(w.lake) == every_id(w)
    w.now -= timedelta(days=1)
    assert statuses(run(w.job(mode="full_refresh"))) == {"skipped"}
    assert [d for n, d in snapshot(w.lake).items() if n.endswith("latest.json")] == second


def test_without_tenants_each_part_has_files_of_its_own():
    w = World(some_orders(months=1, per_customer=5))
    results = run(w.job(tenants=False))
    january = next(r for r in results if r.interval.start == JANUARY)
    assert (january.tenant, january.rows) == ("default", 15)
    assert january.files > 1
    assert ids(w.lake) == every_id(w)


def test_a_source_that_breaks_midway_delivers_nothing():
    def broken(part, batch):
        raise DataRefused("Column x: a value that its type cannot hold.")

    w = World(some_orders(), extra={"before_batch": broken})
    results = run(w.job())
    assert statuses(r for r in results if r.interval.start == JANUARY) == {"failed"}
    assert not any("_SUCCESS" in n and "2024/01" in n for n in snapshot(w.lake))
    w.extra = {}
    run(w.job())
    assert ids(w.lake) == every_id(w)


def test_a_retry_of_a_replayable_source_that_lost_rows_is_an_error():
    w = World(some_orders(months=1))
    strict = {"discover": False, "listed": ("a", "b")}
    assert "failed" in statuses(run(w.job(**strict)))
    failing = iter([True])

    def lake_full(operation: str, name: str) -> None:
        if operation == "write" and next(failing, False):
            raise StoreFull("full")

    assert "failed" in statuses(run(w.job(lake=Hooked(w.lake, lake_full))))
    w.table = w.table.slice(0, 5)
    shrunk = [r for r in run(w.job()) if r.status == "failed"]
    if not shrunk:
        pytest.fail("the rows that are gone were not missed")
    assert "rows went missing" in (shrunk[0].error or "")
    assert shrunk[0].exit_code == 5
    asked = Asked(
        start=JANUARY, end=datetime(2024, 2, 1, tzinfo=UTC), revise=True, reason="order 6 to 9 were tests"
    )
    assert "failed" not in statuses(run(w.job(), asked))
    assert ids(w.lake) == every_id(w)


def late_world() -> World:
    w = World(some_orders(months=2), bound=datetime(2024, 5, 2, tzinfo=UTC))
    run(w.job(late=True))
    rows = [*zip(*w.table.to_pydict().values(), strict=True)]
    arrival = datetime(2024, 5, 3, tzinfo=UTC)
    february = datetime(2024, 2, 5, tzinfo=UTC)
    w.table = orders([*rows, (100, "a", JANUARY, arrival), (101, "b", february, arrival)])
    w.bound = datetime(2024, 5, 4, tzinfo=UTC)
    return w


def test_who_asks_for_one_interval_gets_no_additions_elsewhere_and_loses_none():
    w = late_world()
    asked = Asked(start=JANUARY, end=datetime(2024, 2, 1, tzinfo=UTC))
    assert {r.interval.start.month for r in run(w.job(late=True), asked) if r.status == "succeeded"} == {1}
    assert {r.interval.start.month for r in run(w.job(late=True)) if r.status == "succeeded"} == {2}
    assert ids(w.lake) == every_id(w)


def test_late_rows_that_cannot_be_judged_fail_the_run_and_not_the_report():
    w = late_world()
    rows = [*zip(*w.table.to_pydict().values(), strict=True)]
    w.table = orders([*rows, (102, None, JANUARY, datetime(2024, 5, 3, tzinfo=UTC))])
    failed = [r for r in run(w.job(late=True)) if r.status == "failed"]
    assert [(r.exit_code, "NULL" in (r.error or "")) for r in failed] == [(5, True)]


def test_a_revision_without_an_interval_is_refused():
    w = World(some_orders())
    with pytest.raises(InvalidProject, match="--revise needs --start and --end"):
        run(w.job(), Asked(revise=True, reason="all of it"))


def test_a_lost_keyring_stops_the_run_instead_of_changing_every_masked_value():  # D17
    w = World(some_orders(months=2), bound=datetime(2024, 2, 1, tzinfo=UTC))
    run(w.job(keyed=True))
    w.bound = None
    other = replace(w.job(keyed=True), keys=MemoryKeyring(b"another seed"))
    failed = [r for r in run(other) if r.status != "skipped"]
    assert {(r.status, r.exit_code) for r in failed} == {("failed", 3)}
    assert "Restore the keyring" in (failed[0].error or "")
    assert "failed" not in statuses(run(w.job(keyed=True)))
    assert ids(w.lake) == every_id(w)


@pytest.mark.parametrize("failures", [0, 1])
def test_a_lost_journal_stops_the_run_before_it_delivers_again_what_stands(failures: int):
    w = World(some_orders())
    whole, at = w.table, JANUARY + timedelta(hours=1)
    for _ in range(failures):  # so that January's delivery is that of a later attempt
        w.table = pa.concat_tables([whole, orders([(10**6, None, at, at)])])
        assert "failed" in statuses(run(w.job()))
    w.table = whole
    run(w.job())
    before = snapshot(w.lake)
    w.journal = MemoryStore("memory://new")
    failed = [r for r in run(w.job()) if r.status == "failed"]
    assert {r.exit_code for r in failed} == {6}
    assert "the journal knows nothing" in (failed[0].error or "")
    assert snapshot(w.lake) == before

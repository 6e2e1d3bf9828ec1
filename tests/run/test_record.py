"""What the journal tells about an export's runs."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa
import pytest
from worlds import JANUARY, Broken, World, orders, snapshot, some_orders, under

from lading.errors import DataRefused
from lading.plan import Asked, Clock
from lading.run import Job, record, run


def refusing(job: Job) -> Job:
    """The same job, whose checks fail."""

    def refuse(*_: Any) -> Any:
        raise DataRefused("This row breaks a promise.")

    return under(job, checks=refuse)


def failures(world: World, job: Job) -> int:
    standing = job.standing(Clock(world.now, world.now, world.now), None)
    told = record.status(job.journal, job.export, world.now, None, standing)
    assert told["last_failure"] == ("This row breaks a promise." if told["failures"] else None)
    return int(told["failures"])


def test_a_full_refresh_of_a_later_tick_mends_an_earlier_failure() -> None:
    w = World(some_orders())
    job = w.job(mode="full_refresh")
    run(refusing(job))
    assert failures(w, job) == 1
    w.now += timedelta(days=1)
    run(refusing(job))
    assert failures(w, job) == 2
    run(job)
    assert failures(w, job) == 0


def test_an_interval_is_mended_by_no_later_one() -> None:
    w = World(some_orders())
    job = w.job()
    run(refusing(job), Asked(start=JANUARY, end=JANUARY.replace(month=2)))
    run(job, Asked(start=JANUARY.replace(month=2), end=JANUARY.replace(month=3)))
    assert failures(w, job) == 1


def test_a_tenant_that_is_no_longer_served_keeps_no_failure_open() -> None:
    w = World(some_orders(customers="ab"))
    january = Asked(start=JANUARY, end=JANUARY.replace(month=2))
    both = w.job(discover=False, listed=("a", "b"))
    run(refusing(both), january)
    only = w.job(discover=False, listed=("a",), inactive=("b",))
    assert failures(w, only) == 1
    run(only, january)
    assert failures(w, only) == 0
    assert failures(w, both) == 1


def test_an_unexpected_failure_is_told_by_its_kind_and_never_by_its_text() -> None:
    w = World(some_orders())

    def burst(*_: Any) -> Any:
        raise ZeroDivisionError("a value of the data")

    job = under(w.job(), checks=burst)
    with pytest.raises(ZeroDivisionError):
        run(job)
    (told,) = [recorded.summary for recorded in record.runs(job.journal)]
    assert (told["status"], told["error"]) == ("failed", "Unexpected: ZeroDivisionError.")


def test_an_abandoned_attempt_is_part_of_the_history() -> None:
    w = World(some_orders(months=1))

    def die(*_: Any) -> Any:
        raise SystemExit

    january = Asked(start=JANUARY, end=JANUARY.replace(month=2))
    with pytest.raises(SystemExit):
        run(under(w.job(), checks=die), january)
    run(w.job(), january)
    told = [recorded.summary for recorded in record.runs(w.job().journal)]
    assert [summary["status"] for summary in told] == ["abandoned", "published", "published", "published"]
    assert "was gone" in told[0]["error"]
    assert failures(w, w.job()) == 0


def test_an_interval_in_which_nobody_had_rows_is_not_missing() -> None:
    w = World(some_orders(months=1))
    w.table = w.table.slice(0, 0)
    standing = w.job().standing(Clock(w.now, w.now, w.now), None)
    before = record.status(w.job().journal, w.job().export, w.now, None, standing)["missing_intervals"]
    assert before
    run(w.job())
    after = record.status(w.job().journal, w.job().export, w.now, None, standing)
    assert (after["missing_intervals"], after["failures"]) == ([], 0)


# --- tenants that nobody knows


FIRST = Asked(start=JANUARY, end=JANUARY.replace(month=2))


def test_a_misspelt_tenant_leaves_no_marker_and_no_failure_behind() -> None:
    w = World(some_orders())
    (failed, *_) = run(w.job(), replace(FIRST, tenants=("nobody",)))
    assert (failed.status, failed.exit_code) == ("failed", 5)
    assert "not known from anywhere" in str(failed.error)
    assert snapshot(w.lake) == {}
    assert failures(w, w.job()) == 0
    run(w.job())
    assert failures(w, w.job()) == 0


def test_a_tenant_whose_first_delivery_nobody_owes_keeps_no_failure_open() -> None:
    w = World(some_orders(months=2, customers="ac").take([0, 1, 2, 9, 10, 11]))  # a in January, c in February
    run(w.job())
    results = run(w.job(), replace(FIRST, tenants=("nobody", "c")))
    assert {r.status for r in results} == {"failed"}
    assert failures(w, w.job()) == 0


def test_a_misspelt_tenant_is_told_where_a_check_finds_its_want_of_rows_first() -> None:
    w = World(some_orders())

    def too_few(*_: Any) -> Any:
        return [Broken()]

    asked = replace(FIRST, tenants=("nobody",))
    assert {r.status for r in run(under(w.job(), checks=too_few), asked)} == {"failed"}
    assert snapshot(w.lake) == {}
    assert failures(w, w.job()) == 0


def test_beside_a_misspelt_tenant_the_others_of_an_incremental_export_have_theirs() -> None:
    w = World(some_orders(months=1), now=FIRST.end)
    kind = {"mode": "incremental"}
    run(w.job(**kind), Asked(tenants=("a",)))
    at = w.now + timedelta(hours=1)
    w.table = pa.concat_tables([w.table, orders([(100, "a", at, at)])])
    w.now += timedelta(days=1)
    results = run(w.job(**kind), Asked(tenants=("a", "nobody")))
    assert {(r.tenant, r.status, r.exit_code) for r in results} == {
        ("nobody", "failed", 5),
        ("a", "succeeded", 0),
    }
    (failed,) = (r for r in results if r.status == "failed")
    assert "'nobody' has no rows here and is not known from anywhere else" in str(failed.error)
    assert failures(w, w.job(**kind)) == 0


def test_whoever_was_asked_for_beside_a_misspelt_tenant_is_still_owed() -> None:
    w = World(some_orders())
    run(w.job(), replace(FIRST, tenants=("a", "nobody")))
    standing = w.job().standing(Clock(w.now, w.now, w.now), None)
    told = record.status(w.job().journal, "orders_drop", w.now, None, standing)
    assert told["failures"] == 1
    assert {name.partition("/")[0] for name in snapshot(w.lake)} <= {"tenant=a", "test"}
    assert not any("nobody" in name for name in snapshot(w.lake))
    run(w.job(), replace(FIRST, tenants=("a",)))
    assert failures(w, w.job()) == 0


def test_a_newcomer_whose_rows_are_refused_is_a_failure_that_stands() -> None:
    w = World(some_orders())
    broken = under(w.job(), checks=lambda *_: [Broken()])
    run(broken, replace(FIRST, tenants=("a",)))
    standing = w.job().standing(Clock(w.now, w.now, w.now), None)
    told = record.status(w.job().journal, "orders_drop", w.now, None, standing)
    assert told["failures"] == 1
    assert any("_FAILURE" in name for name in snapshot(w.lake))


def test_a_revision_for_a_misspelt_tenant_delivers_nothing() -> None:
    w = World(some_orders())
    run(w.job())
    before = snapshot(w.lake)
    (failed,) = run(w.job(), replace(FIRST, tenants=("nobody",), revise=True, reason="late fix"))
    assert "not known from anywhere" in str(failed.error)
    assert snapshot(w.lake) == before
    assert failures(w, w.job()) == 0


# --- runs that are stopped


def stopped(job: Job, asked: Asked) -> None:
    def stop(*_: Any) -> Any:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(under(job, checks=stop), asked)


def last_failure(w: World) -> str | None:
    standing = w.job().standing(Clock(w.now, w.now, w.now), None)
    told = record.status(w.job().journal, "orders_drop", w.now, None, standing)
    assert (told["last_failure"] is None) == (told["failures"] == 0)
    return told["last_failure"]


def test_a_run_that_was_stopped_is_told_as_what_it_was() -> None:
    w = World(some_orders())
    stopped(w.job(), FIRST)
    assert last_failure(w) == "The run was stopped."
    (told,) = [recorded.summary for recorded in record.runs(w.job().journal)]
    assert (told["status"], told["error"]) == ("failed", "The run was stopped.")
    run(w.job(), Asked(start=JANUARY.replace(month=2), end=JANUARY.replace(month=3)))
    assert last_failure(w) == "The run was stopped."  # January is still owed
    run(w.job(), FIRST)
    assert last_failure(w) is None


def test_a_stopped_run_tells_recipients_that_a_retry_may_help() -> None:
    w = World(some_orders())
    stopped(w.job(), replace(FIRST, tenants=("a",)))
    stopped(w.job(listed=("a",)), replace(FIRST, tenants=("a",)))
    (marker,) = [json.loads(data) for name, data in snapshot(w.lake).items() if "_FAILURE" in name]
    assert (marker["error"], marker["retry_may_help"]) == ("Interrupted", True)


def test_a_revision_that_was_stopped_is_forgotten_when_anything_newer_is_delivered() -> None:
    w = World(some_orders())
    run(w.job(), replace(FIRST, tenants=("a",)))  # of the others this would be the first delivery there
    run(w.job(), Asked(start=FIRST.end, end=JANUARY.replace(month=3)))
    stopped(w.job(), replace(FIRST, revise=True, reason="late fix"))
    assert last_failure(w) == "The run was stopped."
    run(w.job(), Asked(start=JANUARY.replace(month=3), end=JANUARY.replace(month=4)))
    assert last_failure(w) is None


def test_a_revision_that_failed_stands_whatever_else_is_delivered() -> None:
    w = World(some_orders())
    run(w.job(), FIRST)
    run(refusing(w.job()), replace(FIRST, revise=True, reason="late fix"))
    run(w.job())
    assert last_failure(w) == "This row breaks a promise."


LISTED = {"discover": False, "listed": ("a",)}


@pytest.mark.parametrize("kind", [LISTED, {}], ids=["listed", "discovered"])
def test_a_revision_that_failed_is_mended_by_whole_runs_and_not_by_late_rows(kind: dict[str, Any]) -> None:
    w = World(some_orders(months=1, customers="a"))
    run(w.job(late=True, **kind))
    again = replace(FIRST, revise=True, reason="prices were wrong")
    run(refusing(w.job(late=True, **kind)), again)
    late = orders([(900, "a", JANUARY + timedelta(hours=5), w.now + timedelta(seconds=1))])
    w.table = pa.concat_tables([w.table, late])
    w.now += timedelta(hours=1)
    run(w.job(late=True, **kind))
    kinds = [r.summary["kind"] for r in record.runs(w.job().journal) if r.attempt.start == JANUARY]
    assert kinds == ["full", "full", "addition"]
    assert failures(w, w.job(late=True, **kind)) == 1
    run(w.job(late=True, **kind), again)
    assert failures(w, w.job(late=True, **kind)) == 0


def test_a_revision_that_failed_is_not_mended_by_what_others_are_delivered() -> None:
    w = World(some_orders())
    only = replace(FIRST, tenants=("a",))
    again = replace(only, revise=True, reason="prices were wrong")
    run(w.job(), only)
    run(refusing(w.job()), again)
    run(w.job(), FIRST)  # which discovers the others, and has nothing for this one
    assert failures(w, w.job()) == 1
    run(w.job(), again)
    assert failures(w, w.job()) == 0


def test_an_addition_that_failed_is_mended_by_a_revision() -> None:
    w = World(some_orders(months=1, customers="a"))
    run(w.job(late=True, **LISTED))
    late = orders([(900, "a", JANUARY + timedelta(hours=5), w.now + timedelta(seconds=1))])
    w.table = pa.concat_tables([w.table, late])
    w.now += timedelta(hours=1)
    run(refusing(w.job(late=True, **LISTED)))
    assert failures(w, w.job(late=True, **LISTED)) == 1
    run(w.job(late=True, **LISTED), replace(FIRST, revise=True, reason="late fix"))
    assert failures(w, w.job(late=True, **LISTED)) == 0


def test_a_revision_that_was_killed_is_told_once_the_next_call_has_found_it_gone() -> None:
    w = World(some_orders())
    run(w.job(), FIRST)
    revision = replace(FIRST, revise=True, reason="late fix")

    def die(*_: Any) -> Any:
        raise SystemExit

    def told() -> list[tuple[int, int, str]]:
        found = (recorded.summary for recorded in record.runs(w.job().journal))
        return [
            (each["attempt"], each["revision"], each["status"]) for each in found if each["tenant"] == "a"
        ]

    for _ in range(2):
        with pytest.raises(SystemExit):
            run(under(w.job(), checks=die), revision)
    assert told() == [(1, 0, "published"), (2, 1, "abandoned")]  # who died last has not been missed yet
    run(w.job(), revision)
    assert told() == [(1, 0, "published"), (2, 1, "abandoned"), (3, 1, "abandoned"), (4, 1, "published")]


# --- age


def test_a_full_refresh_is_as_old_as_its_reading_and_not_as_its_label() -> None:
    w = World(some_orders())
    job = w.job(mode="full_refresh")
    read = datetime(2024, 6, 1, 20, 2, tzinfo=UTC)
    job.journal.now = lambda: read
    run(job)
    standing = job.standing(Clock(w.now, w.now, w.now), None)

    def told(now: datetime) -> tuple[Any, ...]:
        status = record.status(job.journal, job.export, now, 3600.0, standing)
        return status["watermark"], status["freshness_seconds"], status["fresh"]

    assert told(read + timedelta(minutes=2)) == ("2024-06-01T00:00:00Z", 120.0, True)
    assert told(read + timedelta(hours=2)) == ("2024-06-01T00:00:00Z", 7200.0, False)


def test_intervals_are_as_old_as_the_end_of_the_newest() -> None:
    w = World(some_orders())
    job = w.job()
    run(job, FIRST)
    end = JANUARY.replace(month=2)
    standing = job.standing(Clock(w.now, w.now, w.now), None)
    status = record.status(job.journal, job.export, end + timedelta(hours=1), 1800.0, standing)
    assert (status["freshness_seconds"], status["fresh"]) == (3600.0, False)

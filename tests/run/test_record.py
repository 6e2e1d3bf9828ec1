"""What the journal tells about an export's runs."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from worlds import JANUARY, World, some_orders

from lading.errors import DataRefused
from lading.plan import Asked, Clock
from lading.run import Job, record, run


def refusing(job: Job) -> Job:
    """The same job, whose checks fail."""

    def refuse(*_: Any) -> Any:
        raise DataRefused("This row breaks a promise.")

    return replace(job, checks=refuse)


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

    job = replace(w.job(), checks=burst)
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
        run(replace(w.job(), checks=die), january)
    run(w.job(), january)
    told = [recorded.summary for recorded in record.runs(w.job().journal)]
    assert [summary["status"] for summary in told] == ["abandoned", "published", "published", "published"]
    assert "was gone" in told[0]["error"]
    assert failures(w, w.job()) == 0

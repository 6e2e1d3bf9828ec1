"""Rows that went missing at the source between two attempts: a reason lets the interval be delivered all the same."""

# D5
from __future__ import annotations

import re
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from worlds import JANUARY, Broken, World, ids, orders, some_orders, under

from lading.export.interval import parse_instant
from lading.plan import Asked
from lading.run import Result, record, run

FEBRUARY = JANUARY.replace(month=2)
MODES: dict[str, dict[str, Any]] = {
    "append": {},
    "append, listed": {"listed": ("a", "b"), "discover": False},
    "incremental": {"mode": "incremental"},
    "incremental, listed": {"mode": "incremental", "listed": ("a", "b")},
    "incremental, merged": {"mode": "incremental", "merged": True},
    "full refresh": {"mode": "full_refresh"},
}


def shrunken(**kind: Any) -> tuple[World, Result]:
    """A first attempt failed a check behind its last row; one of its rows has another time since."""
    world = World(some_orders(months=1, customers="ab"), now=FEBRUARY)
    run(under(world.job(**kind), checks=lambda *_: [Broken()]))
    rows = list(zip(*world.table.to_pydict().values(), strict=True))
    moved = rows.pop(1)
    world.now += timedelta(days=1)
    world.table = orders(
        [*rows, (*moved[:2], world.now - timedelta(hours=1), world.now - timedelta(hours=1))]
    )
    if kind.get("mode") == "full_refresh":
        world.now, world.table = FEBRUARY, orders(rows)  # its tick's rows are all that there are
    (failed, *_) = (r for r in run(world.job(**kind)) if r.status == "failed")
    assert failed.exit_code == 5
    assert "rows went missing" in str(failed.error)
    return world, failed


def hinted(failed: Result) -> Asked:
    """What the failure says to ask for."""
    ends = re.search(r"--revise (?:--start (\S+) --end (\S+) )?--reason\.$", str(failed.error))
    assert ends is not None
    start, end = (parse_instant(each) if each else None for each in ends.groups())
    return Asked(start=start, end=end, revise=True, reason="it was moved")


@pytest.mark.parametrize("kind", MODES.values(), ids=MODES)
def test_the_hint_that_is_given_delivers_what_was_never_delivered(kind: dict[str, Any]) -> None:
    world, failed = shrunken(**kind)
    asked = hinted(failed)
    results = run(world.job(**kind), asked)
    assert {(r.tenant, r.status, r.revision) for r in results} == {(t, "succeeded", 0) for t in "ab"}
    for _ in range(2):
        assert {r.status for r in run(world.job(**kind), asked)} == {"skipped"}, "it is the same revision"
    world.now = JANUARY.replace(month=3, day=2)
    assert not [r for r in run(world.job(**kind)) if r.status == "failed"]
    assert ids(world.lake) == dict.fromkeys(world.table["id"].to_pylist(), 1)
    reasons = {
        (r.run["tenant"], r.run["reason"]) for r in record.runs(world.job().journal) if r.summary["sealed_at"]
    }
    assert reasons >= {("a", "it was moved"), ("b", "it was moved")}


def places(world: World, **kind: Any) -> dict[str, list[tuple[datetime, datetime, bool]]]:
    """By tenant, the intervals that it has, with those of two more runs."""
    found: dict[str, list[tuple[datetime, datetime, bool]]] = {}
    for day in (0, 1):
        world.now += timedelta(days=day)
        run(world.job(**kind))
    history = world.job().journal.history("orders_drop", world.job().journal.seen("orders_drop"))
    for each in history.runs:
        found.setdefault(each.tenant, []).append((each.interval.start, each.interval.end, each.unchanged))
    return found


@pytest.mark.parametrize("name", [name for name in MODES if name.startswith("incremental")])
def test_a_reason_moves_watermarks_as_an_ordinary_run_does(name: str) -> None:
    kind = {**MODES[name], "listed": ("a", "b", "c")}  # nobody's rows are c's
    world, failed = shrunken(**kind)
    ordinary = World(world.table, now=FEBRUARY)  # where no attempt failed
    run(ordinary.job(**kind))
    ordinary.now = world.now
    run(world.job(**kind), hinted(failed))
    assert places(world, **kind) == places(ordinary, **kind)


def test_a_tenant_at_a_time_may_be_delivered_and_the_rest_after_it() -> None:
    world, failed = shrunken()
    asked = hinted(failed)
    run(world.job(), replace(asked, tenants=("a",)))
    results = run(world.job(), asked)
    assert {(r.tenant, r.status) for r in results} == {("a", "skipped"), ("b", "succeeded")}


def test_without_a_reason_nothing_is_delivered() -> None:
    world, _ = shrunken()
    assert {r.exit_code for r in run(world.job()) if r.status == "failed"} == {5}
    assert not ids(world.lake)

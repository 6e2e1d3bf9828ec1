"""What `lading status` says is missing and how old it says the data is, held against what a run for everybody does."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from worlds import JANUARY, Held, Hooked, World, creates, orders, some_orders, under

from lading.errors import DataRefused, StoreUnavailable
from lading.export.identity import instant
from lading.export.interval import parse_instant
from lading.plan import Asked, Clock
from lading.run import Job, record, run

FEBRUARY = JANUARY.replace(month=2)
JUNE = datetime(2024, 6, 1, 12, tzinfo=UTC)
ONLY_A = Asked(tenants=("a",))
HOUR = timedelta(hours=1)


def told(world: World, job: Job, now: datetime | None = None) -> dict[str, Any]:
    standing = job.standing(Clock(world.now, world.now, world.now), None)
    return record.status(job.journal, job.export, now or world.now, HOUR.total_seconds(), standing)


def missing(status: dict[str, Any]) -> list[int]:
    """The months."""
    return [parse_instant(each["start"]).month for each in status["missing_intervals"]]


def at_the_clock_of(world: World, job: Job) -> Job:
    """The same job, whose journal goes by the world's clock."""
    job.journal.now = lambda: world.now
    return job


def written(world: World, *customers: str) -> None:
    """A row of each now, and a day goes by."""
    first = world.table.num_rows
    rows = [(first + n, customer, world.now, world.now) for n, customer in enumerate(customers)]
    world.table = pa.concat_tables([world.table, orders(rows)])
    world.now += timedelta(days=1)


# --- who has received nothing

TWO = {"discover": False, "listed": ("a", "b")}


def test_an_interval_is_missing_while_a_listed_tenant_has_nothing_of_it() -> None:
    w = World(some_orders(customers="ab"))
    job = w.job(**TWO)
    run(job, ONLY_A)
    status = told(w, job, JANUARY.replace(month=5))
    assert (missing(status), status["watermark"], status["fresh"]) == ([1, 2, 3, 4], None, False)
    run(job)
    status = told(w, job, JANUARY.replace(month=5))
    assert (missing(status), status["fresh"]) == ([], True)


def test_an_interval_is_missing_while_nobody_has_looked_whose_rows_it_holds() -> None:
    w = World(some_orders())
    run(w.job(), ONLY_A)
    assert missing(told(w, w.job())) == [1, 2, 3, 4]
    run(w.job())
    assert missing(told(w, w.job())) == []


def test_a_tenant_that_is_listed_later_lacks_every_interval() -> None:
    w = World(some_orders(customers="ab"))
    run(w.job(**TWO))
    later = w.job(discover=False, listed=("a", "b", "c"))
    assert (missing(told(w, w.job(**TWO))), missing(told(w, later))) == ([], [1, 2, 3, 4])


def test_who_is_inactive_or_was_taken_out_makes_nothing_missing() -> None:
    w = World(some_orders(customers="ab"))
    run(w.job(**TWO), Asked(start=JANUARY, end=FEBRUARY))
    run(w.job(discover=False, listed=("a",), inactive=("b",)))
    assert missing(told(w, w.job(discover=False, listed=("a",), inactive=("b",)))) == []
    assert missing(told(w, w.job(discover=False, listed=("a",)))) == []
    assert missing(told(w, w.job(**TWO))) == [2, 3, 4]


def test_append_is_as_old_as_the_newest_interval_that_nobody_lacks() -> None:
    w = World(some_orders(customers="ab"))
    job = w.job(**TWO)
    run(job, Asked(start=JANUARY, end=FEBRUARY))
    run(job, ONLY_A)
    status = told(w, job)
    assert (missing(status), status["watermark"]) == ([2, 3, 4], instant(FEBRUARY))


@pytest.mark.parametrize("kind", [TWO, {"discover": True}], ids=["listed", "discovered"])
def test_an_incremental_export_is_as_old_as_the_tenant_that_is_furthest_behind(kind: dict[str, Any]) -> None:
    w = World(some_orders(months=1, customers="ab"), now=FEBRUARY)
    job = w.job(mode="incremental", **kind)
    run(job)
    assert (told(w, job)["watermark"], told(w, job)["fresh"]) == (instant(FEBRUARY), True)
    written(w, "a", "b")
    run(job, ONLY_A)
    assert (told(w, job)["watermark"], told(w, job)["fresh"]) == (instant(FEBRUARY), False)
    run(job)
    assert (told(w, job)["watermark"], told(w, job)["fresh"]) == (instant(w.now), True)


@pytest.mark.parametrize("mode", ["incremental", "full_refresh"])
def test_an_export_of_which_a_listed_tenant_has_nothing_is_not_fresh(mode: str) -> None:
    w = World(some_orders(months=1, customers="ab"), now=JUNE)
    job = at_the_clock_of(w, w.job(mode=mode, **TWO))
    run(job, ONLY_A)
    assert (told(w, job)["watermark"], told(w, job)["fresh"]) == (None, False)
    run(job)
    assert told(w, job)["fresh"] is True


@pytest.mark.parametrize("mode", ["incremental", "full_refresh"])
def test_whoever_has_not_been_looked_for_is_not_fresh(mode: str) -> None:
    w = World(some_orders(months=1, customers="a"), now=JUNE)
    job = at_the_clock_of(w, w.job(mode=mode))
    run(job)
    before = told(w, job)["watermark"]
    written(w, "a", "b")
    run(job, ONLY_A)
    assert (told(w, job)["watermark"], told(w, job)["fresh"]) == (before, False)
    run(job)
    assert told(w, job)["fresh"] is True


@pytest.mark.parametrize("mode", ["incremental", "full_refresh"])
def test_who_is_not_served_any_more_makes_nothing_older(mode: str) -> None:
    w = World(some_orders(months=1, customers="ab"), now=JUNE)
    run(at_the_clock_of(w, w.job(mode=mode, **TWO)))
    written(w, "a")
    job = at_the_clock_of(w, w.job(mode=mode, discover=False, listed=("a",), inactive=("b",)))
    run(job)
    assert told(w, job)["fresh"] is True
    assert told(w, w.job(mode=mode, discover=False, listed=("a",)))["fresh"] is True
    assert told(w, w.job(mode=mode, **TWO))["fresh"] is False


@pytest.mark.parametrize("mode", ["append", "incremental", "full_refresh"])
def test_a_tenant_has_what_it_has_under_both_majors(mode: str) -> None:
    def away(operation: str, name: str) -> None:
        if operation == "put" and name.startswith("v2/") and name.endswith("_SUCCESS"):
            raise StoreUnavailable("It is out of reach.")

    w = World(some_orders(months=1), now=JUNE)
    job = at_the_clock_of(w, w.job(mode=mode, beside=True))
    run(at_the_clock_of(w, w.job(mode=mode, beside=True, lake=Hooked(w.lake, away))))
    status = told(w, job)
    assert (status["unpublished"] > 0, status["watermark"]) == (True, None)
    assert missing(status) == ([1, 2, 3, 4] if mode == "append" else [])
    run(job)
    status = told(w, job)
    assert (status["unpublished"], bool(status["watermark"]), missing(status)) == (0, True, [])


# --- which reading is the newest


def test_a_full_refresh_is_as_old_as_its_newest_tick_whichever_was_sealed_last() -> None:
    w = World(some_orders(months=1, customers="a"), now=JUNE)
    held = Held(creates("/opened/"))
    slow = at_the_clock_of(w, w.job(mode="full_refresh", journal=Hooked(w.journal, held.hook), lease=3600))
    with held.running(lambda: run(slow)):
        w.now += timedelta(days=1)
        job = at_the_clock_of(w, w.job(mode="full_refresh", lease=3600))
        run(job)
        before = told(w, job)
        w.now += timedelta(minutes=5)
    assert [r.status for r in held.results] == ["succeeded"]
    after = told(w, job)
    assert (after["watermark"], after["freshness_seconds"]) == (before["watermark"], 300.0)
    assert after["last_run"] > before["last_run"]


def test_the_last_run_is_the_last_by_time_and_not_by_its_text() -> None:
    w = World(some_orders(months=1))
    job = w.job()
    for month, micros in ((1, 0), (2, 500_000)):
        job.journal.now = lambda micros=micros: JUNE.replace(microsecond=micros)
        run(job, Asked(start=JANUARY.replace(month=month), end=JANUARY.replace(month=month + 1)))
    assert parse_instant(told(w, job)["last_run"]) == JUNE.replace(microsecond=500_000)


# --- whatever happened before


@dataclass
class Place:
    """A world in which tenants are listed, inactive or in no file, while runs succeed, fail and die."""

    mode: str
    discover: bool
    world: World = field(default_factory=lambda: World(some_orders(months=2), now=JUNE))
    listed: set[str] = field(default_factory=set)
    inactive: set[str] = field(default_factory=set)

    def job(self, **changes: Any) -> Job:
        return at_the_clock_of(
            self.world,
            self.world.job(
                mode=self.mode,
                discover=self.discover,
                listed=tuple(sorted(self.listed)),
                # Rows of a tenant that no file names end a run that does not discover.
                inactive=tuple(sorted(self.inactive if self.discover else {*"abc"} - self.listed)),
                **changes,
            ),
        )

    @property
    def served(self) -> set[str]:
        return {*"abc"} - self.inactive if self.discover else self.listed

    def do(self, act: str, tenants: str) -> None:
        if act in ("list", "deactivate", "remove"):
            self.listed -= {*tenants}
            self.inactive -= {*tenants}
            self.listed |= {*tenants} if act == "list" else set()
            self.inactive |= {*tenants} if act == "deactivate" else set()
        elif act == "write":
            written(self.world, *tenants)
        else:
            whom = tuple(sorted(self.served & {*tenants}))
            if whom:
                run(self._made(act), Asked(tenants=None if len(tenants) == 3 else whom))

    def _made(self, act: str) -> Job:
        def away(operation: str, name: str) -> None:
            if operation == "put" and name.endswith("_SUCCESS"):
                raise StoreUnavailable("It is out of reach.")

        def refuse(*_: Any) -> Any:
            raise DataRefused("This row breaks a promise.")

        if act == "fail":
            return under(self.job(), checks=refuse)
        return self.job(lake=Hooked(self.world.lake, away)) if act == "wait" else self.job()

    def records(self) -> dict[datetime, set[tuple[int, str]]]:
        """Claims, and what is published to whom it serves now, by the start of the interval."""
        told = {"claim.json", *(f"published/{tenant}.json" for tenant in self.served)}
        return {
            start: {(seen.attempt.number, name) for seen in attempts for name in seen.names & told}
            for start, attempts in self.job().journal.seen("orders_drop").items()
        }

    def run_for_everybody(self) -> list[datetime]:
        """Starts of the intervals of which that delivers something, or reads the rows."""
        before = self.records()
        run(self.job())
        return sorted(start for start, names in self.records().items() if names - before.get(start, set()))


acts = st.lists(
    st.tuples(
        st.sampled_from(["run", "run", "wait", "fail", "list", "list", "deactivate", "remove", "write"]),
        st.sampled_from(["a", "b", "ab", "abc"]),
    ),
    max_size=7,
)


@settings(max_examples=60)
@given(acts, st.booleans())
def test_what_is_missing_is_what_a_run_for_everybody_delivers(
    acts: list[tuple[str, str]], discover: bool
) -> None:
    place = Place("append", discover)
    for act in acts:
        place.do(*act)
    before = told(place.world, place.job())
    delivered = place.run_for_everybody()
    assert [parse_instant(each["start"]) for each in before["missing_intervals"]] == delivered
    after = told(place.world, place.job())
    assert (after["missing_intervals"], after["unpublished"]) == ([], 0)


@settings(max_examples=60)
@given(acts, st.booleans())
def test_an_incremental_export_is_as_old_as_where_a_run_for_everybody_goes_on(
    acts: list[tuple[str, str]], discover: bool
) -> None:
    place = Place("incremental", discover)
    for act in acts:
        place.do(*act)
    before = told(place.world, place.job())
    delivered = place.run_for_everybody()
    if before["unpublished"] == 0 and before["watermark"]:
        goes_on = delivered[0] if delivered else place.world.now
        assert parse_instant(before["watermark"]) == goes_on
    after = told(place.world, place.job())
    assert after["unpublished"] == 0
    assert after["watermark"] in (None, instant(place.world.now))
    assert after["watermark"] or not place.listed


@settings(max_examples=60)
@given(acts, st.booleans())
def test_a_full_refresh_is_of_the_latest_tick_when_a_run_for_everybody_finds_nothing_to_do(
    acts: list[tuple[str, str]], discover: bool
) -> None:
    place = Place("full_refresh", discover)
    for act in acts:
        place.do(*act)
    before = told(place.world, place.job())
    delivered = place.run_for_everybody()
    tick = instant(place.world.now.replace(hour=0))
    if before["unpublished"] == 0 and before["watermark"]:
        assert bool(delivered) == (before["watermark"] != tick)
    after = told(place.world, place.job())
    assert after["watermark"] in (None, tick)
    assert after["watermark"] or not place.served

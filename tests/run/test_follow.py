"""When the passes of a continuous export begin, and what ends them."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from worlds import Hooked, World, ids, orders

from lading.errors import InProgress, SchemaMismatch, StoreUnavailable
from lading.events import Event, Resting
from lading.export.interval import parse_every
from lading.export.schedule import Schedule, next_tick
from lading.journal.log import Attempt
from lading.plan import Asked
from lading.run import Result, follow
from lading.run.follow import LONGEST_REST, PAUSE

NOON = datetime(2024, 6, 1, 12, tzinfo=UTC)
HOURLY = Schedule(every=parse_every("1 hour"))


def seconds(count: float) -> timedelta:
    return timedelta(seconds=count)


class Script:
    """What happens while a follower rests, once for each rest; then it ends. Keeps how long each rest was."""

    def __init__(self, *acts: Callable[[float], object]) -> None:
        self.acts, self.rests = list(acts), list[float]()

    def __call__(self, rest: float) -> bool:
        self.rests.append(rest)
        if not self.acts:
            return True
        self.acts.pop(0)(rest)
        return False


def world() -> World:
    return World(orders([]), now=NOON, bound=NOON - seconds(1))


def passed(w: World, count: float) -> None:
    w.now += seconds(count)
    w.bound = w.now - seconds(1)


def arrive(w: World, count: int = 1) -> None:
    """Rows of a customer that are written now."""
    new = orders([(w.table.num_rows + n, "a", w.now, w.now) for n in range(count)])
    w.table = pa.concat_tables([w.table, new])


def statuses(passes: list[list[Result]]) -> list[set[str]]:
    return [{result.status for result in results} for results in passes]


def told(w: World, pause: Script, **changes: Any) -> tuple[list[list[Result]], list[Resting]]:
    events: list[Event] = []
    job = w.job(mode="incremental", on_event=events.append, **changes)
    passes = list(follow(job, Asked(), pause=pause))
    return passes, [event for event in events if isinstance(event, Resting)]


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 90), st.integers(1, 60)), max_size=8))
def test_every_row_is_delivered_by_one_pass(acts: list[tuple[int, int, int]]):  # D7
    w = world()

    def act(rows: int, more: int, held: int) -> Callable[[float], object]:
        def happen(rest: float) -> None:
            arrive(w, rows)
            w.now += seconds(rest + more)
            # A transaction that is still open holds the bound back; it never falls.
            w.bound = max(w.bound or NOON, w.now - seconds(held))

        return happen

    told(w, Script(*(act(*each) for each in acts), lambda rest: passed(w, rest)))
    assert ids(w.lake) == dict.fromkeys(range(w.table.num_rows), 1)


def test_without_a_schedule_the_next_pass_begins_a_minute_after_the_last():
    w = world()
    pause = Script(lambda rest: (arrive(w), passed(w, rest)), lambda rest: passed(w, rest))
    passes, rests = told(w, pause)
    assert [len(p) for p in statuses(passes)] == [0, 1, 1]
    assert statuses(passes)[1:] == [{"succeeded"}, {"skipped"}]
    assert pause.rests == [PAUSE] * 3
    assert {event.error for event in rests} == {None}


def test_with_a_schedule_a_pass_begins_when_the_bound_has_reached_the_tick():
    w = world()

    def held(rest: float) -> None:
        w.now += seconds(rest)  # the bound stands still: a transaction is open

    pause = Script(
        *[lambda rest: passed(w, rest)] * 6,  # an hour, ten minutes at a time
        held,
        lambda rest: passed(w, rest),
    )
    w.now, w.bound = NOON + seconds(5), NOON + seconds(4)
    job = w.job(mode="incremental")
    begun = [w.now for _ in follow(job, Asked(), pause=pause, tick_after=lambda at: next_tick(HOURLY, at))]
    assert begun[0] == NOON + seconds(5)
    (second,) = begun[1:]
    assert w.bound >= NOON + seconds(3600)
    assert second - (NOON + seconds(3600)) < seconds(5)
    assert pause.rests[:5] == [LONGEST_REST] * 5
    assert all(rest >= 1 for rest in pause.rests)


def test_a_pass_that_a_retry_may_help_is_tried_again_ever_later():
    w = world()
    down = [True]

    def hook(operation: str, name: str) -> None:
        if down[0] and operation == "list":
            raise StoreUnavailable("The journal is away.")

    def back(rest: float) -> None:
        down[0] = False

    arrive(w)
    passed(w, 10)
    pause = Script(*[lambda rest: None] * 8, back)
    passes, rests = told(w, pause, journal=Hooked(w.journal, hook))
    assert pause.rests == [1, 2, 4, 8, 16, 32, 60, 60, 60, PAUSE]
    assert [event.error for event in rests] == ["The journal is away."] * 9 + [None]
    assert statuses(passes) == [{"succeeded"}]


def test_runs_that_failed_and_may_succeed_are_tried_again():
    w = world()
    full = [True]

    def hook(operation: str, name: str) -> None:
        if full[0] and operation == "write":
            raise StoreUnavailable("The lake is away.")

    arrive(w)
    passed(w, 10)
    pause = Script(lambda rest: full.__setitem__(0, False), lambda rest: passed(w, rest))
    passes, rests = told(w, pause, lake=Hooked(w.lake, hook))
    assert statuses(passes) == [{"failed"}, {"succeeded"}, {"skipped"}]
    assert [event.error is None for event in rests] == [False, True, True]
    assert pause.rests[0] == 1
    assert ids(w.lake) == {0: 1}


def test_runs_that_fail_for_good_end_it_and_are_among_the_last_results():
    w = world()
    w.table = orders([(1, None, NOON, NOON)])  # no tenant
    passed(w, 10)
    pause = Script()
    passes, rests = told(w, pause)
    assert statuses(passes) == [{"failed"}]
    assert passes[0][0].exit_code == 5
    assert (pause.rests, rests) == ([], [])


def test_what_makes_passes_impossible_for_good_is_raised():
    w = world()
    arrive(w)
    passed(w, 10)

    def changed() -> Any:
        raise SchemaMismatch("A column is gone.")

    with pytest.raises(SchemaMismatch):
        told(w, Script(), binding=changed)


def test_who_does_not_want_to_wait_for_others_is_not_kept():
    w = world()
    arrive(w)
    passed(w, 10)
    job = w.job(mode="incremental", lease=60)
    start = datetime(2024, 1, 1, tzinfo=UTC)
    interval = {"start": "2024-01-01T00:00:00Z", "end": "2024-06-01T12:00:00Z"}
    claim = job.journal.claim(
        Attempt(job.export, start, 1), {"runs": [], "discover": True, "interval": interval}
    )
    assert claim is not None
    with claim, pytest.raises(InProgress):
        list(follow(job, Asked(), pause=Script(), wait=False))

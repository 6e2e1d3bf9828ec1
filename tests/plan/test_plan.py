"""What is due, whatever happened before: nothing twice, nothing left out, nothing before its time."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lading.errors import InvalidProject, NotDue
from lading.export.interval import Interval, grid, parse_every
from lading.history import Delivered, History, Swept, Terms, standing_runs
from lading.plan import Asked, Clock, Plan, Standing, SweepPlan, additions, late_window, owed, plan

JANUARY = datetime(2024, 1, 1, tzinfo=UTC)
GRID = tuple(grid(JANUARY, parse_every("1 day"), last=JANUARY + timedelta(days=12)))
ON_EVENTS = Terms("append", None, "at", "arrived")
APPEND = Standing(Terms("append"), major=1, grid=GRID, listed=("a", "b"))


def day(n: float) -> datetime:
    return JANUARY + timedelta(days=n)


def clock(at: datetime) -> Clock:
    return Clock(now=at + timedelta(days=1), bound=at, arrived=at)


def run_id(tenant: str, major: int, start: datetime, revision: int) -> str:
    return f"{tenant}-{major}-{start:%Y%m%dT%H%M%S.%f}-{revision}"


def sealed(
    history: History, sweep: SweepPlan, standing: Standing, bound: datetime, met: tuple[str, ...] = ()
) -> History:
    """The history once this sweep is sealed; ``met``: tenants that only its rows named."""
    major, start = standing.major, sweep.interval.start
    runs = [
        Delivered(r.tenant, major, sweep.interval, r.revision, r.kind, run_id(r.tenant, major, start, r.revision),
                  bound, r.reason)
        for r in sweep.runs
    ]  # fmt: skip
    if sweep.discover:
        there = {run.tenant for run in runs} | sweep.delivered
        runs += [
            Delivered(
                t,
                standing.major,
                sweep.interval,
                0,
                "full",
                run_id(t, standing.major, sweep.interval.start, 0),
                bound,
                sweep.reason,
            )
            for t in met
            if t not in there
        ]
    return History(
        (*history.runs, *runs),
        (
            *history.sweeps,
            Swept(sweep.interval, bound, sweep.discover, standing.terms, named=sweep.only_named),
        ),
        history.late_checked,
        {**history.ends, sweep.interval.start: sweep.interval.end},
    )


def all_sealed(history: History, made: Plan, standing: Standing, bound: datetime) -> History:
    for sweep in made.sweeps:
        history = sealed(history, sweep, standing, bound)
    return history


def delivered(history: History) -> Counter[tuple[str, Interval, int]]:
    return Counter((run.tenant, run.interval, run.revision) for run in history.runs)


steps = st.lists(
    st.tuples(
        st.floats(0, 14),  # the bound, in days
        st.sampled_from([None, ("a",), ("b",)]),  # who is asked for
        st.lists(st.booleans(), min_size=13, max_size=13),  # which sweeps end well
    ),
    min_size=1,
    max_size=6,
)


# --- append


@settings(max_examples=150, deadline=None)
@given(steps=steps)
def test_every_interval_up_to_the_bound_is_planned_once(
    steps: list[tuple[float, tuple[str, ...] | None, list[bool]]],
) -> None:
    history = History()
    for at, tenants, well in steps:
        made = plan(APPEND, history, clock(day(at)), Asked(tenants))
        planned = [(r.tenant, s.interval) for s in made.sweeps for r in s.runs]
        assert len(planned) == len(set(planned))
        assert not set(planned) & {(run.tenant, run.interval) for run in history.runs}
        due = {interval for interval in GRID if interval.end <= day(at)}
        wanted = {(t, interval) for t in tenants or ("a", "b") for interval in due}
        before = {(run.tenant, run.interval) for run in history.runs}
        assert set(planned) == wanted - before
        assert [s.interval for s in made.sweeps] == sorted(s.interval for s in made.sweeps)
        assert all(
            r.revision == 0 and r.kind == "full" and not r.supersedes for s in made.sweeps for r in s.runs
        )
        for sweep, ends_well in zip(made.sweeps, well, strict=False):
            if ends_well:
                history = sealed(history, sweep, APPEND, day(at))
    history = all_sealed(history, plan(APPEND, history, clock(day(20))), APPEND, day(20))
    assert delivered(history) == Counter({(t, interval, 0): 1 for t in "ab" for interval in GRID})
    assert plan(APPEND, history, clock(day(20))).sweeps == ()


@settings(max_examples=100)
@given(
    steps=steps,
    then=st.booleans(),
    now=st.booleans(),
    listed=st.sampled_from([(), ("a",), ("a", "b"), ("a", "b", "c")]),
    inactive=st.sampled_from([(), ("b",)]),
)
def test_what_is_owed_is_what_a_run_for_everybody_plans_when_all_of_it_is_due(
    steps: list[tuple[float, tuple[str, ...] | None, list[bool]]],
    then: bool,
    now: bool,
    listed: tuple[str, ...],
    inactive: tuple[str, ...],
) -> None:
    history, before = History(), replace(APPEND, discover=then)
    for at, tenants, well in steps:
        made = plan(before, history, clock(day(at)), Asked(tenants))
        for sweep, ends_well in zip(made.sweeps, well, strict=False):
            if ends_well:
                history = sealed(history, sweep, before, day(at), met=("d",))
    active = tuple(tenant for tenant in listed if tenant not in inactive)
    after = replace(APPEND, discover=now, listed=active, inactive=frozenset(inactive))
    planned = plan(after, history, clock(day(20))).sweeps
    assert owed(after, history) == tuple(sweep.interval for sweep in planned)
    assert owed(after, all_sealed(history, Plan(planned), after, day(20))) == ()


def test_a_definition_that_contradicts_what_was_delivered_owes_all_the_same() -> None:
    sweep = plan(APPEND, History(), clock(day(1))).sweeps[0]
    history = sealed(History(), sweep, APPEND, day(1))
    other = replace(APPEND, terms=replace(APPEND.terms, window="at"))
    with pytest.raises(InvalidProject):
        plan(other, history, clock(day(20)))
    assert owed(other, history) == GRID[1:]


@settings(max_examples=80, deadline=None)
@given(steps=steps, order=st.randoms(use_true_random=False))
def test_equal_histories_plan_equally_in_whatever_order_they_were_read(
    steps: list[tuple[float, tuple[str, ...] | None, list[bool]]], order
) -> None:
    history = History()
    for at, tenants, well in steps:
        made = plan(APPEND, history, clock(day(at)), Asked(tenants))
        runs, sweeps = list(history.runs), list(history.sweeps)
        order.shuffle(runs)
        order.shuffle(sweeps)
        again = plan(
            APPEND, History(tuple(runs), tuple(sweeps), None, history.ends), clock(day(at)), Asked(tenants)
        )
        assert again.sweeps == made.sweeps
        assert set(again.skipped) == set(made.skipped)
        for sweep, ends_well in zip(made.sweeps, well, strict=False):
            if ends_well:
                history = sealed(history, sweep, APPEND, day(at))


def test_an_interval_asked_for_by_name_before_its_time_is_not_due() -> None:
    made = plan(APPEND, History(), clock(day(1.5)), Asked(start=day(0), end=day(3)))
    assert [s.interval for s in made.sweeps] == [GRID[0]]
    assert made.not_due == (GRID[1], GRID[2])
    assert plan(APPEND, History(), clock(day(1.5))).not_due == ()


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        (Asked(start=day(2), end=day(2)), "is empty"),
        (Asked(start=day(0.2), end=day(0.8)), "No interval"),
        (Asked(start=day(40)), "No interval"),
        (Asked(revise=True, reason="r"), "--revise needs --start and --end"),
        (Asked(tenants=("zz",)), "Unknown tenant 'zz'"),
    ],
)
def test_what_makes_no_sense_is_refused(asked: Asked, told: str) -> None:
    with pytest.raises(InvalidProject, match=told):
        plan(APPEND, History(), clock(day(5)), asked)


@pytest.mark.parametrize("every", ["12 hours", "2 days", "1 week", "1 month"])
def test_a_changed_grid_that_cuts_a_delivered_interval_is_refused(every: str) -> None:
    history = all_sealed(History(), plan(APPEND, History(), clock(day(3))), APPEND, day(3))
    changed = replace(APPEND, grid=tuple(grid(JANUARY, parse_every(every), until=day(40), last=None)))
    with pytest.raises(InvalidProject, match=r"window\.every cuts the delivered interval"):
        plan(changed, history, clock(day(40)))


def test_a_grid_that_begins_where_the_old_one_ended_is_taken() -> None:
    history = all_sealed(History(), plan(APPEND, History(), clock(day(2))), APPEND, day(2))
    later = replace(APPEND, grid=tuple(grid(day(2), parse_every("6 hours"), last=day(3))))
    assert len(plan(later, history, clock(day(3))).sweeps) == 4


def test_of_what_is_skipped_the_newest_interval_speaks() -> None:
    history = all_sealed(History(), plan(APPEND, History(), clock(day(3))), APPEND, day(3))
    made = plan(APPEND, history, clock(day(3)))
    assert {run.interval for run in made.skipped} == {GRID[2]}
    named = plan(APPEND, history, clock(day(3)), Asked(start=day(0), end=day(2)))
    assert {run.interval for run in named.skipped} == {GRID[0], GRID[1]}


# --- tenants


def test_who_was_discovered_later_is_not_looked_for_where_everybody_was_found() -> None:
    standing = replace(APPEND, listed=(), discover=True)
    first, *_ = plan(standing, History(), clock(day(1))).sweeps
    history = sealed(History(), first, standing, day(1), met=("a",))
    (second,) = plan(standing, history, clock(day(2))).sweeps
    assert (second.interval, [r.tenant for r in second.runs], second.discover) == (GRID[1], ["a"], True)
    history = sealed(history, second, standing, day(2), met=("a", "new"))
    assert plan(standing, history, clock(day(2))).sweeps == ()
    (third,) = plan(standing, history, clock(day(3))).sweeps
    assert [r.tenant for r in third.runs] == ["a", "new"]


def test_a_tenant_listed_later_catches_up_in_sweeps_of_its_own() -> None:
    history = all_sealed(History(), plan(APPEND, History(), clock(day(2))), APPEND, day(2))
    made = plan(replace(APPEND, listed=("a", "b", "c")), history, clock(day(2)))
    assert [(s.interval, [r.tenant for r in s.runs], s.only_named) for s in made.sweeps] == [
        (GRID[0], ["c"], True),
        (GRID[1], ["c"], True),
    ]
    assert all(s.delivered == {"a", "b"} for s in made.sweeps)


def test_an_inactive_tenant_is_met_and_not_delivered() -> None:
    standing = replace(APPEND, listed=("a",), inactive=frozenset("b"), discover=True)
    (sweep,) = plan(standing, History(), clock(day(1))).sweeps
    assert "b" in sweep.delivered
    assert [r.tenant for r in sweep.runs] == ["a"]


def test_a_tenant_asked_for_and_known_from_nowhere_is_doubtful() -> None:
    standing = replace(APPEND, listed=("a",), discover=True)
    (sweep,) = plan(standing, History(), clock(day(1)), Asked(tenants=("a", "zz"))).sweeps
    assert sweep.doubtful == {"zz"}
    assert sweep.only_named
    assert not sweep.discover


# --- contract majors


def test_a_new_major_redelivers_nothing_and_a_backfill_does() -> None:
    history = all_sealed(History(), plan(APPEND, History(), clock(day(2))), APPEND, day(2))
    second = replace(APPEND, major=2)
    assert [s.interval for s in plan(second, history, clock(day(3))).sweeps] == [GRID[2]]
    asked = Asked(start=day(0), end=day(2), backfill=True)
    made = plan(second, history, clock(day(3)), asked)
    assert [s.interval for s in made.sweeps] == [GRID[0], GRID[1]]
    assert {(r.tenant, r.revision) for s in made.sweeps for r in s.runs} == {("a", 1), ("b", 1)}
    replaced = {(s.interval.start, r.tenant): r.supersedes for s in made.sweeps for r in s.runs}
    assert replaced == {(day(n), t): (run_id(t, 1, day(n), 0),) for n in (0, 1) for t in "ab"}
    history = all_sealed(history, made, second, day(3))
    assert plan(second, history, clock(day(3)), asked).sweeps == ()
    assert len({run.run_id for run in history.runs}) == len(history.runs)


# --- revisions and additions


@settings(max_examples=80, deadline=None)
@given(reasons=st.lists(st.sampled_from(["one", "two", "three"]), max_size=6))
def test_revisions_are_numbered_and_supersede_what_stands(reasons: list[str]) -> None:
    history = all_sealed(History(), plan(APPEND, History(), clock(day(1))), APPEND, day(1))
    expected = 0
    last = ""
    for reason in reasons:
        made = plan(
            APPEND, history, clock(day(1)), Asked(start=day(0), end=day(1), revise=True, reason=reason)
        )
        if reason == last:  # the same reason again is the same revision
            assert made.sweeps == ()
            assert {run.revision for run in made.skipped} == {expected}
            continue
        expected, last = expected + 1, reason
        (sweep,) = made.sweeps
        for run in sweep.runs:
            assert (run.revision, run.kind) == (expected, "full")
            stands = standing_runs([r for r in history.runs if r.tenant == run.tenant])
            assert run.supersedes == tuple(r.run_id for r in stands)
        history = all_sealed(history, made, APPEND, day(1))
    assert max(delivered(history).values()) == 1


def test_a_revision_supersedes_the_additions_too() -> None:
    standing = replace(APPEND, listed=("a",), terms=ON_EVENTS, clock="event")
    history = all_sealed(History(), plan(standing, History(), clock(day(1))), standing, day(1))
    added = additions(standing, history, {("a", day(0)): day(1.5)}, Asked())
    assert [(s.since, [(r.tenant, r.revision, r.kind) for r in s.runs]) for s in added] == [
        (day(1), [("a", 1, "addition")])
    ]
    history = sealed(history, added[0], standing, day(2))
    assert [run.revision for run in standing_runs(history.runs)] == [0, 1]
    (sweep,) = plan(
        standing, history, clock(day(1)), Asked(start=day(0), end=day(1), revise=True, reason="r")
    ).sweeps
    assert sweep.runs[0].supersedes == (run_id("a", 1, day(0), 0), run_id("a", 1, day(0), 1))
    assert sweep.runs[0].revision == 2


def test_rows_that_arrived_before_the_last_bound_make_no_addition() -> None:
    standing = replace(APPEND, listed=("a",), terms=ON_EVENTS, clock="event")
    history = all_sealed(History(), plan(standing, History(), clock(day(1))), standing, day(1))
    assert additions(standing, history, {("a", day(0)): day(0.9)}, Asked()) == ()
    assert additions(standing, history, {("a", day(0)): day(1.5)}, Asked(tenants=("b",))) == ()
    assert late_window(standing, history, Asked()) == (day(1), GRID[0])
    assert late_window(standing, replace(history, late_checked={1: day(2)}), Asked()) == (day(2), GRID[0])
    assert late_window(replace(standing, terms=replace(ON_EVENTS, late=None)), history, Asked()) is None
    assert late_window(standing, History(), Asked()) is None


# --- incremental


INCREMENTAL = Standing(Terms("incremental"), major=1, start=JANUARY, listed=("a", "b"))


@settings(max_examples=150, deadline=None)
@given(steps=steps, ticks=st.booleans())
def test_incremental_intervals_of_a_tenant_are_contiguous_and_end_at_the_bound(
    steps: list[tuple[float, tuple[str, ...] | None, list[bool]]], ticks: bool
) -> None:
    history, latest = History(), 0.0
    for at, tenants, well in steps:
        latest = max(latest, at)  # the server's clock does not run backwards
        upto = day(int(latest)) if ticks else None
        made = plan(replace(INCREMENTAL, upto=upto), history, clock(day(latest)), Asked(tenants))
        for sweep in made.sweeps:  # an end that was once chosen for a start is kept
            assert sweep.interval.end == history.ends.get(sweep.interval.start, upto or day(latest))
        for sweep, ends_well in zip(made.sweeps, well, strict=False):
            if ends_well:
                history = sealed(history, sweep, INCREMENTAL, day(latest))
    for tenant in "ab":
        mine = sorted(run.interval for run in history.runs if run.tenant == tenant)
        assert [interval.start for interval in mine] == [JANUARY, *(interval.end for interval in mine)][
            : len(mine)
        ]


def test_an_end_once_chosen_is_kept_by_the_next_attempt() -> None:
    first, *_ = plan(INCREMENTAL, History(), clock(day(1))).sweeps
    history = History(ends={first.interval.start: first.interval.end})  # claimed, and not sealed
    (again,) = plan(INCREMENTAL, history, clock(day(5))).sweeps
    assert again.interval == first.interval


def test_laggards_form_a_sweep_of_their_own() -> None:
    (sweep,) = plan(INCREMENTAL, History(), clock(day(1)), Asked(tenants=("a",))).sweeps
    history = sealed(History(), sweep, INCREMENTAL, day(1))
    made = plan(INCREMENTAL, history, clock(day(2)))
    assert [(s.interval, [r.tenant for r in s.runs]) for s in made.sweeps] == [
        (Interval(day(0), day(1)), ["b"]),
        (Interval(day(1), day(2)), ["a"]),
    ]


def test_nothing_new_under_the_bound_is_skipped() -> None:
    history = all_sealed(History(), plan(INCREMENTAL, History(), clock(day(1))), INCREMENTAL, day(1))
    made = plan(INCREMENTAL, history, clock(day(1)))
    assert made.sweeps == ()
    assert {run.tenant for run in made.skipped} == {"a", "b"}


def test_a_revision_of_an_incremental_export_names_a_delivered_interval() -> None:
    history = all_sealed(History(), plan(INCREMENTAL, History(), clock(day(1))), INCREMENTAL, day(1))
    with pytest.raises(InvalidProject, match="--revise of an incremental export"):
        plan(INCREMENTAL, history, clock(day(2)), Asked(revise=True, reason="r"))
    with pytest.raises(InvalidProject, match="No delivered interval"):
        plan(INCREMENTAL, history, clock(day(2)), Asked(start=day(5), end=day(6)))
    made = plan(INCREMENTAL, history, clock(day(2)), Asked(start=day(0), end=day(1), revise=True, reason="r"))
    assert [(s.interval, [r.revision for r in s.runs]) for s in made.sweeps] == [
        (Interval(day(0), day(1)), [1, 1])
    ]


def test_what_is_merged_into_a_table_is_revised_where_it_is_newest_alone() -> None:
    """A revision is merged last, and would put old values back over newer ones."""
    merged = replace(INCREMENTAL, merged=True)
    history = History()
    for at in (1, 2, 3):  # "b" lags behind
        asked = Asked(tenants=("a", "b") if at == 1 else ("a",))
        (sweep,) = plan(merged, history, clock(day(at)), asked).sweeps
        history = sealed(history, sweep, merged, day(at))
    older = Asked(start=day(0), end=day(1), revise=True, reason="r")
    for asked in (older, replace(older, end=day(3)), replace(older, tenants=("a",))):
        with pytest.raises(
            InvalidProject, match=r"older than the newest of tenant 'a', which begins at 2024-01-03"
        ):
            plan(merged, history, clock(day(3)), asked)
    for asked, interval in (
        (replace(older, tenants=("b",)), Interval(day(0), day(1))),
        (replace(older, start=day(2), end=day(3)), Interval(day(2), day(3))),
    ):
        (sweep,) = plan(merged, history, clock(day(3)), asked).sweeps
        assert sweep.interval == interval
    assert plan(merged, history, clock(day(3)), replace(older, revise=False)).sweeps == ()
    assert plan(INCREMENTAL, history, clock(day(3)), older).sweeps


def test_a_revision_takes_nobody_away_from_the_place_that_they_go_on_from() -> None:
    standing = replace(INCREMENTAL, listed=("a", "b", "new"), discover=True)
    history = History()
    for at in (1, 2, 3):  # "b" lags behind the first, "new" has nothing yet
        asked = Asked(tenants=("a", "b") if at == 1 else ("a",))
        (sweep,) = plan(standing, history, clock(day(at)), asked).sweeps
        history = sealed(history, sweep, standing, day(at))
    asked = Asked(start=day(2), end=day(3), revise=True, reason="r")
    made = plan(standing, history, clock(day(3)), asked)
    assert [([r.tenant for r in s.runs], s.discover, s.only_named) for s in made.sweeps] == [
        (["a"], False, True)
    ]
    history = all_sealed(history, made, standing, day(3))
    starts = {
        r.tenant: s.interval.start for s in plan(standing, history, clock(day(4))).sweeps for r in s.runs
    }
    assert starts == {"a": day(3), "b": day(1), "new": day(0)}
    with pytest.raises(InvalidProject, match="None of these tenants"):
        plan(standing, history, clock(day(3)), replace(asked, tenants=("b",)))


@settings(max_examples=150, deadline=None)
@given(steps=steps, discover=st.booleans())
def test_a_reason_plans_what_was_tried_as_it_would_be_planned_without(
    steps: list[tuple[float, tuple[str, ...] | None, list[bool]]], discover: bool
) -> None:
    standing = replace(INCREMENTAL, discover=discover)
    history, latest = History(), 0.0
    for at, tenants, well in steps:
        latest = max(latest, at)
        made = plan(standing, history, clock(day(latest)), Asked(tenants))
        history = replace(
            history, ends={**{s.interval.start: s.interval.end for s in made.sweeps}, **history.ends}
        )
        for sweep, ends_well in zip(made.sweeps, well, strict=False):
            if ends_well:
                history = sealed(history, sweep, standing, day(latest), met=("c",))
    latest += 1
    ordinary = {s.interval: s for s in plan(standing, history, clock(day(latest))).sweeps}
    everything = Asked(start=day(0), end=day(latest), revise=True, reason="r")
    tried = {interval for interval in ordinary if interval.start in history.ends}
    if not tried and not history.runs:
        return
    revised = {s.interval: s for s in plan(standing, history, clock(day(latest)), everything).sweeps}
    assert revised.keys() - {run.interval for run in history.runs} <= tried <= revised.keys()
    for interval in tried:
        one, other = ordinary[interval], revised[interval]
        first = tuple(replace(r, reason="") for r in other.runs if not r.revision)
        again = {r.tenant for r in other.runs if r.revision}
        assert all(r.reason == "r" for r in other.runs)
        assert replace(other, runs=first, reason="", delivered=other.delivered | again) == one
        assert again == {run.tenant for run in history.runs if run.interval == interval}


def test_who_is_doubtful_is_so_in_their_own_sweep_alone() -> None:
    (sweep,) = plan(INCREMENTAL, History(), clock(day(1)), Asked(tenants=("a",))).sweeps
    history = sealed(History(), sweep, INCREMENTAL, day(1))
    discovering = replace(INCREMENTAL, discover=True)
    made = plan(discovering, history, clock(day(2)), Asked(tenants=("a", "zz")))
    assert [({r.tenant for r in s.runs}, s.doubtful) for s in made.sweeps] == [
        ({"zz"}, {"zz"}),
        ({"a"}, set()),
    ]


def test_a_reason_moves_nothing_that_was_never_tried() -> None:
    asked = Asked(start=day(0), end=day(9), revise=True, reason="r")
    with pytest.raises(InvalidProject, match="No delivered interval"):
        plan(INCREMENTAL, History(), clock(day(2)), asked)
    tried = History(ends={day(0): day(1)})
    with pytest.raises(InvalidProject, match="No delivered interval"):
        plan(INCREMENTAL, tried, clock(day(2)), replace(asked, revise=False))
    with pytest.raises(InvalidProject, match="No delivered interval"):
        plan(INCREMENTAL, tried, clock(day(0.5)), asked)
    (sweep,) = plan(INCREMENTAL, tried, clock(day(2)), asked).sweeps
    assert sweep.interval == Interval(day(0), day(1))


def test_what_is_merged_goes_on_when_the_revision_before_it_has_ended_well() -> None:
    merged = replace(INCREMENTAL, merged=True)
    history = all_sealed(History(), plan(merged, History(), clock(day(1))), merged, day(1))
    history = replace(history, ends={**history.ends, day(1): day(2)})
    asked = Asked(start=day(0), end=day(2), revise=True, reason="r")
    made = plan(merged, history, clock(day(3)), asked)
    assert [s.interval for s in made.sweeps] == [Interval(day(0), day(1))]
    made = plan(merged, all_sealed(history, made, merged, day(3)), clock(day(3)), asked)
    assert [(s.interval, s.runs[0].revision) for s in made.sweeps] == [(Interval(day(1), day(2)), 0)]
    waits = replace(history, runs=tuple(replace(run, published=False) for run in history.runs))
    made = plan(merged, waits, clock(day(3)), replace(asked, start=day(0), end=day(2)))
    assert [s.interval for s in made.sweeps] == [Interval(day(0), day(1))]


def test_a_revision_of_what_nobody_is_known_to_have_finds_everybody() -> None:
    for standing, asked in (
        (replace(APPEND, listed=(), discover=True), Asked(start=day(0), end=day(1), revise=True, reason="r")),
        (
            Standing(Terms("full_refresh"), major=1, discover=True, tick=Interval(day(0), day(1))),
            Asked(revise=True, reason="r"),
        ),
    ):
        (sweep,) = plan(standing, History(), clock(day(2)), asked).sweeps
        assert (sweep.runs, sweep.discover, sweep.only_named, sweep.reason) == ((), True, False, "r")
        history = sealed(History(), sweep, standing, day(2), met=("a", "b"))
        made = plan(standing, history, clock(day(2)), asked)
        assert (made.sweeps, {run.tenant for run in made.skipped}) == ((), {"a", "b"})
        (sweep,) = plan(standing, History(), clock(day(2)), replace(asked, tenants=("a",))).sweeps
        history = sealed(History(), sweep, standing, day(2))
        (rest,) = plan(standing, history, clock(day(2)), asked).sweeps
        assert (rest.runs, rest.discover, rest.delivered, rest.reason) == ((), True, {"a"}, "r")


@pytest.mark.parametrize("standing", [APPEND, INCREMENTAL], ids=["append", "incremental"])
def test_rows_of_a_tenant_that_nobody_knows_are_met_by_the_run_for_everybody(standing: Standing) -> None:
    (named,) = plan(standing, History(), clock(day(1)), Asked(tenants=("a",))).sweeps
    assert named.only_named
    history = sealed(History(), named, standing, day(1))
    made = plan(standing, history, clock(day(2)))
    first = made.sweeps[0]
    assert (first.interval.start, first.only_named) == (
        day(0),
        False,
    )  # where the rows of others were not read
    history = all_sealed(history, made, standing, day(2))
    assert not plan(standing, history, clock(day(3))).sweeps[0].only_named


# --- terms


@pytest.mark.parametrize(
    ("before", "after", "told"),
    [
        (Terms("append"), Terms("incremental"), "mode was append"),
        (Terms("full_refresh"), Terms("incremental"), "mode was full_refresh"),
        (Terms("incremental"), Terms("append"), "mode was incremental"),
        (Terms("append", "org"), Terms("append", "region"), "tenants.column was org"),
        (Terms("append", None), Terms("append", "org"), "tenants.column was not set"),
        (Terms("append", None, "at"), Terms("append", None, "changed"), "window.column was at"),
        (Terms("append", None, "at"), ON_EVENTS, "window.late.column was not set"),
        (ON_EVENTS, replace(ON_EVENTS, late="inserted"), "window.late.column was arrived"),
        (ON_EVENTS, replace(ON_EVENTS, late=None), ""),
        (Terms("incremental"), Terms("continuous"), ""),
        (Terms("continuous"), Terms("incremental"), ""),
    ],
    ids=str,
)
def test_what_was_delivered_on_other_terms_is_not_gone_on_with(
    before: Terms, after: Terms, told: str
) -> None:
    first = replace(APPEND, terms=before, start=JANUARY, tick=GRID[0])
    history = all_sealed(History(), plan(first, History(), clock(day(2))), first, day(2))
    assert history.sweeps
    now = replace(first, terms=after)
    if not told:
        assert plan(now, history, clock(day(3))).sweeps
        return
    with pytest.raises(InvalidProject) as refused:
        plan(now, history, clock(day(3)))
    assert told in refused.value.message


# --- full refresh


def test_a_rarer_schedule_waits_for_a_tick_after_what_is_delivered() -> None:
    hourly = Standing(Terms("full_refresh"), major=1, tick=GRID[2], latest=GRID[2].start, listed=("default",))
    history = all_sealed(History(), plan(hourly, History(), clock(day(2.5))), hourly, day(2.5))
    rarer = replace(hourly, tick=GRID[0], latest=GRID[0].start)
    made = plan(rarer, history, clock(day(2.6)))
    assert (made.sweeps, [run.interval for run in made.skipped]) == ((), [GRID[2]])
    with pytest.raises(InvalidProject, match="newer than this schedule's latest tick"):
        plan(rarer, history, clock(day(2.6)), Asked(revise=True, reason="r"))
    assert plan(replace(rarer, tick=GRID[3], latest=GRID[3].start), history, clock(day(3.5))).sweeps


def test_a_tick_is_delivered_once_and_the_next_again() -> None:
    standing = Standing(Terms("full_refresh"), major=1, tick=GRID[0], listed=("default",))
    made = plan(standing, History(), clock(day(0.5)))
    assert [(s.interval, [r.tenant for r in s.runs]) for s in made.sweeps] == [(GRID[0], ["default"])]
    history = all_sealed(History(), made, standing, day(0.5))
    assert plan(standing, history, clock(day(0.6))).sweeps == ()
    assert len(plan(replace(standing, tick=GRID[1]), history, clock(day(1.5))).sweeps) == 1
    with pytest.raises(NotDue):
        plan(replace(standing, tick=GRID[9]), history, clock(day(1)))


def test_rows_of_now_are_never_delivered_under_a_tick_of_the_past() -> None:
    now = clock(day(1.5))
    past = Standing(Terms("full_refresh"), major=1, tick=GRID[0], latest=GRID[1].start, listed=("default",))
    with pytest.raises(InvalidProject, match="--as-of: the tick 2024-01-01T00:00:00Z is past"):
        plan(past, History(), now)
    latest = replace(past, tick=GRID[1])
    assert [s.interval for s in plan(latest, History(), now).sweeps] == [GRID[1]]
    # What was delivered while that tick was the latest is there: to ask for it again is no failure.
    then = replace(past, latest=GRID[0].start)
    history = all_sealed(History(), plan(then, History(), clock(day(0.5))), then, day(0.5))
    assert [run.interval for run in plan(past, history, now).skipped] == [GRID[0]]
    with pytest.raises(InvalidProject, match="is past"):
        plan(past, history, now, Asked(revise=True, reason="r"))


@pytest.mark.parametrize("asked", [Asked(start=day(0)), Asked(end=day(1)), Asked(start=day(0), end=day(1))])
def test_a_full_refresh_has_no_intervals_to_choose_from(asked: Asked) -> None:
    standing = Standing(
        Terms("full_refresh"), major=1, tick=GRID[0], latest=GRID[0].start, listed=("default",)
    )
    with pytest.raises(InvalidProject, match="--start and --end"):
        plan(standing, History(), clock(day(0.5)), asked)

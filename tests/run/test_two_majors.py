"""Two majors of one dataset at once: by one reading, in one commit, and equal where they speak of the same."""

# S8, X12
from __future__ import annotations

import json
import random
import re
from collections import Counter
from dataclasses import replace
from datetime import timedelta
from functools import partial
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from worlds import JANUARY, SCHEMA, World, ids, orders, some_orders

from lading.errors import DataRefused, InvalidProject, Refused
from lading.events import Noticed
from lading.export.interval import parse_instant
from lading.plan import Asked
from lading.ports import CheckResult
from lading.proof import verify
from lading.run import Job, run
from lading.run.job import Clearance
from lading.run.outlook import outlook
from lading.run.parity import Parity
from lading.run.record import runs
from lading.transforms.select import Rename, Select

FEBRUARY = JANUARY + timedelta(days=31)


def delivered(world: World, major: int) -> Counter[int]:
    """Rows that readers count of one major, by id: of complete deliveries that nothing has replaced."""
    found, replaced = dict[str, list[int]](), set[str]()
    for manifest, _ in (*manifests(world, 1), *manifests(world, 2)):
        replaced |= set(manifest["supersedes"])
    for manifest, folder in manifests(world, major):
        rows = found.setdefault(manifest["run_id"], [])
        for file in manifest["files"]:
            for line in world.lake.get(folder + file["name"]).decode().splitlines():
                rows.append(json.loads(line)["id"])
    return Counter(row for run_id, rows in found.items() if run_id not in replaced for row in rows)


def manifests(world: World, major: int) -> list[tuple[dict[str, Any], str]]:
    found = []
    for info in world.lake.list(f"v{major}/"):
        folder, _, name = info.name.rpartition("/")
        if name == "_SUCCESS":
            found.append((json.loads(world.lake.get(f"{folder}/_manifest.json")), f"{folder}/"))
    return found


def both(world: World) -> tuple[Counter[int], Counter[int]]:
    return delivered(world, 1), delivered(world, 2)


def every_id(world: World) -> Counter[int]:
    return Counter(world.table["id"].to_pylist())


def alone(world: World, major: int, **kind: Any) -> Job:
    """The job under one of the two majors, as before the other came or after it went."""
    two = world.job(beside=True, **kind)
    own = two.own if major == 1 else two.beside
    assert own is not None
    bound, before = two.binding(), two.standing
    binding = replace(bound if major == 1 else bound.beside, beside=None)  # type: ignore[type-var]
    return replace(
        two,
        own=own,
        beside=None,
        binding=lambda: binding,
        standing=lambda clock, upto: replace(before(clock, upto), major=major, beside=None),
    )


def refuses_after(times: int) -> Any:
    """A clearance that is given so many times, and then no more."""
    left = iter(range(times))

    def clear() -> Clearance:
        if next(left, None) is None:
            raise Refused("The approval has ended.")
        return Clearance()

    return clear


def test_both_get_every_row_of_one_reading_and_name_each_other():
    world = World(some_orders())
    results = run(world.job(beside=True))
    assert {result.status for result in results} == {"succeeded"}
    assert Counter(result.major for result in results) == {1: 12, 2: 12}
    assert both(world) == (every_id(world), every_id(world))
    first = {m["run_id"]: m for m, _ in manifests(world, 1)}
    second = {m["run_id"]: m for m, _ in manifests(world, 2)}
    assert len(first) == len(second) == 12
    for run_id, manifest in first.items():
        other = second[manifest["beside"]["run_id"]]
        assert other["beside"]["run_id"] == run_id
        assert other["contract"]["version"] == manifest["beside"]["contract"]["version"] == "2.0.0"
        assert manifest["beside"]["equal_columns"] == other["beside"]["equal_columns"] == ["id", "customer"]
        same = ("tenant", "interval", "revision", "bound", "rows", "source")
        assert {key: manifest[key] for key in same} == {key: other[key] for key in same}
        assert [column["name"] for column in other["schema"]] == ["id", "customer"]
    assert verify(world.lake).record()["problems"] == []
    assert {result.status for result in run(world.job(beside=True))} == {"skipped"}


def test_what_one_of_them_cannot_deliver_neither_delivers():
    world = World(some_orders(months=1))
    job = world.job(beside=True)
    assert job.beside is not None

    class Denied:
        name, on_violation = "never", "fail"

        def observe(self, batch: pa.RecordBatch) -> None: ...

        def result(self) -> CheckResult:
            return CheckResult(self.name, False, "fail", 1)

        def close(self) -> None: ...

    refusing = replace(job, beside=replace(job.beside, checks=lambda *_: [Denied()]))
    results = run(refusing)
    assert {result.status for result in results} == {"failed"}
    assert both(world) == (Counter(), Counter())
    assert {result.status for result in run(job)} == {"succeeded"}
    assert both(world) == (every_id(world), every_id(world))


@pytest.mark.parametrize("kind", [{"listed": ("a", "b")}, {"listed": ("a", "b"), "discover": False}, {}])
def test_a_sweep_that_failed_has_failed_for_both(kind: dict[str, Any]):
    world = World(some_orders(months=1), now=FEBRUARY)
    job = replace(world.job(beside=True, **kind), clear=refuses_after(1))
    tenants = kind.get("listed", ("*",))
    results = run(job)
    assert {(result.tenant, result.major, result.status) for result in results} == {
        (tenant, major, "failed") for tenant in tenants for major in (1, 2)
    }
    assert len({result.run_id for result in results}) == len(results) == 2 * len(tenants)


def test_an_attempt_that_met_nobody_is_recorded_for_both():
    world = World(some_orders(months=1), now=FEBRUARY)
    world.table = orders([(1, None, JANUARY, JANUARY)])  # of no tenant
    results = run(world.job(beside=True))
    recorded = [each.summary for each in runs(world.job(beside=True).journal)]
    assert [(each["tenant"], each["major"], each["status"]) for each in recorded] == [
        ("*", 1, "failed"), ("*", 2, "failed"),
    ]  # fmt: skip
    assert [each["run_id"] for each in recorded] == [result.run_id for result in results]
    world.table = some_orders(months=1)
    assert {result.status for result in run(world.job(beside=True))} == {"succeeded"}


def test_rows_that_differ_under_one_name_are_delivered_to_nobody_unless_that_is_said():
    world = World(some_orders(months=1))
    job = world.job(beside=True)
    bound = job.binding()
    assert bound.beside is not None
    # What one calls `at`, the other calls `arrived`.
    swapped = (Select(("at", "arrived")), Rename({"at": "arrived", "arrived": "at"}))
    output = pa.schema([SCHEMA.field("at").with_name("arrived"), SCHEMA.field("arrived").with_name("at")])
    other = replace(bound.beside, transforms=swapped, output=output)
    world.table = orders([(1, "a", JANUARY, JANUARY + timedelta(hours=1))])
    mixed = replace(job, binding=lambda: replace(bound, beside=other))
    (error,) = {result.error for result in run(mixed)}
    assert error is not None
    assert "different values in what both call at, arrived" in error
    assert "2024" not in error
    assert both(world)[0] == Counter()
    assert {r.status for r in run(replace(mixed, differs=frozenset({"at", "arrived"})))} == {"succeeded"}


def test_an_interval_delivered_before_goes_out_under_the_new_major_when_that_is_asked_for():
    world = World(some_orders())
    run(alone(world, 1))
    assert {result.status for result in run(world.job(beside=True))} == {"skipped"}
    assert both(world) == (every_id(world), Counter())
    again = run(world.job(beside=True), Asked(start=JANUARY, end=FEBRUARY, backfill=True))
    assert [(result.major, result.status) for result in again] == [(2, "succeeded")] * 3
    assert not any(manifest["supersedes"] for manifest, _ in manifests(world, 2))
    assert delivered(world, 1) == every_id(world)
    assert delivered(world, 2) == Counter(range(9))


def test_a_revision_is_of_both_and_each_replaces_its_own():
    world = World(some_orders(months=1))
    run(world.job(beside=True))
    world.table = orders([(n, "a", JANUARY, JANUARY) for n in range(100, 104)])
    asked = Asked(start=JANUARY, end=FEBRUARY, revise=True, reason="mended")
    results = run(world.job(beside=True), asked)
    assert Counter((result.major, result.revision) for result in results) == {(1, 1): 3, (2, 1): 3}
    assert both(world) == (every_id(world), every_id(world))
    assert {r.status for r in run(world.job(beside=True), asked)} == {"skipped"}


def test_late_rows_follow_to_both():
    world = World(some_orders(months=1))
    run(world.job(beside=True, late=True))
    late = [(n, "a", JANUARY, world.now + timedelta(hours=1)) for n in range(100, 104)]
    world.table = pa.concat_tables([world.table, orders(late)])
    world.now += timedelta(days=1)
    results = [r for r in run(world.job(beside=True, late=True)) if r.status == "succeeded" and r.rows]
    assert [(r.major, r.tenant, r.rows) for r in results] == [(1, "a", 4), (2, "a", 4)]
    assert both(world) == (every_id(world), every_id(world))


def test_late_rows_of_an_interval_from_before_go_to_the_major_that_has_it():
    world = World(some_orders(months=1))
    run(alone(world, 1, late=True))
    late = [(n, "a", JANUARY, world.now + timedelta(hours=1)) for n in range(100, 104)]
    world.table = pa.concat_tables([world.table, orders(late)])
    world.now += timedelta(days=1)
    run(world.job(beside=True, late=True))
    assert both(world) == (every_id(world), Counter())


def late_rows(world: World, *ids: int) -> None:
    late = orders([(n, "a", JANUARY, world.now + timedelta(hours=1)) for n in ids])
    world.table, world.now = pa.concat_tables([world.table, late]), world.now + timedelta(days=1)


BACKFILL = Asked(start=JANUARY, end=FEBRUARY, backfill=True)


def test_rows_that_came_before_a_backfill_of_one_follow_to_the_other():
    world = World(some_orders(months=1))
    run(alone(world, 1, late=True))
    late_rows(world, 100)
    run(world.job(beside=True, late=True), BACKFILL)
    for _ in range(2):
        world.now += timedelta(days=1)
        run(world.job(beside=True, late=True))
    assert both(world) == (every_id(world), every_id(world))


def test_an_addition_goes_to_who_has_what_it_adds_to_and_a_backfill_brings_the_rest():
    world = World(some_orders(months=1))
    run(alone(world, 1, late=True))
    run(alone(world, 2, late=True), BACKFILL)  # in place of the first
    late_rows(world, 100)
    run(world.job(beside=True, late=True))
    assert both(world) == (Counter(), every_id(world))
    assert Counter(ids(world.lake)) == every_id(world)
    run(world.job(beside=True, late=True), BACKFILL)
    assert both(world) == (every_id(world), every_id(world))


def test_a_major_that_has_additions_alone_gets_the_whole_by_a_backfill():
    world = World(some_orders(months=1))
    run(alone(world, 1, late=True))
    late_rows(world, 100)
    run(alone(world, 2, late=True))  # the late row, under the major that followed
    assert both(world) == (every_id(world) - Counter([100]), Counter([100]))
    assert Counter(ids(world.lake)) == every_id(world)
    run(world.job(beside=True, late=True), BACKFILL)
    run(world.job(beside=True, late=True))
    assert both(world) == (every_id(world), every_id(world))


def test_rows_that_came_while_one_of_them_was_away_follow_to_it():
    world = World(some_orders(months=1))
    run(world.job(beside=True, late=True))
    late_rows(world, 100)
    run(alone(world, 2, late=True))
    late_rows(world, 101)
    run(world.job(beside=True, late=True))
    assert both(world) == (every_id(world), every_id(world))


def test_rows_of_one_time_under_two_majors_are_not_read_as_one():
    world = World(some_orders(months=1))
    run(alone(world, 1, late=True))
    late_rows(world, 100)
    run(alone(world, 2, late=True))
    late_rows(world, 101)
    run(world.job(beside=True, late=True))  # the first major gets what the second has, too
    with pytest.raises(InvalidProject, match="hold the same rows, under the majors 1 and 2"):
        ids(world.lake)
    assert ids(world.lake, major=1) == every_id(world)


@pytest.mark.parametrize("seed", range(12))
def test_whatever_comes_first_each_major_ends_with_every_row_once(seed: int):
    chance, world = random.Random(seed), World(some_orders(months=1), now=FEBRUARY + timedelta(days=1))
    job = partial(world.job, beside=True, late=True)
    for step in range(8):
        kind = chance.choice(["one", "two", "both", "both", "backfill", "revise"])
        late_rows(world, 100 + step)
        if kind in ("one", "two"):
            run(alone(world, 1 if kind == "one" else 2, late=True))
        elif kind == "backfill":
            run(job(), BACKFILL)
        elif kind == "revise":
            run(job(), Asked(start=JANUARY, end=FEBRUARY, revise=True, reason=f"step {step}"))
        else:
            run(job())
    lacked = told(job())
    brought = [result for result in run(job(), BACKFILL) if result.status == "succeeded"]
    assert bool(lacked) == bool(brought)
    world.now += timedelta(days=1)
    assert told(job()) == []
    assert both(world) == (every_id(world), every_id(world))
    assert verify(world.lake).record()["problems"] == []


def test_changes_from_before_are_brought_by_a_backfill():
    world = World(some_orders())
    world.now = JANUARY + timedelta(days=15)
    run(alone(world, 1, mode="incremental"))
    world.now += timedelta(days=60)
    run(world.job(mode="incremental", beside=True))
    assert delivered(world, 2) < every_id(world)
    asked = Asked(start=JANUARY, end=world.now, backfill=True)
    assert {
        r.major for r in run(world.job(mode="incremental", beside=True), asked) if r.status == "succeeded"
    } == {2}
    assert both(world) == (every_id(world), every_id(world))
    assert {r.status for r in run(world.job(mode="incremental", beside=True), asked)} == {"skipped"}


def test_when_one_of_them_ends_the_other_goes_on_and_its_revisions_replace_its_own_alone():
    world = World(some_orders(months=1), now=FEBRUARY)
    run(world.job(beside=True))
    run(alone(world, 2), Asked(start=JANUARY, end=FEBRUARY, revise=True, reason="mended"))
    assert both(world) == (every_id(world), every_id(world))
    world.table, world.now = some_orders(months=2), FEBRUARY + timedelta(days=60)
    run(alone(world, 2))
    assert both(world) == (Counter(range(9)), every_id(world))


def told(job: Job, asked: Asked | None = None) -> list[str]:
    """What a run has people know of; a plan that is made after it says the same."""
    notices: list[str] = []
    run(replace(job, on_event=lambda e: notices.append(e.notice) if isinstance(e, Noticed) else None), asked)
    assert [each for each in outlook(job).notices if "lacks" in each] == notices
    return notices


@pytest.mark.parametrize("mode", ["append", "incremental"])
@pytest.mark.parametrize("first", [1, 2])
def test_what_one_of_them_lacks_is_told_until_a_backfill_has_brought_it(first: int, mode: str):
    world = World(some_orders())
    run(alone(world, first, mode=mode))
    many = "4 delivered intervals" if mode == "append" else "1 delivered interval"
    (notice,) = told(world.job(mode=mode, beside=True))
    assert notice.startswith(f"orders@{3 - first} lacks {many}: `lading backfill orders_drop --start ")
    start, end = (parse_instant(each) for each in re.findall(r"--(?:start|end) (\S+Z)", notice))
    assert told(world.job(mode=mode, beside=True), Asked(start=start, end=end, backfill=True)) == []
    assert both(world) == (every_id(world), every_id(world))


def test_what_is_left_to_fill_is_counted():
    world = World(some_orders())
    run(alone(world, 1))
    (notice,) = told(world.job(beside=True), Asked(start=JANUARY, end=FEBRUARY, backfill=True))
    assert "orders@2 lacks 3 delivered intervals" in notice
    assert "--start 2024-02-01T00:00:00Z --end 2024-05-01T00:00:00Z" in notice


def test_nothing_is_said_to_lack_what_no_backfill_brings():
    world = World(some_orders())
    run(alone(world, 1))
    assert told(world.job(inactive=("a", "b", "c"), beside=True)) == []
    assert told(world.job(discover=False, listed=("d",), beside=True)) == []  # who is served no more
    later = world.job(beside=True)
    before = later.standing
    cut = replace(later, standing=lambda *at: replace(before(*at), grid=before(*at).grid[4:]))
    assert told(cut) == []  # window.start has moved
    assert told(alone(world, 1)) == []
    world = World(some_orders())
    run(alone(world, 1, mode="full_refresh"))
    assert told(world.job(mode="full_refresh", beside=True)) == []


def test_changes_go_out_under_both():
    world = World(some_orders())
    world.now = JANUARY + timedelta(days=15)
    run(world.job(mode="incremental", beside=True))
    world.now += timedelta(days=60)
    run(world.job(mode="incremental", beside=True))
    assert both(world) == (every_id(world), every_id(world))


def test_tenants_that_are_met_get_both_with_one_lane_or_several():
    for tenants in (True, False):
        world = World(some_orders())
        run(world.job(beside=True, tenants=tenants))
        assert both(world) == (every_id(world), every_id(world))


# --- parity

FLOATS = st.one_of(st.none(), st.floats(width=64), st.just(float("nan")))
NESTED = pa.list_(pa.struct([("x", pa.float64()), ("m", pa.map_(pa.string(), pa.float32()))]))


@given(st.lists(FLOATS, max_size=20), st.integers(0, 5))
def test_equal_floats_are_equal_wherever_their_slices_begin(values: list[float | None], skip: int):
    deep = [[{"x": value, "m": [("k", value)]}] if n % 3 else None for n, value in enumerate(values)]
    one = pa.RecordBatch.from_arrays([pa.array(values, pa.float64()), pa.array(deep, NESTED)], ["a", "b"])
    padded = pa.RecordBatch.from_arrays(
        [pa.array([1.0] * skip + values, pa.float64()), pa.array([None] * skip + deep, NESTED)], ["a", "b"]
    )
    Parity.of(one.schema, one.schema).require(one, padded.slice(skip))


@given(st.lists(st.integers(0, 3), min_size=1, max_size=20), st.data())
def test_one_other_value_is_told(values: list[int], data: st.DataObject):
    at = data.draw(st.integers(0, len(values) - 1))
    other = [*values[:at], data.draw(st.sampled_from([None, 7])), *values[at + 1 :]]
    deep = [
        pa.array([[float(x)] if x is not None else None for x in each], pa.list_(pa.float64()))
        for each in (values, other)
    ]
    for pair in ((pa.array(values, pa.int32()), pa.array(other, pa.int32())), deep):
        one, two = (pa.RecordBatch.from_arrays([each], ["n"]) for each in pair)
        with pytest.raises(DataRefused, match="what both call n"):
            Parity.of(one.schema, two.schema).require(one, two)
    with pytest.raises(DataRefused, match="would deliver"):
        Parity.of(one.schema, one.schema).require(one, one.slice(1))


def test_bits_decide_about_floats_whatever_stands_beside_them():
    for beside in ([], [float("nan")]):
        one, two = (pa.RecordBatch.from_arrays([pa.array([zero, *beside])], ["x"]) for zero in (0.0, -0.0))
        Parity.of(one.schema, one.schema).require(one, one)
        with pytest.raises(DataRefused, match="what both call x"):
            Parity.of(one.schema, two.schema).require(one, two)


def test_what_is_promised_about_null_inside_of_a_column_makes_no_other_type():
    loose, strict = (pa.struct([pa.field("a", pa.int64(), nullable=n)]) for n in (True, False))
    one, two = (pa.RecordBatch.from_arrays([pa.array([{"a": 1}], kind)], ["x"]) for kind in (loose, strict))
    other = pa.RecordBatch.from_arrays([pa.array([{"a": 2}], strict)], ["x"])
    parity = Parity.of(one.schema, two.schema)
    assert parity.columns == ("x",)
    parity.require(one, two)
    with pytest.raises(DataRefused, match="what both call x"):
        parity.require(one, other)


def test_what_differs_in_type_or_is_said_to_is_not_compared():
    one = pa.schema([("a", pa.int64()), ("b", pa.string()), ("c", pa.string())])
    two = pa.schema([("c", pa.string()), ("a", pa.string()), ("b", pa.string()), ("d", pa.string())])
    assert Parity.of(one, two, {"b"}).columns == ("c",)
    assert Parity.of(SCHEMA, SCHEMA).columns == tuple(SCHEMA.names)

"""Windows and arrivals that are dates: a day counts only when it is over, so no row of it comes too late."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from worlds import SCHEMA, World, ids

from lading.errors import InvalidProject
from lading.ports import Newest
from lading.run import Job, run
from lading.run.job import Window
from lading.run.story import clock_of

NOON = datetime(2024, 2, 10, 12, tzinfo=UTC)
MIDNIGHT = NOON.replace(hour=0)
DATED = pa.schema([SCHEMA.field(0), SCHEMA.field(1), SCHEMA.field(2), pa.field("arrived", pa.date32())])


class Days:
    """A table whose `arrived` is the day of the writing, in UTC, and whose clock only goes forward."""

    def __init__(self) -> None:
        self.world = World(DATED.empty_table(), now=NOON)
        self.count = 0

    def write(self) -> None:
        at = datetime(2024, 1, 5, tzinfo=UTC)
        row = [self.count], ["a"], [at], [self.world.now.date()]
        columns = [pa.array(value, field.type) for value, field in zip(row, DATED, strict=True)]
        self.world.table = pa.concat_tables([self.world.table, pa.table(columns, schema=DATED)])
        self.count += 1

    def job(self, mode: str, **changes: Any) -> Job:
        job = self.world.job(mode=mode, late=mode == "append", **changes)
        binding = replace(job.binding(), read=DATED, output=DATED, by_day=frozenset({"arrived"}))
        newest = Newest(("id",), "arrived", "customer") if mode == "incremental" else None
        return replace(job, binding=lambda: binding, newest=newest)

    def run(self, mode: str, **changes: Any) -> list[str]:
        results = run(self.job(mode, **changes))
        assert {result.status for result in results} <= {"succeeded", "skipped"}
        return [result.status for result in results]

    def delivered(self) -> Counter[int]:
        return ids(self.world.lake)


@pytest.mark.parametrize("mode", ["incremental", "append"])
def test_a_row_of_a_day_that_was_not_over_at_the_first_run_is_delivered(mode: str):  # D3, D5
    days = Days()
    days.write()
    days.run(mode)
    days.world.now += timedelta(hours=1)
    days.write()
    days.run(mode)
    assert days.delivered() == Counter()
    days.world.now += timedelta(days=1)
    days.run(mode)
    days.run(mode)
    assert days.delivered() == Counter({0: 1, 1: 1})


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(["incremental", "append"]),
    st.lists(st.one_of(st.just("write"), st.just("run"), st.integers(1, 40)), max_size=12),
)
def test_whatever_is_written_and_whenever_it_is_run_each_row_is_delivered_once(mode: str, acts: list[Any]):
    days = Days()
    for act in acts:
        if act == "write":
            days.write()
        elif act == "run":
            days.run(mode)
        else:
            days.world.now += timedelta(hours=act)
    days.world.now += timedelta(days=1)
    days.run(mode)
    assert days.delivered() == Counter(range(days.count))


def test_bounds_of_dates_are_midnights_and_a_schedule_ticks_by_what_was_reached():
    days = Days()
    job = days.job("incremental")
    clock = clock_of(job, job.binding())
    assert (clock.bound, clock.reached) == (MIDNIGHT, NOON)
    job = days.job("append")
    clock = clock_of(job, job.binding())
    assert (clock.bound, clock.arrived) == (MIDNIGHT, MIDNIGHT)


def test_a_lag_is_taken_off_before_the_day_is_cut():
    days = Days()
    job = replace(days.job("incremental"), safety_lag=13 * 3600.0)
    assert clock_of(job, job.binding()).bound == MIDNIGHT - timedelta(days=1)


def test_business_dates_do_not_hold_back_what_arrived():
    days = Days()
    job = replace(days.job("append"), window=Window("arrived", "event", "at"))
    clock = clock_of(job, job.binding())
    assert (clock.bound, clock.arrived) == (MIDNIGHT, NOON)


def test_a_look_back_of_hours_reads_the_whole_day_before():
    days = Days()
    days.write()
    days.world.now += timedelta(days=1)
    window = Window("arrived", "transaction", lookback=3600.0)
    days.run("incremental", window=window)
    assert days.delivered() == Counter({0: 1})
    days.world.now += timedelta(days=1)
    days.run("incremental", window=window)
    assert days.delivered() == Counter({0: 2})


def test_an_interval_that_once_ended_within_a_day_is_followed_by_that_whole_day():
    """As it was where the column was a timestamp then."""
    days = Days()
    days.write()
    job = days.job("incremental")
    run(replace(job, binding=lambda: replace(job.binding(), by_day=frozenset())))
    days.world.now += timedelta(hours=1)
    days.write()
    days.world.now += timedelta(days=1)
    days.run("incremental")
    assert set(days.delivered()) == {0, 1}


# --- whole projects


def project(tmp_path: Any, window: dict[str, Any], column: pa.Array, **export: Any) -> Any:
    import json

    import pyarrow.parquet as pq

    from lading import Project

    (tmp_path / "landing").mkdir()
    pq.write_table(pa.table({"id": [1], "d": column}), tmp_path / "landing/1.parquet")
    files = {
        "lading.yaml": {
            "name": "shop",
            "environment": "test",
            "connections": {"ops": {"type": "files", "store": "landing", "immutable": True}},
            "stores": {n: {"url": f"file://./{n}", "durable": False} for n in ("lake", "journal", "landing")},
        },
        "contracts/x.v1.odcs.yaml": {
            "apiVersion": "v3.1.0", "kind": "DataContract", "id": "x", "name": "x", "version": "1.0.0",
            "status": "active",
            "schema": [{"name": "x", "logicalType": "object", "physicalType": "table", "properties": [
                {"name": "id", "logicalType": "integer", "classification": "public"}]}],
        },
        "exports/drop.yaml": {
            "name": "drop", "contract": "x@1", "source": {"connection": "ops", "files": "*.parquet"},
            "destination": "lake", "mode": "incremental", "merge_key": ["id"],
            "window": {"column": "d", "clock": "transaction", "start": "2024-01-01", **window}, **export,
        },
    }  # fmt: skip
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(json.dumps(content))
    return Project.load(tmp_path)


@pytest.mark.parametrize("schedule", [{"cron": "30 6 * * *"}, {"every": "7 hours"}, None])
def test_whatever_the_schedule_a_run_over_dates_ends_at_a_midnight(tmp_path: Any, schedule: Any):
    column = pa.array([date(2024, 1, 2)])
    made = project(tmp_path, {"timezone": "UTC"}, column, **({"schedule": schedule} if schedule else {}))
    (result,) = made.run("drop")
    assert (result.status, result.rows) == ("succeeded", 1)
    assert result.interval.end == result.interval.end.replace(hour=0, minute=0, second=0, microsecond=0)
    assert datetime.now(UTC) - result.interval.end < timedelta(days=2)


@pytest.mark.parametrize(
    ("column", "what"),
    [
        (pa.array([date(2024, 1, 2)]), "date without a time zone"),
        (pa.array([datetime(2024, 1, 2)], pa.timestamp("us")), "timestamp without a time zone"),
    ],
)
def test_a_column_without_a_zone_is_no_transaction_time_until_its_zone_is_declared(
    tmp_path: Any, column: pa.Array, what: str
):
    made = project(tmp_path, {}, column)
    with pytest.raises(InvalidProject, match=what):
        made.run("drop")
    with pytest.raises(InvalidProject, match=what):
        made.plan("drop")


def test_a_column_whose_zone_is_declared_is_read_as_utc(tmp_path: Any):
    made = project(tmp_path, {"timezone": "UTC"}, pa.array([datetime(2024, 1, 2)], pa.timestamp("us")))
    assert [result.rows for result in made.run("drop")] == [1]

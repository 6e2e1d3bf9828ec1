"""Continuous exports that are followed: real PostgreSQL, real processes, real signals."""

from __future__ import annotations

import json
import signal
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg
import pytest

pytestmark = pytest.mark.slow

CALL = "from lading.__main__ import run; run()"
WINDOW = {"column": "changed_at", "clock": "transaction", "start": "2024-01-01"}


def until(true: Callable[[], object]) -> None:
    """Waits for what must come to pass; how long that takes depends on the machine and is judged by nobody."""
    deadline = time.monotonic() + 120
    while not true():
        assert time.monotonic() < deadline, "it does not come to pass"
        time.sleep(0.05)


@pytest.fixture
def following() -> Callable[[Any], Any]:
    """Fills a project with a table that grows and a continuous export of it."""

    def make(place: Any, source: str = "public.events", **changes: Any) -> Any:
        place.sql(
            "create table events (id bigint primary key, changed_at timestamptz not null default now())"
        )
        place.sql("insert into events select generate_series(0, 9), now() - interval '1 minute'")
        place.contract("events", {"id": "integer", "changed_at": "timestamp"}, key=["id"])
        sections = {"mode": "continuous", "window": WINDOW, "merge_key": ["id"], "schedule": {"every": "1s"}}
        place.export(
            "events_drop", "events", source={"connection": "ops", "table": source}, **{**sections, **changes}
        )
        return place

    return make


def start(place: Any, *flags: str) -> subprocess.Popen[str]:
    child: subprocess.Popen[str] = place.python(
        CALL, "--project", str(place.root), "run", "events_drop", *flags
    )
    return child


def delivered(place: Any) -> Counter[int]:
    if not place.markers():
        return Counter()
    return Counter(place.read("select id from delivered")["id"].to_pylist())


def holds(place: Any, count: int) -> bool:
    return len(delivered(place)) == count


@pytest.mark.parametrize("stop", [signal.SIGTERM, signal.SIGINT])
def test_rows_that_arrive_while_it_runs_are_delivered_once_and_a_signal_ends_it(
    place: Any, following: Any, stop: signal.Signals
):  # D7
    following(place)
    with start(place, "--json") as child:
        for batch in range(1, 4):
            until(lambda n=batch: holds(place, 10 * n))
            place.sql(f"insert into events select generate_series({10 * batch}, {10 * batch + 9})")
        until(lambda: holds(place, 40))
        child.send_signal(stop)
        out, err = child.communicate()
    assert child.returncode == 0, err
    assert err.splitlines()[0] == "following events_drop: Ctrl-C or SIGTERM ends it"
    assert delivered(place) == Counter(range(40))
    records = json.loads(out)
    assert {record["status"] for record in records} == {"succeeded"}
    assert sum(record["rows"] for record in records) == 40
    ends = [record["interval"]["end"] for record in records]
    starts = [record["interval"]["start"] for record in records]
    assert all(start >= end for start, end in zip(starts[1:], ends, strict=False))
    place.assert_whole(len(records))


def test_a_database_that_goes_away_and_comes_back_loses_nothing(
    doomed_postgres: Any, new_place: Any, following: Any
):  # D7
    place = following(new_place(doomed_postgres.database()))
    with start(place) as child:
        assert child.stderr is not None
        assert child.stderr.readline().startswith("following events_drop")
        until(lambda: holds(place, 10))
        place.sql("insert into events select generate_series(10, 19)")
        doomed_postgres.stop()
        said = child.stderr.readline()
        assert said.startswith("warning: events_drop: PostgreSQL"), said
        assert "Trying again in 1 s." in said
        doomed_postgres.restart()
        place.sql("insert into events select generate_series(20, 29)")
        until(lambda: holds(place, 30))
        child.send_signal(signal.SIGTERM)
        child.communicate()
    assert child.returncode == 0
    assert delivered(place) == Counter(range(30))


def test_a_failure_that_no_retry_helps_ends_it_with_its_exit_code(place: Any, following: Any):
    following(place)
    with start(place, "--json") as child:
        until(lambda: holds(place, 10))
        place.sql("alter table events drop column id")
        out, err = child.communicate()
    assert child.returncode == 5, err
    assert "error: " in err
    assert [(r["status"], r["rows"]) for r in json.loads(out)] == [("succeeded", 10)]


def test_stopped_while_it_fails_it_does_not_claim_success(
    doomed_postgres: Any, new_place: Any, following: Any
):
    place = following(new_place(doomed_postgres.database()))
    doomed_postgres.stop()
    with start(place, "--json") as child:
        assert child.stderr is not None
        child.stderr.readline()
        assert "Trying again" in child.stderr.readline()
        child.send_signal(signal.SIGTERM)
        out, _ = child.communicate()
    assert (child.returncode, json.loads(out)) == (4, [])


SLOW = "create view slow as select id, changed_at from events where pg_sleep(0.3) is not null"


def reads(place: Any) -> bool:
    [[count]] = place.answer("select count(*) from pg_stat_activity where wait_event = 'PgSleep'")
    return bool(count)


def test_the_first_signal_lets_a_pass_finish(place: Any, following: Any):
    following(place, source="public.slow")
    place.sql(SLOW)
    with start(place, "--json") as child:
        until(lambda: reads(place))
        child.send_signal(signal.SIGTERM)
        out, err = child.communicate()
    assert (child.returncode, len(json.loads(out))) == (0, 1), err
    assert "stopping: this pass is finished first" in err
    assert delivered(place) == Counter(range(10))


def test_the_second_signal_stops_a_pass_and_the_next_call_goes_on(place: Any, following: Any):
    following(place, source="public.slow")
    place.sql(SLOW)
    with start(place) as child:
        assert child.stderr is not None
        child.stderr.readline()
        until(lambda: reads(place))
        child.send_signal(signal.SIGTERM)
        assert child.stderr.readline().startswith("stopping: ")
        child.send_signal(signal.SIGTERM)
        _, err = child.communicate()
    assert child.returncode == 130
    assert "Nothing that was delivered is lost" in err
    assert not place.markers()
    first, *_ = place.run("events_drop")
    assert (first.status, first.rows) == ("succeeded", 10)
    place.assert_whole(1)


def test_two_that_follow_the_same_export_double_nothing(place: Any, following: Any):
    following(place)
    with start(place) as one, start(place) as other:
        for batch in range(1, 4):
            until(lambda n=batch: holds(place, 10 * n))
            place.sql(f"insert into events select generate_series({10 * batch}, {10 * batch + 9})")
        until(lambda: holds(place, 40))
        one.kill()
        place.sql("insert into events select generate_series(40, 49)")
        until(lambda: holds(place, 50))
        other.send_signal(signal.SIGTERM)
        other.communicate()
    assert other.returncode == 0
    assert delivered(place) == Counter(range(50))


SESSIONS = "select count(*) from pg_stat_activity where application_name = 'lading'"


def test_passes_leave_nothing_open(place: Any, following: Any):
    following(place, schedule=None)

    def grow(seconds: float) -> bool:
        place.sql("insert into events select max(id) + 1 from events")
        return False

    passes = place.load().follow("events_drop", pause=grow)
    held = []
    with psycopg.connect(place.url, autocommit=True) as watching:
        for number, _ in enumerate(passes):
            until(lambda: watching.execute(SESSIONS).fetchone() == (0,))
            held.append((len(list(Path("/proc/self/fd").iterdir())), threading.active_count()))
            if number == 15:
                break
    assert held[3:] == [held[3]] * len(held[3:])


def test_one_pass_is_one_pass(place: Any, following: Any):
    following(place)
    with start(place, "--once", "--json") as child:
        out, _ = child.communicate()
    assert child.returncode == 0
    assert [record["rows"] for record in json.loads(out)] == [10]
    [result] = place.run("events_drop")
    assert result.status in ("skipped", "succeeded")

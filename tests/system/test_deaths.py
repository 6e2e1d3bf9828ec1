"""Processes that are killed or paused anywhere, and the call that comes after them. All real: PostgreSQL, signals."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import time
from collections import Counter
from typing import Any

import pytest

pytestmark = pytest.mark.slow

MONTHLY = {"column": "made_at", "clock": "event", "late": "ignore", "every": "1 month", "start": "2024-01-01"}
RUNS = 24  # 8 customers in 3 months
KILLS = 10


def wait_for_stop(child: subprocess.Popen[str]) -> None:
    _, status = os.waitpid(child.pid, os.WUNTRACED)
    assert os.WIFSTOPPED(status), child.communicate()


def rows_of(place: Any) -> Any:
    return place.read("select * from delivered order by id")


def assert_all_rows(place: Any) -> None:
    expected = place.answer("select id, customer, made_at, amount, note from orders order by id")
    assert list(zip(*rows_of(place).to_pydict().values(), strict=True)) == expected


def told_by(output: str) -> Any:
    return json.loads(output.rpartition("RESULTS ")[2])


def test_ten_kills_at_random_moments_lose_and_double_nothing(place: Any, sell: Any, new_place: Any):  # D15
    orders = sell(place, rows=200_000, customers=8)
    calm = new_place(orders.url, "calm")
    shutil.copytree(orders.root, calm.root, dirs_exist_ok=True)
    assert {r.status for r in calm.run("orders_drop")} == {"succeeded"}
    calm.assert_whole(RUNS)
    undisturbed = rows_of(calm)
    chance, kills, places = random.Random(15), 0, []
    current = None
    while kills < KILLS:
        if current is None:
            current = new_place(orders.url, f"killed{len(places)}")
            shutil.copytree(orders.root, current.root, dirs_exist_ok=True)
            places.append(current)
        with current.start("orders_drop") as child:
            for _ in range(chance.randint(0, 30)):
                child.stdout.readline()
            time.sleep(chance.uniform(0, 0.02))
            child.kill()
            output, _ = child.communicate()
        if child.returncode == -signal.SIGKILL:
            kills += 1
        if "RESULTS" in output or child.returncode == 0:
            current = None
    for each in places:
        results = each.run("orders_drop")
        assert {r.status for r in results} <= {"succeeded", "skipped"}
        each.assert_whole(RUNS)
        assert rows_of(each).equals(undisturbed)
        assert {r.status for r in each.run("orders_drop")} == {"skipped"}


@pytest.mark.parametrize(
    "moment",
    ["SweepStarted:1", "RowsRead:2", "FileWritten:5", "RunCommitted:3", "RunPublished:4", "SweepDone:1"],
)
def test_a_process_paused_past_its_lease_commits_nothing_twice(place: Any, sell: Any, moment: str):  # D15
    orders = sell(place, rows=30_000, customers=8)
    orders.settings(lease="1s")
    with orders.start("orders_drop", stop=moment) as child:
        try:
            wait_for_stop(child)
            results = orders.run("orders_drop")
            assert {r.status for r in results} <= {"succeeded", "skipped"}
            assert_all_rows(orders)
        finally:
            os.kill(child.pid, signal.SIGCONT)
        output, error = child.communicate(timeout=120)
    assert child.returncode == 0, error
    orders.assert_whole(RUNS)
    assert_all_rows(orders)
    twice = Counter((r.tenant, str(r.interval)) for r in results if r.status == "succeeded")
    twice.update((tenant, span) for tenant, span, status, *_ in told_by(output) if status == "succeeded")
    assert max(twice.values(), default=1) == 1


@pytest.mark.parametrize("kills", [1, 3])
def test_parts_of_immutable_rows_outlive_the_processes_that_finished_them(
    place: Any, sell: Any, kills: int
):  # D15
    window = {**MONTHLY, "clock": "transaction", "end": "2024-02-01"}
    del window["late"]
    sell(place, rows=60_000, customers=8, window=window, tenants=None, immutable_rows=True)
    place.settings(connections={"ops": {"type": "postgres", "url": "${DB}", "part_size": 262144}})
    journal, finished = place.root / "journal", 0
    for number in range(1, kills + 1):
        with place.start("orders_drop", die="PartRead:3") as child:
            child.communicate(timeout=120)
        assert child.returncode == -signal.SIGKILL
        noted = list(journal.rglob(f"a{number:04d}/parts/*.json"))
        assert len(noted) > finished  # what came before, and at least one more
        finished = len(noted)
    events: list[Any] = []
    results = place.run("orders_drop", on_event=events.append)
    assert {r.status for r in results} == {"succeeded"}
    read = [event.part for event in events if type(event).__name__ == "PartRead"]
    parts = len(list(journal.rglob(f"a{kills + 1:04d}/parts/*.json")))
    assert len(read) == len(set(read)) == parts - finished
    place.assert_whole(1)
    assert place.verify(deep=True).problems == []
    january = "select id, customer, made_at, amount, note from orders where made_at < '2024-02-01 00:00Z' order by id"
    assert list(zip(*rows_of(place).to_pydict().values(), strict=True)) == place.answer(january)
    assert {r.status for r in place.run("orders_drop")} == {"skipped"}


def test_a_sweep_whose_owner_dies_half_published_is_finished_by_the_next_call(place: Any, sell: Any):  # D15
    sell(place, rows=60_000, customers=200, window={**MONTHLY, "end": "2024-02-01"})
    with place.start("orders_drop", die="RunPublished:100") as child:
        child.communicate(timeout=120)
    assert child.returncode == -signal.SIGKILL
    assert 100 <= len(place.markers()) < 200  # several may be under way at once
    events = []
    results = place.run("orders_drop", on_event=lambda event: events.append(type(event).__name__))
    assert len(results) == 200
    assert {r.status for r in results} <= {"succeeded", "skipped"}
    assert "SweepStarted" not in events  # nothing was read again
    place.assert_whole(200)
    found = place.read(
        "select customer, count(*) n, count(distinct id) d from delivered group by all order by all"
    )
    january = "select customer, count(*), count(*) from orders where made_at < '2024-02-01 00:00Z' group by 1"
    assert sorted(zip(*found.to_pydict().values(), strict=True)) == sorted(place.answer(january))
    assert found.num_rows == 200

"""Fifty real processes at one sweep."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

import pytest

pytestmark = pytest.mark.slow

PROCESSES = 50
CUSTOMERS = 4

# One parent that has imported everything forks the racers, which all wait for one byte: the start.
RACE = """
import json, os, sys, lading, lading.project, lading.sources.postgres, lading.channels.drop, lading.formats.parquet
root, count = sys.argv[1], int(sys.argv[2])
gate, start = os.pipe()
answers, answer = os.pipe()
for _ in range(count):
    if os.fork() == 0:
        os.close(start)
        os.read(gate, 1)
        try:
            results = lading.Project.load(root).run("orders_drop")
            told = [[r.tenant, r.status] for r in results]
        except BaseException as error:
            told = [["*", f"{type(error).__name__}: {error}"]]
        os.write(answer, (json.dumps(told) + chr(10)).encode())
        os._exit(0)
os.close(answer)
os.close(start)
print(os.fdopen(answers).read(), end="")
for _ in range(count):
    os.wait()
"""


def test_fifty_processes_at_one_sweep_deliver_it_once(place: Any, sell: Any):  # D15
    window = {"column": "made_at", "clock": "event", "late": "ignore", "every": "1 month",
              "start": "2024-01-01", "end": "2024-02-01"}  # fmt: skip
    sell(place, rows=50_000, customers=CUSTOMERS, window=window)
    with place.python(RACE, str(place.root), str(PROCESSES)) as race:
        output, error = race.communicate(timeout=240)
    assert race.returncode == 0, error
    told = [json.loads(line) for line in output.splitlines()]
    assert len(told) == PROCESSES
    per_run = Counter((tenant, status) for results in told for tenant, status in results)
    expected = {(f"c{n}", "succeeded"): 1 for n in range(CUSTOMERS)}
    expected |= {(f"c{n}", "skipped"): PROCESSES - 1 for n in range(CUSTOMERS)}
    assert per_run == expected
    place.assert_whole(CUSTOMERS)
    rows = place.read("select count(*) n, count(distinct id) d from delivered").to_pylist()
    (january,) = place.answer("select count(*) from orders where made_at < '2024-02-01 00:00Z'")
    assert rows == [{"n": january[0], "d": january[0]}]

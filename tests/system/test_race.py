"""Fifty real processes at one sweep: forks that start at the same byte, and commands as cron would start them."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from lading import scaffold, verify

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


def test_fifty_commands_at_one_sweep_deliver_it_once(tmp_path: Path):  # D15
    """Fresh interpreters, each with the whole command line: they share nothing but the folders."""
    scaffold.write(tmp_path, scaffold.sample("shop"))
    export = tmp_path / "exports/orders_drop.yaml"
    text = export.read_text().replace("end: 2024-04-01", "end: 2024-02-01")
    export.write_text(text.replace("tenants: {column: shop, discover: true}\n", ""))
    command = [
        f"{Path(sys.executable).parent}/lading",
        "--project",
        str(tmp_path),
        "run",
        "orders_drop",
        "--json",
    ]
    racers = [
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(PROCESSES)
    ]
    outputs = [racer.communicate(timeout=240) for racer in racers]
    assert [racer.returncode for racer in racers] == [0] * PROCESSES, [error for _, error in outputs]
    told = [json.loads(output) for output, _ in outputs]
    assert Counter(record["status"] for (record,) in told) == {"succeeded": 1, "skipped": PROCESSES - 1}
    assert len({record["run_id"] for (record,) in told}) == 1
    folders = {marker.parent for marker in (tmp_path / "deliveries").rglob("_SUCCESS")}
    (folder,) = folders
    assert sorted((tmp_path / "deliveries").rglob("*.parquet")) == sorted(folder.glob("*.parquet"))
    report = verify(str(tmp_path / "deliveries"), deep=True)
    assert (report.problems, report.notes, report.deliveries, report.rows) == ([], [], 1, 3)

"""Memory is bounded by `buffer_memory`: neither rows nor tenants move it. Peaks are those of real processes."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

pytestmark = pytest.mark.slow

BUFFER = 64  # MB
TRIES = 4
ROWS = 300_000  # of about 260 bytes: more than the buffer takes

# The process's own peak, in bytes (VmHWM, proc(5)): once all that a run needs is imported, and after the run.
MEASURE = """
import re, sys, lading, lading.project, lading.sources.postgres_duckdb, lading.channels.drop, lading.formats.parquet
from pathlib import Path
def peak():
    return int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) * 1024
before = peak()
results = lading.Project.load(sys.argv[1]).run(sys.argv[2])
assert {r.status for r in results} == {"succeeded"}, results
print(before, peak(), sum(r.rows for r in results), file=sys.stderr)
"""


@pytest.fixture(scope="module")
def database(postgres: Any) -> str:
    """Readings of 1, 10 and 1,000 sensors, in two tables of which one is ten times as large."""
    import psycopg

    url = str(postgres.database())
    with psycopg.connect(url, autocommit=True) as connection:
        for name, rows in (("small", ROWS), ("large", 10 * ROWS)):
            connection.execute(
                f"create unlogged table {name} as select i::bigint id, 'ten' || i % 10 ten, "
                "'thousand' || i % 1000 thousand, (i % 100000) / 100.0::numeric(12,2) amount, "
                f"repeat(md5(i::text), 6) note from generate_series(1, {rows}) i"
            )
            connection.execute(f"analyze {name}")
    return url


@dataclass(frozen=True)
class Measured:
    """Of one process: bytes once everything was imported, and bytes at most."""

    imported: int
    peak: int
    rows: int


@pytest.fixture
def measure(database: str, new_place: Any) -> Callable[[str], Measured]:
    """Runs an export of a new project in a process of its own."""
    count = itertools.count()

    def run(export: str) -> Measured:
        place = new_place(database, f"project{next(count)}")
        # Parts so small that even the small table keeps all readers busy.
        ops = {"type": "postgres", "url": "${DB}", "part_size": 16 << 20}
        place.settings(buffer_memory=f"{BUFFER}MB", connections={"ops": ops})
        table, column = export.split("_")
        place.contract(table, {"id": "integer", "ten": "string", "thousand": "string", "note": "string"})
        tenants = {} if column == "whole" else {"tenants": {"column": column, "discover": True}}
        place.export(export, table, **tenants)
        with place.python(MEASURE, str(place.root), export) as child:
            _, error = child.communicate(timeout=280)
        assert child.returncode == 0, error
        return Measured(*map(int, error.split()))

    return run


@pytest.mark.parametrize("cut", ["whole", "ten"])
def test_a_table_ten_times_as_large_takes_no_more_memory(measure: Any, cut: str):  # facts: complaint 15
    # What threads and the allocator do differs by some percent from run to run: a few runs of each are compared, the
    # greatest of the small table with the least of the large one. Growth that lasts shows all the same.
    small = max((measure(f"small_{cut}") for _ in range(3)), key=lambda measured: measured.peak)
    for _ in range(TRIES):
        large = measure(f"large_{cut}")
        assert large.rows == 10 * small.rows == 10 * ROWS
        if large.peak < 1.10 * small.peak:
            break
    assert large.peak < 1.10 * small.peak


def test_a_thousand_tenants_stay_within_the_buffer(measure: Any):  # facts: complaint 15
    thousand = measure("small_thousand")
    assert thousand.rows == ROWS
    assert thousand.peak < thousand.imported + (BUFFER + 200) * 1_000_000

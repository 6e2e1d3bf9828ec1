"""Memory is bounded by `buffer_memory`: neither rows nor tenants move it. Peaks are those of real processes."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from typing import Any

import pytest

pytestmark = pytest.mark.slow

BUFFER = 64  # MB
ROWS = 300_000  # of about 260 bytes: more than the buffer takes

# What a process holds at most, in bytes (VmHWM, proc(5)): of the command line, and of one that has but imported it all.
RUN = """
import re, sys
from lading.__main__ import run
try:
    run()
finally:
    print(re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read())[1], file=sys.stderr)
"""
IMPORT = """
import re, sys, lading.project, lading.sources.postgres_duckdb, lading.channels.drop, lading.formats.parquet
print(re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read())[1], file=sys.stderr)
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


@pytest.fixture
def peak(database: str, new_place: Any) -> Callable[[str], int]:
    """Bytes that `lading run` of an export holds at most, in a new project."""
    count = itertools.count()

    def run(export: str) -> int:
        place = new_place(database, f"project{next(count)}")
        # Parts so small that even the small table keeps all readers busy.
        ops = {"type": "postgres", "url": "${DB}", "part_size": 16 << 20}
        place.settings(buffer_memory=f"{BUFFER}MB", connections={"ops": ops})
        table, column = export.split("_")
        place.contract(table, {"id": "integer", "ten": "string", "thousand": "string", "note": "string"})
        tenants = {} if column == "whole" else {"tenants": {"column": column, "discover": True}}
        place.export(export, table, **tenants)
        output, held = measured(place, RUN, "--project", str(place.root), "run", export, "--json")
        rows = sum(run["rows"] for run in json.loads(output))
        assert rows == (ROWS if table == "small" else 10 * ROWS)
        return held

    return run


def measured(place: Any, code: str, *arguments: str) -> tuple[str, int]:
    with place.python(code, *arguments) as child:
        output, error = child.communicate(timeout=280)
    assert child.returncode == 0, error
    return output, int(error.split()[-1]) * 1024


@pytest.mark.parametrize("cut", ["whole", "ten"])
def test_a_table_ten_times_as_large_takes_no_more_memory(peak: Any, cut: str):  # facts: complaint 15
    small, large = peak(f"small_{cut}"), peak(f"large_{cut}")
    assert large < 1.10 * small


def test_a_thousand_tenants_stay_within_the_buffer(
    peak: Any, database: str, new_place: Any
):  # facts: complaint 15
    _, imported = measured(new_place(database, "imports"), IMPORT)
    assert peak("small_thousand") < imported + (BUFFER + 200) * 1_000_000

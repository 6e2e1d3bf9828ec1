"""The benchmark runs to its end on a few rows, and counts no wrong output. What it measures is no matter of tests."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import duckdb
import pytest
from benchmarks.__main__ import NAMES
from benchmarks.cases import Case, Tool
from benchmarks.data import Sums
from benchmarks.measuring import Broken, Sample, measure
from benchmarks.outputs import Output
from benchmarks.peer_tools import how_called
from benchmarks.requirements import Row, growth, rows
from benchmarks.rounds import Results, run

from benchmarks import report

ROOT = Path(__file__).parents[2]
ROWS = 4000
# A few rows that look like TPC-H's.
TABLES = {
    "lineitem": """i // 4 + 1 as l_orderkey, i as l_partkey, i % 10 as l_suppkey, (i % 4 + 1)::integer as l_linenumber,
        (i % 50 + 1)::decimal(15,2) as l_quantity, (i / 100)::decimal(15,2) as l_extendedprice,
        (i % 11 / 100)::decimal(15,2) as l_discount, 0.05::decimal(15,2) as l_tax,
        ['A', 'N', 'R'][i % 3 + 1] as l_returnflag, ['F', 'O'][i % 2 + 1] as l_linestatus,
        date '1994-01-01' + (i % 900)::integer as l_shipdate, date '1994-02-01' as l_commitdate,
        date '1994-03-01' as l_receiptdate, 'NONE' as l_shipinstruct, ['AIR', 'RAIL'][i % 2 + 1] as l_shipmode,
        'comment ' || i as l_comment""",
    "orders": """i as o_orderkey, i % 100 as o_custkey, 'O' as o_orderstatus, (i / 7)::decimal(15,2) as o_totalprice,
        date '1994-01-01' as o_orderdate, '1-URGENT' as o_orderpriority, 'Clerk' as o_clerk,
        0::integer as o_shippriority, 'comment ' || i as o_comment""",
    "customer": """i as c_custkey, 'Customer ' || i as c_name, 'address' as c_address, i % 25 as c_nationkey,
        '25-989' as c_phone, (i / 3)::decimal(15,2) as c_acctbal, 'BUILDING' as c_mktsegment,
        'comment ' || i as c_comment""",
}


def a_sample(**figures: Any) -> Sample:
    return Sample(**{"wall": 1.0, "cpu": 1.0, "peak": 100_000_000, "written": 1000, "told": {}, **figures})


# --- from its beginning to its end


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_every_case_runs_to_its_end_and_is_reported(tmp_path: Path, postgres: Any) -> None:
    folder = tmp_path / "data" / "sf0.01"
    folder.mkdir(parents=True)
    for table, columns in TABLES.items():
        duckdb.sql(f"copy (select {columns} from range({ROWS}) t(i)) to '{folder / table}.parquet'")
    words = [
        "--scale",
        "0.01",
        "--rounds",
        "0",
        "--home",
        str(tmp_path),
        "--report",
        str(tmp_path / "report"),
    ]
    environ = {**os.environ, "BENCH_POSTGRES": postgres.database()}
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks", "--peers", sys.executable, *words],
        cwd=ROOT, env=environ, check=False, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-4000:]

    (measured,) = json.loads((tmp_path / "report/benchmarks.json").read_text()).values()
    assert set(measured["cases"]) == set(NAMES)
    for case in measured["cases"].values():
        for tool, results in case["tools"].items():
            assert results["failure"] == "", (case["title"], tool)
            assert results["samples"]
    assert {"Lading", "DuckDB", "COPY"} == set(measured["cases"]["postgres-parquet"]["tools"])
    assert {"ClickHouse", "dlt"} <= set(measured["absent"])

    verdicts = rows(report.measured_in(measured))
    assert {row.against for row in verdicts if row.verdict == "not measured"} <= {
        "ClickHouse's time",
        "ClickHouse's bytes",
        "`openssl dgst -sha256`, two at a time",
    }
    page = (tmp_path / "report/benchmarks.md").read_text()
    assert all(row.case in page for row in verdicts)
    assert str(tmp_path) not in page
    assert ElementTree.parse(tmp_path / "report/benchmarks.svg").getroot().tag.endswith("svg")
    assert not (tmp_path / "work").exists()


# --- what counts


def test_a_copy_that_lacks_a_row_counts_as_a_failure(tmp_path: Path) -> None:
    output = Output("csv", "orders", Sums(3, 6, "7.50"))
    (tmp_path / "orders.csv").write_text("o_orderkey,o_totalprice\n1,2.50\n2,2.50\n3,2.50\n")
    output.check(tmp_path)
    (tmp_path / "orders.csv").write_text("o_orderkey,o_totalprice\n1,2.50\n5,5.00\n")
    with pytest.raises(Broken, match="2, 6"):
        output.check(tmp_path)


def test_a_copy_that_should_be_masked_and_is_not_counts_as_a_failure(tmp_path: Path) -> None:
    output = Output("csv", "orders", Sums(1, 1, "2.50"), condition="length(o_clerk) = 64")
    (tmp_path / "orders.csv").write_text("o_orderkey,o_totalprice,o_clerk\n1,2.50,somebody\n")
    with pytest.raises(Broken):
        output.check(tmp_path)


def test_a_tool_that_fails_has_no_times_and_stops_no_other(tmp_path: Path) -> None:
    works, fails = (
        Tool(code, [sys.executable, "-c", f"raise SystemExit({code})"], folder=tmp_path / code)
        for code in "03"
    )
    results = run(Case("case", "A case", [fails, works]), 2, tmp_path, lambda: None)
    assert results["3"].samples == []
    assert "ended with 3" in results["3"].failure
    assert len(results["0"].samples) == 2


def test_memory_is_that_of_all_processes_together(tmp_path: Path) -> None:
    held = "import time; held = b'x' * 60_000_000; time.sleep(1.5)"
    code = f"import subprocess, sys; p = subprocess.Popen([sys.executable, '-c', {held!r}]); {held}; p.wait()"
    sample = measure([sys.executable, "-c", code], {}, tmp_path / "log")
    assert sample.peak > 120_000_000
    assert sample.wall > 1.5


def test_time_of_the_processes_that_a_tool_starts_counts(tmp_path: Path) -> None:
    busy = "import time; end = time.process_time() + 0.3\nwhile time.process_time() < end: pass"
    code = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {busy!r}])"
    assert measure([sys.executable, "-c", code], {}, tmp_path / "log").cpu > 0.3


# --- verdicts


def one(measured: dict[str, dict[str, Results]], against: str) -> Row:
    (row,) = [row for row in rows(measured) if row.verdict != "not measured" and row.against == against]
    return row


@pytest.mark.parametrize(("wall", "verdict"), [(1.35, "met"), (1.62, "**not met**, by 20.0 %")])
def test_a_ratio_is_that_of_medians(wall: float, verdict: str) -> None:
    mine = Results([a_sample(wall=seconds) for seconds in (9.0, wall, 0.1)])
    row = one(
        {"postgres-governed": {"Lading": with_same_rows(mine), "DuckDB": Results([a_sample()])}},
        "DuckDB's time",
    )
    assert row.verdict == verdict


def with_same_rows(results: Results) -> Results:
    return Results([a_sample(wall=s.wall, told={"same_rows": 1000}) for s in results.samples])


def test_the_bucket_is_held_against_the_local_run_and_half_of_the_upload_s_work() -> None:
    tools = {"Lading": 5.0, "Lading, local": 4.0, "obstore upload": 9.0}
    measured = {"bucket": {name: Results([a_sample(wall=wall, cpu=2.0)]) for name, wall in tools.items()}}
    assert one(measured, "the local run + half the CPU time of a bare upload").figure == "1 ×"


def test_ten_times_the_rows_may_take_ten_times_the_time_and_no_more_memory() -> None:
    large = Results([a_sample(wall=10.4, peak=120_000_000)])
    measured = {"parquet-jsonl": {"Lading": large, "Lading, scale 1": Results([a_sample()])}}
    found = [row for row in growth(measured, 10) if row.excess is not None]
    assert [row.verdict for row in found] == ["met", "**not met**, by 9.1 %"]


def test_it_is_said_of_every_peer_how_it_is_called() -> None:
    assert all(len(said) > 40 for said in how_called().values())

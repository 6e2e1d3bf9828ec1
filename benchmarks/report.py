"""`docs/benchmarks.md`, `.json` and `.svg`, from what was measured at scale 1 and, where there is one, at scale 10."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from benchmarks.cases import COPIES
from benchmarks.chart import draw
from benchmarks.peer_tools import how_called
from benchmarks.requirements import Measured, Row, growth, rows
from benchmarks.rounds import Results

NO_PEERS = ("Lading", "Lading, local", "COPY", "obstore upload")
Run = dict[str, Any]  # a run's part of the JSON: date, scale, rounds, machine, versions, absent, cases

INTRODUCTION = """\
# Benchmarks

Made by `make bench`; do not edit. What Lading costs beside tools that do the bare copy, while it masks, checks, hashes,
commits and writes a manifest. Every figure is in [benchmarks.json](benchmarks.json), with every round.

## How to reproduce

```shell
make bench            # TPC-H at scale 1, five rounds
make bench SCALE=10   # Lading alone, at ten times the rows; adds the growth of time and memory to this page
```

Python, make and some disk are all it takes: about 10 GB at scale 1, 50 GB at scale 10. Nothing else should run
meanwhile.

- The peers get an environment of their own, `.bench/venv`, with fixed versions from
  [benchmarks/peers.txt](../benchmarks/peers.txt).
- `BENCH_POSTGRES` may give the URL of an empty database, in place of the embedded server.
- rivet (`cargo install rivet-cli`) and Sling take part where `rivet` and `sling` are on the `PATH`, or `RIVET` and
  `SLING` name them, and where `BENCH_POSTGRES` has a host: they speak by TCP only. Sling fetches a program of DuckDB's
  to write Parquet.
- The bucket is on VersityGW where Go is there to install it, else on moto.
- `ROUNDS=3` and `OPTIONS="--cases parquet-jsonl --tools Lading,ClickHouse"` shorten a run, and so does a smaller
  `SCALE`, whose times say more of how a tool starts; such a report goes to `.bench/report`. `.venv/bin/python -m
  benchmarks --help` lists the cases.
"""

METHOD = """\
## How it is measured

- Rows of TPC-H's `lineitem`, `orders` and `customer`, made by `tpchgen-cli`: as Parquet files, and in PostgreSQL with
  primary keys, after `VACUUM ANALYZE`. Unless a table is named, a case copies `lineitem`.
- Every run is a fresh process, from its start to its end: loading an interpreter and libraries counts. Lading is run as
  its users do, `lading run` in a project's folder, with default settings: two lanes, fsync, hashes, manifest, markers.
- The tools of a case take turns, in an order that moves on by one each round. The first round warms up and does not
  count. Before each run its output is emptied and PostgreSQL does a `CHECKPOINT`.
- Every process, the embedded server's among them, is bound to the same two cores.
- After each run the output's rows are counted, and its keys and amounts summed, by DuckDB. A wrong output is a failure,
  not a time. Where something is masked, that is looked at too.
- Time is the median of the rounds, beside it the fastest and the slowest. CPU is user and system time of the client's
  processes, without the servers'. Memory is a single process's high-water mark, or the sum of resident sets of its
  process tree, sampled 25 times a second, whichever is larger; the largest round counts. Bytes are those of all files
  written, manifests and sidecars included.
- Of 1,000 tenants, Lading's rate is that of its whole process; of bare writing, only the writing is timed.
- A target names the tool that it was set against, which need not be the fastest of its case.
- `COPY` is the limit: the server's own work for half of the pages on each of two connections, in binary, to nowhere.
"""

CAVEATS = """\
## What these figures do not say

- Client and server share two cores. With a server elsewhere, what a client does by itself weighs more.
- Everything is read from the page cache. On slow disks or networks all tools come closer to one another.
- DuckDB is 1.5.5, the newest whose PostgreSQL extension is published as a wheel.
- ADBC gives numerics as text; the cast to decimals is part of its time. connectorx and what builds on it give them as
  `decimal(38, 10)`.
- Peers write with their own defaults for the size of row groups and the level of compression. Only Lading waits for the
  disk.
- A masked column of random digits compresses worse than what it masks. So the bytes of the governed export are
  held against what DuckDB writes of the same masked rows.
"""


def run_of(measured: Measured, titles: dict[str, str], about: Run) -> Run:
    cases = {
        case: {"title": titles[case], "tools": {name: results.json() for name, results in tools.items()}}
        for case, tools in measured.items()
    }
    return {**about, "cases": cases}


def measured_in(run: Run) -> Measured:
    return {
        case: {name: Results.read(results) for name, results in content["tools"].items()}
        for case, content in run["cases"].items()
    }


def write(folder: Path, run: Run, *, beside: bool) -> list[Row]:
    """Writes the three files, ``beside`` what stood there of the other scale; gives the rows that this run shows."""
    folder.mkdir(parents=True, exist_ok=True)
    kept = folder / "benchmarks.json"
    runs: dict[str, Run] = json.loads(kept.read_text(encoding="utf-8")) if beside and kept.exists() else {}
    runs[run["scale"]] = run
    kept.write_text(json.dumps(runs, indent=1, sort_keys=True, ensure_ascii=False) + "\n", encoding="utf-8")
    scales = sorted(runs, key=float)
    first = runs[scales[0]]
    found = rows(measured_in(first))
    grown: list[Row] = []
    for scale in scales:
        if float(scale) > 1:
            grown += growth(measured_in(runs[scale]), float(scale))
    (folder / "benchmarks.svg").write_text(draw(measured_in(first), _titles(first)), encoding="utf-8")
    page = [INTRODUCTION, *_about(runs[s] for s in scales), *_verdicts(found, grown), *_details(first),
            METHOD, *_peers(first), CAVEATS]  # fmt: skip
    (folder / "benchmarks.md").write_text("\n".join(page), encoding="utf-8")
    return [*found, *grown]


def table(head: str, lines: Iterable[str]) -> str:
    return "\n".join([head, "|" + " --- |" * (head.count("|") - 1), *lines]) + "\n"


def verdicts(found: Iterable[Row]) -> str:
    lines = (f"| {r.case} | {r.against} | {r.figure} | {r.target} | {r.verdict} |" for r in found)
    return table("| case | against | Lading | target | verdict |", lines)


def _titles(run: Run) -> dict[str, str]:
    return {copy.name: run["cases"][copy.name]["title"] for copy in COPIES if copy.name in run["cases"]}


def _verdicts(found: list[Row], grown: list[Row]) -> Iterator[str]:
    yield "## What is to be reached\n"
    yield verdicts(found)
    if grown:
        yield "And with more rows, Lading alone:\n"
        yield verdicts(grown)


def _about(runs: Iterable[Run]) -> Iterator[str]:
    yield "## The machine\n"
    for run in runs:
        machine = ", ".join(f"{name}: {value}" for name, value in run["machine"].items())
        rounds = "the warm-up alone" if not run["rounds"] else f"rounds: {run['rounds']}"
        yield f"Scale {run['scale']}, {rounds}, {run['date']}, commit `{run['commit']}`. {machine}.\n"


def _details(run: Run) -> Iterator[str]:
    yield "## Every tool\n"
    yield "![Medians of each copy](benchmarks.svg)\n"
    for content in run["cases"].values():
        tools = {name: Results.read(results) for name, results in content["tools"].items()}
        times = [r.median("wall") for name, r in tools.items() if r.samples and name not in NO_PEERS]
        yield f"### {content['title'].replace('`', '')}\n"
        yield table(
            "| tool | time | fastest–slowest | CPU | peak memory | bytes | ratio to the best peer |",
            (_line(name, results, min(times, default=0.0)) for name, results in tools.items()),
        )


def _line(name: str, results: Results, best: float) -> str:
    if not results.samples:
        return f"| {name} | failed: {results.failure.replace('|', '/')} | | | | | |"
    wall, cpu, written = (results.median(figure) for figure in ("wall", "cpu", "written"))
    times = results.all("wall")
    ratio = f"{wall / best:.2f}" if best else "–"
    size = f"{written / 1e6:,.1f} MB" if written else "–"
    peak = f"{max(results.all('peak')) / 1e6:,.0f} MB"
    return f"| {name} | {wall:.2f} s | {min(times):.2f}–{max(times):.2f} | {cpu:.2f} s | {peak} | {size} | {ratio} |"


def _peers(run: Run) -> Iterator[str]:
    yield "## How the peers were called\n"
    called = how_called()
    lines = (
        f"| {name} | {run['versions'].get(name) or 'absent: ' + run['absent'].get(name, '')} | {said} |"
        for name, said in called.items()
    )
    yield table("| tool | version | call |", lines)
    others = ", ".join(f"{name} {version}" for name, version in run["versions"].items() if name not in called)
    yield f"The scripts are in [benchmarks/peers](../benchmarks/peers). Also: {others}.\n"

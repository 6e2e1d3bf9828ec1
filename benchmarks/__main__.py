"""`make bench`: measures every case and writes the report."""

from __future__ import annotations

import argparse
import importlib.metadata
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from benchmarks import bucket, data, peer_tools, report
from benchmarks.bench import Bench
from benchmarks.cases import COPIES, Case
from benchmarks.measuring import keep_to_cores, machine
from benchmarks.requirements import AT_ONE, Row
from benchmarks.rounds import Results, run

ROOT = Path(__file__).parents[1]
OTHERS = ("bucket", "fixed", "tenants", "help", "verify")
NAMES = (*(copy.name for copy in COPIES), *OTHERS)
REPORTED = ("1", "10")  # scales that docs/ holds


def main(arguments: Sequence[str] | None = None) -> list[Row]:
    asked = _parser().parse_args(arguments)
    cores = keep_to_cores()
    home = asked.home.resolve()
    work = home / "work"
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    alone = float(asked.scale) > 1
    tools = asked.tools or (["Lading", "Lading, local"] if alone else None)
    names = asked.cases or [name for name in NAMES if not alone or name in (*NAMES[: len(COPIES)], "bucket")]
    with ExitStack() as stack:
        rows = _data(asked, home, asked.scale)
        peers = peer_tools.find(asked.peers, rows.url)
        cases = list(_cases(Bench(rows, peers, work), names, tools, stack, home / "s3"))
        if alone and not asked.postgres:  # a given database holds one scale
            small = Bench(_data(asked, home, "1"), peers, work / "scale1")
            ones = _cases(small, names, tools, stack, home / "s3-scale1")
            cases = [_beside(case, one) for case, one in zip(cases, ones, strict=True)]
        measured: dict[str, dict[str, Results]] = {}
        for case in cases:
            _say(case.title)
            measured[case.name] = run(case, asked.rounds, work, rows.checkpoint)
        versions = {**peers.versions, "PostgreSQL": rows.postgres_version()}
    shutil.rmtree(work)
    for package in ("lading", "obstore", "pyarrow", "polars"):
        versions[f"{package} of Lading" if package in ("pyarrow", "polars") else package] = (
            importlib.metadata.version(package)
        )
    about = {
        "scale": asked.scale, "rounds": asked.rounds, "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "commit": _commit(), "machine": machine(cores), "versions": versions, "absent": dict(peers.absent),
    }  # fmt: skip
    whole = asked.scale in REPORTED and not asked.cases and not asked.tools
    target = asked.report or (ROOT / "docs" if whole else home / "report")
    this = report.run_of(measured, {case.name: case.title for case in cases}, about)
    found = report.write(target, this, beside=whole)
    _say("")
    print(report.verdicts(row for row in found if whole or row.excess is not None))
    _say(f"The report is in {os.path.relpath(target)}.")
    return found


def _data(asked: argparse.Namespace, home: Path, scale: str) -> data.Data:
    label = f"sf{scale.replace('.', '_')}"
    url = asked.postgres or data.embedded(home / "postgres", label)
    generator = str(Path(asked.peers).parent / "tpchgen-cli")
    return data.prepare(scale, home / "data" / f"sf{scale}", generator, url)


def _beside(case: Case, one: Case) -> Case:
    """The case, with Lading's copy of the rows of scale 1 taking turns with what is in it."""
    ones = [replace(tool, name=AT_ONE) for tool in one.tools if tool.name == "Lading"]
    return replace(case, tools=[*case.tools, *ones])


def _cases(
    bench: Bench, names: list[str], tools: list[str] | None, stack: ExitStack, s3: Path
) -> Iterator[Case]:
    for copy in COPIES:
        if copy.name in names:
            yield _only(bench.copy(copy), tools)
    if "bucket" in names:
        yield _only(bench.bucket(stack.enter_context(bucket.serve(s3))), tools)
    for make in (bench.fixed, bench.tenants, bench.help, bench.verify):
        if make.__name__ in names:
            yield _only(make(), tools)


def _only(case: Case, tools: list[str] | None) -> Case:
    return case if tools is None else replace(case, tools=[tool for tool in case.tools if tool.name in tools])


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    add = parser.add_argument
    add("--scale", default="1", help="TPC-H's scale factor; above 1, Lading alone, beside itself at scale 1")
    add("--rounds", type=int, default=5, help="that count, after one that warms up; 0: that one")
    add("--cases", type=lambda text: text.split(","), help=f"only these: {', '.join(NAMES)}")
    add("--tools", type=lambda text: text.split(","), help="only these")
    add(
        "--postgres",
        default=os.environ.get("BENCH_POSTGRES"),
        help="a database's URL, in place of an embedded one",
    )
    add("--peers", default=str(ROOT / ".bench/venv/bin/python"), help="the Python that has the peers")
    add("--home", type=Path, default=ROOT / ".bench", help="where data and outputs lie")
    add("--report", type=Path, help="where the report goes")
    return parser


def _commit() -> str:
    """With a + where files differ from it; unknown outside a repository."""
    command = ["git", "describe", "--always", "--dirty=+", "--exclude=*"]
    done = subprocess.run(command, cwd=ROOT, check=False, capture_output=True, text=True)
    return done.stdout.strip() or "unknown"


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()

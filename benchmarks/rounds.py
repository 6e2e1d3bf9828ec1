"""Rounds of a case: every tool once in each, in turn, so that what drifts drifts for all of them."""

from __future__ import annotations

import json
import shutil
import statistics
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from benchmarks.cases import Case, Tool
from benchmarks.measuring import Broken, Sample, measure
from benchmarks.outputs import written


@dataclass
class Results:
    """What a tool did in a case."""

    samples: list[Sample] = field(default_factory=list)
    failure: str = ""  # why no time of it counts

    def median(self, figure: str) -> float:
        """Of ``wall``, ``cpu``, ``peak``, ``written``, or of something told."""
        return statistics.median(self.all(figure))

    def all(self, figure: str) -> list[float]:
        return [getattr(s, figure) if hasattr(s, figure) else s.told[figure] for s in self.samples]

    def json(self) -> dict[str, Any]:
        return {"failure": self.failure, "samples": [asdict(sample) for sample in self.samples]}

    @classmethod
    def read(cls, content: dict[str, Any]) -> Results:
        return cls([Sample(**sample) for sample in content["samples"]], content["failure"])


def run(case: Case, rounds: int, work: Path, between: Callable[[], object]) -> dict[str, Results]:
    """One round that warms up, then so many that count; if none, the first one does. ``between`` runs before each."""
    results = {tool.name: Results() for tool in case.tools}
    for number in range(rounds + 1):
        turned = number % len(case.tools)
        for tool in [*case.tools[turned:], *case.tools[:turned]]:
            mine = results[tool.name]
            if mine.failure:
                continue
            try:
                samples = [once(tool, work, between) for _ in range(tool.repeat)]
            except Broken as error:
                mine.failure = str(error).replace(str(work), "…")
                mine.samples.clear()
                _say(f"  {tool.name}: {mine.failure}")
                continue
            if number or not rounds:
                mine.samples += samples
            label = f"round {number}" if number else "warm-up"
            _say(f"  {label}  {tool.name}: " + ", ".join(f"{s.wall:.2f} s" for s in samples))
    return results


def once(tool: Tool, work: Path, between: Callable[[], object]) -> Sample:
    """Raises Broken where the command fails or its output is not right."""
    tool.prepare()
    if tool.folder is not None:
        shutil.rmtree(tool.folder, ignore_errors=True)
        tool.folder.mkdir(parents=True)
    between()
    log = work / "log"
    sample = measure(tool.command, tool.environ, log)
    told = dict(tool.check())
    if tool.tells:
        told |= json.loads(log.read_text(encoding="utf-8").splitlines()[-1])
    size = 0
    if tool.folder is not None:
        size = written(tool.folder)
        shutil.rmtree(tool.folder)
    return replace(sample, written=size, told=told)


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)

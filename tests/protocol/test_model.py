"""The commit protocol holds in every interleaving, and every simplification of it is caught."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

MODEL = Path(__file__).with_name("model.py")


def lines(*arguments: str) -> list[str]:
    unmeasured = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE_")}
    found = subprocess.run(  # the model imports nothing whose lines are counted
        [sys.executable, str(MODEL), *arguments], capture_output=True, text=True, check=False, env=unmeasured
    )
    assert found.returncode == 0, found.stdout + found.stderr
    return found.stdout.splitlines()


def test_two_processes_keep_every_invariant_in_every_interleaving():  # D15
    assert all(line.endswith("holds") for line in lines("--small"))


@pytest.mark.slow
def test_three_processes_keep_every_invariant_in_every_interleaving():
    told = lines("--large")
    assert sum("3 processes" in line for line in told) >= 4
    assert all(line.endswith("holds") for line in told)


@pytest.mark.slow
def test_every_simplification_of_the_protocol_is_caught():
    told = lines("--mutants")
    assert len(told) >= 25
    assert not [line for line in told if "NOT CAUGHT" in line]

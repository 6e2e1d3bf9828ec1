"""Standard streams that are closed, full, or left by their reader: real processes, called as a shell calls them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

CALL = "from lading.__main__ import run; run()"
LOST = "error: The output could not be written to stdout: "


def shell(words: str, redirection: str) -> tuple[int, str]:
    """How a command ended, and what it said on stderr where that is not redirected."""
    line = f'set -o pipefail; "$1" -c "$2" {words} {redirection}'
    told = subprocess.run(["bash", "-c", line, "bash", sys.executable, CALL], capture_output=True, text=True)
    return told.returncode, told.stderr


@pytest.fixture
def delivered(project: Path) -> Path:
    assert shell("run orders_drop", ">run.txt") == (0, "")
    return project


@pytest.mark.parametrize("words", ["files deliveries", "runs --json", "--help", "run --help", "--version"])
def test_a_result_that_is_lost_is_told_and_no_success(delivered: Path, words: str) -> None:
    code, said = shell(words, "> /dev/full")
    assert (code, said.splitlines()[0]) == (4, f"{LOST}No space left on device.")
    code, said = shell(words, ">&-")
    assert (code, said.splitlines()[0]) == (4, f"{LOST}it is closed.")
    assert "Traceback" not in said
    assert "Exception ignored" not in said


@pytest.mark.parametrize("words", ["files deliveries", "runs --json", "--help", "--version"])
def test_a_pipe_that_is_closed_early_is_no_failure(delivered: Path, words: str) -> None:
    assert shell(words, "| true") == (0, "")


@pytest.mark.parametrize("redirection", ["2>&-", "2> /dev/full"])
def test_a_lost_stderr_changes_nothing(delivered: Path, redirection: str) -> None:
    assert shell("runs", f"{redirection} > runs.txt")[0] == 0
    assert "orders_drop" in (delivered / "runs.txt").read_text()
    assert shell("runs nonsense", redirection)[0] == 2


def test_without_any_stream_the_exit_code_still_tells(delivered: Path) -> None:
    assert shell("runs", ">&- 2>&-")[0] == 4
    assert shell("validate --nonsense", ">&- 2>&- <&-")[0] == 2
    assert shell("verify deliveries --json", "> /dev/full 2>&1")[0] == 4


def test_a_run_whose_report_is_lost_has_delivered_all_the_same(project: Path) -> None:
    code, said = shell("run orders_drop", ">&- <&-")
    assert (code, said.splitlines()[0]) == (4, f"{LOST}it is closed.")
    assert shell("verify deliveries --deep", "> proof.txt") == (0, "")
    assert (project / "proof.txt").read_text().startswith("ok: 6 deliveries, 6 files, 7 rows")


def test_the_worst_is_told_where_a_run_fails_and_its_report_is_lost(project: Path, replace: Any) -> None:
    replace("incoming/orders/2024-02.csv", "33.10", "99999.00")
    code, said = shell("run orders_drop", "> /dev/full")
    assert code == 7
    assert LOST in said
    assert "error: 2024-02-01/2024-03-01" in said

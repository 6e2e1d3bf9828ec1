"""One command as a process of its own: its time, its CPU seconds, its memory; and on what machine.

Time runs from the start of the process to its end, so that loading the interpreter and its libraries counts. CPU is
user and system time of the process and all that it started and waited for (wait4(2)). Memory is the larger of two: the
high-water mark of a single process (VmHWM, proc(5)), and the sum of the resident sets of the process tree, looked at 25
times a second. Pages of files that a process has mapped count, and pages that two processes share count twice.
"""

from __future__ import annotations

import os
import platform
import re
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import psutil

ROOT = Path(__file__).parents[1]
# A shell may ask Python not to keep what it compiles: then each start would compile it all anew, for every tool.
_ENVIRON = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
CORES = 2
LOOK = 0.04  # seconds between two looks at memory
CENSUS = 0.5  # seconds between two looks for new processes
LIMIT = 3600  # seconds that one run may take


@dataclass(frozen=True)
class Sample:
    """One run."""

    wall: float  # seconds
    cpu: float  # seconds
    peak: int  # bytes
    written: int = 0  # bytes of the files that it left
    told: Mapping[str, float] = field(default_factory=dict)  # what the process or the look at its files found


class Broken(Exception):
    """A run that ended badly, or whose output is not what it should be: no time of it counts."""


def keep_to_cores(count: int = CORES) -> int:
    """Binds this process, and all that it starts, to so many cores; gives how many it has."""
    if sys.platform != "linux":
        return os.cpu_count() or 1
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:count])
    return len(os.sched_getaffinity(0))


def measure(command: Sequence[str], environ: Mapping[str, str], log: Path) -> Sample:
    """Runs the command; what it prints goes to ``log``. Raises Broken with the last line of it."""
    with log.open("wb") as sink:
        started = time.perf_counter()
        process = subprocess.Popen(command, cwd=ROOT, env={**_ENVIRON, **environ}, stdin=subprocess.DEVNULL,
                                   stdout=sink, stderr=sink, start_new_session=True)  # fmt: skip
        watch = _Watch(process.pid)
        watch.start()
        timer = threading.Timer(LIMIT, process.kill)
        timer.start()
        try:
            _, status, usage = os.wait4(process.pid, 0)
            wall = time.perf_counter() - started
        finally:
            timer.cancel()
            watch.ended.set()
            watch.join()
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines() or ["nothing was said"]
        raise Broken(f"ended with {process.returncode}: {lines[-1][:300]}")
    # Where there is no /proc: of the largest single process, in bytes on macOS.
    return Sample(wall, usage.ru_utime + usage.ru_stime, watch.peak or usage.ru_maxrss)


class _Watch(threading.Thread):
    """Looks at the memory of a process and its descendants until ``ended`` is set."""

    def __init__(self, pid: int) -> None:
        super().__init__(daemon=True)
        self.peak = 0
        self.ended = threading.Event()
        self._pid = pid

    def run(self) -> None:
        pids, due = [self._pid], time.monotonic() + LOOK
        while not self.ended.wait(LOOK):
            if time.monotonic() >= due:
                pids, due = _tree(self._pid), time.monotonic() + CENSUS
            seen = [_memory(pid) for pid in pids]
            self.peak = max(self.peak, sum(now for now, _ in seen), *(most for _, most in seen))


def _tree(pid: int) -> list[int]:
    try:
        return [pid, *(child.pid for child in psutil.Process(pid).children(recursive=True))]
    except psutil.NoSuchProcess:
        return [pid]


def _memory(pid: int) -> tuple[int, int]:
    """Bytes resident now, and at most."""
    try:
        status = Path(f"/proc/{pid}/status").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return 0, 0
    found = dict(re.findall(r"^(VmRSS|VmHWM):\s+(\d+) kB", status, re.M))
    return int(found.get("VmRSS", 0)) * 1024, int(found.get("VmHWM", 0)) * 1024


def machine(cores: int) -> dict[str, str | int]:
    """What a reader of the figures must know of the machine."""
    model = platform.processor() or platform.machine()
    if Path("/proc/cpuinfo").exists():
        found = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(encoding="utf-8"), re.M)
        model = found[1] if found else model
    return {
        "processor": model,
        "cores": os.cpu_count() or 1,
        "cores used": cores,
        "memory GB": round(psutil.virtual_memory().total / 1e9),
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "python": platform.python_version(),
    }

"""Who is at work: owners, their heartbeats, and how an observer tells the dead from the slow.

A wrong verdict costs time, never data: whoever is believed dead is fenced by the seal of its attempt.
"""

from __future__ import annotations

import functools
import os
import secrets
import socket
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

# Nonces of the attempts that this process is working on. An owner with our pid and another nonce is gone.
_at_work: set[str] = set()


@dataclass(frozen=True, slots=True)
class Owner:
    """A process on a host. ``host`` names the boot and the process namespace, so that equal pids mean one process."""

    host: str
    pid: int
    born: str  # the process's start, in the kernel's own count: pids are used again
    nonce: str

    @classmethod
    def new(cls) -> Owner:
        return cls(_host(), os.getpid(), _born(os.getpid()), secrets.token_hex(8))

    @classmethod
    def of(cls, record: Mapping[str, object]) -> Owner:
        return cls(str(record["host"]), int(str(record["pid"])), str(record["born"]), str(record["nonce"]))

    def record(self) -> dict[str, object]:
        return asdict(self)

    def begin(self) -> None:
        """This process works under this name from now on."""
        _at_work.add(self.nonce)

    def end(self) -> None:
        _at_work.discard(self.nonce)

    def gone(self) -> bool:
        """True if this was a process of this host that is no more. False also where that cannot be known."""
        if self.host != _host():
            return False
        if self.pid == os.getpid():
            return self.nonce not in _at_work
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return True
        except PermissionError:
            pass
        return bool(self.born) and _born(self.pid) != self.born

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host.split('/')[0]}"


@functools.cache
def _host() -> str:
    name = socket.gethostname()
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{name}/{boot}/{Path('/proc/self/ns/pid').readlink()}"
    except OSError:
        return name


def _born(pid: int) -> str:
    try:
        # The command's name, in parentheses, may hold spaces: count from its end. Field 22 is the start time.
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        return ""


class Heart:
    """Beats in a thread of its own while an attempt is worked on: ``beat(n)`` is called every ``every`` seconds.

    A beat that fails is no reason to stop: at worst the owner is believed dead and fenced.
    """

    def __init__(self, owner: Owner, beat: Callable[[int], None], every: float) -> None:
        self._owner, self._beat, self._every = owner, beat, every
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="lading-heartbeat", daemon=True)

    def __enter__(self) -> Heart:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._owner.end()
        self._stop.set()
        self._thread.join(timeout=self._every + 1)

    def _run(self) -> None:
        count = 0
        while not self._stop.wait(self._every):
            count += 1
            try:
                self._beat(count)
            except BaseException:  # noqa: BLE001 - whatever kept this beat, the next one may come through
                continue


class Watch:
    """One observer's view of one owner: dead when it is gone, or when its heartbeats stood still for ``lease``."""

    def __init__(self, owner: Owner, lease: float, clock: Callable[[], float] = time.monotonic) -> None:
        self.owner, self._lease, self._clock = owner, lease, clock
        self._beat = -1
        self._since = clock()

    def dead(self, beat: int) -> bool:
        """``beat``: the highest heartbeat seen now."""
        if beat != self._beat:
            self._beat, self._since = beat, self._clock()
        return self.owner.gone() or self._clock() - self._since >= self._lease

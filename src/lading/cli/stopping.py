"""How commands are stopped: by Ctrl-C at a terminal, by SIGTERM from a scheduler."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from lading.stores.patience import PATIENCE

STOPS = (signal.SIGINT, signal.SIGTERM)


def _stopped(number: int, frame: FrameType | None) -> None:
    PATIENCE.lost = True
    raise KeyboardInterrupt


@contextmanager
def stopped_as_by_a_terminal() -> Iterator[None]:
    """SIGTERM, by which schedulers stop what they run, ends a run as Ctrl-C does: it says so in the journal, so that
    the next call need not wait until its silence has lasted for a lease. A store that fails then is not waited for:
    schedulers kill what does not end within seconds."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    PATIENCE.lost = False
    before = {number: signal.signal(number, _stopped) for number in STOPS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        PATIENCE.lost = False


class Stop:
    """Whether a command that goes on and on was asked to end. The first signal asks, and what is under way is finished;
    the second ends that too, as any run is ended."""

    def __init__(self) -> None:
        # A socket, for a handler may run while this thread holds any lock, that of an Event among them.
        self._asked, self._ask = socket.socketpair()
        self._resting = self._told = False

    def pause(self, seconds: float) -> bool:
        """Waits for so many seconds, or until a signal comes; True where one has come."""
        self._resting = True
        try:
            return bool(select.select([self._asked], [], [], seconds)[0])
        finally:
            self._resting = False

    def signalled(self, number: int, frame: FrameType | None) -> None:
        if self._told:
            _stopped(number, frame)
        self._told = True
        self._ask.send(b"!")
        if not self._resting:
            with contextlib.suppress(OSError):
                os.write(2, b"stopping: this pass is finished first; once more to stop at once\n")

    def close(self) -> None:
        self._asked.close()
        self._ask.close()


@contextmanager
def stopped_between_passes() -> Iterator[Stop]:
    stop, before = Stop(), {}
    try:
        if threading.current_thread() is threading.main_thread():
            before = {number: signal.signal(number, stop.signalled) for number in STOPS}
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        stop.close()

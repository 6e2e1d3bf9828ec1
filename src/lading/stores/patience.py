"""Whether a store that fails is worth waiting for: not once the process was told to stop."""

from __future__ import annotations

import time

_SLICE = 0.25


class Patience:
    """One for the process. ``lost`` is a plain attribute, which the handler of a signal may set whatever lock its
    thread holds."""

    def __init__(self) -> None:
        self.lost = False

    def sleep(self, seconds: float) -> None:
        """Returns after so many seconds, or soon after the patience is lost."""
        until = time.monotonic() + seconds
        while not self.lost and (left := until - time.monotonic()) > 0:
            time.sleep(min(left, _SLICE))


PATIENCE = Patience()

"""A store that is asked again when it fails in passing.

What is retried and how often is the document's: five attempts, delays from 30 s, doubled each time, up to 3600 s. These
delays are the upper bounds: each is drawn between zero and its bound ("full jitter", Brooker, *Exponential Backoff and
Jitter*, AWS Architecture Blog, 2015), so that a thousand processes that failed together do not come back together. A
store whose error says how long to wait (`StoreUnavailable.retry_after`) is waited for at least that long. Buckets never
say it: obstore tells neither us nor its own retry of the answer's headers, ``Retry-After`` among them.

Only StoreUnavailable is retried: rate limits, request quotas, timeouts, internal errors, unavailability. What is
denied, invalid, not found or there already is final, and a full store is not emptied by waiting some minutes.

Each wait is a warning of the logger `lading.stores`, which stands on stderr where nobody handles it. Who was told to
stop waits for nothing any more (`lading.stores.patience`).
"""

from __future__ import annotations

import io
import logging
import random as randomness
from collections.abc import Callable, Iterator
from typing import Any, Protocol, TypeVar

from pydantic import BaseModel, ConfigDict, Field

from lading.errors import ObjectExists, ObjectNotFound, StoreDenied, StoreUnavailable
from lading.ports import Download, ObjectInfo, Store, Swapper, Upload
from lading.stores.patience import PATIENCE
from lading.stores.wrapper import Wrapper

_LOG = logging.getLogger("lading.stores")

T = TypeVar("T")


class RetryOptions(BaseModel):
    """How a store that fails in passing is asked again. A bucket's `Retry-After` is not seen."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    attempts: int = Field(5, ge=1, description="How often in all")
    initial: float = Field(30.0, ge=0, description="The first delay at most, in seconds")
    maximum: float = Field(3600.0, ge=0, description="Any delay at most, in seconds")
    multiplier: float = Field(2.0, ge=1, description="By what the delay's bound grows")


class Uniform(Protocol):
    def uniform(self, a: float, b: float, /) -> float: ...


class RetryStore(Wrapper):
    """Retries the calls of ``store``.

    A retried create that finds the object there compares it: equal bytes mean that an earlier attempt had written it
    and its answer was lost. The same goes for a swap, whose bytes must therefore say by whom it is; where another has
    swapped the object on by then, it counts as refused, though it may have been made. A listing goes on after the
    last name that it gave, a download at its position. An upload cannot be replayed from here: it is aborted, and its
    StoreUnavailable reaches the caller.
    """

    def __init__(
        self,
        store: Store,
        *,
        attempts: int = 5,
        initial: float = 30.0,
        maximum: float = 3600.0,
        multiplier: float = 2.0,
        sleep: Callable[[float], None] = PATIENCE.sleep,
        random: Uniform = randomness,
    ) -> None:
        super().__init__(store)
        self._attempts, self._initial, self._maximum, self._multiplier = (
            attempts,
            initial,
            maximum,
            multiplier,
        )
        self._sleep, self._random = sleep, random

    def put(self, name: str, data: bytes, *, create: bool = False) -> None:
        if not create:
            super().put(name, data)
            return
        tries = 0

        def act() -> None:
            nonlocal tries
            tries += 1
            try:
                self._store.put(name, data, create=True)
            except ObjectExists:
                if tries == 1 or not self._holds(name, data):
                    raise

        self._call(act)

    def write(self, name: str) -> Upload:
        return _Upload(super().write(name))

    def read(self, name: str) -> Download:
        first = super().read(name)
        return io.BufferedReader(_Retried(self, name, first), 1024 * 1024)

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        last: bytes | None = None
        failures = 0
        while True:
            try:
                for info in self._store.list(prefix):
                    name = info.name.encode()
                    if last is None or name > last:
                        last, failures = name, 0
                        yield info
                return
            except StoreUnavailable as error:
                failures += 1
                self._wait(failures, error)

    def _swapping(self, store: Swapper) -> Callable[[str, bytes | None, bytes], bool]:
        def swap(name: str, expected: bytes | None, data: bytes) -> bool:
            tries = 0

            def act() -> bool:
                nonlocal tries
                tries += 1
                return store.swap(name, expected, data) or (tries > 1 and self._holds(name, data))

            return self._call(act)

        return swap

    def _holds(self, name: str, data: bytes) -> bool:
        try:
            return self._store.get(name) == data
        except (ObjectNotFound, StoreDenied):
            return False  # gone again, or a store that only takes: then nobody can say that it was ours

    def _call(self, act: Callable[[], T]) -> T:
        failures = 0
        while True:
            try:
                return act()
            except StoreUnavailable as error:
                failures += 1
                self._wait(failures, error)

    def _wait(self, failures: int, error: StoreUnavailable) -> None:
        """Sleeps before the next attempt; raises ``error`` if there is none."""
        if failures >= self._attempts or PATIENCE.lost:
            raise error
        # The exponent is bounded where the product is far beyond any maximum, before a float overflows.
        bound = min(self._maximum, self._initial * self._multiplier ** min(failures - 1, 64))
        delay = max(self._random.uniform(0, bound), error.retry_after or 0.0)
        # A name may be what no log can be written in.
        why = str(error).encode(errors="backslashreplace").decode()
        _LOG.warning(
            "waiting: %s Trying again in %.0f s (%d of %d).", why, delay, failures + 1, self._attempts
        )
        self._sleep(delay)
        if PATIENCE.lost:
            raise error


class _Upload:
    """An upload that aborts by itself when it fails in passing, since what it has sent cannot be sent again."""

    def __init__(self, upload: Upload) -> None:
        self._upload = upload

    def write(self, data: bytes | memoryview) -> None:
        try:
            self._upload.write(data)
        except StoreUnavailable:
            self._upload.abort()
            raise

    def finish(self) -> None:
        try:
            self._upload.finish()
        except StoreUnavailable:
            self._upload.abort()
            raise

    def abort(self) -> None:
        self._upload.abort()


class _Retried(io.RawIOBase):
    """A download that is opened again where it stood."""

    def __init__(self, store: RetryStore, name: str, file: Download) -> None:
        super().__init__()
        self._retry, self._name = store, name
        self._file: Download | None = file
        self._position = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def readinto(self, buffer: Any, /) -> int:
        data = self._read(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def readall(self) -> bytes:
        return self._read(-1)

    def seek(self, offset: int, whence: int = 0, /) -> int:
        self._position = self._retry._call(lambda: self._open().seek(offset, whence))
        return self._position

    def tell(self) -> int:
        return self._position

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None
        super().close()

    def _read(self, size: int) -> bytes:
        def act() -> bytes:
            try:
                return self._open().read(size)
            except StoreUnavailable:
                if self._file is not None:
                    self._file.close()
                    self._file = None
                raise

        data = self._retry._call(act)
        self._position += len(data)
        return data

    def _open(self) -> Download:
        if self._file is None:
            file = self._retry._store.read(self._name)
            file.seek(self._position)
            self._file = file
        return self._file

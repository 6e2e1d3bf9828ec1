"""A store that is asked no more often, and given no more bytes, than was agreed.

Two token buckets, each of which holds one second's worth. A call takes its tokens first and then waits until the bucket
is out of debt, so that one large object may pass, and what comes after it pays. Threads share the buckets.
"""

from __future__ import annotations

import io
import threading
import time
from collections.abc import Callable
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field

from lading.ports import Download, Store, Upload
from lading.stores.wrapper import Wrapper

T = TypeVar("T")


class LimitOptions(BaseModel):
    """How hard a store may be driven by one process. Without a value there is no limit."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    requests_per_second: float | None = Field(None, gt=0, description="Calls a second")
    bytes_per_second: float | None = Field(None, gt=0, description="Bytes a second, both ways together")


class LimitStore(Wrapper):
    """Limits the calls of ``store`` and the bytes that pass.

    One call is one request; an upload is one when it begins and one when it ends, whatever parts it is sent in.
    """

    def __init__(
        self,
        store: Store,
        *,
        requests_per_second: float | None = None,
        bytes_per_second: float | None = None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        super().__init__(store)
        self._requests = Bucket(requests_per_second, clock, sleep)
        self._bytes = Bucket(bytes_per_second, clock, sleep)

    def put(self, name: str, data: bytes, *, create: bool = False) -> None:
        self._bytes.take(len(data))
        super().put(name, data, create=create)

    def get(self, name: str) -> bytes:
        data = super().get(name)
        self._bytes.take(len(data))
        return data

    def write(self, name: str) -> Upload:
        return _Upload(super().write(name), self._requests, self._bytes)

    def read(self, name: str) -> Download:
        return io.BufferedReader(_Limited(super().read(name), self._bytes), 256 * 1024)

    def _call(self, act: Callable[[], T]) -> T:
        self._requests.take(1)
        return act()


class Bucket:
    """A token bucket of ``rate`` tokens a second that holds at most ``max(rate, 1)`` of them; None: no limit."""

    def __init__(
        self, rate: float | None, clock: Callable[[], float], sleep: Callable[[float], None]
    ) -> None:
        self._rate, self._clock, self._sleep = rate, clock, sleep
        self._lock = threading.Lock()
        self._tokens = max(rate or 0.0, 1.0)
        self._at = clock()

    def take(self, tokens: float) -> None:
        if self._rate is None:
            return
        with self._lock:
            now = self._clock()
            self._tokens = min(max(self._rate, 1.0), self._tokens + (now - self._at) * self._rate) - tokens
            self._at = now
            debt = -self._tokens
        if debt > 0:
            self._sleep(debt / self._rate)


class _Upload:
    def __init__(self, upload: Upload, requests: Bucket, size: Bucket) -> None:
        self._upload, self._requests, self._bytes = upload, requests, size

    def write(self, data: bytes | memoryview) -> None:
        self._bytes.take(memoryview(data).nbytes)
        self._upload.write(data)

    def finish(self) -> None:
        self._requests.take(1)
        self._upload.finish()

    def abort(self) -> None:
        self._upload.abort()


class _Limited(io.RawIOBase):
    def __init__(self, file: Download, size: Bucket) -> None:
        super().__init__()
        self._file, self._bytes = file, size

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def readinto(self, buffer: Any, /) -> int:
        data = self._file.read(len(buffer))
        self._bytes.take(len(data))
        buffer[: len(data)] = data
        return len(data)

    def readall(self) -> bytes:
        data = self._file.read()
        self._bytes.take(len(data))
        return data

    def seek(self, offset: int, whence: int = 0, /) -> int:
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()

    def close(self) -> None:
        self._file.close()
        super().close()

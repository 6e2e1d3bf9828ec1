"""Stores that fail on purpose, at a point that is chosen and by a seed, so that every failure can be had again.

Every call on a wrapped store is one *point*, counted from 1: ``put``, ``create``, ``get``, ``read``, ``list``,
``links``, ``delete``, ``copy``, ``swap``, ``write``, and each ``write``, ``finish`` and ``abort`` of an upload. Several
stores may share one `Faults`, and so one count::

    faults = Faults()                                        # a first run, to learn how many points there are
    deliver(journal=faults.wrap(journal), lake=faults.wrap(lake))
    for point in range(1, faults.count + 1):
        for side in ("before", "after"):
            faults = Faults(crash=(point, side))
            with pytest.raises(Crash):
                deliver(journal=faults.wrap(...), lake=faults.wrap(...))
"""

from __future__ import annotations

import io
import random
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

from lading.errors import StoreDenied, StoreFull, StoreUnavailable
from lading.ports import Copier, Download, Linker, LinkLister, ObjectInfo, Prober, Store, Swapper, Upload

T = TypeVar("T")
Side = Literal["before", "after"]
Kind = Literal["write", "read", "list", "delete"]

KINDS: Mapping[str, Kind] = {
    "put": "write",
    "create": "write",
    "write": "write",
    "upload.write": "write",
    "upload.finish": "write",
    "copy": "write",
    "probe_write": "write",
    "swap": "write",
    "get": "read",
    "read": "read",
    "list": "list",
    "link": "read",
    "links": "list",
    "delete": "delete",
}


class Crash(BaseException):
    """The process died here. No ``except Exception`` may swallow it."""


@dataclass(frozen=True, slots=True)
class Point:
    """One call on a store. ``operation`` is a key of `KINDS`, or ``upload.abort``."""

    number: int
    store: str
    operation: str
    name: str
    size: int = 0  # bytes that it would write


class Faults:
    """The plan of what goes wrong, and the count of points, for one or several stores. Thread-safe.

    ``crash``
        The point at which the process dies, and on which side: ``before`` (nothing happened) or ``after`` (it happened,
        but nobody learns). From then on every call on every store raises Crash, in every thread.
    ``transient``
        The share of calls that fail with StoreUnavailable, half of them after having done it (a lost answer), by
        ``seed``; never more than ``streak`` in a row for one operation on one name.
    ``denied``
        Kinds of calls that are refused: ``write``, ``read``, ``list``, ``delete``.
    ``full_after``
        Bytes that the stores take together; the write that would exceed it raises StoreFull.
    ``latency``
        Seconds that a call takes, by point.
    ``pause``
        Called before the point of that number: it may block, to hold the process still.
    """

    def __init__(
        self,
        *,
        crash: tuple[int, Side] | None = None,
        seed: int = 0,
        transient: float = 0.0,
        streak: int = 3,
        denied: Collection[Kind] = (),
        full_after: int | None = None,
        latency: Callable[[Point], float] | None = None,
        pause: Mapping[int, Callable[[], object]] | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.points: list[Point] = []
        self.crashed = False
        self._crash, self._seed, self._transient, self._streak = crash, seed, transient, streak
        self._denied, self._full_after, self._latency = frozenset(denied), full_after, latency
        self._pause, self._sleep = dict(pause or {}), sleep
        self._lock = threading.Lock()
        self._uploads: set[Upload] = set()
        self._written = 0
        self._streaks: dict[tuple[str, str, str], int] = {}

    @property
    def count(self) -> int:
        """How many points there were so far."""
        return len(self.points)

    def wrap(self, store: Store, label: str = "") -> FaultyStore:
        """``store`` under this plan. ``label`` names it in `points`; its URL by default."""
        return FaultyStore(store, self, label or store.url)

    def call(self, store: str, operation: str, name: str, act: Callable[[], T], size: int = 0) -> T:
        """Does ``act`` as one point, with what is planned for it."""
        self.check()
        with self._lock:
            point = Point(len(self.points) + 1, store, operation, name, size)
            self.points.append(point)
            lost = self._fails(point)
        if point.number in self._pause:
            self._pause[point.number]()
        if self._latency is not None:
            self._sleep(self._latency(point))
        self._die(point, "before")
        self._refuse(point)
        if lost == "before":
            raise StoreUnavailable(f"{operation} {name} failed in passing (point {point.number})")
        try:
            result = act()
        except Exception:
            self.check()  # what it met may be the ruins that another thread's death has left
            raise
        self._die(point, "after")
        if lost == "after":
            raise StoreUnavailable(
                f"{operation} {name} was done, but its answer was lost (point {point.number})"
            )
        return result

    def opened(self, upload: Upload) -> Upload:
        """Remembers an upload that a death would cut off."""
        with self._lock:
            self._uploads.add(upload)
        return upload

    def ended(self, upload: Upload) -> None:
        with self._lock:
            self._uploads.discard(upload)

    def check(self) -> None:
        """Raises Crash if the process is dead."""
        if self.crashed:
            raise Crash("the process is dead already")

    def _die(self, point: Point, side: Side) -> None:
        if self._crash == (point.number, side):
            self.crashed = True
            with self._lock:
                open_uploads, self._uploads = self._uploads, set()
            for upload in open_uploads:
                upload.abort()  # as a system closes the files of a process that is gone
            raise Crash(f"died {side} point {point.number}: {point.operation} {point.name} in {point.store}")
        self.check()

    def _refuse(self, point: Point) -> None:
        if KINDS.get(point.operation) in self._denied:
            raise StoreDenied(f"{point.operation} {point.name} is denied (point {point.number})")
        with self._lock:
            if self._full_after is not None and point.size and self._written + point.size > self._full_after:
                raise StoreFull(f"{point.store} is full (point {point.number})")
            self._written += point.size

    def _fails(self, point: Point) -> Side | None:
        # Drawn by seed and number, not in turn, so that one point's fate does not hang on the points before it.
        chance = random.Random(f"{self._seed}:{point.number}")
        key = point.store, point.operation, point.name
        if point.operation == "upload.abort" or chance.random() >= self._transient:
            self._streaks.pop(key, None)
            return None
        self._streaks[key] = self._streaks.get(key, 0) + 1
        if self._streaks[key] > self._streak:
            self._streaks.pop(key)
            return None
        return chance.choice(("before", "after"))


class FaultyStore:
    """A store under a plan; made by `Faults.wrap`. It copies, swaps, signs and lists links if the inner store does."""

    def __init__(self, store: Store, faults: Faults, label: str) -> None:
        self._store, self._faults, self._label = store, faults, label
        self.url = store.url
        if isinstance(store, Copier):
            vars(self)["copy"] = lambda source, target: self._call(
                "copy", target, lambda: store.copy(source, target)
            )
        if isinstance(store, Linker):
            vars(self)["link"] = lambda name, seconds: self._call(
                "link", name, lambda: store.link(name, seconds)
            )
        if isinstance(store, LinkLister):
            vars(self)["links"] = lambda prefix="": self._call("links", prefix, lambda: store.links(prefix))
        if isinstance(store, Prober):
            vars(self)["probe_write"] = lambda name: self._call(
                "probe_write", name, lambda: store.probe_write(name)
            )
        if isinstance(store, Swapper):
            vars(self)["swap"] = lambda name, expected, data: self._call(
                "swap", name, lambda: store.swap(name, expected, data), len(data)
            )

    def put(self, name: str, data: bytes, *, create: bool = False) -> None:
        operation = "create" if create else "put"
        self._call(operation, name, lambda: self._store.put(name, data, create=create), len(data))

    def get(self, name: str) -> bytes:
        return self._call("get", name, lambda: self._store.get(name))

    def write(self, name: str) -> Upload:
        upload = self._call("write", name, lambda: self._faults.opened(self._store.write(name)))
        return _Upload(upload, self._faults, self._call, name)

    def read(self, name: str) -> Download:
        file = self._call("read", name, lambda: self._store.read(name))
        return io.BufferedReader(_Mortal(file, self._faults), 64 * 1024)

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        yield from self._call("list", prefix, lambda: [*self._store.list(prefix)])

    def delete(self, name: str) -> None:
        self._call("delete", name, lambda: self._store.delete(name))

    def _call(self, operation: str, name: str, act: Callable[[], T], size: int = 0) -> T:
        return self._faults.call(self._label, operation, name, act, size)


class _Upload:
    def __init__(self, upload: Upload, faults: Faults, call: Callable[..., Any], name: str) -> None:
        self._upload, self._faults, self._call, self._name = upload, faults, call, name

    def write(self, data: bytes | memoryview) -> None:
        self._call("upload.write", self._name, lambda: self._upload.write(data), memoryview(data).nbytes)

    def finish(self) -> None:
        self._call("upload.finish", self._name, self._upload.finish)
        self._faults.ended(self._upload)

    def abort(self) -> None:
        self._call("upload.abort", self._name, self._upload.abort)
        self._faults.ended(self._upload)


class _Mortal(io.RawIOBase):
    """A download of a process that may die while it reads."""

    def __init__(self, file: Download, faults: Faults) -> None:
        super().__init__()
        self._file, self._faults = file, faults

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def readinto(self, buffer: Any, /) -> int:
        self._faults.check()
        data = self._file.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def readall(self) -> bytes:
        self._faults.check()
        return self._file.read()

    def seek(self, offset: int, whence: int = 0, /) -> int:
        self._faults.check()
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()

    def close(self) -> None:
        self._file.close()
        super().close()

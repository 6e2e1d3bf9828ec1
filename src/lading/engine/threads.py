"""Parts in threads. The kernels underneath (DuckDB, Arrow, hashing) release the interpreter's lock."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import TypeVar

T = TypeVar("T")


class Stopped(Exception):
    """Raised in tasks that are still at work when another task has failed."""


def gather(tasks: Sequence[Callable[[Callable[[], None]], T]], workers: int) -> list[T]:
    """Runs the tasks, ``workers`` at a time, and returns their results in order.

    Each task is given ``check``, to be called between steps: it raises `Stopped` once another task has failed. The
    first failure is raised after all tasks have ended.
    """
    stop = threading.Event()

    def check() -> None:
        if stop.is_set():
            raise Stopped

    if workers == 1 or len(tasks) == 1:
        return [task(check) for task in tasks]
    with ThreadPoolExecutor(workers, thread_name_prefix="lading") as pool:
        futures: list[Future[T]] = [pool.submit(task, check) for task in tasks]
        pending = set(futures)
        try:
            while pending:
                finished, pending = wait(pending, return_when=FIRST_COMPLETED)
                if any(not f.cancelled() and f.exception() is not None for f in finished):
                    stop.set()
                    for future in pending:
                        future.cancel()
        except BaseException:
            stop.set()  # interrupted while waiting: the tasks must not run to their ends
            raise
    failures = [e for f in futures if not f.cancelled() and (e := f.exception()) is not None]
    for failure in sorted(failures, key=lambda e: isinstance(e, Stopped)):
        raise failure
    return [future.result() for future in futures]


_END = object()


def ahead(items: Iterator[T], size: Callable[[T], int], limit: int) -> Iterator[T]:
    """The same items, produced in a thread of their own, at most ``limit`` bytes ahead (but always one item)."""
    room = threading.Condition()
    waiting: queue.SimpleQueue[object] = queue.SimpleQueue()
    state = {"held": 0, "stop": 0}

    def produce() -> None:
        try:
            for item in items:
                with room:
                    while state["held"] and state["held"] + size(item) > limit and not state["stop"]:
                        room.wait()
                    if state["stop"]:
                        return
                    state["held"] += size(item)
                waiting.put(item)
            waiting.put(_END)
        except BaseException as error:  # noqa: BLE001 - raised again where the items are taken
            waiting.put(_Raised(error))
        finally:
            close = getattr(items, "close", None)
            if close:
                close()

    thread = threading.Thread(target=produce, name="lading-ahead", daemon=True)
    thread.start()
    try:
        while (item := waiting.get()) is not _END:
            if isinstance(item, _Raised):
                raise item.error
            with room:
                state["held"] -= size(item)  # type: ignore[arg-type]
                room.notify()
            yield item  # type: ignore[misc]
    finally:
        with room:
            state["stop"] = 1
            room.notify()
        thread.join()


class _Raised:
    def __init__(self, error: BaseException) -> None:
        self.error = error

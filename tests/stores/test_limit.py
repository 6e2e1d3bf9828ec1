from __future__ import annotations

import threading

import pytest

from lading.ports import Copier
from lading.stores.limit import LimitStore
from lading.stores.memory import MemoryStore
from lading.testing.store import StoreSuite


class Time:
    """A clock that only sleeping moves."""

    def __init__(self) -> None:
        self.now = 0.0
        self.lock = threading.Lock()

    def clock(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        with self.lock:
            self.now += seconds


class TestLimitStore(StoreSuite):
    @pytest.fixture
    def store(self) -> LimitStore:
        time = Time()
        return LimitStore(
            MemoryStore(), requests_per_second=3, bytes_per_second=1000, clock=time.clock, sleep=time.sleep
        )


def test_without_a_limit_nothing_waits() -> None:
    store = LimitStore(MemoryStore(), sleep=pytest.fail)
    for _ in range(100):
        store.put("a", bytes(1000))


def test_requests_beyond_the_first_second_wait() -> None:
    time = Time()
    store = LimitStore(MemoryStore(), requests_per_second=10, clock=time.clock, sleep=time.sleep)
    for _ in range(10):
        store.put("a", b"1")
    assert time.now == 0
    for _ in range(30):
        store.get("a")
    assert time.now == pytest.approx(3)
    assert isinstance(store, Copier)
    store.copy("a", "b")
    assert time.now == pytest.approx(3.1)


def test_bytes_are_limited_both_ways_and_in_streams() -> None:
    time = Time()
    store = LimitStore(MemoryStore(), bytes_per_second=100, clock=time.clock, sleep=time.sleep)
    store.put("a", bytes(100))
    assert time.now == 0
    store.get("a")
    assert time.now == pytest.approx(1)
    upload = store.write("b")
    for _ in range(5):
        upload.write(bytes(100))
    upload.finish()
    assert time.now == pytest.approx(6)
    assert store.read("b").read() == bytes(500)
    assert time.now == pytest.approx(11)


def test_an_idle_bucket_holds_one_second_at_most() -> None:
    time = Time()
    store = LimitStore(MemoryStore(), requests_per_second=2, clock=time.clock, sleep=time.sleep)
    time.now = 1000.0
    for _ in range(6):
        store.delete("a")
    assert time.now == pytest.approx(1002)


def test_threads_share_a_limit() -> None:
    time = Time()
    slept: list[float] = []
    store = LimitStore(MemoryStore(), requests_per_second=1, clock=time.clock, sleep=slept.append)
    threads = [threading.Thread(target=store.delete, args=("a",)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(slept) == [1, 2, 3, 4, 5, 6, 7]

"""Parts in threads: results in order, the first failure, nobody left at work, and no reading too far ahead."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lading.engine.threads import Stopped, ahead, gather

Check = Callable[[], None]


@pytest.mark.parametrize("workers", [1, 2, 4])
def test_results_come_in_the_order_of_the_tasks(workers: int) -> None:
    later = threading.Event()

    def first(check: Check) -> int:
        if workers > 1:
            assert later.wait(5)
        return 0

    def last(check: Check) -> int:
        later.set()
        return 1

    assert gather([first, last], workers) == [0, 1]
    assert gather([lambda check, n=n: n for n in range(20)], workers) == list(range(20))  # type: ignore[misc]
    assert gather([], workers) == []


def test_the_failure_is_raised_and_those_at_work_are_stopped() -> None:
    at_work, ended = threading.Event(), []

    def works(check: Check) -> None:
        at_work.set()
        try:
            while True:
                check()
                threading.Event().wait(0.001)
        finally:
            ended.append("works")

    def fails(check: Check) -> None:
        assert at_work.wait(5)
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        gather([works, fails], 2)
    assert ended == ["works"]


def test_tasks_that_wait_for_a_worker_are_not_begun_after_a_failure() -> None:
    begun: list[int] = []
    go = threading.Event()

    def task(n: int) -> Callable[[Check], None]:
        def run(check: Check) -> None:
            begun.append(n)
            if n == 0:
                raise ValueError("first")
            assert go.wait(5)
            check()

        return run

    def release(check: Check) -> None:
        while len(begun) < 1:
            threading.Event().wait(0.001)
        go.set()
        while True:
            check()
            threading.Event().wait(0.001)

    with pytest.raises(ValueError, match="first"):
        gather([release, *(task(n) for n in range(50))], 2)
    assert len(begun) < 50


def test_one_worker_stops_at_the_first_failure() -> None:
    begun: list[int] = []

    def task(n: int) -> Callable[[Check], None]:
        def run(check: Check) -> None:
            begun.append(n)
            check()
            if n == 1:
                raise ValueError(n)

        return run

    with pytest.raises(ValueError, match="1"):
        gather([task(n) for n in range(4)], 1)
    assert begun == [0, 1]


def test_being_stopped_is_never_the_failure_that_is_told() -> None:
    ready = threading.Barrier(2)

    def stopped(check: Check) -> None:
        ready.wait(5)
        while True:
            check()
            threading.Event().wait(0.001)

    def fails(check: Check) -> None:
        ready.wait(5)
        raise RuntimeError("the cause")

    with pytest.raises(RuntimeError, match="the cause"):
        gather([stopped, fails], 2)
    assert not issubclass(RuntimeError, Stopped)


# --- ahead


@settings(max_examples=40, deadline=None)
@given(items=st.lists(st.integers(0, 50)), limit=st.integers(0, 100))
def test_the_same_items_in_the_same_order_never_too_far_ahead(items: list[int], limit: int) -> None:
    produced, taken, most = 0, 0, 0

    def produce() -> Iterator[int]:
        nonlocal produced, most
        for item in items:
            yield item
            # Reached when the item before has been counted in: what is held then is what was produced and not taken.
            produced += item
            most = max(most, produced - taken)

    found = []
    for item in ahead(produce(), lambda n: n, limit):
        found.append(item)
        taken += item
    assert found == items
    # What was taken is noted here a moment after it was: one item more may seem to be held.
    assert most <= max(limit, max(items, default=0)) + max(items, default=0)


def test_an_item_beyond_the_limit_comes_through_alone() -> None:
    assert list(ahead(iter([1_000, 1, 1_000]), lambda n: n, 10)) == [1_000, 1, 1_000]


def test_the_producer_waits_when_enough_is_held() -> None:
    made: list[int] = []
    full = threading.Event()

    def produce() -> Iterator[int]:
        for n in range(100):
            made.append(n)
            if len(made) == 4:
                full.set()
            yield 10

    items = ahead(produce(), lambda n: n, 30)
    assert next(items) == 10
    assert full.wait(5)
    assert len(made) <= 5  # one taken, three held, one in the producer's hand
    items.close()  # type: ignore[attr-defined]
    assert len(made) <= 6


def test_closing_early_stops_and_closes_the_producer() -> None:
    closed = threading.Event()

    def produce() -> Iterator[int]:
        try:
            while True:
                yield 1
        finally:
            closed.set()

    items = ahead(produce(), lambda n: n, 3)
    assert next(items) == 1
    items.close()  # type: ignore[attr-defined]
    assert closed.is_set()
    assert "lading-ahead" not in {thread.name for thread in threading.enumerate()}


def test_an_error_of_the_producer_comes_after_its_items() -> None:
    def produce() -> Iterator[int]:
        yield 1
        yield 2
        raise KeyError("gone")

    found = []
    with pytest.raises(KeyError, match="gone"):
        for item in ahead(produce(), lambda n: n, 100):
            found.append(item)
    assert found == [1, 2]

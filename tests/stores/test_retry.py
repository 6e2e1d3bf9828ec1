# D13
from __future__ import annotations

import random
import threading
import types

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lading.errors import ObjectExists, ObjectNotFound, StoreDenied, StoreFull, StoreUnavailable
from lading.ports import Copier, Store, Swapper
from lading.stores.memory import MemoryStore
from lading.stores.patience import PATIENCE
from lading.stores.retry import RetryOptions, RetryStore
from lading.testing.faults import Faults
from lading.testing.store import StoreSuite, together


class TestRetryStore(StoreSuite):
    @pytest.fixture
    def store(self) -> RetryStore:
        return RetryStore(MemoryStore())


class TestRetryStoreOnAStoreThatFails(StoreSuite):
    """A fifth of all calls fails, half of them with the answer lost: nobody notices."""

    test_a_large_upload_arrives_whole = None
    test_an_aborted_upload_leaves_nothing = None
    test_an_upload_exists_only_after_finish = None
    test_an_upload_may_be_empty_and_replaces = None
    test_many_open_uploads_do_not_stand_in_each_others_way = None

    @pytest.fixture(params=range(5))
    def store(self, request: pytest.FixtureRequest) -> RetryStore:
        faulty = Faults(seed=request.param, transient=0.2).wrap(MemoryStore())
        return RetryStore(faulty, attempts=20, sleep=lambda seconds: None)

    def test_no_swap_is_lost_among_many(self, store: Store) -> None:
        """Where equal bytes are by the same writer. One may be made twice: its answer was lost, and another had swapped
        on before it was tried again."""
        assert isinstance(store, Swapper)
        store.put("names", b"")

        def add(number: int) -> None:
            while True:
                seen = store.get("names")
                if store.swap("names", seen, seen + b" %d" % number):
                    return

        assert together(8, add) == [None] * 8
        assert {int(name) for name in store.get("names").split()} == set(range(8))


class Bare:
    """A store that neither copies nor swaps, and fails as told."""

    url = "bare://"

    def __init__(self, errors: list[Exception] | None = None) -> None:
        inner = MemoryStore()
        self.calls, self._errors = 0, errors or []
        self.put, self.write, self.read, self.list, self.delete = (
            inner.put,
            inner.write,
            inner.read,
            inner.list,
            inner.delete,
        )

    def get(self, name: str) -> bytes:
        self.calls += 1
        if self._errors:
            raise self._errors.pop(0)
        return b"1"


class Waits:
    def __init__(self) -> None:
        self.bounds: list[float] = []
        self.slept: list[float] = []

    def uniform(self, a: float, b: float) -> float:
        assert a == 0
        self.bounds.append(b)
        return b / 2


def test_five_attempts_with_delays_from_30_s_doubled() -> None:
    waits = Waits()
    store = Bare([StoreUnavailable("busy")] * 9)
    retry = RetryStore(store, sleep=waits.slept.append, random=waits)
    with pytest.raises(StoreUnavailable, match="busy"):
        retry.get("a")
    assert store.calls == 5
    assert waits.bounds == [30, 60, 120, 240]
    assert waits.slept == [15, 30, 60, 120]
    assert RetryOptions().model_dump() == {"attempts": 5, "initial": 30, "maximum": 3600, "multiplier": 2}


def test_each_wait_is_told_with_its_reason_and_without_anything_of_the_objects(
    caplog: pytest.LogCaptureFixture,
) -> None:
    bare = Bare([StoreUnavailable("s3://b/x: it does not answer.")] * 2 + [StoreUnavailable("\ud800.")])
    assert RetryStore(bare, sleep=lambda seconds: None, random=Waits()).get("x") == b"1"
    assert [record.getMessage() for record in caplog.records] == [
        "waiting: s3://b/x: it does not answer. Trying again in 15 s (2 of 5).",
        "waiting: s3://b/x: it does not answer. Trying again in 30 s (3 of 5).",
        "waiting: \\ud800. Trying again in 60 s (4 of 5).",
    ]
    assert {record.name for record in caplog.records} == {"lading.stores"}


def test_who_was_told_to_stop_waits_for_no_store(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(PATIENCE, "lost", True)
    bare = Bare([StoreUnavailable("busy")] * 2)
    with pytest.raises(StoreUnavailable):
        RetryStore(bare).get("x")
    assert bare.calls == 1


def test_who_is_told_to_stop_while_it_waits_asks_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    bare = Bare([StoreUnavailable("busy")] * 2)
    told = threading.Timer(0.1, lambda: monkeypatch.setattr(PATIENCE, "lost", True))
    told.start()
    with pytest.raises(StoreUnavailable):  # the suite's time would be over before a wait of this length was
        RetryStore(bare, initial=7200, maximum=7200, random=Waits()).get("x")
    told.join()
    assert bare.calls == 1


def test_no_delay_exceeds_the_maximum() -> None:
    waits = Waits()
    retry = RetryStore(
        Bare([StoreUnavailable("busy")] * 99), attempts=99, sleep=waits.slept.append, random=waits
    )
    with pytest.raises(StoreUnavailable):
        for _ in range(2):
            retry.get("a")
    assert max(waits.bounds) == 3600


@given(seed=st.integers(), failures=st.integers(0, 4))
def test_a_delay_lies_between_zero_and_its_bound(seed: int, failures: int) -> None:
    slept: list[float] = []
    retry = RetryStore(
        Bare([StoreUnavailable("busy")] * failures), sleep=slept.append, random=random.Random(seed)
    )
    assert retry.get("a") == b"1"
    assert len(slept) == failures
    assert all(0 <= seconds <= 30 * 2**i for i, seconds in enumerate(slept))


def test_a_store_that_says_how_long_to_wait_is_waited_for() -> None:
    waits = Waits()
    errors: list[Exception] = [
        StoreUnavailable("busy", retry_after=400),
        StoreUnavailable("busy", retry_after=1),
    ]
    RetryStore(Bare(errors), sleep=waits.slept.append, random=waits).get("a")
    assert waits.slept == [400, 30]


@pytest.mark.parametrize("error", [StoreDenied, StoreFull, ObjectNotFound, ObjectExists, ValueError])
def test_what_no_wait_can_heal_is_not_retried(error: type[Exception]) -> None:
    store = Bare([error("no")])
    with pytest.raises(error):
        RetryStore(store, sleep=pytest.fail).get("a")
    assert store.calls == 1


def test_a_wrapper_copies_and_swaps_only_if_its_store_does() -> None:
    assert isinstance(RetryStore(MemoryStore()), Copier)
    assert isinstance(RetryStore(RetryStore(MemoryStore())), Swapper)
    assert isinstance(RetryStore(Bare()), Store)
    assert not isinstance(RetryStore(Bare()), Copier)
    assert not isinstance(RetryStore(Bare()), Swapper)


def lossy(point: int) -> tuple[RetryStore, MemoryStore, Faults]:
    """A store whose first answer at ``point`` is lost."""
    inner = MemoryStore()
    faults = Faults()
    faults._fails = lambda at: "after" if at.number == point else None  # type: ignore[method-assign]
    return RetryStore(faults.wrap(inner), sleep=lambda seconds: None), inner, faults


def test_a_create_whose_answer_was_lost_has_succeeded() -> None:
    store, inner, _ = lossy(1)
    store.put("a", b"mine", create=True)
    assert inner.get("a") == b"mine"


def test_a_create_that_another_won_meanwhile_has_not() -> None:
    inner = MemoryStore()
    faults = Faults(pause={2: lambda: inner.put("a", b"theirs")})
    faults._fails = lambda at: "before" if at.number == 1 else None  # type: ignore[method-assign]
    with pytest.raises(ObjectExists):
        RetryStore(faults.wrap(inner), sleep=lambda seconds: None).put("a", b"mine", create=True)
    assert inner.get("a") == b"theirs"


def test_equal_bytes_that_stood_there_before_are_not_ours() -> None:
    inner = MemoryStore()
    inner.put("a", b"same")
    with pytest.raises(ObjectExists):
        RetryStore(inner).put("a", b"same", create=True)


def test_a_swap_whose_answer_was_lost_has_succeeded() -> None:
    store, inner, _ = lossy(1)
    assert isinstance(store, Swapper)
    assert store.swap("a", None, b"1")
    assert not store.swap("a", None, b"2")
    assert inner.get("a") == b"1"


def test_a_listing_goes_on_where_it_broke_off() -> None:
    inner = MemoryStore()
    for i in range(10):
        inner.put(f"{i}", b"1")
    breaks = [3, 7]

    class Breaking(Bare):
        def __init__(self) -> None:
            super().__init__()
            self.list = self._list

        def _list(self, prefix: str = ""):  # type: ignore[no-untyped-def]
            for i, info in enumerate(inner.list(prefix)):
                if breaks and i == breaks[0]:
                    raise StoreUnavailable(f"broke at {breaks.pop(0)}")
                yield info

    retry = RetryStore(Breaking(), sleep=lambda seconds: None)
    assert [info.name for info in retry.list()] == [f"{i}" for i in range(10)]


def test_a_download_goes_on_where_it_broke_off() -> None:
    inner = MemoryStore()
    data = bytes(range(256)) * 40_000
    inner.put("a", data)
    broken = 0

    class Reading(Bare):
        def __init__(self) -> None:
            super().__init__()
            self.read = self._read

        def _read(self, name: str):  # type: ignore[no-untyped-def]
            file = inner.read(name)
            state = {"reads": 0}

            def read(size: int = -1) -> bytes:
                nonlocal broken
                state["reads"] += 1
                if state["reads"] == 2 and broken < 3:
                    broken += 1
                    raise StoreUnavailable("cut")
                return file.read(size)

            return types.SimpleNamespace(read=read, seek=file.seek, tell=file.tell, close=file.close)

    retry = RetryStore(Reading(), sleep=lambda seconds: None)
    file = retry.read("a")
    file.seek(1000)
    pieces = []
    while piece := file.read(3_000_000):
        pieces.append(piece)
    assert b"".join(pieces) == data[1000:]
    assert broken == 3


@pytest.mark.parametrize("point", [3, 4])
def test_an_upload_that_fails_is_aborted_and_not_replayed(point: int) -> None:
    inner = MemoryStore()
    faults = Faults()
    faults._fails = lambda at: "before" if at.number == point else None  # type: ignore[method-assign]
    upload = RetryStore(faults.wrap(inner), sleep=pytest.fail).write("a")
    with pytest.raises(StoreUnavailable):
        upload.write(b"1")
        upload.write(b"2")
        upload.finish()
    assert [p.operation for p in faults.points][-1] == "upload.abort"
    assert list(inner.list()) == []

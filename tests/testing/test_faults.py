from __future__ import annotations

import threading
from pathlib import Path

import pytest

from lading.errors import StoreDenied, StoreFull, StoreUnavailable
from lading.ports import Copier, Store, Swapper
from lading.stores.local import LocalStore
from lading.stores.memory import MemoryStore
from lading.testing.faults import Crash, Faults, Side
from lading.testing.store import StoreSuite


class TestFaultyStoreWithoutFaults(StoreSuite):
    @pytest.fixture
    def store(self) -> Store:
        return Faults().wrap(MemoryStore())


def story(journal: Store, lake: Store) -> None:
    journal.put("claim", b"1", create=True)
    upload = lake.write("folder/data")
    upload.write(b"abc")
    upload.write(b"def")
    upload.finish()
    assert [info.name for info in lake.list("folder/")] == ["folder/data"]
    journal.put("outcome", b"committed", create=True)
    lake.put("folder/_SUCCESS", b"2")
    lake.delete("folder/old")


OPERATIONS = [
    "create",
    "write",
    "upload.write",
    "upload.write",
    "upload.finish",
    "list",
    "create",
    "put",
    "delete",
]


def left(journal: Store, lake: Store) -> list[str]:
    return [info.name for info in journal.list()] + [info.name for info in lake.list()]


def test_every_call_is_a_point_across_stores() -> None:
    faults = Faults()
    story(faults.wrap(MemoryStore(), "journal"), faults.wrap(MemoryStore(), "lake"))
    assert [point.operation for point in faults.points] == OPERATIONS
    assert [point.number for point in faults.points] == list(range(1, 10))
    assert [point.store for point in faults.points][:2] == ["journal", "lake"]


@pytest.mark.parametrize("side", ["before", "after"])
@pytest.mark.parametrize("point", range(1, 10))
def test_a_crash_stops_the_process_on_the_chosen_side(tmp_path: Path, point: int, side: Side) -> None:
    journal, lake = MemoryStore(), LocalStore(tmp_path, durable=False)
    faults = Faults(crash=(point, side))
    faulty = faults.wrap(lake)
    with pytest.raises(Crash):
        story(faults.wrap(journal), faulty)
    done = point if side == "after" else point - 1
    expected = [
        name
        for number, name in ((1, "claim"), (7, "outcome"), (8, "folder/_SUCCESS"), (5, "folder/data"))
        if done >= number
    ]
    assert left(journal, lake) == expected
    before = faults.count
    for act in (lambda: faulty.put("x", b"1"), lambda: faulty.get("x"), lambda: [*faulty.list()]):
        with pytest.raises(Crash):
            act()
    assert left(journal, lake) == expected
    assert faults.count == before


def test_a_crash_is_no_exception_that_could_be_swallowed() -> None:
    assert not issubclass(Crash, Exception)


def test_a_crash_reaches_every_thread() -> None:
    faults = Faults(crash=(2, "after"))
    store = faults.wrap(MemoryStore())
    held, go = threading.Event(), threading.Event()
    faults._pause[1] = lambda: (held.set(), go.wait())
    raised: list[BaseException] = []

    def write() -> None:
        try:
            store.put("slow", b"1")
        except BaseException as error:  # noqa: BLE001 - Crash is what is looked for
            raised.append(error)

    thread = threading.Thread(target=write)
    thread.start()
    held.wait()
    with pytest.raises(Crash):
        store.put("fast", b"1")
    go.set()
    thread.join()
    assert isinstance(raised[0], Crash)


def test_a_paused_process_wakes_into_a_world_that_moved_on() -> None:
    inner = MemoryStore()
    faults = Faults(pause={2: lambda: inner.put("a", b"theirs")})
    store = faults.wrap(inner)
    store.put("x", b"1")
    store.put("b", b"1")
    assert store.get("a") == b"theirs"


def outcomes(seed: int) -> list[str]:
    inner = MemoryStore()
    store = Faults(seed=seed, transient=0.5).wrap(inner)
    result = []
    for i in range(40):
        try:
            store.put(f"{i}", b"1")
            result.append("ok")
        except StoreUnavailable:
            result.append("lost" if [*inner.list(f"{i}")] else "refused")
    return result


def test_transient_errors_come_by_seed_before_and_after() -> None:
    assert outcomes(1) == outcomes(1)
    assert outcomes(1) != outcomes(2)
    assert set(outcomes(1)) == {"ok", "lost", "refused"}


def test_one_call_never_fails_more_than_its_streak() -> None:
    store = Faults(transient=1.0, streak=2).wrap(MemoryStore())
    for _ in range(2):
        with pytest.raises(StoreUnavailable):
            store.delete("a")
    store.delete("a")


def test_denied_kinds_are_refused_and_change_nothing() -> None:
    inner = MemoryStore()
    inner.put("a", b"1")
    store = Faults(denied=["list", "delete"]).wrap(inner)
    with pytest.raises(StoreDenied):
        store.delete("a")
    with pytest.raises(StoreDenied):
        next(store.list())
    store.put("b", b"1")
    with pytest.raises(StoreDenied):
        Faults(denied=["write"]).wrap(inner).write("c")
    assert [info.name for info in inner.list()] == ["a", "b"]


def test_a_store_is_full_after_its_bytes() -> None:
    store = Faults(full_after=10).wrap(MemoryStore())
    store.put("a", bytes(8))
    upload = store.write("b")
    upload.write(bytes(2))
    with pytest.raises(StoreFull):
        upload.write(b"1")
    upload.abort()


def test_latency_is_by_point() -> None:
    slept: list[float] = []
    store = Faults(latency=lambda point: point.number / 10, sleep=slept.append).wrap(MemoryStore())
    store.put("a", b"1")
    store.get("a")
    assert slept == [0.1, 0.2]


def test_it_can_do_what_the_store_can() -> None:
    class Bare:
        url = "bare://"
        put = get = write = read = list = delete = None

    assert isinstance(Faults().wrap(MemoryStore()), Copier)
    assert not isinstance(Faults().wrap(Bare()), Swapper)  # type: ignore[arg-type]

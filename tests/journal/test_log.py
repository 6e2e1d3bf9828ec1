"""The journal: written once, claimed by one, and the same history to whoever reads it."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from worlds import World, snapshot, some_orders

from lading.errors import Fenced, InProgress, IntegrityError, ObjectNotFound
from lading.journal.log import Attempt, Claim, Journal, encode
from lading.journal.owner import Owner
from lading.ports import Store
from lading.run import run
from lading.stores.local import LocalStore
from lading.stores.memory import MemoryStore
from lading.testing.store import together

JANUARY = datetime(2024, 1, 1, tzinfo=UTC)
ATTEMPT = Attempt("orders_drop", JANUARY, 1)
INTERVAL = {"interval": {"start": "2024-01-01T00:00:00Z", "end": "2024-02-01T00:00:00Z"}}
END = {"status": "sealed", **INTERVAL, "bound": "2024-02-01T00:00:00Z", "discover": True, "runs": []}


@pytest.fixture(params=["memory", "local"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    return MemoryStore() if request.param == "memory" else LocalStore(tmp_path, durable=False)


class Time:
    """A clock that sleeping moves; ``when`` is called at each sleep."""

    def __init__(self, when: Callable[[], object] = lambda: None) -> None:
        self.now, self.when, self.slept = 0.0, when, 0

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        self.slept += 1
        assert self.slept < 10_000
        self.when()


def watching(store: Store, time: Time, lease: float = 60.0) -> Journal:
    return Journal(store, lease, monotonic=lambda: time.now, sleep=time.sleep)


def elsewhere(store: Store) -> None:
    """A claim of a process on another host, of which nothing is known but its heartbeats."""
    owner = Owner("another-host", 1, "", "0123")
    store.put(ATTEMPT.path + "claim.json", encode({**INTERVAL, "owner": owner.record()}))


# --- create


@settings(max_examples=60, deadline=None)
@given(record=st.dictionaries(st.text(), st.none() | st.integers() | st.text() | st.lists(st.booleans())))
def test_equal_records_have_equal_bytes_and_are_read_back(record: dict[str, Any]) -> None:
    journal = Journal(MemoryStore())
    items = list(record.items())
    random.Random(0).shuffle(items)
    assert encode(dict(items)) == encode(record)
    assert journal.create("a", record)
    assert journal.get("a") == record


def test_a_create_whose_answer_was_lost_is_known_by_its_bytes(store: Store) -> None:
    journal = Journal(store)
    assert journal.create("a/b", {"n": 1, "m": 2})
    assert journal.create("a/b", {"m": 2, "n": 1})
    assert not journal.create("a/b", {"n": 2})
    assert journal.get("a/b") == {"n": 1, "m": 2}


@pytest.mark.parametrize("damage", [b"", b"{", b"[]", b"null", b"\xff\xfe", b'"text"'])
def test_a_damaged_record_is_an_integrity_error_by_name(store: Store, damage: bytes) -> None:
    store.put("sweeps/x", damage)
    with pytest.raises(IntegrityError, match="record sweeps/x is damaged"):
        Journal(store).get("sweeps/x")
    with pytest.raises(IntegrityError):
        Journal(store).find("sweeps/x")
    assert Journal(store).find("sweeps/y") is None
    with pytest.raises(ObjectNotFound):
        Journal(store).get("sweeps/y")


# --- claims


def test_of_many_claims_exactly_one_wins(store: Store) -> None:
    journal = Journal(store)
    claims: list[Claim | None] = [None] * 16

    def claim(index: int) -> None:
        claims[index] = journal.claim(ATTEMPT, INTERVAL)

    assert together(16, claim) == [None] * 16
    (winner,) = [c for c in claims if c is not None]
    assert Owner.of(journal.claim_of(ATTEMPT)["owner"]) == winner.owner
    assert not winner.owner.gone()
    assert all(c is winner for c in claims if c is not None)


def test_a_claim_beats_while_it_is_open_and_is_gone_after(store: Store) -> None:
    journal = Journal(store, lease=0.02)
    claim = journal.claim(ATTEMPT, INTERVAL)
    assert claim is not None
    with claim:
        assert not claim.owner.gone()
        while not journal.seen("orders_drop")[JANUARY][0].beat:
            pass
    assert claim.owner.gone()


def test_one_seal_wins_and_the_others_are_fenced(store: Store) -> None:
    journal = Journal(store)
    claim = journal.claim(ATTEMPT, INTERVAL)
    assert claim is not None
    journal.abandon(ATTEMPT)
    with pytest.raises(Fenced, match="another one took over"):
        claim.seal(END)
    assert journal.end(ATTEMPT)["status"] == "abandoned"


def test_what_is_sealed_can_be_sealed_again_and_not_abandoned(store: Store) -> None:
    journal = Journal(store)
    claim = journal.claim(ATTEMPT, INTERVAL)
    assert claim is not None
    claim.seal(END)
    claim.seal(END)
    journal.abandon(ATTEMPT)
    assert journal.end(ATTEMPT) == END


def test_a_record_of_the_attempt_with_other_content_is_an_integrity_error(store: Store) -> None:
    claim = Journal(store).claim(ATTEMPT, INTERVAL)
    assert claim is not None
    claim.part(0, {"rows": 1})
    claim.part(0, {"rows": 1})
    with pytest.raises(IntegrityError, match=r"parts/0000\.json exists with other content"):
        claim.part(0, {"rows": 2})


def test_a_commit_that_was_changed_after_the_seal_is_not_published(store: Store) -> None:
    journal = Journal(store)
    claim = journal.claim(ATTEMPT, INTERVAL)
    assert claim is not None
    sealed = {"tenant": "a", "run_id": "r", "sha256": claim.prepare({"tenant": "a"}, {"run_id": "r"})}
    assert journal.prepared(ATTEMPT, sealed) == encode({"run_id": "r"})
    store.put(f"{ATTEMPT.path}runs/a.json", encode({"run_id": "s"}))
    with pytest.raises(IntegrityError, match="is not the one that was sealed"):
        journal.prepared(ATTEMPT, sealed)


def test_folders_are_announced_in_order_before_they_are_written(store: Store) -> None:
    claim = Journal(store).claim(ATTEMPT, INTERVAL)
    assert claim is not None
    for tenant in "ab":
        claim.announce([{"tenant": tenant, "folders": {"lake": f"{tenant}/"}}])
    assert [record["tenant"] for record in Journal(store).opened(ATTEMPT)] == ["a", "b"]


# --- the living and the dead


def test_an_owner_whose_heart_stands_still_for_a_lease_is_abandoned(store: Store) -> None:
    elsewhere(store)
    time, told = Time(), []
    watching(store, time).settle(ATTEMPT, wait=True, waiting=told.append, upto="end.json")
    assert Journal(store).end(ATTEMPT)["status"] == "abandoned"
    assert time.now >= 60
    assert len(told) == 1


def test_a_living_owner_is_waited_for_however_long_it_takes(store: Store) -> None:
    elsewhere(store)
    beats: Iterator[int] = iter(range(1, 10_000))

    def beat() -> None:
        count = next(beats)
        if count == 400:
            Journal(store).create(ATTEMPT.path + "end.json", END)
        store.put(f"{ATTEMPT.path}beat/{count:06d}", b"")

    time = Time(beat)
    watching(store, time).settle(ATTEMPT, wait=True, waiting=lambda owner: None, upto="end.json")
    assert time.now > 600
    assert Journal(store).end(ATTEMPT)["status"] == "sealed"


def test_a_living_owner_is_not_waited_for_without_leave(store: Store) -> None:
    elsewhere(store)
    with pytest.raises(InProgress, match="process 1 on another-host is at work"):
        watching(store, Time()).settle(ATTEMPT, wait=False, waiting=lambda owner: None, upto="end.json")
    assert Journal(store).find(ATTEMPT.path + "end.json") is None


def test_an_owner_of_this_host_that_is_gone_need_not_be_waited_for(store: Store) -> None:
    claim = Journal(store).claim(ATTEMPT, INTERVAL)
    assert claim is not None
    claim.owner.end()
    time = Time()
    watching(store, time).settle(ATTEMPT, wait=False, waiting=lambda owner: None, upto="end.json")
    assert time.slept == 0
    assert Journal(store).end(ATTEMPT)["status"] == "abandoned"


def test_a_dead_owner_that_has_sealed_keeps_its_seal(store: Store) -> None:
    claim = Journal(store).claim(ATTEMPT, INTERVAL)
    assert claim is not None
    claim.seal(END)
    claim.owner.end()
    watching(store, Time()).settle(ATTEMPT, wait=True, waiting=lambda owner: None, upto="done.json")
    assert Journal(store).end(ATTEMPT) == END


# --- history


def test_equal_journals_give_equal_histories() -> None:
    w = World(some_orders())
    run(w.job())
    w.table = some_orders(months=3)
    run(w.job(listed=("z",)))
    objects = list(snapshot(w.journal).items())
    histories = []
    for seed in range(3):
        random.Random(seed).shuffle(objects)
        copy = MemoryStore()
        for name, data in objects:
            copy.put(name, data)
        journal = Journal(copy)
        histories.append(journal.history("orders_drop", journal.seen("orders_drop")))
        assert journal.history("orders_drop", journal.seen("orders_drop")) == histories[-1]
    assert histories[0] == histories[1] == histories[2]
    assert histories[0].runs
    assert len({r.run_id for r in histories[0].runs}) == len(histories[0].runs)


def test_an_unsealed_attempt_delivers_nothing_but_its_end_is_kept(store: Store) -> None:
    elsewhere(store)
    journal = Journal(store)
    history = journal.history("orders_drop", journal.seen("orders_drop"))
    assert history.runs == ()
    assert history.sweeps == ()
    assert dict(history.ends) == {JANUARY: JANUARY.replace(month=2)}


def test_exports_whose_names_begin_alike_do_not_see_each_other(store: Store) -> None:
    journal = Journal(store)
    for name in ("orders", "orders_drop", "orders-2"):
        assert journal.claim(Attempt(name, JANUARY, 1), INTERVAL) is not None
    for name in ("orders", "orders_drop", "orders-2"):
        assert [s.attempt.export for attempts in journal.seen(name).values() for s in attempts] == [name]


def test_attempts_come_in_the_order_of_their_numbers(store: Store) -> None:
    journal = Journal(store)
    for number in (2, 10, 1, 11):
        journal.claim(Attempt("orders_drop", JANUARY, number), INTERVAL)
    seen = journal.seen("orders_drop", JANUARY)
    assert [s.attempt.number for s in seen[JANUARY]] == [1, 2, 10, 11]


def test_the_newest_look_for_late_rows_counts_by_time(store: Store) -> None:
    journal = Journal(store)
    for later in (timedelta(0), timedelta(microseconds=5), timedelta(seconds=1)):
        journal.note_late("orders_drop", JANUARY + later, (1, 2))
    history = journal.history("orders_drop", {})
    assert history.looked_for_late((1, 2)) == JANUARY + timedelta(seconds=1)
    assert history.looked_for_late((1, 2, 3)) is None
    journal.create("late/orders_drop/20240201T000000Z", {"bound": "by who knew of one major alone"})
    assert journal.history("orders_drop", {}).looked_for_late((1, 3)) == datetime(2024, 2, 1, tzinfo=UTC)


def test_an_attempt_that_the_journal_lost_is_an_integrity_error(store: Store) -> None:
    elsewhere(store)
    second = Attempt(ATTEMPT.export, JANUARY, 2)
    store.put(second.path + "claim.json", store.get(ATTEMPT.path + "claim.json"))
    store.delete(ATTEMPT.path + "claim.json")
    journal = Journal(store)
    assert journal.again(second).attempt == second
    with pytest.raises(IntegrityError, match=r"lost attempt 1 of orders_drop, interval 2024-01-01T00:00:00Z"):
        journal.again(ATTEMPT)


def test_all_exports_of_the_journal_are_known_by_their_names(store: Store) -> None:
    journal = Journal(store)
    exports = ("orders_drop", "con", "a")
    for export in exports:
        assert journal.claim(Attempt(export, JANUARY, 1), INTERVAL) is not None
    assert sorted(journal.everything()) == sorted(exports)
    for export in exports:
        assert journal.everything()[export] == journal.seen(export)[JANUARY]

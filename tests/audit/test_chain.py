"""The chain of packages: one, unbroken and unforked, whoever publishes, dies or sleeps."""

# S4, D15
from __future__ import annotations

import contextlib
import gzip
import json
import random
import threading
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from delivered import lay_out
from packages import told
from worlds import Held, Hooked, World, creates, snapshot, some_orders

from lading.errors import IntegrityError, StoreUnavailable
from lading.evidence import verifier
from lading.journal.chain import FIRST, PackageChain, Place
from lading.journal.log import Journal
from lading.plan import Asked
from lading.ports import ObjectInfo
from lading.proof import verify
from lading.run import run
from lading.run.record import runs as recorded
from lading.stores.memory import MemoryStore
from lading.testing.faults import Crash, Faults

KINDS: dict[str, dict[str, Any]] = {"tenants": {}, "one tenant": {"tenants": False}}


def month(number: int) -> Asked:
    return Asked(start=datetime(2024, number, 1, tzinfo=UTC), end=datetime(2024, number + 1, 1, tzinfo=UTC))


def job(world: World, faults: Faults | None = None, **kind: Any) -> Any:
    if faults is None:
        return world.job(audit=True, **kind)
    journal, lake = faults.wrap(world.journal, "journal"), faults.wrap(world.lake, "lake")
    return world.job(audit=True, journal=journal, lake=lake, lease=3600, **kind)


def packed(world: World) -> Counter[int]:
    found: Counter[int] = Counter()
    for name, data in snapshot(world.lake).items():
        if name.endswith("records.jsonl.gz"):
            found.update(json.loads(line)["record"]["id"] for line in gzip.decompress(data).splitlines())
    return found


def check(world: World, tmp_path: Path) -> None:
    """Every row once, every package sound, the chain one."""
    assert packed(world) == Counter(world.table["id"].to_pylist())
    assert told(lay_out(snapshot(world.lake), tmp_path)) == []
    assert verify(world.lake).record()["problems"] == []
    for tenant in sorted(
        {name.split("/")[2] for name in snapshot(world.journal) if name.startswith("chain/")}
    ):
        chain = list(PackageChain(Journal(world.journal), "orders_drop", tenant).packages())
        assert [each.number for each in chain] == list(range(1, len(chain) + 1))
        assert len({each.run_id for each in chain}) == len(chain)
        standing = [
            data.decode() for name, data in snapshot(world.lake).items() if "_checkpoint.json" in name
        ]
        assert all(each.checkpoint in standing and each.signature in standing for each in chain)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_a_run_killed_at_any_point_and_called_again_makes_one_chain(kind: str, tmp_path: Path) -> None:
    faults = Faults()
    run(job(World(some_orders(customers="ab")), faults, **KINDS[kind]))
    every = [(n, side) for n in range(1, faults.count + 1) for side in ("before", "after")]
    closing = [
        n for n, point in enumerate(faults.points, 1) if "chain/" in point.name or "_check" in point.name
    ]
    chosen = {*random.Random(kind).sample(every, min(40, len(every)))}
    chosen |= {(n, side) for n in closing[:12] for side in ("before", "after")}
    for number, (point, side) in enumerate(sorted(chosen)):
        world = World(some_orders(customers="ab"))
        crashing = Faults(crash=(point, side))  # type: ignore[arg-type]
        with contextlib.suppress(Crash):
            run(job(world, crashing, **KINDS[kind]))
        results = run(job(world, **KINDS[kind]))
        assert not [r for r in results if r.status == "failed"], (kind, point, side)
        check(world, tmp_path / str(number))


def test_passing_faults_end_in_one_chain_or_a_failure(tmp_path: Path) -> None:
    for seed in range(6):
        world = World(some_orders(customers="ab"))
        for turn in range(40):
            faults = Faults(transient=0.04, seed=seed * 100 + turn)
            with contextlib.suppress(StoreUnavailable):
                run(job(world, faults))
        run(job(world))
        check(world, tmp_path / str(seed))


def test_two_sweeps_that_are_sealed_at_once_make_no_fork(tmp_path: Path) -> None:
    """January was prepared on an empty chain, and February was chained meanwhile: January comes behind it."""
    w = World(some_orders(customers="a"))
    held = Held(creates("20240101T000000Z/a0001/end.json"))
    with held.running(lambda: run(job(w, journal=Hooked(w.journal, held.hook), lease=60), month(1))):
        assert [r.status for r in run(job(w, lease=60), month(2))] == ["succeeded"]
    assert [r.status for r in held.results] == ["succeeded"]
    check(w, tmp_path)
    chain = PackageChain(Journal(w.journal), "orders_drop", "a").packages()
    assert [json.loads(each.checkpoint)["interval"]["start"][5:7] for each in chain] == ["02", "01"]


def test_two_publishers_of_one_package_write_the_same(tmp_path: Path) -> None:
    """One sleeps before it chains; the other, who takes it for dead, chains the package and publishes it."""
    w = World(some_orders(months=1, customers="a"))
    held = Held(creates("chain/orders_drop/a/00000001.json"))
    slow = job(w, journal=Hooked(w.journal, held.hook), lease=3600)
    with held.running(lambda: run(slow, month(1))):
        # A heart that beats once an hour is a silent one for whoever believes in a lease of a twentieth of a second.
        assert {r.status for r in run(job(w, lease=0.05), month(1))} <= {"succeeded", "skipped"}
        before = snapshot(w.lake)
    assert snapshot(w.lake) == before
    assert [r.status for r in held.results] == ["succeeded"]
    check(w, tmp_path)


def test_many_processes_at_once_make_one_chain(tmp_path: Path) -> None:
    w = World(some_orders(months=4, customers="ab"))
    threads = [
        threading.Thread(target=run, args=(job(w, lease=60), month(number))) for number in (1, 2, 3, 4) * 2
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    run(job(w))
    check(w, tmp_path)


def test_a_revision_is_a_package_of_its_own_at_the_end_of_the_chain(tmp_path: Path) -> None:
    w = World(some_orders(customers="a"))
    run(job(w))
    again = Asked(start=month(1).start, end=month(1).end, revise=True, reason="a wrong price")
    assert [r.status for r in run(job(w), again)] == ["succeeded"]
    chain = list(PackageChain(Journal(w.journal), "orders_drop", "a").packages())
    first, last = json.loads(chain[0].checkpoint), json.loads(chain[-1].checkpoint)
    assert (last["revision"], last["supersedes"]) == (1, [first["run_id"]])
    assert last["interval"] == first["interval"]
    assert told(lay_out(snapshot(w.lake), tmp_path)) == []


def numbered_and_lost(world: World, number: int, asked: Asked | None = None) -> str:
    """The next package, of that month, gets this number, whoever makes it dies right behind, and its file is lost.
    Returns the run's id."""
    asked, record, tried = asked or month(number), f"chain/orders_drop/a/{number:08d}.json", Faults()
    run(job(world.copy(), tried), asked)
    (at,) = [n for n, p in enumerate(tried.points, 1) if p.operation == "create" and p.name.endswith(record)]
    with contextlib.suppress(Crash):
        run(job(world, Faults(crash=(at, "after"))), asked)
    run_id = str(json.loads(world.journal.get(record))["run_id"])
    (gone,) = [name for name in snapshot(world.lake) if run_id[:8] in name and name.endswith(".gz")]
    world.lake.delete(gone)
    return run_id


@pytest.mark.parametrize("number", [1, 2])
def test_a_number_whose_package_was_lost_is_told_by_the_one_that_takes_its_place(
    number: int, tmp_path: Path
) -> None:
    w = World(some_orders(months=3, customers="a"))
    for before in range(1, number):
        run(job(w), month(before))
    lost = numbered_and_lost(w, number)
    assert {r.exit_code for r in run(job(w))} == {6}
    again = Asked(start=month(number).start, end=month(number).end, revise=True, reason="its file was lost")
    assert [r.status for r in run(job(w), again)] == ["succeeded"]
    run(job(w))
    assert packed(w) == Counter(w.table["id"].to_pylist())
    chain = list(PackageChain(Journal(w.journal), "orders_drop", "a").packages())
    (telling,) = [p for each in chain if (p := json.loads(each.checkpoint))["replaced"]]
    (told_of,) = telling["replaced"]
    assert (told_of["number"], told_of["run_id"], telling["run_id"]) == (number, lost, chain[number].run_id)
    assert told_of["sha256"] == chain[number - 1].place.sha256
    place = lay_out(snapshot(w.lake), tmp_path / "lake")
    newest = chain[-1].place
    found = verifier.verify([str(place)], None, [(newest.number, newest.sha256)])
    assert [what for _, what in found.problems if "chain" in what or "missing" in what] == []
    assert (
        f"package {number} was replaced by package {number + 1} before it was published everywhere"
        in " ".join(found.facts)
    )
    assert not [text for text in found.unchecked if "were not given" in text]


def test_a_number_that_was_lost_twice_is_told_once_by_the_one_that_is_published(tmp_path: Path) -> None:
    w = World(some_orders(months=1, customers="a"))
    asked = [Asked(month(1).tenants, month(1).start, month(1).end, True, f"lost {n} times") for n in (1, 2)]
    lost = [numbered_and_lost(w, 1), numbered_and_lost(w, 2, asked[0])]
    every = Faults()
    run(job(w.copy(), every), asked[1])
    for at in range(1, every.count + 1):
        world = w.copy()
        with contextlib.suppress(Crash):
            run(job(world, Faults(crash=(at, "after"))), asked[1])
        run(job(world), asked[1])
        run(job(world))
        chain = list(PackageChain(Journal(world.journal), "orders_drop", "a").packages())
        assert [each["run_id"] for each in json.loads(chain[2].checkpoint)["replaced"]] == lost, at
        place = lay_out(snapshot(world.lake), tmp_path / str(at))
        found = verifier.verify([str(place)], None, [(len(chain), chain[-1].place.sha256)])
        assert not [what for _, what in found.problems if "package" in what], at
        assert packed(world) == Counter(world.table["id"].to_pylist()), at


@pytest.mark.parametrize("asleep", ["chain/orders_drop/a/00000001.json", "_checkpoint.json.sig"])
def test_who_sleeps_until_a_revision_has_taken_the_place_of_a_lost_package_publishes_nothing(
    asleep: str, tmp_path: Path
) -> None:
    """Before it takes a number, or before its marker: it has seen its file standing."""
    w = World(some_orders(months=1, customers="a"), now=datetime(2024, 2, 2, tzinfo=UTC))
    held = Held(lambda operation, name: operation in ("create", "put") and name.endswith(asleep))
    slow = job(w, journal=Hooked(w.journal, held.hook), lake=Hooked(w.lake, held.hook), lease=3600)
    with held.running(lambda: run(slow, month(1))):
        for name in [name for name in snapshot(w.lake) if name.endswith(".gz")]:
            w.lake.delete(name)
        assert {r.exit_code for r in run(job(w), month(1))} == {6}
        again = Asked(start=month(1).start, end=month(1).end, revise=True, reason="its file was lost")
        assert [r.status for r in run(job(w), again)] == ["succeeded"]
    assert [(r.status, r.exit_code) for r in held.results] == [("failed", 6)]
    assert "took the place of run" in str(held.results[0].error)
    w.now = datetime(2024, 4, 2, tzinfo=UTC)
    assert {r.status for r in run(job(w))} <= {"succeeded", "skipped"}
    assert len([name for name in snapshot(w.lake) if name.endswith("_SUCCESS")]) == 3
    chain = list(PackageChain(Journal(w.journal), "orders_drop", "a").packages())
    lay_out(snapshot(w.lake), tmp_path)
    found = verifier.verify([str(tmp_path)], None, [(len(chain), chain[-1].place.sha256)])
    assert not [what for _, what in found.problems if "package" in what]


def test_who_sleeps_at_a_marker_until_a_revision_was_published_leaves_its_package_to_be_replaced(
    tmp_path: Path,
) -> None:
    """Journal, chain and results agree that it never was published, though its marker stands."""
    w = World(some_orders(months=1, customers="a"), now=datetime(2024, 2, 2, tzinfo=UTC))
    held = Held(lambda operation, name: operation == "put" and name.endswith("_SUCCESS"))
    slow = job(w, journal=Hooked(w.journal, held.hook), lake=Hooked(w.lake, held.hook), lease=3600)
    with held.running(lambda: run(slow, month(1))):
        ((name, records),) = [(n, data) for n, data in snapshot(w.lake).items() if n.endswith(".gz")]
        w.lake.delete(name)
        again = Asked(start=month(1).start, end=month(1).end, revise=True, reason="its file was lost")
        run(job(w), month(1))
        assert [r.status for r in run(job(w), again)] == ["succeeded"]
        w.lake.put(name, records)
    assert [(r.status, r.exit_code) for r in held.results] == [("failed", 6)]
    journal = Journal(w.journal)
    assert sorted(each.summary["status"] for each in recorded(journal)) == ["published", "replaced"]
    chain = list(PackageChain(journal, "orders_drop", "a").packages())
    assert [each["number"] for each in json.loads(chain[-1].checkpoint)["replaced"]] == [1]
    newest = [(2, chain[-1].place.sha256)]
    found = verifier.verify([str(lay_out(snapshot(w.lake), tmp_path))], None, newest)
    assert not [what for _, what in found.problems if "package" in what]


def test_a_package_that_was_published_is_missed_whatever_takes_its_place(tmp_path: Path) -> None:
    w = World(some_orders(customers="a"))
    run(job(w))
    again = Asked(start=month(2).start, end=month(2).end, revise=True, reason="a wrong price")
    run(job(w), again)
    chain = list(PackageChain(Journal(w.journal), "orders_drop", "a").packages())
    assert json.loads(chain[-1].checkpoint)["supersedes"] == [chain[1].run_id]
    for name in snapshot(w.lake):
        if chain[1].run_id[:8] in name:
            w.lake.delete(name)
    assert [t for t in told(lay_out(snapshot(w.lake), tmp_path)) if "package 2 is missing" in t]


def test_what_is_published_again_needs_no_key() -> None:
    """The checkpoint stands in the journal with its signature, made once."""
    w = World(some_orders(months=1, customers="a"))

    def lost(operation: str, name: str) -> None:
        if operation == "put" and name.endswith("_SUCCESS"):
            raise StoreUnavailable("gone")

    first = run(job(w, lake=Hooked(w.lake, lost)), month(1))
    assert [r.status for r in first] == ["failed"]
    keyless = job(w)
    keyless.channel._sign_by = None
    assert [r.status for r in run(keyless, month(1))] == ["skipped"]
    assert verify(w.lake).ok


def test_a_package_is_not_published_by_another_channel() -> None:
    w = World(some_orders(months=1, customers="a"))

    def lost(operation: str, name: str) -> None:
        if operation == "put" and name.endswith("_SUCCESS"):
            raise StoreUnavailable("gone")

    run(job(w, lake=Hooked(w.lake, lost)), month(1))
    results = run(w.job(), month(1))
    assert [(r.status, "was committed for another channel" in str(r.error)) for r in results] == [
        ("failed", True)
    ]


def test_a_chain_in_the_journal_that_was_changed_is_refused() -> None:
    w = World(some_orders(months=2, customers="a"))
    run(job(w))
    name = "chain/orders_drop/a/00000001.json"
    record = json.loads(w.journal.get(name))
    w.journal.put(name, json.dumps({**record, "checkpoint": record["checkpoint"] + " "}).encode())
    with pytest.raises(
        IntegrityError, match="chain of audit packages is broken at chain/orders_drop/a/00000002"
    ):
        list(PackageChain(Journal(w.journal), "orders_drop", "a").packages())


def sign(after: Place) -> tuple[str, str]:
    return json.dumps({"number": after.number + 1, "after": after.sha256, "supersedes": []}), "signature"


class Overtaken(MemoryStore):
    """A listing of two records that are created while it is made: it shows the second alone."""

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        return (each for each in super().list(prefix) if not each.name.endswith("00000001.json"))


def test_a_listing_without_what_was_created_while_it_was_made_is_no_broken_chain() -> None:
    store = Overtaken()
    chain = PackageChain(Journal(store), "e", "t")
    second = chain.append("two", chain.append("one", Place(0, FIRST), sign).place, sign)
    assert chain.last() == second.place
    assert [each.run_id for each in chain.packages()] == ["one", "two"]
    store.delete("chain/e/t/00000001.json")
    for ask in (chain.last, lambda: list(chain.packages())):
        with pytest.raises(IntegrityError, match="is broken at chain/e/t/00000001"):
            ask()


def test_numbers_follow_each_other_and_a_run_has_one() -> None:
    chain = PackageChain(Journal(MemoryStore()), "e", "t")
    start = Place(0, FIRST)
    assert chain.last() == start
    first = chain.append("one", start, sign)
    second = chain.append("two", start, sign)
    assert (first.number, second.number, second.previous) == (1, 2, first.place.sha256)
    assert chain.append("one", start, sign) == first
    assert chain.append("two", first.place, sign) == second
    assert chain.last() == second.place
    with pytest.raises(IntegrityError):
        chain.append("three", Place(2, "0" * 64), sign)


def test_verifier_and_journal_agree_on_what_the_first_package_follows() -> None:
    assert FIRST == verifier.ZEROS

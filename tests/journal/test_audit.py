"""The audit chain: in order, whole, and nothing changed in it unnoticed."""

# S11 S14
from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from lading.errors import IntegrityError
from lading.journal.audit import AuditChain
from lading.journal.log import Journal
from lading.stores.memory import MemoryStore


def chain(store: MemoryStore) -> AuditChain:
    return AuditChain(Journal(store))


def test_records_are_bound_to_the_ones_before() -> None:
    store = MemoryStore()
    links = [chain(store).append("used", approval=str(n)) for n in range(3)]
    assert [link.number for link in links] == [1, 2, 3]
    records = list(chain(store).records())
    assert [record["approval"] for record in records] == ["0", "1", "2"]
    assert [record["previous"] for record in records[1:]] == [link.sha256 for link in links[:2]]


def test_many_that_append_at_once_make_one_chain() -> None:
    store = MemoryStore()
    with ThreadPoolExecutor(8) as pool:
        links = list(pool.map(lambda n: chain(store).append("used", of=n), range(60)))
    assert sorted(link.number for link in links) == list(range(1, 61))
    assert sorted(record["of"] for record in chain(store).records()) == list(range(60))


@pytest.mark.parametrize("harm", ["edited", "taken out", "swapped", "put in"])
def test_a_chain_that_was_changed_is_refused(harm: str) -> None:
    store = MemoryStore()
    for n in range(5):
        chain(store).append("used", of=n)
    names = [info.name for info in store.list("audit/")]
    first, second = store.get(names[1]), store.get(names[2])
    if harm == "edited":
        store.put(names[1], first.replace(b'"of":1', b'"of":7'))
    elif harm == "taken out":
        store.delete(names[1])
    elif harm == "swapped":
        store.put(names[1], second)
        store.put(names[2], first)
    else:
        store.put("audit/00000003a.json", second)
    with pytest.raises(IntegrityError, match="The audit chain is broken at audit/0000000"):
        list(chain(store).records())
    if harm in ("taken out", "put in"):
        with pytest.raises(IntegrityError, match="The audit chain is broken"):
            chain(store).append("used")

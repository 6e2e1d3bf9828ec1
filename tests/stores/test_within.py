from __future__ import annotations

from pathlib import Path

import pytest

from lading.ports import Copier, Store, Swapper
from lading.stores.local import LocalStore
from lading.stores.memory import MemoryStore
from lading.stores.within import Within
from lading.testing.store import StoreSuite


class TestWithin(StoreSuite):
    @pytest.fixture(params=["memory", "local"])
    def store(self, request: pytest.FixtureRequest, tmp_path: Path) -> Store:
        outer = MemoryStore() if request.param == "memory" else LocalStore(tmp_path, durable=False)
        for near in ("shop", "shop/tes", "shop/test2/a", "test/a"):
            outer.put(near + "!", b"a neighbour")
        return Within(outer, "shop/test/")


def test_two_folders_of_a_store_know_nothing_of_each_other() -> None:
    outer = MemoryStore("memory://outer")
    one, other = Within(outer, "shop/dev/"), Within(outer, "shop/prod/")
    one.put("a/b", b"1", create=True)
    other.put("a/b", b"2", create=True)
    assert (one.get("a/b"), other.get("a/b")) == (b"1", b"2")
    other.delete("a/b")
    assert [info.name for info in one.list()] == ["a/b"]
    assert [info.name for info in other.list()] == []
    assert [info.name for info in outer.list()] == ["shop/dev/a/b"]
    assert one.url == "memory://outer/shop/dev"


def test_what_names_could_do_outside_of_the_folder_is_not_offered() -> None:
    store = Within(MemoryStore(), "shop/test/")
    assert not isinstance(store, (Copier, Swapper))

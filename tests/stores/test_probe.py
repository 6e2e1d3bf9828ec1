from __future__ import annotations

from pathlib import Path

import pytest

from lading.ports import Store
from lading.stores.local import LocalStore
from lading.stores.memory import MemoryStore
from lading.stores.probe import probe
from lading.testing.faults import Faults


@pytest.mark.parametrize("kind", ["memory", "local"])
def test_a_good_store_passes_and_is_left_as_it_was(kind: str, tmp_path: Path) -> None:
    store: Store = MemoryStore() if kind == "memory" else LocalStore(tmp_path / "root")
    findings = probe(store)
    assert [finding.what for finding in findings if not finding.ok] == []
    assert len(findings) == 8
    assert list(store.list()) == []


def test_a_store_that_overwrites_on_create_is_found_out() -> None:
    class Overwriting(MemoryStore):
        def put(self, name: str, data: bytes, *, create: bool = False) -> None:
            super().put(name, data)

    findings = {finding.what: finding for finding in probe(Overwriting())}
    assert not findings["create refuses what exists"].ok
    assert not findings["one of 8 concurrent creates wins"].ok
    assert "cannot be a journal" in findings["one of 8 concurrent creates wins"].detail
    assert findings["write"].ok


def test_a_write_only_store_says_what_is_refused_and_what_stays() -> None:
    findings = {f.what: f for f in probe(Faults(denied=["read", "list", "delete"]).wrap(MemoryStore()))}
    assert [what for what, finding in findings.items() if not finding.ok] == ["read", "list", "delete"]
    assert "_lading_test/" in findings["delete"].detail
    assert "denied" in findings["read"].detail

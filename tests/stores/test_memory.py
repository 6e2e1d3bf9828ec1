# D1
from __future__ import annotations

import pytest

from lading.stores.memory import MemoryStore
from lading.testing.store import StoreSuite


class TestMemoryStore(StoreSuite):
    @pytest.fixture
    def store(self) -> MemoryStore:
        return MemoryStore()

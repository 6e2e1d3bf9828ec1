from __future__ import annotations

import pytest

from lading.keys.memory import MemoryKeyring
from lading.testing.keys import KeysSuite, Open


class TestMemoryKeyring(KeysSuite):
    @pytest.fixture
    def open_keys(self) -> Open:
        return MemoryKeyring


def test_another_seed_gives_other_keys() -> None:
    assert MemoryKeyring(b"a").tenant_key("UA") != MemoryKeyring(b"b").tenant_key("UA")


def test_the_seed_is_not_shown() -> None:
    assert "secret" not in repr(MemoryKeyring(b"secret"))

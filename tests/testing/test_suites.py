"""The conformance suites, as who writes an adapter meets them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import lading.testing

FORGETFUL = """
import pytest

from lading.stores.memory import MemoryStore
from lading.testing.store import StoreSuite


class Forgetful(MemoryStore):
    def get(self, name):
        return super().get(name)[:3]


class TestForgetful(StoreSuite):
    @pytest.fixture
    def store(self):
        return Forgetful()
"""


def test_a_suite_that_fails_shows_what_it_compared(tmp_path: Path) -> None:
    (tmp_path / "test_forgetful.py").write_text(FORGETFUL)
    pytest = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-k", "put_is_read_back"]
    told = subprocess.run([*pytest, "test_forgetful.py"], cwd=tmp_path, capture_output=True, text=True)
    assert told.returncode == 1, told.stdout + told.stderr
    assert r"assert b'\x00fi' == b'\x00first\xff'" in told.stdout


def test_every_module_that_asserts_is_among_them() -> None:
    (folder,) = lading.testing.__path__
    asserting = {path.stem for path in Path(folder).glob("*.py") if "    assert " in path.read_text()}
    assert asserting == set(lading.testing.SUITES)

"""The channel in memory keeps every promise, and carries whole runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa
import pytest
from worlds import World, some_orders

from lading.channels.memory import MemoryChannel, Shelf
from lading.run import run
from lading.testing.channel import ChannelSuite


class MemoryPlace:
    def __init__(self) -> None:
        self.shelf = Shelf()

    def channel(self) -> MemoryChannel:
        return MemoryChannel(self.shelf, pointer=True)

    def rows(self) -> Mapping[str, Sequence[int]]:
        return {run_id: table["id"].to_pylist() for run_id, table in self.shelf.tables().items()}

    def pointed(self) -> str | None:
        return next((manifest["run_id"] for manifest in self.shelf.pointers.values()), None)

    def standing(self) -> set[str]:
        files = {folder + name for folder, held in self.shelf.staged.items() for name in held}
        return (
            files | {f + "done" for f in self.shelf.published} | {f + "failed" for f in self.shelf.failures}
        )

    def failures(self) -> list[Mapping[str, Any]]:
        return list(self.shelf.failures.values())

    def deny_deletes(self) -> None:
        self.shelf.denies_deletes = True


class TestMemoryChannel(ChannelSuite):
    @pytest.fixture
    def place(self) -> MemoryPlace:
        return MemoryPlace()


def test_whole_runs_are_carried_and_repeating_them_changes_nothing() -> None:
    w, shelf = World(some_orders()), Shelf()
    for expected in ("succeeded", "skipped"):
        results = run(w.job(channel=MemoryChannel(shelf)))
        assert {result.status for result in results} == {expected}
        rows = pa.concat_tables(shelf.tables().values()).sort_by("id")
        assert rows.equals(w.table.sort_by("id"))


def test_a_failed_run_publishes_nothing() -> None:
    w, shelf = World(some_orders(months=1)), Shelf()
    results = run(w.job(channel=MemoryChannel(shelf), discover=False, listed=("a",)))
    january = [result for result in results if result.interval.start.month == 1]
    assert {result.status for result in january} == {"failed"}
    assert not [folder for folder in shelf.published if "20240101" in folder]
    assert [body["status"] for body in shelf.failures.values()] == ["FAILURE"]

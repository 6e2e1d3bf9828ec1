"""The drop keeps every promise of a channel, in memory and on a disk, to one destination and to a copy."""

from __future__ import annotations

import gc
import weakref
from pathlib import Path

import pyarrow as pa
import pytest
from drops import DropPlace
from worlds import Hooked

from lading.channels.drop import Destination, DropChannel, DropFile, Sum
from lading.errors import StoreDenied
from lading.export.layout import Layout
from lading.formats.arrow import ArrowFormat
from lading.formats.csv import CsvFormat
from lading.formats.jsonl import JsonlFormat, JsonlOptions
from lading.formats.parquet import ParquetFormat
from lading.ports import Format
from lading.proof import verify
from lading.stores.local import LocalStore
from lading.stores.memory import MemoryStore
from lading.testing.channel import ChannelSuite, Delivery, never


class TestDropInMemory(ChannelSuite):
    @pytest.fixture
    def place(self) -> DropPlace:
        return DropPlace(MemoryStore("memory://lake"))


class TestDropOnDisk(ChannelSuite):
    @pytest.fixture
    def place(self, tmp_path: Path) -> DropPlace:
        return DropPlace(LocalStore(tmp_path, durable=False), preset="svc002")


class TestDropWithACopy(ChannelSuite):
    @pytest.fixture
    def place(self, tmp_path: Path) -> DropPlace:
        return DropPlace(MemoryStore("memory://lake"), LocalStore(tmp_path, durable=False), preset="dated")


# D21: a file that is finished is let go of at once, with all that its encoder holds
@pytest.mark.parametrize("format", [ParquetFormat(), JsonlFormat(), CsvFormat(), ArrowFormat()])
def test_a_finished_file_is_in_no_cycle(format: Format) -> None:
    batch = pa.record_batch({"id": range(3), "name": ["a", "b", "c"]})
    upload = MemoryStore("memory://lake").write("a")
    gc.collect()
    gc.disable()
    try:
        sink = Sum([upload])
        file = DropFile("a", {}, sink, format.open(sink, batch.schema, "portable", 1 << 20))
        file.append(batch)
        file.finish()
        gone = weakref.ref(file)
        encoder = weakref.ref(file._writer)
        del file
        assert (gone(), encoder()) == (None, None)
    finally:
        gc.enable()


def test_every_destination_is_proven_on_its_own() -> None:
    first, second = MemoryStore("memory://lake"), MemoryStore("memory://archive")
    Delivery().deliver(DropPlace(first, second).channel())
    for store in (first, second):
        report = verify(store)
        assert report.record()["problems"] == []
        assert report.rows == 3


def test_a_commit_to_a_destination_that_was_taken_away_is_refused_by_name() -> None:
    store, run = MemoryStore(), Delivery()
    channel = DropPlace(store, MemoryStore()).channel()
    commit = run.commit(channel, run.write(channel))
    with pytest.raises(StoreDenied, match="destination 's1', which the export no longer has"):
        DropPlace(store).channel().publish(commit, never)


def test_the_marker_comes_last_and_the_pointer_after_it() -> None:
    puts: list[str] = []

    def told(operation: str, name: str) -> None:
        if operation in ("put", "swap"):
            puts.append(name.rpartition("/")[2])

    channel = DropChannel(
        [Destination("lake", Hooked(MemoryStore(), told))],
        Layout(),
        JsonlFormat(JsonlOptions()),
        "portable",
        export="orders_drop",
        pointer=True,
    )
    Delivery().deliver(channel)
    assert puts[-3:] == ["_manifest.json", "_SUCCESS", "latest.json"]

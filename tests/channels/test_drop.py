"""The drop keeps every promise of a channel, in memory and on a disk, to one destination and to a copy."""

from __future__ import annotations

import gc
import json
import weakref
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from worlds import Hooked

from lading.channels.drop import Destination, DropChannel, DropFile, _Bytes
from lading.errors import StoreDenied
from lading.export.layout import Layout
from lading.formats.arrow import ArrowFormat
from lading.formats.csv import CsvFormat
from lading.formats.jsonl import JsonlFormat, JsonlOptions
from lading.formats.parquet import ParquetFormat
from lading.ports import Format, Store
from lading.proof import verify
from lading.stores.local import LocalStore
from lading.stores.memory import MemoryStore
from lading.stores.wrapper import Wrapper
from lading.testing.channel import ChannelSuite, Delivery, never


class Guarded(Wrapper):
    """A store whose deletes can be forbidden, as a bucket's policy does."""

    denied = False

    def delete(self, name: str) -> None:
        if self.denied:
            raise StoreDenied(f"{name} may not be deleted")
        super().delete(name)


class DropPlace:
    """A drop to the first of some stores, copied to the others."""

    def __init__(self, *stores: Store, preset: str = "lake") -> None:
        self.stores = {f"s{index}": store for index, store in enumerate(stores)}
        self.guarded = {name: Guarded(store) for name, store in self.stores.items()}
        self.layout = Layout(preset)  # type: ignore[arg-type]

    def channel(self) -> DropChannel:
        destinations = [Destination(name, store) for name, store in self.guarded.items()]
        format = JsonlFormat(JsonlOptions())
        return DropChannel(destinations, self.layout, format, "portable", export="orders_drop", pointer=True)

    def rows(self) -> Mapping[str, Sequence[int]]:
        """As a reader that goes by the success marker; all destinations agree."""
        seen = [self._rows(store) for store in self.stores.values()]
        assert all(rows == seen[0] for rows in seen)
        return seen[0]

    def _rows(self, store: Store) -> dict[str, list[int]]:
        found: dict[str, list[int]] = {}
        for marker in [
            info.name for info in store.list() if info.name.rpartition("/")[2] == self.layout.success()
        ]:
            folder = marker.rpartition("/")[0]
            manifest = json.loads(store.get(f"{folder}/{json.loads(store.get(marker))['manifest']}"))
            data = b"".join(store.get(f"{folder}/{file['name']}") for file in manifest["files"])
            assert manifest["run_id"] not in found
            found[manifest["run_id"]] = [json.loads(line)["id"] for line in data.splitlines()]
        return found

    def pointed(self) -> str | None:
        seen = []
        for store in self.stores.values():
            names = [info.name for info in store.list() if info.name.endswith("/latest.json")]
            seen.append(json.loads(store.get(names[0]))["run_id"] if names else None)
        assert len(set(seen)) == 1
        return seen[0]

    def standing(self) -> set[str]:
        return {f"{name}:{info.name}" for name, store in self.stores.items() for info in store.list()}

    def failures(self) -> list[Mapping[str, Any]]:
        store = self.stores["s0"]
        return [json.loads(store.get(i.name)) for i in store.list() if "FAILURE" in i.name.rpartition("/")[2]]

    def deny_deletes(self) -> None:
        for store in self.guarded.values():
            store.denied = True


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
        sink = _Bytes([upload])
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

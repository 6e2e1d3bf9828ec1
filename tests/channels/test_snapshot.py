"""Snapshots: a drop that is an Iceberg table too. What every channel promises, and what a table adds."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import pyarrow.parquet as pq
import pytest
from tables import by_duckdb, locations, sqlite_tables

from lading.channels.drop import Destination
from lading.channels.snapshot import SnapshotChannel, TableSettings
from lading.errors import StoreDenied
from lading.export.layout import Layout
from lading.formats.parquet import ParquetFormat
from lading.proof import verify
from lading.stores.local import LocalStore
from lading.stores.wrapper import Wrapper
from lading.testing.channel import ChannelSuite, Delivery


class Guarded(Wrapper):
    """A store whose deletes can be forbidden, as a bucket's policy does."""

    denied = False

    def delete(self, name: str) -> None:
        if self.denied:
            raise StoreDenied(f"{name} may not be deleted")
        super().delete(name)


class SnapshotPlace:
    """A folder, and a catalogue in SQLite. Readers go by the markers, or open the table: both see the same."""

    def __init__(self, root: Path, mode: Literal["append", "full_refresh"]) -> None:
        self.root, self.mode = root, mode
        self.store = Guarded(LocalStore(root / "lake", durable=False))
        self.layout = Layout()

    def channel(self) -> SnapshotChannel:
        return SnapshotChannel(
            sqlite_tables(self.root, self.store),
            TableSettings("tables", "shop_test", self.mode),
            Destination("lake", self.store),
            self.layout,
            ParquetFormat(),
            "portable",
            export="orders_drop",
            pointer=True,
        )

    def _manifests(self) -> list[tuple[str, dict[str, Any]]]:
        markers = [i.name for i in self.store.list() if i.name.rpartition("/")[2] == self.layout.success()]
        folders = [marker.rpartition("/")[0] for marker in markers]
        return [(f, json.loads(self.store.get(f"{f}/{self.layout.manifest(None)}"))) for f in folders]

    def rows(self) -> Mapping[str, Sequence[int]]:
        found: dict[str, list[int]] = {}
        for folder, manifest in self._manifests():
            paths = [self.root / "lake" / folder / file["name"] for file in manifest["files"]]
            found[manifest["run_id"]] = [n for path in paths for n in pq.read_table(path)["id"].to_pylist()]
        tables, in_tables = sqlite_tables(self.root, self.store), []
        for name, metadata in locations(self.root).items():
            table = tables.load(("shop_test", name))
            assert table is not None
            files = [Path(task.file.file_path.removeprefix("file://")) for task in table.scan().plan_files()]
            # What was taken from under a table, by `discard`, can be read by nobody.
            if all(file.exists() for file in files):
                in_tables += [row[0] for row in by_duckdb(metadata, "select id from rows")]
        if self.mode == "append":
            assert sorted(in_tables) == sorted(n for ids in found.values() for n in ids)
        return found

    def pointed(self) -> str | None:
        names = [info.name for info in self.store.list() if info.name.endswith("/latest.json")]
        run = json.loads(self.store.get(names[0]))["run_id"] if names else None
        if self.mode == "full_refresh":
            tables = sqlite_tables(self.root, self.store)
            for name in locations(self.root):
                table = tables.load(("shop_test", name))
                assert table is not None
                snapshot = table.current_snapshot()
                assert snapshot is not None
                assert snapshot.summary is not None
                assert snapshot.summary.additional_properties["lading.run-id"] == run
        return run

    def standing(self) -> set[str]:
        return {info.name for info in self.store.list()}

    def failures(self) -> list[Mapping[str, Any]]:
        named = [i.name for i in self.store.list() if "FAILURE" in i.name.rpartition("/")[2]]
        return [json.loads(self.store.get(name)) for name in named]

    def deny_deletes(self) -> None:
        self.store.denied = True


class TestAppends(ChannelSuite):
    @pytest.fixture
    def place(self, tmp_path: Path) -> SnapshotPlace:
        return SnapshotPlace(tmp_path, "append")


class TestFullRefreshes(ChannelSuite):
    @pytest.fixture
    def place(self, tmp_path: Path) -> SnapshotPlace:
        return SnapshotPlace(tmp_path, "full_refresh")


def test_the_delivery_in_the_store_of_a_table_is_proven_as_any(tmp_path: Path) -> None:  # S1
    place = SnapshotPlace(tmp_path, "append")
    Delivery().deliver(place.channel())
    report = verify(place.store)
    assert report.record()["problems"] == []
    assert report.notes == []
    assert report.rows == 3

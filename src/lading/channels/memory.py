"""A channel that keeps its deliveries in this process, as Arrow: for tests and previews."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import pyarrow as pa

from lading.errors import StoreDenied
from lading.export.interval import parse_instant
from lading.export.layout import Names, segment
from lading.manifest import canonical
from lading.ports import ColumnStats, Document, Emptied, FileNumber, FileWriter, Leftover, Written

MANIFEST = "manifest"


@dataclass
class Shelf:
    """What outlives a channel object, as a bucket does. ``denies_deletes``: nothing may be removed."""

    url: str = "memory://shelf"
    staged: dict[str, dict[str, pa.Table]] = field(default_factory=dict)  # folder -> file -> rows
    published: dict[str, dict[str, Any]] = field(default_factory=dict)  # folder -> manifest
    failures: dict[str, dict[str, Any]] = field(default_factory=dict)  # folder -> what failed
    pointers: dict[tuple[str, str], dict[str, Any]] = field(default_factory=dict)  # entity, tenant -> newest
    denies_deletes: bool = False
    lock: threading.RLock = field(default_factory=threading.RLock, repr=False)

    def tables(self) -> dict[str, pa.Table]:
        """The rows of every published run, by run id: what a reader sees."""
        with self.lock:
            found = {}
            for folder, manifest in self.published.items():
                files = [self.staged[folder][file["name"]] for file in manifest["files"]]
                found[str(manifest["run_id"])] = pa.concat_tables(files)
            return found

    def empty(self, folder: str) -> int:
        """Removes all that stands in a folder; how much that was. Raises StoreDenied where nothing may be removed."""
        with self.lock:
            kept = (self.published, self.staged, self.failures)
            count = sum(folder in kind for kind in kept)
            if count and self.denies_deletes:
                raise StoreDenied(f"{self.url} does not let {folder} be deleted")
            for kind in kept:
                kind.pop(folder, None)
            return count


class MemoryFile:
    """One data file being written; see `lading.ports.FileWriter`."""

    def __init__(
        self,
        shelf: Shelf,
        folder: str,
        name: str,
        partition: Mapping[str, str | int | None],
        schema: pa.Schema,
        limit: int | None,
    ) -> None:
        self._limit = limit
        self._shelf, self._folder, self._name = shelf, folder, name
        self._partition, self._schema = dict(partition), schema
        self._batches: list[pa.RecordBatch] = []
        self._size = 0

    def append(self, batch: pa.RecordBatch) -> int:
        if self._limit is not None:
            per_row = -(-batch.nbytes // max(1, batch.num_rows))
            room = (self._limit - self._size) // max(1, per_row)
            batch = batch.slice(0, max(room, 0 if self._batches else 1))
        self._batches.append(batch)
        self._size += batch.nbytes
        return int(batch.num_rows)

    @property
    def size(self) -> int:
        return self._size

    def finish(self) -> Written:
        table = pa.Table.from_batches(self._batches, self._schema)
        data = canonical(table.cast(_texts(self._schema)).to_pylist())
        with self._shelf.lock:
            self._shelf.staged.setdefault(self._folder, {})[self._name] = table
        nulls = {name: ColumnStats(None, None, table[name].null_count) for name in table.column_names}
        sha = hashlib.sha256(data).hexdigest()
        return Written(self._name, table.num_rows, len(data), sha, self._partition, nulls)

    def abort(self) -> None:
        self._batches.clear()


def _texts(schema: pa.Schema) -> pa.Schema:
    return pa.schema([(f.name, pa.string()) for f in schema])


class MemoryChannel:
    """Delivers to a `Shelf`. ``pointer``: keep the newest run of each entity and tenant, as a full refresh does."""

    def __init__(self, shelf: Shelf, *, name: str = "memory", pointer: bool = False) -> None:
        self._shelf, self._name, self._pointer = shelf, name, pointer

    def folders(self, names: Names) -> Mapping[str, str]:
        return {self._name: _folder(names)}

    def open(
        self,
        names: Names,
        number: FileNumber,
        partition: Mapping[str, str | int | None],
        schema: pa.Schema,
        memory: int,
        limit: int | None = None,
    ) -> FileWriter:
        inside = "".join(f"{segment(column)}={json.dumps(value)}/" for column, value in partition.items())
        name = f"{inside}{number.lane:03d}-{number.sequence:03d}"
        return MemoryFile(self._shelf, _folder(names), name, partition, schema, limit)

    def prepare(self, names: Names, bill: Document, files: Sequence[Written]) -> dict[str, object]:
        folder = _folder(names)
        manifest = dict(bill(f"{self._shelf.url}/{folder}"))
        resolved = {
            "name": self._name,
            "folder": folder,
            "manifest": MANIFEST,
            "objects": [[MANIFEST, canonical(manifest).decode()]],
            "pointer": [names.entity, names.tenant] if self._pointer else None,
        }
        url = f"{self._shelf.url}/{folder}{MANIFEST}"
        return {"run_id": names.run_id, "tenant": names.tenant, "destinations": [resolved], "manifest": url}

    def publish(self, commit: Mapping[str, object], withdrawn: Callable[[], bool]) -> str:
        destinations: Any = commit["destinations"]
        for resolved in destinations:
            folder, manifest = resolved["folder"], json.loads(resolved["objects"][0][1])
            if withdrawn():
                self.discard({self._name: folder})
                break
            with self._shelf.lock:
                self._shelf.published[folder] = manifest
            if withdrawn():
                self.discard({self._name: folder})
                break
            if resolved["pointer"] is not None:
                entity, tenant = resolved["pointer"]
                self._move_forward((entity, tenant), manifest)
        return str(commit["manifest"])

    def _move_forward(self, key: tuple[str, str], manifest: dict[str, Any]) -> None:
        with self._shelf.lock:
            there = self._shelf.pointers.get(key)
            if there is None or _place(there) < _place(manifest):
                self._shelf.pointers[key] = manifest

    def fail(self, names: Names, body: Mapping[str, object]) -> None:
        with self._shelf.lock:
            self._shelf.failures[_folder(names)] = dict(body)

    def pointed(self, commit: Mapping[str, object]) -> bool:
        with self._shelf.lock:
            return any(manifest["run_id"] == commit["run_id"] for manifest in self._shelf.pointers.values())

    def standing(self, names: Names) -> str | None:
        begin = _run(names)
        with self._shelf.lock:
            kept = {*self._shelf.staged, *self._shelf.published, *self._shelf.failures}
        return next((f"{self._shelf.url}/{folder}" for folder in kept if folder.startswith(begin)), None)

    def discard(self, folders: Mapping[str, str]) -> Emptied:
        removed, left = 0, []
        for name, folder in folders.items():
            try:
                removed += self._shelf.empty(folder)
            except StoreDenied as error:
                left.append(Leftover(name, folder, error.message))
        return Emptied(removed, tuple(left))


def _run(names: Names) -> str:
    start = f"{names.start:%Y%m%dT%H%M%S}"
    return f"{segment(names.entity)}/{segment(names.tenant)}/{start}/{names.run_id}-a"


def _folder(names: Names) -> str:
    return f"{_run(names)}{names.attempt}/"


def _place(manifest: Mapping[str, Any]) -> tuple[datetime, int]:
    return parse_instant(manifest["interval"]["start"]), int(manifest["revision"])

"""The drop: files in a folder of the run's own, a manifest, sums, sidecars, and the success marker last."""

from __future__ import annotations

import contextlib
import hashlib
import json
import posixpath
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import pyarrow as pa

from lading.errors import IntegrityError, Lost, ObjectNotFound, StoreDenied, StoreUnavailable
from lading.evidence.records import SHIPPED, VERSIONS, Schemas
from lading.evidence.sshsig import MANIFESTS, PublicKey, armored, message
from lading.export.interval import parse_instant
from lading.export.layout import FileType, Layout, Names
from lading.manifest import canonical, marker, sha256, sums
from lading.ports import (
    Copier,
    Document,
    Emptied,
    Encryption,
    FileNumber,
    FileWriter,
    Format,
    Leftover,
    Prober,
    Signer,
    Store,
    Swapper,
    Types,
    Upload,
    Writer,
    Written,
)


@dataclass(frozen=True, slots=True)
class Destination:
    name: str
    store: Store

    def url(self, folder: str) -> str:
        return f"{self.store.url.rstrip('/')}/{folder}"


class Sum:
    """The sink of a file: hashed and counted on their way to every destination. An object of its own, since a file and
    an encoder that held each other would keep all that they have until Python looks for such pairs."""

    def __init__(self, uploads: Sequence[Upload]) -> None:
        self.uploads = uploads
        self.sha = hashlib.sha256()
        self.count = 0

    def write(self, data: bytes | memoryview) -> int:
        self.sha.update(data)
        for upload in self.uploads:
            upload.write(data)
        self.count += len(data)
        return len(data)


class DropFile:
    """One data file on its way to every destination, hashed as it passes."""

    def __init__(
        self,
        name: str,
        partition: Mapping[str, str | int | None],
        sink: Sum,
        writer: Writer,
        encryption: Mapping[str, str] | None = None,
    ) -> None:
        """``writer`` writes to ``sink``; ``encryption`` is what the manifest says of the file's."""
        self._name, self._partition, self._encryption = name, partition, encryption
        self._bytes, self._writer = sink, writer

    def append(self, batch: pa.RecordBatch) -> int:
        return self._writer.append(batch)

    @property
    def size(self) -> int:
        return self._writer.size

    def finish(self) -> Written:
        try:
            stats = self._writer.finish()
            for upload in self._bytes.uploads:
                upload.finish()
        except BaseException:
            self._abort_uploads()
            raise
        return Written(
            self._name,
            stats.rows,
            self._bytes.count,
            self._bytes.sha.hexdigest(),
            dict(self._partition),
            dict(stats.columns),
            self._encryption,
            stats.head,
        )

    def abort(self) -> None:
        self._writer.abort()
        self._abort_uploads()

    def _abort_uploads(self) -> None:
        for upload in self._bytes.uploads:
            upload.abort()


class DropChannel:
    """``destinations``: the first is the export's destination, the others its copies. ``own``: tenants that have
    another first destination. ``signer`` is asked for when something is written, and not before. ``records`` is what
    delivery records are held against, ``deprecation`` what recipients are told of a version that will end."""

    kind = "drop"  # of channels, for the delivery record

    packages = False
    """Whether deliveries are audit packages, which are closed when they are published."""

    tables = False
    """Whether deliveries are committed to a table, which refers to their files from then on."""

    _inside = ""  # how the names of data files begin

    def __init__(
        self,
        destinations: Sequence[Destination],
        layout: Layout,
        format: Format,
        types: Types,
        *,
        export: str,
        own: Mapping[str, Destination] | None = None,
        pointer: bool = False,
        signer: Callable[[], Signer] | None = None,
        encryption: Encryption | None = None,
        records: Schemas = SHIPPED,
        deprecation: Callable[[], Mapping[str, object] | None] = lambda: None,
    ) -> None:
        self._first, self._copies, self._own = destinations[0], tuple(destinations[1:]), dict(own or {})
        self._known = {d.name: d for d in (*self._own.values(), *destinations)}
        self._layout, self._format, self._types = layout, format, types
        self._export, self._pointer, self._signer = export, pointer, signer
        self._encryption, self._records, self._deprecation = encryption, records, deprecation

    def folders(self, names: Names) -> Mapping[str, str]:
        return {destination.name: self._layout.folder(names) for destination in self._of(names)}

    def _of(self, names: Names) -> tuple[Destination, ...]:
        """Where a tenant's deliveries go, the first destination first."""
        return (self._own.get(names.tenant, self._first), *self._copies)

    def open(
        self,
        names: Names,
        number: FileNumber,
        partition: Mapping[str, str | int | None],
        schema: pa.Schema,
        memory: int,
        limit: int | None = None,
    ) -> FileWriter:
        kind = FileType(self._format.name, self._format.codec, self._format.suffix)
        sealed = f".{self._encryption.suffix}" if self._encryption and self._encryption.suffix else ""
        inside = self._layout.partition_folder(list(partition.values())) if partition else ""
        base = self._layout.data_file(names, number.lane, number.sequence, number.lanes, kind)
        name = self._inside + inside + base + sealed
        if self._signer is not None:
            self._signer()  # who cannot sign need not write
        uploads: list[Upload] = []
        try:
            for destination in self._of(names):
                uploads.append(self._write(destination, self._staged(names), name))
            sink = Sum(uploads)
            format = self._format_of(names)
            if self._encryption is None:
                writer = format.open(sink, schema, self._types, memory, limit)
                return DropFile(name, partition, sink, writer)
            writer, told = self._encryption.open(
                format, sink, schema, self._types, memory, limit, names=names, file=name
            )
            return DropFile(name, partition, sink, writer, told)
        except BaseException:
            for upload in uploads:
                upload.abort()
            raise

    def _format_of(self, names: Names) -> Format:
        """The format of the files of one run."""
        return self._format

    def _staged(self, names: Names) -> str:
        """The folder that data files are written to."""
        return self._layout.folder(names)

    def _write(self, destination: Destination, folder: str, name: str) -> Upload:
        return destination.store.write(folder + name)

    def reuse(self, before: Names, now: Names, files: Mapping[str, int]) -> bool:
        old, new = self._staged(before), self._staged(now)
        for destination in self._of(now):
            if not isinstance(destination.store, Copier):
                return False
            try:
                for file, size in files.items():
                    destination.store.copy(old + file, new + file)
                    # Of the copy, since the file may change until it is made.
                    if (new + file, size) not in _sizes(destination.store, new + file):
                        return False
            except (ObjectNotFound, StoreDenied):
                return False
        return True

    def prepare(self, names: Names, bill: Document, files: Sequence[Written]) -> dict[str, object]:
        destinations = []
        for destination in self._of(names):
            folder = self._layout.folder(names)
            manifest = bill(destination.url(folder))
            destinations.append(self._resolve(destination, folder, names, manifest, files))
        commit = {"run_id": names.run_id, "tenant": names.tenant, "destinations": destinations}
        return {**commit, "manifest": self._manifest_url(commit)}

    def _resolve(
        self,
        destination: Destination,
        folder: str,
        names: Names,
        manifest: Mapping[str, Any],
        files: Sequence[Written],
    ) -> dict[str, Any]:
        layout = self._layout
        manifest_name = layout.manifest(names)
        sidecars: list[tuple[str, bytes]] = [(layout.sums(), sums(f.record() for f in files).encode())]
        for file in files:
            described = {"run_id": names.run_id, "manifest": manifest_name, "schema": manifest["schema"]}
            sidecars.append((layout.metadata(file.name), canonical({**described, **file.record()})))
            if checksum := layout.checksum(file.name):
                base = file.name.rpartition("/")[2]
                sidecars.append((checksum, f"{file.sha256}  {base}\n".encode()))
        if record := layout.record(names):
            described = delivery_record(manifest, self.kind)
            self._records.check(described)
            sidecars.append((record, canonical(described)))
        if (notice := self._deprecation()) is not None:
            sidecars.append((layout.deprecation(), canonical(notice)))
        sidecars.extend(self._further(manifest))
        listed = [{"name": name, "bytes": len(body), "sha256": sha256(body)} for name, body in sidecars]
        data = canonical({**manifest, "sidecars": listed, "signature": self._signature()})
        evidence = [] if self._signer is None else [(f"{manifest_name}.sig", self._signed(data, MANIFESTS))]
        objects = [[name, body.decode()] for name, body in (*sidecars, (manifest_name, data), *evidence)]
        rows = int(manifest["rows"]["written"])
        success = marker(manifest_name, data, rows, manifest["export_timestamp"])
        return {
            "name": destination.name,
            "folder": folder,
            "url": destination.url(folder),
            "manifest": manifest_name,
            "objects": objects,
            "marker": [layout.success(), canonical(success).decode()],
            "pointer": self._pointer_to(names, destination, manifest, manifest_name, sha256(data))
            if self._pointer
            else None,
        }

    def _further(self, manifest: Mapping[str, Any]) -> Sequence[tuple[str, bytes]]:
        """Sidecars that other channels add: names and bytes, which are UTF-8."""
        return ()

    def _signature(self) -> dict[str, str]:
        """What the manifest says of its signature, so that nobody takes it away unnoticed."""
        if self._signer is None:
            return {"type": "none"}
        key = PublicKey(self._signer().public_key)
        return {"type": "sshsig", "namespace": MANIFESTS, "key": key.fingerprint}

    def _signed(self, data: bytes, namespace: str) -> bytes:
        assert self._signer is not None
        signer = self._signer()
        return armored(PublicKey(signer.public_key), namespace, signer.sign(message(namespace, data)))

    def _pointer_to(
        self,
        names: Names,
        destination: Destination,
        manifest: Mapping[str, Any],
        manifest_name: str,
        manifest_sha256: str,
    ) -> dict[str, Any]:
        """Raises StoreDenied where the pointer is another project's or environment's, before anything is sealed."""
        name = self._layout.pointer(names, self._export)
        owner = [names.dataset, names.env] if self._layout.shares_pointer else None
        _refuse_foreign(destination.store, name, owner)
        # From the root, since a relative name would be looked up from the working directory.
        manifest_path = f"/{self._layout.folder(names)}{manifest_name}"
        relative = posixpath.relpath(manifest_path, f"/{posixpath.dirname(name)}")
        return {
            "name": name,
            "owner": owner,
            "content": {
                "export": self._export,
                "tenant": names.tenant,
                "interval": manifest["interval"],
                "revision": manifest["revision"],
                "run_id": names.run_id,
                "manifest": relative,
                "sha256": manifest_sha256,
            },
        }

    def publish(self, commit: Mapping[str, object], withdrawn: Callable[[], bool]) -> str:
        destinations: Any = commit["destinations"]
        if (("package" in commit), ("table" in commit)) != (self.packages, self.tables):
            raise StoreDenied(
                f"Run {commit['run_id']} was committed for another channel than the export has now.",
                hint="Set the channel back until the run is published.",
            )
        for resolved in destinations:
            destination = self._known.get(resolved["name"])
            if destination is None:
                raise StoreDenied(
                    f"Run {commit['run_id']} was committed for the destination {resolved['name']!r}, "
                    "which the export no longer has.",
                    hint="Name it again under destination or copies until the run is published.",
                )
            if destination.url(resolved["folder"]) != resolved["url"]:
                raise StoreDenied(
                    f"Run {commit['run_id']} was committed for {resolved['url']}, and the store "
                    f"{resolved['name']!r} is another place now.",
                    hint="Point the store back until the run is published: its data files are there.",
                )
            for name, text in resolved["objects"]:
                destination.store.put(resolved["folder"] + name, text.encode())
            if "staged" in resolved:
                emptied(destination.store, resolved["staged"])  # before the marker: no reader is to find it
            if withdrawn():
                break
            self._before_marker(commit)
            name, text = resolved["marker"]
            destination.store.put(resolved["folder"] + name, text.encode())
            if withdrawn():
                break
            if resolved["pointer"] is not None:
                _move_forward(destination.store, **resolved["pointer"])
        else:
            return self._manifest_url(commit)
        return self._withdraw(commit)

    def require_standing(self, commit: Mapping[str, object]) -> None:
        destinations: Any = commit["destinations"]
        for resolved in destinations:
            destination = self._known.get(resolved["name"])
            if destination is None or destination.url(resolved["folder"]) != resolved["url"]:
                continue  # which `publish` refuses
            try:
                there = dict(_sizes(destination.store, resolved["folder"]))
            except StoreDenied:
                continue  # who may only write cannot look
            for name, size in self._sealed_files(resolved):
                found = there.get(resolved["folder"] + name)
                if found == size:
                    continue
                raise Lost(
                    f"{resolved['url']}{name} "
                    + ("is gone" if found is None else f"has {found:,} bytes where {size:,} were sealed")
                    + f": run {commit['run_id']} is not published.",
                    hint="Put it back as it was, from a copy, a version of the object or a backup, and run again: the "
                    "tenant's newer runs wait until then. If it is lost, deliver its interval anew, by --revise: "
                    "that takes its place. Nothing but Lading may write into folders of deliveries.",
                )

    def _sealed_files(self, resolved: Mapping[str, Any]) -> Sequence[tuple[str, int]]:
        """Names and sizes of what was written before the seal."""
        objects = dict(resolved["objects"])
        return [(file["name"], file["bytes"]) for file in json.loads(objects[resolved["manifest"]])["files"]]

    def _before_marker(self, commit: Mapping[str, object]) -> None:
        """What must have happened when a reader trusts the delivery: nothing, here."""

    def _withdraw(self, commit: Mapping[str, object]) -> str:
        destinations: Any = commit["destinations"]
        self.discard({resolved["name"]: resolved["folder"] for resolved in destinations})
        return self._manifest_url(commit)

    def _manifest_url(self, commit: Mapping[str, Any]) -> str:
        first = commit["destinations"][0]
        return self._known[first["name"]].url(first["folder"] + first["manifest"])

    def fail(self, names: Names, body: Mapping[str, object]) -> None:
        name = self._layout.folder(names) + self._layout.failure(names)
        for destination in self._of(names):
            try:
                destination.store.put(name, canonical(body))
            except (StoreDenied, StoreUnavailable):
                continue  # the journal has the failure; a marker is a courtesy

    def pointed(self, commit: Mapping[str, object]) -> bool:
        if "table" in commit and not self.tables:
            return True  # a table of the channel before refers to it, and cannot be asked
        resolved: Any
        destinations: Any = commit["destinations"]
        for resolved in destinations:
            destination = self._known.get(resolved["name"])
            if destination is None or resolved["pointer"] is None:
                continue
            with contextlib.suppress(ObjectNotFound):
                pointer = json.loads(destination.store.get(resolved["pointer"]["name"]))
                if pointer["run_id"] == commit["run_id"]:
                    return True
        return False

    def standing(self, names: Names) -> str | None:
        begin, attempt = self._layout.attempts(names)
        for destination in self._of(names):
            with contextlib.suppress(StoreDenied):
                for info in destination.store.list(begin):
                    if found := attempt.match(info.name):
                        return destination.url(found[0])
        return None

    def check_writable(self, folders: Mapping[str, str]) -> None:
        if self._signer is not None:
            self._signer()
        for name, folder in folders.items():
            store = self._known[name].store
            if isinstance(store, Prober):
                store.probe_write(f"{folder}_probe")

    def discard(self, folders: Mapping[str, str]) -> Emptied:
        left, removed = [], 0
        for name, folder in folders.items():
            destination = self._known.get(name)
            if destination is None:
                left.append(Leftover(name, folder, "the export no longer has this destination"))
                continue
            try:
                removed += emptied(destination.store, folder)
            except StoreDenied as error:
                left.append(Leftover(name, folder, error.message))
        return Emptied(removed, tuple(left))


def _sizes(store: Store, prefix: str) -> list[tuple[str, int]]:
    return [(info.name, info.size) for info in store.list(prefix)]


def emptied(store: Store, folder: str) -> int:
    """Deletes a folder's objects: first what makes a reader trust it, then the rest. Returns how many there were."""
    names = [info.name for info in store.list(folder)]
    for name in sorted(names, key=lambda n: (not n.rpartition("/")[2].lstrip("_").startswith("SUCCESS"), n)):
        store.delete(name)
    return len(names)


def _refuse_foreign(store: Store, name: str, owner: Sequence[str] | None) -> None:
    """``owner``: project and environment, where the pointer's name does not hold them."""
    if owner is None:
        return
    url = f"{store.url.rstrip('/')}/{name}"
    try:
        pointed = posixpath.join(posixpath.dirname(name), json.loads(store.get(name))["manifest"])
        manifest = json.loads(store.get(posixpath.normpath(pointed)))
        found = [manifest["project"], manifest["environment"]]
    except ObjectNotFound:
        return  # there is no pointer yet, or what it named is lost: the next delivery sets it right
    except (ValueError, KeyError, TypeError) as error:
        raise IntegrityError(f"{url}, or the manifest that it names, is damaged.") from error
    if found != list(owner):
        raise StoreDenied(
            f"{url} belongs to project {found[0]}, environment {found[1]}: "
            f"{owner[0]}, {owner[1]} would take its readers away.",
            hint="Give each environment a store of its own, or a layout whose paths hold {env} and {dataset}.",
        )


def _move_forward(store: Store, name: str, owner: Sequence[str] | None, content: Mapping[str, Any]) -> None:
    """Puts the pointer where it says less than ``content``; leaves one alone that is as far or further."""
    if not isinstance(store, Swapper):
        raise StoreDenied(f"{store.url} cannot swap an object, which the pointer {name} needs.")
    data = canonical(content)
    while True:
        _refuse_foreign(store, name, owner)
        try:
            current: bytes | None = store.get(name)
        except ObjectNotFound:
            current = None
        if current is not None and _place(json.loads(current)) >= _place(content):
            return
        if store.swap(name, current, data):
            return


def _place(pointer: Mapping[str, Any]) -> tuple[datetime, int]:
    return parse_instant(pointer["interval"]["start"]), int(pointer["revision"])


def delivery_record(manifest: Mapping[str, Any], channel: str) -> dict[str, Any]:
    """The delivery record of source document 000, section 3."""
    return {
        "dataset": manifest["contract"]["name"],
        "generated_at": manifest["export_timestamp"],
        "encryption": str(manifest["encryption"]["type"]),
        "records": manifest["rows"]["written"],
        "schema_version": VERSIONS[channel],
    }

"""The partner bundle: a run as one ZIP file with all that its recipient needs, its sum beside it, the marker last.

::

    README.txt  manifest.json  manifest.json.sig  SHA256SUMS  delivery.json  openapi.json  samples/<entity>.json  data/…

Data files are staged as a drop writes them, in ``_parts/`` of the attempt's folder at each destination. `prepare` makes
the archive from them, in its one pass over their bytes, so a seal names the archive's SHA-256, and whoever publishes
puts bytes that the seal has fixed, as everywhere: encrypting twice would make two archives of one run. Publishing
removes what was staged before it puts the marker.
"""

from __future__ import annotations

import hashlib
import secrets
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any

from lading import archive
from lading.archive import Member
from lading.channels.bundle_readme import readme
from lading.channels.drop import Destination, DropChannel, Sum, delivery_record
from lading.errors import DataRefused, IntegrityError
from lading.evidence.sshsig import MANIFESTS
from lading.export.layout import Names
from lading.manifest import BUNDLED, bundle_marker, canonical, sha256, sums
from lading.ports import Emptied, FileWriter, SealedSink, Sealer, Sink, Upload, Written

_BLOCK = 1 << 20
_STAGING = "_parts/"

Papers = Callable[[Mapping[str, Any]], Sequence[tuple[str, bytes]]]
"""The manifest's fields -> what a bundle holds beside the data, by name: the OpenAPI document, sample payloads."""


class BundleChannel(DropChannel):
    """As a drop, and ``papers``, which go into the archive. ``sealer`` encrypts the whole of it; what is staged is
    then encrypted too, under a key that this object alone has and nobody keeps."""

    kind = "bundle"
    _inside = "data/"

    def __init__(self, *drop: Any, papers: Papers, sealer: Sealer | None = None, **settings: Any) -> None:
        super().__init__(*drop, **settings)
        self._papers, self._sealer = papers, sealer
        self._notes: dict[tuple[str, str], dict[str, _Note]] = {}  # by destination and folder

    # --- staging

    def _staged(self, names: Names) -> str:
        return self._layout.folder(names) + _STAGING

    def open(self, names: Names, *file: Any, **limits: Any) -> FileWriter:
        if self._sealer is not None:
            self._sealer.key_id(names.tenant)  # for whom nothing can be encrypted, nothing is written
        return super().open(names, *file, **limits)

    def _write(self, destination: Destination, folder: str, name: str) -> Upload:
        note = _Note(secrets.token_bytes(32) if self._sealer is not None else None)
        self._notes.setdefault((destination.name, folder), {})[name] = note
        return _Staging(destination.store.write(folder + name), note)

    def _note(self, destination: Destination, folder: str, name: str) -> _Note | None:
        return self._notes.get((destination.name, folder), {}).get(name)

    def reuse(self, before: Names, now: Names, files: Mapping[str, int]) -> bool:
        # What another process has staged of an encrypted bundle, nobody can open.
        return self._sealer is None and super().reuse(before, now, files)

    def publish(self, commit: Mapping[str, object], withdrawn: Callable[[], bool]) -> str:
        url = super().publish(commit, withdrawn)
        destinations: Any = commit["destinations"]
        self._forget({resolved["name"]: resolved["folder"] for resolved in destinations})
        return url

    def _sealed_files(self, resolved: Mapping[str, Any]) -> Sequence[tuple[str, int]]:
        return [(resolved["bundle"]["name"], resolved["bundle"]["bytes"])]

    def discard(self, folders: Mapping[str, str]) -> Emptied:
        self._forget(folders)
        return super().discard(folders)

    def _forget(self, folders: Mapping[str, str]) -> None:
        for name, folder in folders.items():
            self._notes.pop((name, folder + _STAGING), None)

    def _pointer_to(self, *of: Any) -> dict[str, Any]:
        pointer = super()._pointer_to(*of)
        content = dict(pointer["content"])
        content["bundle"] = content.pop("manifest")
        return {**pointer, "content": content}

    # --- the archive

    def _resolve(
        self,
        destination: Destination,
        folder: str,
        names: Names,
        manifest: Mapping[str, Any],
        files: Sequence[Written],
    ) -> dict[str, Any]:
        name = self._layout.bundle(names)
        members = self._members(manifest, files, name)
        refuse_alike([*(each for each, _ in members), *(file.name for file in files)])
        data = dict(members)[BUNDLED]
        if self._sealer is not None:
            name = f"{name}.{self._sealer.suffix}"
        size, sha = self._bind(destination, folder, name, names, members, files)
        success = bundle_marker(name, sha, data, manifest)
        return {
            "name": destination.name,
            "folder": folder,
            "url": destination.url(folder),
            "manifest": name,
            "members": [[each, body.decode()] for each, body in members],
            "staged": self._staged(names),
            "bundle": {"name": name, "bytes": size, "sha256": sha},
            "objects": [[f"{name}.sha256", f"{sha}  {name}\n"]],
            "marker": [self._layout.success(), canonical(success).decode()],
            "pointer": self._pointer_to(names, destination, manifest, name, sha) if self._pointer else None,
        }

    def _members(
        self, manifest: Mapping[str, Any], files: Sequence[Written], name: str
    ) -> list[tuple[str, bytes]]:
        """All but the data, in the order of the archive."""
        signature = self._signature()
        record = delivery_record(manifest, self.kind)
        self._records.check(record)
        text = readme(manifest, name, signature, self._sealer.suffix if self._sealer else "")
        papers = [
            ("README.txt", text.encode()),
            ("delivery.json", canonical(record)),
            *self._papers(manifest),
        ]
        if (notice := self._deprecation()) is not None:
            papers.append(("DEPRECATED.json", canonical(notice)))
        listed = [{"name": each, "sha256": sha256(body)} for each, body in papers]
        papers.append(("SHA256SUMS", sums([*(file.record() for file in files), *listed]).encode()))
        sidecars = [{"name": each, "bytes": len(body), "sha256": sha256(body)} for each, body in papers]
        data = canonical({**manifest, "sidecars": sidecars, "signature": signature})
        evidence = [] if self._signer is None else [(f"{BUNDLED}.sig", self._signed(data, MANIFESTS))]
        return [papers[0], (BUNDLED, data), *evidence, *papers[1:]]

    def _bind(
        self,
        destination: Destination,
        folder: str,
        name: str,
        names: Names,
        members: Sequence[tuple[str, bytes]],
        files: Sequence[Written],
    ) -> tuple[int, str]:
        """Writes the archive; its size and SHA-256."""
        small = [Member(each, len(body), zlib.crc32(body)) for each, body in members]
        data = [Member(f.name, f.bytes, self._crc(destination, self._staged(names), f)) for f in files]
        upload = destination.store.write(folder + name)
        sink = Sum([upload])
        sealed: SealedSink | None = None
        try:
            if self._sealer is not None:
                sealed = self._sealer.seal(sink, names.tenant)
            target: Sink = sealed or sink
            for member, (_, body) in zip(small, members, strict=True):
                target.write(archive.header(member) + body)
            for member, file in zip(data, files, strict=True):
                target.write(archive.header(member))
                for block in self._blocks(destination, self._staged(names), file):
                    target.write(block)
            for piece in archive.trailer([*small, *data]):
                target.write(piece)
            if sealed is not None:
                sealed.finish()
            upload.finish()
        except BaseException:
            if sealed is not None:
                sealed.abort()
            upload.abort()
            raise
        return sink.count, sink.sha.hexdigest()

    def _crc(self, destination: Destination, folder: str, file: Written) -> int:
        """As it was counted while the file was staged; of one that an earlier attempt has staged, by reading it."""
        note = self._note(destination, folder, file.name)
        if note is not None and note.crc is not None:
            return note.crc
        crc = 0
        for block in self._blocks(destination, folder, file):
            crc = zlib.crc32(block, crc)
        return crc

    def _blocks(self, destination: Destination, folder: str, file: Written) -> Iterator[bytes]:
        """A staged file's bytes. Raises IntegrityError at their end where they are not those that were written."""
        name, sha = folder + file.name, hashlib.sha256()
        note = self._note(destination, folder, file.name)
        clear = _cipher(note.key) if note is not None else None
        with closing(destination.store.read(name)) as staged:
            while block := staged.read(_BLOCK):
                block = clear(block) if clear is not None else block
                sha.update(block)
                yield block
        if sha.hexdigest() != file.sha256:
            raise IntegrityError(
                f"{destination.url(name)} is not what was written there for the bundle.",
                hint="Nothing but Lading may write into folders of deliveries; run it again.",
            )


@dataclass(slots=True)
class _Note:
    """What is known of a staged file."""

    key: bytes | None = field(repr=False)
    crc: int | None = None


class _Staging:
    """An upload that is encrypted where it has a key, and whose CRC-32 is noted when it is finished."""

    def __init__(self, upload: Upload, note: _Note) -> None:
        self._upload, self._note, self._crc = upload, note, 0
        self._veil = _cipher(note.key)

    def write(self, data: bytes | memoryview) -> None:
        self._crc = zlib.crc32(data, self._crc)
        self._upload.write(data if self._veil is None else self._veil(data))

    def finish(self) -> None:
        self._upload.finish()
        self._note.crc = self._crc

    def abort(self) -> None:
        self._upload.abort()


def _cipher(key: bytes | None) -> Callable[[bytes | memoryview], bytes] | None:
    """AES-256 in counter mode, which encrypts and decrypts alike; each key is one file's, and what comes back is
    compared by SHA-256."""
    if key is None:
        return None
    from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

    return Cipher(algorithms.AES(key), modes.CTR(bytes(16))).encryptor().update


def refuse_alike(names: Sequence[str]) -> None:
    """Raises DataRefused for names that would not unpack to a file each."""
    if why := next(archive.objections(names), None):
        raise DataRefused(
            f"The bundle would lose files when it is unpacked: {why}.",
            hint="Partition by a column whose values differ by more than case, by shards, or not at all.",
        )

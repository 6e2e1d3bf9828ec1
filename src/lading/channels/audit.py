"""The audit package: a drop of one file of chained records, with its evidence, closed by a signed checkpoint.

A package's number and predecessor are fixed when it is published, by one record in the journal (`journal.chain`): runs
may be sealed by several processes at once, in any order, and the chain must not fork. The manifest is fixed by the seal
as a drop's is, and the checkpoint, made last, names it.

Encrypted records are chained from a random seed. The hash of a chain's last line stands in the clear: by a seed that
everybody knows, whoever guesses the records could see that they guessed right.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from lading.channels.drop import Destination, DropChannel, delivery_record
from lading.errors import IntegrityError, Lost, ObjectNotFound
from lading.evidence import verifier
from lading.evidence.records import SHIPPED, Schemas
from lading.evidence.sshsig import CHECKPOINTS, PublicKey
from lading.export.identity import instant
from lading.export.interval import parse_instant
from lading.export.layout import Layout, Names
from lading.journal.chain import PackageChain, Place
from lading.journal.log import Journal
from lading.manifest import canonical, sha256
from lading.ports import Chaining, Document, Encryption, Format, Signer, Types, Written

RECORD, VERIFIER = "_delivery.json", "verify.py"

Evidence = Callable[[Mapping[str, Any]], Sequence[tuple[str, bytes]]]
"""The evidence of a run, by its manifest: names below `_evidence/`, and UTF-8."""


class AuditChannel(DropChannel):
    """``layout`` has one file in a run; ``evidence`` is asked when a run is prepared."""

    kind = "audit"
    packages = True

    def __init__(
        self,
        destinations: Sequence[Destination],
        layout: Layout,
        format: Chaining,
        types: Types,
        *,
        export: str,
        own: Mapping[str, Destination] | None = None,
        signer: Callable[[], Signer],
        journal: Journal,
        evidence: Evidence,
        encryption: Encryption | None = None,
        records: Schemas = SHIPPED,
        deprecation: Callable[[], Mapping[str, object] | None] = lambda: None,
    ) -> None:
        super().__init__(
            destinations,
            layout,
            format,
            types,
            export=export,
            own=own,
            signer=signer,
            encryption=encryption,
            records=records,
            deprecation=deprecation,
        )
        self._chained, self._sign_by = format, signer
        self._journal, self._evidence = journal, evidence

    def _format_of(self, names: Names) -> Format:
        hidden = self._encryption is not None
        return self._chained.of(secrets.token_hex(32) if hidden else verifier.seed(names.run_id))

    def _further(self, manifest: Mapping[str, Any]) -> Sequence[tuple[str, bytes]]:
        evidence = [(f"{verifier.EVIDENCE}{name}", data) for name, data in self._evidence(manifest)]
        record = delivery_record(manifest, self.kind)
        self._records.check(record)
        return [(RECORD, canonical(record)), *evidence, (VERIFIER, Path(verifier.__file__).read_bytes())]

    def prepare(self, names: Names, bill: Document, files: Sequence[Written]) -> dict[str, object]:
        """What a drop's commit holds, and ``package``: what its checkpoint says whatever it follows, and the newest
        package at this time, behind which this one will be."""
        (file,) = files
        first: dict[str, Any] = {}

        def told(uri: str) -> Mapping[str, object]:
            manifest = {**bill(uri), "checkpoint": verifier.CHECKPOINT}
            first.update(manifest)
            return manifest

        commit = super().prepare(names, told, files)
        destinations: Any = commit["destinations"]
        manifests = [dict(each["objects"])[each["manifest"]] for each in destinations]
        about = ("project", "environment", "export", "tenant", "run_id", "revision", "kind", "supersedes")
        package = {
            "checkpoint_version": verifier.VERSION,
            **{name: first[name] for name in about},
            "interval": first["interval"],
            "records": {
                "name": file.name,
                "bytes": file.bytes,
                "sha256": file.sha256,
                "count": file.rows,
                "first": 1 if file.rows else None,
                "last": file.rows or None,
                "seed": verifier.seed(names.run_id) if self._encryption is None else None,
                "head": file.head,
            },
            "manifests": [sha256(text.encode()) for text in manifests],
            "sealed_at": first["export_timestamp"],
        }
        after = PackageChain(self._journal, self._export, names.tenant).last()
        return {**commit, "package": {"checkpoint": package, "after": after.record()}}

    def publish(self, commit: Mapping[str, object], withdrawn: Callable[[], bool]) -> str:
        if "package" not in commit:
            return super().publish(commit, withdrawn)  # refuses it
        package: Any = commit["package"]
        tenant, run_id = package["checkpoint"]["tenant"], package["checkpoint"]["run_id"]
        chain = PackageChain(self._journal, self._export, tenant)

        def sign(after: Place) -> tuple[str, str]:
            checkpoint = {
                **package["checkpoint"],
                "number": after.number + 1,
                "previous": after.sha256,
                "replaced": self._replaced(chain, package["checkpoint"], after),
                "chained_at": instant(self._journal.now()),
                "key": PublicKey(self._sign_by().public_key).fingerprint,
            }
            data = canonical(checkpoint)
            return data.decode(), self._signed(data, CHECKPOINTS).decode()

        try:
            chained = chain.append(run_id, Place(**package["after"]), sign)
        except ObjectNotFound as error:
            raise IntegrityError(
                f"Run {run_id} follows package {package['after']['number']}, which the journal has lost.",
                hint="Restore the journal from its backup.",
            ) from error
        last = [
            [verifier.CHECKPOINT, chained.checkpoint],
            [f"{verifier.CHECKPOINT}.sig", chained.signature],
        ]
        destinations: Any = commit["destinations"]
        closed = [{**each, "objects": [*each["objects"], *last]} for each in destinations]
        url = super().publish({**commit, "destinations": closed, "chained": chained}, withdrawn)
        # Whoever chained a revision meanwhile has not seen the marker, and says that this one never was published.
        self._require_place(chained)
        return url

    def _before_marker(self, commit: Mapping[str, object]) -> None:
        self._require_place(commit["chained"])

    def _require_place(self, chained: Any) -> None:
        """Raises Lost for a package that is not published and that another one of its chain supersedes."""
        told = json.loads(chained.checkpoint)
        try:
            PackageChain(self._journal, self._export, told["tenant"]).require_standing(chained)
        except Lost:
            start = parse_instant(told["interval"]["start"])
            # Another call may have published it long ago, and a revision have followed as revisions do.
            if self._journal.unpublished(self._export, start, (chained.run_id,)):
                raise

    def _replaced(self, chain: PackageChain, told: Mapping[str, Any], after: Place) -> list[dict[str, Any]]:
        """The packages whose place this one takes, of those up to ``after`` that have a number and were not published
        at every destination: their files were lost before, and nobody is to look for them."""
        if not told["supersedes"]:
            return []
        start = parse_instant(told["interval"]["start"])
        lost = self._journal.unpublished(self._export, start, told["supersedes"])
        packages = (chain.find(run, Place(**c["package"]["after"]), after.number) for run, c in lost.items())
        return [
            {
                "number": each.number,
                "previous": each.previous,
                "sha256": each.place.sha256,
                "run_id": each.run_id,
            }
            for each in sorted(filter(None, packages), key=lambda each: each.number)
        ]

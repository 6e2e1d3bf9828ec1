"""The bill of lading: its fields and its canonical bytes (RFC 8785). `docs/manifest-format.md` is its specification.

The writer's clock stands in ``export_timestamp`` and ``export_duration_ms`` alone, which are fixed when the run is
sealed; the source's clock in the bound.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import rfc8785

from lading.export.identity import instant
from lading.export.interval import Interval

VERSION = 1

# Classifications whose columns' statistics may be published. Anything else, unknown or absent, may not.
OPEN_CLASSIFICATIONS = frozenset({"public", "internal"})

# The encryption of files that are in the clear, in a bundle that is encrypted as a whole.
SEALED = "age-bundle"

Json = Mapping[str, Any]


def canonical(value: Any) -> bytes:
    """RFC 8785 bytes. Integers beyond 2^53 − 1 become strings first, since JSON numbers are doubles there."""
    return rfc8785.dumps(_safe(value))


def _safe(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(k): _safe(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_safe(v) for v in value]
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) > 2**53 - 1:
        return str(value)
    return value


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@dataclass(frozen=True, slots=True)
class Rows:
    """``read = written + filtered + rejected + superseded``, always."""

    read: int
    written: int
    filtered: int = 0
    rejected: int = 0
    superseded: int = 0

    def balanced(self) -> bool:
        return self.read == self.written + self.filtered + self.rejected + self.superseded

    def record(self) -> dict[str, int]:
        return {
            "read": self.read,
            "written": self.written,
            "filtered": self.filtered,
            "rejected": self.rejected,
            "superseded": self.superseded,
        }


@dataclass(frozen=True, slots=True)
class Bill:
    """Everything that one run's manifest says, before it becomes JSON."""

    run_id: str
    project: str
    environment: str
    export: str
    tenant: str
    interval: Interval
    revision: int
    kind: str
    supersedes: Sequence[str]
    reason: str
    attempt: int
    bound: datetime | None
    since: datetime | None
    contract: Json  # {id, name, version, sha256}
    definition_sha256: str
    source: Json  # {connection, dataset, table, snapshot, ...}
    schema: Sequence[Json]  # [{name, type, nullable, classification}]
    policy: Sequence[Json]  # [{column, action}]
    rows: Rows
    files: Sequence[Json]
    checks: Sequence[Json]
    format: str
    codec: str
    format_options: Json
    encryption: Json
    notices: Sequence[str]
    sealed_at: datetime
    duration_ms: int
    mode: str
    plain_bytes: int  # of the rows in memory, before any encoding
    decisions: Sequence[Json] = ()  # [{rule, columns, basis}]
    approvals: Sequence[Json] = ()  # [{sha256, kind, name, expires}]
    audit: Json | None = None  # {number, sha256}: where the use of the approvals stands in the audit chain
    trigger: str = "manual"
    beside: Json | None = None  # {contract, run_id, equal_columns}: the other major's run of the same commit

    def document(self, uri: str) -> dict[str, Any]:
        """The manifest's JSON. ``uri``: the folder at the destination, without credentials."""
        names = [str(column["name"]) for column in self.schema]
        written = sum(int(file["bytes"]) for file in self.files)
        compression = str(self.format_options.get("compression") or self.codec or "none")
        return {
            "manifest_version": VERSION,
            "export_id": export_id(self.interval.start, self.run_id),
            "export_timestamp": instant(self.sealed_at),
            "run_id": self.run_id,
            "project": self.project,
            "environment": self.environment,
            "export": self.export,
            "tenant": self.tenant,
            "revision": self.revision,
            "kind": self.kind,
            "supersedes": list(self.supersedes),
            "reason": self.reason,
            "attempt": self.attempt,
            "interval": {"start": instant(self.interval.start), "end": instant(self.interval.end)},
            "bound": instant(self.bound) if self.bound else None,
            "arrivals": {
                "from": instant(self.since) if self.since else None,
                "to": instant(self.bound) if self.bound else None,
            },
            "contract": dict(self.contract),
            "definition_sha256": self.definition_sha256,
            "source": dict(self.source),
            "destination": {
                "uri": uri,
                "format": self.format.upper(),
                "compression": compression.upper(),
            },
            "format": {"type": self.format, **self.format_options},
            "statistics": {
                "row_count": self.rows.written,
                "byte_size": self.plain_bytes,
                "compressed_size": written,
                "compression_ratio": round(written / self.plain_bytes, 4) if self.plain_bytes else None,
                "schema_version": str(self.contract["version"]),
                "column_count": len(names),
            },
            "schema": [dict(column) for column in self.schema],
            "policy": [dict(action) for action in self.policy],
            "decisions": [dict(decision) for decision in self.decisions],
            "approvals": [dict(approval) for approval in self.approvals],
            "audit": dict(self.audit) if self.audit else None,
            "rows": self.rows.record(),
            "files": [dict(file) for file in self.files],
            "validation": {
                "schema_hash": "sha256:" + sha256(canonical([dict(column) for column in self.schema])),
                "row_count_verified": self.rows.balanced(),
                # Sums are taken while writing; reading back is what `lading verify` does.
                "checksum_verified": False,
                "duplicate_check": self._verdict("unique"),
                "null_check": self._verdict("not_null"),
                "checks": [dict(check) for check in self.checks],
            },
            "encryption": dict(self.encryption),
            "notices": list(self.notices),
            "metadata": {
                "export_type": self.mode,
                "export_trigger": self.trigger,
                "export_duration_ms": self.duration_ms,
                "operator": "lading",
            },
        } | ({"beside": dict(self.beside)} if self.beside else {})

    def _verdict(self, kind: str) -> str:
        """``passed`` where all checks of a kind hold, ``warned`` where one does not; a failed one is never sealed."""
        verdicts = [check["ok"] for check in self.checks if str(check["name"]).partition("(")[0] == kind]
        if not verdicts:
            return "not_checked"
        return "passed" if all(verdicts) else "warned"


def export_id(start: datetime, run_id: str) -> str:
    return f"exp_{start:%Y%m%d_%H%M%S}_{run_id[:8]}"


def sums(files: Iterable[Json]) -> str:
    """What ``sha256sum --check`` accepts in the folder of the manifest."""
    return "".join(f"{file['sha256']}  {file['name']}\n" for file in files)


def marker(manifest_name: str, manifest_bytes: bytes, rows: int, at: str) -> dict[str, Any]:
    """The body of the success marker; ``at`` is the manifest's own time."""
    return {
        "status": "SUCCESS",
        "timestamp": at,
        "manifest": manifest_name,
        "manifest_sha256": sha256(manifest_bytes),
        "row_count": rows,
    }


BUNDLED = "manifest.json"
"""The manifest's name in a bundle, whose member it is."""


def bundle_marker(name: str, bundle_sha256: str, manifest_bytes: bytes, manifest: Json) -> dict[str, Any]:
    """The body of the success marker beside a bundle called ``name``."""
    told = marker(BUNDLED, manifest_bytes, int(manifest["rows"]["written"]), manifest["export_timestamp"])
    return {**told, "bundle": name, "bundle_sha256": bundle_sha256}


def failure(error: str, at: datetime, attempt: int, retryable: bool) -> dict[str, Any]:
    """The body of the failure marker. ``error`` names the kind of failure only: recipients may read it."""
    return {
        "status": "FAILURE",
        "timestamp": instant(at),
        "error": error,
        "retry_count": attempt - 1,
        "next_retry": None,
        "retry_may_help": retryable,
    }

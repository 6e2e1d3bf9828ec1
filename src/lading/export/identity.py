"""Who a run is: derived from what it delivers, never from the clock or from settings that may change."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from datetime import UTC, datetime


def instant(value: datetime) -> str:
    """RFC 3339 in UTC, with microseconds only where there are any: ``2013-01-01T00:00:00Z``."""
    return value.astimezone(UTC).isoformat().replace("+00:00", "Z")


@dataclass(frozen=True, slots=True)
class RunKey:
    """One export, one tenant, one interval, one revision."""

    project: str
    environment: str
    export: str
    tenant: str
    major: int  # of the contract
    start: datetime  # of the interval, aware
    revision: int

    @property
    def run_id(self) -> str:
        """32 hex digits of the SHA-256 over the key as a JSON array, in the order of the fields."""
        parts = [
            self.project,
            self.environment,
            self.export,
            self.tenant,
            self.major,
            instant(self.start),
            self.revision,
        ]
        text = json.dumps(parts, ensure_ascii=False, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()[:32]

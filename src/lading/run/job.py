"""What a run is given, and what it gives back."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa

from lading.events import OnEvent
from lading.export.identity import RunKey, instant
from lading.export.interval import Interval
from lading.export.layout import Names
from lading.history import Mode, Terms
from lading.journal.log import Journal
from lading.plan import Clock, RunPlan, Standing
from lading.ports import Channel, Check, Dataset, Keys, Newest, Reading, Source, Transform, Types
from lading.routing.keys import PartitionColumn

Status = Literal["succeeded", "skipped", "not_due", "failed"]


@dataclass(frozen=True, slots=True)
class Window:
    """The source's names of the columns that decide which rows an interval has."""

    column: str
    clock: Literal["transaction", "event"]
    arrival: str | None = None  # event clock with late rows as additions
    lookback: float = 0.0  # seconds, incremental


@dataclass(frozen=True, slots=True)
class Binding:
    """An export bound to its source: columns, types and transforms, all checked against each other."""

    columns: tuple[
        str, ...
    ]  # as read, by the source's names: checks, routing and transforms know them by these
    as_text: frozenset[str]
    read: pa.Schema  # of what is read, in the order of `columns`
    output: pa.Schema  # after transforms, by the contract's names, before the format
    recipient: Sequence[Mapping[str, Any]]  # the manifest's schema
    policy: Sequence[Mapping[str, Any]]
    transforms: tuple[Transform, ...]
    notices: tuple[str, ...]
    open_columns: frozenset[str]  # statistics of these may be published
    by_day: frozenset[str] = frozenset()  # columns of the window that are dates
    conceals_tenants: bool = (
        False  # the tenant column's values may not be told, but where they name deliveries
    )
    beside: Binding | None = None  # of the other major: what it makes of the same rows as read


@dataclass(frozen=True, slots=True)
class Clearance:
    """Why rows may leave: rules of protection that were applied, and approvals with who signed them."""

    decisions: tuple[Mapping[str, Any], ...] = ()
    approvals: tuple[Mapping[str, Any], ...] = ()


Checks = Callable[[Binding, Reading, datetime, Path, int], list[Check]]


@dataclass(frozen=True, slots=True)
class Version:
    """A major version that an export delivers."""

    definition: str  # SHA-256 of the export's and the contract's definition
    contract: Mapping[str, Any]  # {id, name, version, sha256}
    major: int
    channel: Channel
    checks: Checks
    promises_sha256: str = ""  # of what the contract's fields promise


@dataclass(frozen=True, slots=True)
class Job:
    """One export, assembled."""

    project: str
    environment: str
    export: str
    entity: str
    mode: Mode
    types: Types
    own: Version
    source: Source
    dataset: Dataset
    origin: Mapping[str, Any]  # the manifest's `source`, what is known of it before the reading
    journal: Journal
    keys: Keys
    binding: Callable[[], Binding]
    standing: Callable[[Clock, datetime | None], Standing]  # the latter: up to when the caller asks
    clear: Callable[[], Clearance] = Clearance  # as of now; raises Refused where rows may not leave
    # Raises where a key is missing to sign by, or for one of these tenants to encrypt to.
    equipped: Callable[[Collection[str]], object] = lambda tenants: None
    approvals: Callable[[], Sequence[Mapping[str, Any]]] = (
        tuple  # what needs one; raises Refused where none helps
    )
    beside: Version | None = None  # another major of the dataset, delivered by the same sweeps
    differs: frozenset[str] = frozenset()  # columns whose name means something else in each of the two
    tenant_column: str | None = None
    in_order: bool = False  # a check judges the order of rows
    keyed: bool = False  # a mask uses the tenants' keys
    immutable: bool = False  # rows of an interval never change
    window: Window | None = None
    newest: Newest | None = None
    safety_lag: float | None = None  # seconds
    partitions: tuple[PartitionColumn, ...] = ()
    format_name: str = ""
    codec: str = ""
    format_options: Mapping[str, Any] = field(default_factory=dict)  # as the export has them, with their type
    encryption: Mapping[str, Any] = field(default_factory=lambda: {"type": "none"})
    encryption_key: Callable[[str], str] | None = None  # by tenant, the id of the key that would be used now
    max_file_size: int | None = None
    in_one: bool = False  # all rows of a run go into one file, whatever parts they are read in
    keep: int | None = None
    workers: int = 2
    buffer_memory: int = 256 << 20
    on_event: OnEvent = lambda event: None

    @property
    def terms(self) -> Terms:
        column, late = (self.window.column, self.window.arrival) if self.window else (None, None)
        return Terms(self.mode, self.tenant_column, column, late)

    @property
    def definition(self) -> str:
        return self.own.definition

    @property
    def channel(self) -> Channel:
        """The export's own; what was committed under another major is published and removed by it as well."""
        return self.own.channel

    @property
    def versions(self) -> tuple[Version, ...]:
        return (self.own,) if self.beside is None else (self.own, self.beside)

    def version(self, run: RunPlan) -> Version:
        """What a run is delivered under."""
        if not run.beside:
            return self.own
        assert self.beside is not None
        return self.beside

    def quiet(self, run: RunPlan) -> bool:
        """Whether nothing is delivered if the source has no rows for it: it is noted as unchanged."""
        # A revision without rows takes others away; where there were none, there is nothing to tell.
        revises = run.reason and run.revision
        return not revises and (self.mode in ("incremental", "continuous") or run.kind == "addition")

    def key(self, run: RunPlan, interval: Interval) -> RunKey:
        major = self.version(run).major
        return RunKey(
            self.project, self.environment, self.export, run.tenant, major, interval.start, run.revision
        )

    def names(self, run: RunPlan, interval: Interval, attempt: int) -> Names:
        return Names(
            env=self.environment,
            dataset=self.project,
            entity=self.entity,
            tenant=run.tenant,
            major=self.version(run).major,
            start=interval.start,
            run_id=self.key(run, interval).run_id,
            attempt=attempt,
        )


@dataclass(frozen=True, slots=True)
class Result:
    """What became of one run. ``error`` is a message without secrets and without values of the data."""

    run_id: str
    export: str
    tenant: str
    major: int  # of the contract
    interval: Interval
    revision: int
    status: Status
    rows: int = 0
    bytes: int = 0
    files: int = 0
    manifest: str | None = None
    duration_ms: int = 0
    error: str | None = None
    exit_code: int = 0

    def record(self) -> dict[str, Any]:
        return {
            "run_id": self.run_id,
            "export": self.export,
            "tenant": self.tenant,
            "major": self.major,
            "interval": {"start": instant(self.interval.start), "end": instant(self.interval.end)},
            "revision": self.revision,
            "status": self.status,
            "rows": self.rows,
            "bytes": self.bytes,
            "files": self.files,
            "manifest": self.manifest,
            "duration_ms": self.duration_ms,
            "error": self.error,
        }

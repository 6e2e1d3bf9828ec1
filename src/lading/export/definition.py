"""Export definitions: the files in `exports/`.

The sections `format`, `transforms`, `checks` and `encryption` belong to adapters, which validate them; they are kept as
they stand.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from typing import Annotated, Any, Literal, Self

import rfc8785
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from lading.documents import Duration, Findings, Loc, Name, parse_size, show_duration
from lading.export.interval import Every, parse_every, parse_instant
from lading.export.layout import (
    Layout,
    PartitionColumn,
    check_file_name,
    check_partition_by,
    may_meet,
    split_path,
)
from lading.export.schedule import Schedule, check_cron, check_timezone

# Beside each file come its checksum, its metadata and its own footer: together some kB. Smaller ones are mostly these.
LEAST_FILE_SIZE = 10_000

RECORDS = "records.jsonl.gz"
"""The one data file of an audit package."""

_CONTRACT = re.compile(r"([a-z0-9][a-z0-9_-]{0,62})@([0-9]{1,6})")


class Section(BaseModel):
    """Unknown keys are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True, arbitrary_types_allowed=True)


def _contract_reference(text: str) -> str:
    if not _CONTRACT.fullmatch(text):
        raise ValueError("must be a contract's name and major version, such as flights@1")
    return text


def _columns(value: object) -> object:
    """One column may stand without the list around it."""
    columns = [value] if isinstance(value, str) else value
    if isinstance(columns, list) and len(set(map(str, columns))) != len(columns):
        raise ValueError("must not name a column twice")
    return columns


def _partitions(value: object) -> object:
    if isinstance(value, list | tuple):
        return value
    raise ValueError("must be a list, such as [origin] or [{column: c, shards: 100}]")


def _utc(zone: str) -> str:
    if zone != "UTC":
        raise ValueError(
            "must be UTC, as which times without a zone are read: for any other zone make the column a timestamptz, or "
            "read it by a query that makes it one"
        )
    return zone


def _relative(path: str) -> str:
    if path.startswith("/") or "\\" in path or ".." in path.split("/") or not path.strip():
        raise ValueError("must be a path inside the project, without ..")
    return path


Contract = Annotated[str, AfterValidator(_contract_reference)]
Columns = Annotated[tuple[str, ...], BeforeValidator(_columns), Field(min_length=1)]
Instant = Annotated[datetime, BeforeValidator(parse_instant)]
Step = Annotated[Every, BeforeValidator(parse_every)]
Utc = Annotated[str, AfterValidator(_utc)]
ProjectPath = Annotated[str, AfterValidator(_relative)]


class Source(Section):
    """What is read: exactly one of `table`, `query` and `files`."""

    connection: str = Field(description="A connection of lading.yaml.")
    table: str | None = Field(default=None, min_length=1, description="schema.name, as the source writes it.")
    query: ProjectPath | None = Field(
        None, description="A file with one reviewed SELECT: queries/flights.sql."
    )
    files: ProjectPath | None = Field(
        None, description="A name or glob inside the connection: flights/*.parquet."
    )

    @model_validator(mode="after")
    def _one(self) -> Self:
        if sum(given is not None for given in (self.table, self.query, self.files)) != 1:
            raise ValueError("give exactly one of table, query and files")
        return self


class Tenants(Section):
    """Whose rows are whose."""

    column: str = Field(
        description="The column that holds the tenant: text, whole numbers, booleans, dates, an enum or UUIDs "
        "(under `types: exact` declared a string). A column of any other type is declared a string in the contract, or "
        "cast in a query."
    )
    discover: bool = Field(
        False, description="Deliver to tenants that only the data names; else they fail the run."
    )


class LateColumn(Section):
    """Late rows are delivered as numbered additions."""

    column: str = Field(description="The column that says when a row arrived: set by now().")
    timezone: Utc | None = Field(
        None,
        description="UTC: this column has no zone, a date or a timestamp, and was set by the clock of UTC.",
    )


class Window(Section):
    """Which rows an interval takes: those whose `column` lies in it."""

    column: str
    clock: Literal["transaction", "event"] = Field(
        description="transaction: set by now() in the writing transaction. event: business time; without a zone it "
        "counts as UTC."
    )
    timezone: Utc | None = Field(
        None,
        description="transaction clock: UTC, where the column has no zone, a date or a timestamp: it was set by the "
        "clock of UTC.",
    )
    every: Step | None = Field(
        default=None, description="append: the grid of intervals, such as 1 hour or 1 month."
    )
    start: Instant = Field(description="Where the grid, or the first run, begins.")
    end: Instant | None = Field(default=None, description="append: where the grid ends.")
    late: Literal["ignore"] | LateColumn | None = Field(
        None, description="event clock: what becomes of rows that arrive for a delivered interval."
    )
    safety_lag: Duration | None = Field(
        default=None, description="How long after its end an interval may be read."
    )
    lookback: Duration | None = Field(
        None, description="incremental: how far before the last bound to read again."
    )

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        found: list[tuple[Loc, str]] = []
        if self.end is not None and self.end <= self.start:
            found.append((("end",), "window.end must lie after window.start"))
        elif self.end is not None and self.every is not None and not self.every.on_grid(self.start, self.end):
            found.append((("end",), "window.end must be the end of an interval: whole steps of window.every "
                                    "after window.start, since an interval is never shortened"))  # fmt: skip
        if self.clock == "event" and self.late is None:
            found.append((("clock",), 'the event clock needs window.late: "ignore", or {column: …} that says when '
                                      "a row arrived, so that late rows become additions"))  # fmt: skip
        if self.clock == "transaction" and self.late is not None:
            found.append(
                (("late",), "window.late belongs to the event clock: on transaction time no row is late")
            )
        if found:
            raise Findings(found)
        return self


class ScheduleSection(Section):
    """When runs are due: `cron` with its `timezone`, or `every`."""

    cron: Annotated[str, AfterValidator(check_cron)] | None = None
    timezone: Annotated[str, AfterValidator(check_timezone)] | None = None
    every: Step | None = None

    @model_validator(mode="after")
    def _one(self) -> Self:
        if (self.cron is None) == (self.every is None):
            raise ValueError("give exactly one of cron and every")
        if self.every is not None and self.timezone is not None:
            raise ValueError("timezone belongs to cron")
        return self

    def schedule(self) -> Schedule:
        return Schedule(self.cron, self.timezone or "UTC", self.every)


class Shards(Section):
    """One folder for each of so many shards of a column (`id % 100` of whole numbers)."""

    column: str
    shards: int = Field(ge=2, le=10_000)


class Encryption(Section):
    """How files are encrypted. Parquet: by Parquet Modular Encryption, each under a data key of its own, which stands
    in the manifest, wrapped. Other formats: whole files, as age streams."""

    key: Literal["tenant", "recipient"] = Field(
        description="tenant: data keys are wrapped under a key of the keyring (Parquet only). recipient: to the public "
        "key that the tenant's file in tenants/ gives, `age`; nobody here can open them again."
    )
    binding: Literal["bound", "portable"] | None = Field(
        default=None,
        description="Parquet. bound (the default): a file opens only for who names its tenant, contract, run and name, "
        "so that one that was moved elsewhere does not; Arrow reads it. portable: DuckDB reads it too; what it is "
        "bound by is the manifest and its signature.",
    )


class LayoutSection(Section):
    """Where files go: a preset, or a path and file names of one's own."""

    preset: Literal["lake", "dated", "svc002"] | None = None
    path: str | None = Field(
        default=None,
        description="The run's folder; holds {tenant}, {run}, {attempt} and the start: {yyyymmdd} or {yyyy}, {MM} and "
        "{dd}, and {HHMMSS}.",
    )
    name: str | None = Field(default=None, description="A file's name without its ending; holds {file}.")
    partition_by: Annotated[tuple[str | Shards, ...], BeforeValidator(_partitions)] = ()

    @property
    def columns(self) -> tuple[PartitionColumn, ...]:
        return tuple(
            PartitionColumn(each) if isinstance(each, str) else PartitionColumn(each.column, each.shards)
            for each in self.partition_by
        )

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        found: list[tuple[Loc, str]] = []
        if self.preset is not None and (self.path or self.name):
            found.append((("preset",), "layout takes a preset, or a path and a name, not both"))
        try:
            check_partition_by(self.columns)
        except ValueError as error:
            found.append((("partition_by",), f"layout.{error}"))
        try:
            if self.path is not None:
                split_path(self.path, self.columns)
        except ValueError as error:
            found.append((("path",), f"layout.path {error}"))
        try:
            if self.name is not None:
                check_file_name(self.name)
        except ValueError as error:
            found.append((("name",), f"layout.name {error}"))
        if found:
            raise Findings(found)
        return self

    def layout(self, *, tenanted: bool) -> Layout:
        preset = self.preset or ("custom" if self.path or self.name else "lake")
        return Layout(preset, self.path or "", self.name or "", self.columns, tenanted)


class Deletes(Section):
    column: str


class Beside(Section):
    """Another major version, delivered beside the export's own: the same rows, from one reading, in one commit."""

    contract: Contract = Field(description="The other major of the same dataset: flights@1.")
    layout: LayoutSection | None = Field(
        default=None, description="Where its deliveries lie; absent: as the export's own, in another folder."
    )
    differs: Annotated[tuple[str, ...], BeforeValidator(_columns)] = Field(
        (),
        description="Columns that mean something else in the two majors under one name: their values are not compared.",
    )


class Export(Section):
    """A standing order: who gets what, how and when."""

    name: Name
    description: str = ""
    contract: Contract = Field(description="The contract's name and major version: flights@1.")
    source: Source
    tenants: Tenants | None = Field(default=None, description='Absent: one tenant, "default".')
    channel: Literal["drop", "snapshot", "sync", "bundle", "audit", "document"] = Field(
        default="drop",
        description="drop: files in a folder of each run. snapshot: those, and an Iceberg table; see docs/snapshot.md. "
        "audit: a package of chained records with its evidence, closed by a signed checkpoint; see "
        "docs/audit-package.md.",
    )
    destination: str = Field(description="A store of lading.yaml; a catalogue for the channel `snapshot`.")
    copies: Annotated[tuple[str, ...], BeforeValidator(_columns)] = Field(
        (), description="Further destinations."
    )
    mode: Literal["append", "incremental", "full_refresh", "continuous"]
    window: Window | None = None
    merge_key: Columns | None = None
    immutable_rows: bool = Field(
        default=False,
        description="append, a table, transaction clock: rows of an interval never change nor go once it has ended, so "
        "after a failure its finished parts are used again.",
    )
    deletes: Literal["none"] | Deletes = "none"
    schedule: ScheduleSection | None = None
    sort_by: Annotated[tuple[str, ...], BeforeValidator(_columns)] = Field(
        (),
        description="snapshot: the order that the table declares, for engines that rewrite it; Lading sorts no rows.",
    )
    layout: LayoutSection = LayoutSection()
    format: dict[str, Any] = Field(default_factory=lambda: {"type": "parquet"})
    types: Literal["portable", "exact"] = Field(
        default="portable",
        description="What becomes of values that common readers have no type for. portable: uuid, json, intervals and "
        "decimals beyond 38 digits are text, in JSON lines every decimal. exact: types of their own; Parquet has none "
        "for intervals and refuses them. The table is in docs/manifest-format.md.",
    )
    unknown_columns: Literal["ignore", "refuse"] = "ignore"
    transforms: tuple[dict[str, Any], ...] = ()
    checks: tuple[dict[str, Any], ...] = ()
    not_secret: Columns | None = Field(
        default=None,
        description="Columns, by the contract's names, that are called like secrets, or hold values that look like "
        "some, and are none.",
    )
    encryption: Encryption | None = Field(
        default=None, description="Files are encrypted for their recipient."
    )
    keep: int | None = Field(default=None, ge=1, description="full_refresh: how many deliveries stay.")
    beside: Beside | None = Field(
        default=None,
        description="Delivers another major of the contract, too: the same rows, in the same commit.",
    )

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        found = [
            *_unavailable(self),
            *_mode_findings(self),
            *_immutable_findings(self),
            *_encryption_findings(self),
            *_snapshot_findings(self),
            *_audit_findings(self),
            *_bundle_findings(self),
            *_beside_findings(self),
        ]
        if not isinstance(self.format.get("type"), str):
            found.append((("format",), "format.type is missing: it names the format, such as parquet"))
        if (size := _file_size_finding(self.format.get("max_file_size"))) is not None:
            found.append((("format", "max_file_size"), f"format.max_file_size {size}"))
        if self.destination in self.copies:
            found.append((("copies",), "copies must not name the destination again"))
        if found:
            raise Findings(found)
        return self

    @property
    def contract_name(self) -> str:
        return self.contract.partition("@")[0]

    @property
    def contract_major(self) -> int:
        return int(self.contract.partition("@")[2])

    def versions(self) -> tuple[Export, ...]:
        """This export under each major that it delivers, as if it were the only one; its own comes first."""
        if self.beside is None:
            return (self,)
        layout = self.layout
        if self.beside.layout is not None:
            layout = self.beside.layout.model_copy(update={"partition_by": layout.partition_by})
        changes = {"contract": self.beside.contract, "layout": layout, "beside": None}
        return self.model_copy(update={"beside": None}), self.model_copy(update=changes)

    @property
    def max_file_size(self) -> int | None:
        """Bytes after which a data file ends; None: there is no limit."""
        size = self.format.get("max_file_size")
        return None if size is None else parse_size(size)

    @property
    def incremental(self) -> bool:
        return self.mode in ("incremental", "continuous")

    @property
    def sealed(self) -> bool:
        """Whether what is encrypted is the bundle, and not the files in it."""
        return self.channel == "bundle" and self.encryption is not None and self.encryption.key == "recipient"

    def paths(self) -> Layout:
        made = self.layout.layout(tenanted=self.tenants is not None)
        return replace(made, only_file=RECORDS) if self.channel == "audit" else made


def _file_size_finding(value: object) -> str | None:
    """What is wrong with a `max_file_size`; None where nothing is."""
    if value is None:
        return None
    try:
        size = parse_size(value)
    except ValueError as error:
        return str(error)
    if size >= LEAST_FILE_SIZE:
        return None
    unit = f"; {value} alone is so many bytes" if isinstance(value, int) and value > 0 else ""
    return (
        "must be at least 10kB, such as 512MB: a smaller file would hold less of the rows than of what comes with "
        f"each file{unit}"
    )


def _unavailable(export: Export) -> list[tuple[Loc, str]]:
    """What the definition may say but this version cannot do: refused, rather than accepted and ignored."""
    found: list[tuple[Loc, str]] = []
    if export.channel not in ("drop", "bundle", "snapshot", "audit"):
        reason = f"the channel {export.channel} is not available in this version; use drop, bundle, snapshot or audit"
        found.append((("channel",), reason))
    if export.deletes != "none":
        found.append((("deletes",), "deletes other than none are not available in this version"))
    return found


def _snapshot_findings(export: Export) -> list[tuple[Loc, str]]:
    """What a table cannot have, and what only a table has."""
    if export.channel != "snapshot":
        reason = "sort_by belongs to the channel snapshot: it is the order that a table declares"
        return [(("sort_by",), reason)] if export.sort_by else []
    found: list[tuple[Loc, str]] = []
    if export.format.get("type", "parquet") != "parquet":
        found.append(
            (("format", "type"), "the tables of the channel snapshot hold Parquet files: write parquet")
        )
    if export.encryption is not None:
        reason = (
            "no engine opens tables of encrypted files: encrypt the store (server_side_encryption) instead"
        )
        found.append((("encryption",), reason))
    if export.copies:
        reason = "a table is in one catalogue: make another export for another place"
        found.append((("copies",), reason))
    if any(column.shards for column in export.layout.columns):
        reason = "shards partition no table: name the column alone, or leave it out"
        found.append((("layout", "partition_by"), reason))
    return found


def _encryption_findings(export: Export) -> list[tuple[Loc, str]]:
    encryption = export.encryption
    if encryption is None:
        given = "encryption" in export.model_fields_set
        return [(("encryption",), "encryption is empty: write encryption: {key: tenant}")] if given else []
    found: list[tuple[Loc, str]] = []
    kind = export.format.get("type", "parquet")
    if kind != "parquet" and encryption.key == "tenant":
        reason = f"{kind} files are encrypted to the recipient's own key alone: write key: recipient"
        found.append((("encryption", "key"), reason))
    if kind != "parquet" and encryption.binding is not None:
        found.append((("encryption", "binding"), f"binding is of parquet files, and these are {kind}"))
    told = [column.column for column in export.layout.columns if column.shards is None]
    if told:
        reason = f"folders of the values of {told[0]} would tell what encryption hides; shards do not"
        found.append((("layout", "partition_by"), reason))
    return found


def _audit_findings(export: Export) -> list[tuple[Loc, str]]:
    """An audit package is one file of chained records in a folder of names that its verifier knows."""
    if export.channel != "audit":
        return []
    layout, found = export.layout, list[tuple[Loc, str]]()
    if export.mode != "append":
        reason = (
            f"the channel audit takes append: what {export.mode} delivers replaces what was delivered before"
        )
        found.append((("mode",), reason))
    if (export.format.get("type"), export.format.get("compression")) != ("jsonl", "gzip"):
        reason = "the channel audit takes format: {type: jsonl, compression: gzip}"
        found.append((("format",), reason))
    if "max_file_size" in export.format:
        reason = "max_file_size cannot be had in the channel audit: the chain of a package is one file"
        found.append((("format", "max_file_size"), reason))
    if layout.partition_by:
        reason = "partition_by cannot be had in the channel audit: the chain of a package is one file"
        found.append((("layout", "partition_by"), reason))
    if layout.preset not in (None, "lake") or layout.name is not None:
        key = "name" if layout.name is not None else "preset"
        reason = f"the channel audit takes preset: lake, or a path: its files are called {RECORDS} and so on"
        found.append((("layout", key), reason))
    if export.encryption is not None:
        reason = "encryption of audit packages is not available in this version"
        found.append((("encryption",), reason))
    if export.immutable_rows:
        reason = "immutable_rows has no use in the channel audit: its one file spans the parts"
        found.append((("immutable_rows",), reason))
    return found


def _bundle_findings(export: Export) -> list[tuple[Loc, str]]:
    """What a bundle has no use for."""
    if export.channel != "bundle":
        return []
    found: list[tuple[Loc, str]] = []
    if export.sealed and export.encryption is not None and export.encryption.binding is not None:
        reason = "binding is of files that are encrypted one by one: this bundle is encrypted as a whole"
        found.append((("encryption", "binding"), reason))
    if export.mode == "full_refresh" and export.layout.preset == "svc002":
        reason = (
            "svc002 has one latest.json for all environments of a tenant, and a bundle's cannot tell whose it "
            "is: take lake or dated"
        )
        found.append((("layout", "preset"), reason))
    return found


def _beside_findings(export: Export) -> list[tuple[Loc, str]]:
    """Two majors of one dataset, in places that nobody takes for one."""
    beside = export.beside
    if beside is None:
        given = "beside" in export.model_fields_set
        return [(("beside",), "beside is empty: write beside: {contract: NAME@MAJOR}")] if given else []
    found: list[tuple[Loc, str]] = []
    if export.channel != "drop":
        found.append((("beside",), "beside is of the channel drop: the others take an export for each major"))
    own, other = export.versions()
    if own.contract_name != other.contract_name:
        reason = f"must be another major of {own.contract_name}: two datasets are two exports"
        found.append((("beside", "contract"), reason))
    elif own.contract_major == other.contract_major:
        found.append((("beside", "contract"), f"is the export's own contract, {own.contract}"))
    if beside.layout is not None and beside.layout.partition_by:
        reason = "is the export's own, for both majors: leave it out here"
        found.append((("beside", "layout", "partition_by"), reason))
    if export.immutable_rows:
        reason = "immutable_rows has no use together with beside: files of two majors span the parts"
        found.append((("immutable_rows",), reason))
    if found or export.channel != "drop":
        return found
    fixed = {"env": "e", "dataset": "d", "entity": own.contract_name}
    folders = [each.paths().template(**fixed, major=each.contract_major) for each in (own, other)]
    pointers = {
        each.paths().pointer_template(each.name, **fixed, major=each.contract_major) for each in (own, other)
    }
    if may_meet(*folders):
        reason = (
            f"{own.contract} and {other.contract} would lie in one folder, where whoever reads it meets every row "
            "twice: give layout.path a {major}, take preset svc002, or give one of the two a layout of its own "
            "(beside.layout)"
        )
        found.append((("beside",), reason))
    elif export.mode == "full_refresh" and len(pointers) == 1:
        reason = "both majors would have one latest.json: let one of the two have preset svc002"
        found.append((("beside",), reason))
    return found


def _mode_findings(export: Export) -> list[tuple[Loc, str]]:
    """What belongs to each mode, and what would have no effect in it."""
    mode, window = export.mode, export.window
    found: list[tuple[Loc, str]] = []

    def wrong(reason: str, *loc: str) -> None:
        found.append((loc, reason))

    if mode == "full_refresh":
        if window is not None:
            wrong("full_refresh takes no window: it delivers everything", "window")
    elif window is None:
        wrong(
            f"{mode} needs a window" + (" with every: the grid of its intervals" if mode == "append" else ""),
            "mode",
        )
    elif mode == "append":
        if window.every is None:
            wrong("append needs window.every: the grid of its intervals", "window")
        if window.lookback is not None:
            wrong(
                "window.lookback belongs to incremental: append would deliver rows twice",
                "window",
                "lookback",
            )
    else:
        for key in ("every", "end"):
            if getattr(window, key) is not None:
                wrong(
                    f"window.{key} belongs to append: the schedule says where {mode} intervals end",
                    "window",
                    key,
                )
        if isinstance(window.late, LateColumn):
            wrong(f"{mode} makes no additions: take the arrival column as window.column", "window", "late")

    if export.incremental and export.merge_key is None:
        wrong(f"{mode} needs merge_key: the columns by which the recipient merges", "mode")
    if not export.incremental and export.merge_key is not None:
        wrong("merge_key belongs to incremental", "merge_key")
    if mode != "full_refresh" and export.keep is not None:
        wrong("keep belongs to full_refresh: an expired interval would be missing for good", "keep")
    return found


def _immutable_findings(export: Export) -> list[tuple[Loc, str]]:
    """Why parts could not be used again in another snapshot, or would never be."""
    if not export.immutable_rows:
        return []
    window = export.window
    reasons = {
        "belongs to append: in the other modes rows that were delivered may change": export.mode != "append",
        "needs the transaction clock: on the event clock rows may still arrive after an interval was read": (
            window is not None and window.clock != "transaction"
        ),
        "belongs to a table, whose key proves the order of its rows: a query has none": (
            export.source.query is not None
        ),
        "belongs to a table: files that did not change are used again as it is": export.source.files
        is not None,
        "cannot be had together with tenants or layout.partition_by: their files span the parts": (
            export.tenants is not None or bool(export.layout.partition_by)
        ),
        "cannot be had together with the check ordered: all rows are one part then": any(
            "ordered" in check for check in export.checks
        ),
    }
    return [(("immutable_rows",), f"immutable_rows {reason}") for reason, holds in reasons.items() if holds]


def definition_hash(export: Export, contract_sha256: str, sql: str | None = None) -> str:
    """SHA-256, in hex, over all that decides which bytes an interval delivers, as canonical JSON (RFC 8785).

    ``sql``: the text of the export's query. When runs happen, where they go and how long they stay do not count.
    """
    return hashlib.sha256(definition_bytes(export, contract_sha256, sql)).hexdigest()


def definition_bytes(export: Export, contract_sha256: str, sql: str | None = None) -> bytes:
    """What `definition_hash` is the hash of."""
    return rfc8785.dumps(resolved(export, contract_sha256, sql))


def resolved(export: Export, contract_sha256: str, sql: str | None = None) -> dict[str, Any]:
    """All that decides which bytes an interval delivers, as JSON."""
    window = export.window
    late = window.late if window else None
    meant = {
        "contract": contract_sha256,
        "source": export.source.model_dump(),
        "sql": sql,
        "tenant_column": export.tenants.column if export.tenants else None,
        "mode": export.mode,
        "window": window and {
            "column": window.column,
            "clock": window.clock,
            "late": late.column if isinstance(late, LateColumn) else late,
            "lookback": window.lookback and show_duration(window.lookback),
        },
        "merge_key": export.merge_key,
        "layout": export.layout.model_dump(),
        "format": export.format,
        "types": export.types,
        "unknown_columns": export.unknown_columns,
        "transforms": export.transforms,
        "checks": export.checks,
    } | ({"encryption": export.encryption.model_dump()} if export.encryption else {})  # fmt: skip
    if export.channel != "drop":
        meant["channel"] = export.channel
    if export.not_secret:
        meant["not_secret"] = export.not_secret
    exact: dict[str, Any] = _exact(meant)
    return exact


def _exact(value: Any) -> Any:
    """Whole numbers that RFC 8785 cannot hold (beyond 2^53) as text that no other value gives."""
    if isinstance(value, Mapping):
        return {key: _exact(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_exact(item) for item in value]
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) >= 2**53:
        return {"": str(value)}
    return value

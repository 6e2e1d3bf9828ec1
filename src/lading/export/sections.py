"""The sections of an export's file."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from lading.documents import Duration, Findings, Loc
from lading.export.interval import Every, parse_every, parse_instant
from lading.export.layout import Layout, PartitionColumn, check_file_name, check_partition_by, split_path
from lading.export.schedule import Schedule, check_cron, check_timezone

_CONTRACT = re.compile(r"([a-z0-9][a-z0-9_-]{0,62})@([0-9]{1,6})")


class Section(BaseModel):
    """Unknown keys are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True, arbitrary_types_allowed=True)


def _contract_reference(text: str) -> str:
    if not _CONTRACT.fullmatch(text):
        raise ValueError("must be a contract's name and major version, such as flights@1")
    return text


def listed_columns(value: object) -> object:
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
        raise ValueError("must be a relative path, without ..")
    return path


Contract = Annotated[str, AfterValidator(_contract_reference)]
Columns = Annotated[tuple[str, ...], BeforeValidator(listed_columns), Field(min_length=1)]
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
    differs: Annotated[tuple[str, ...], BeforeValidator(listed_columns)] = Field(
        (),
        description="Columns that mean something else in the two majors under one name: their values are not compared.",
    )

"""Export definitions: the files in `exports/`.

The sections `format`, `transforms`, `checks` and `encryption` belong to adapters, which validate them; they are kept as
they stand.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import replace
from typing import Annotated, Any, Literal, Self

import rfc8785
from pydantic import BeforeValidator, Field, model_validator

from lading.documents import Findings, Name, parse_size, show_duration
from lading.export.consistency import RECORDS, findings
from lading.export.layout import Layout
from lading.export.sections import (
    Beside,
    Columns,
    Contract,
    Deletes,
    Encryption,
    LateColumn,
    LayoutSection,
    ScheduleSection,
    Section,
    Source,
    Tenants,
    Window,
    listed_columns,
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
    copies: Annotated[tuple[str, ...], BeforeValidator(listed_columns)] = Field(
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
    sort_by: Annotated[tuple[str, ...], BeforeValidator(listed_columns)] = Field(
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
        if found := findings(self):
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

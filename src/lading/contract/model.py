"""What a dataset promises, as the rest of Lading sees it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from datetime import timedelta
from typing import Literal

LogicalType = Literal[
    "string", "date", "timestamp", "time", "number", "integer", "boolean", "object", "array", "map", "vector"
]


@dataclass(frozen=True, slots=True)
class QualityRule:
    """A rule of ODCS, of a field or of the dataset. ``operator`` and ``operand``: ``mustBe`` and 0."""

    type: str  # library, sql, custom, text
    name: str = ""
    metric: str = ""  # of library rules: nullValues, rowCount, ...
    arguments: Mapping[str, object] = field(default_factory=dict)
    operator: str = ""
    operand: object = None
    unit: str = ""
    severity: str = ""
    description: str = ""
    body: str = ""  # of rules in words of their own: the SQL, the custom implementation
    line: int = field(default=0, compare=False)

    @property
    def warns(self) -> bool:
        """Whether data that breaks the rule is delivered all the same, and told of."""
        return self.severity.lower() in ("warning", "warn", "info")

    def __str__(self) -> str:
        return self.name or self.description or " ".join(
            str(part) for part in (self.metric or self.type, self.operator, self.operand) if part not in ("", None)
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class ContractField:
    """A promised field. ``name`` is what recipients see, ``column`` what the source calls it."""

    name: str
    physical_name: str | None = None
    logical_type: LogicalType | None = None
    physical_type: str | None = None
    options: Mapping[str, object] = field(default_factory=dict)  # logicalTypeOptions
    required: bool = False
    unique: bool = False
    primary_key: bool = False
    primary_key_position: int | None = None  # from 1
    classification: str | None = None
    tags: tuple[str, ...] = ()
    description: str = ""
    values: tuple[object, ...] = ()  # of its enum
    quality: tuple[QualityRule, ...] = ()
    items: ContractField | None = None  # of an array
    properties: tuple[ContractField, ...] = ()  # of an object
    entries: str = ""  # of a map: what its keys and values are, as canonical JSON
    entries_within: tuple[ContractField, ...] = ()  # the same as fields, and what of an object is no column
    line: int = field(default=0, compare=False)

    @property
    def column(self) -> str:
        return self.physical_name or self.name

    @property
    def never_null(self) -> bool:
        return self.required or self.primary_key


@dataclass(frozen=True, slots=True)
class SlaProperty:
    """An agreed property that is not a span of time, as it stands in the contract."""

    property: str
    value: object
    unit: str = ""
    element: str = ""


@dataclass(frozen=True, slots=True)
class Sla:
    """Spans of time that are agreed on; None where nothing is."""

    freshness: timedelta | None = None  # how old the newest delivered row may be
    latency: timedelta | None = None  # from a row's birth to its delivery
    frequency: timedelta | None = None  # how far apart deliveries may lie
    other: tuple[SlaProperty, ...] = ()


@dataclass(frozen=True, slots=True)
class Contract:
    """One version of one dataset's contract."""

    id: str
    name: str  # the entity: of paths, and of exports' references
    version: str
    major: int
    status: str
    description: str
    path: str  # as shown to people
    sha256: str  # of the file's bytes
    owners: tuple[str, ...]
    sla: Sla
    fields: tuple[ContractField, ...]  # in the contract's order
    primary_key: tuple[str, ...]  # names of fields, in the key's order
    quality: tuple[QualityRule, ...] = ()  # of the dataset
    lines: Mapping[str, int] = field(default_factory=dict, compare=False)  # of its keys, where they stand

    def field(self, name: str) -> ContractField | None:
        return next((each for each in self.fields if each.name == name), None)

    @property
    def promises_sha256(self) -> str:
        """Over what its fields promise, in hex: neither its status nor what is only told about them counts."""
        meant = json.dumps([_meant(each) for each in self.fields], sort_keys=True, default=str)
        return hashlib.sha256(meant.encode()).hexdigest()


def _meant(value: object) -> object:
    if is_dataclass(value) and not isinstance(value, type):
        told = (each for each in fields(value) if each.compare and each.name != "description")
        return {each.name: _meant(getattr(value, each.name)) for each in told}
    if isinstance(value, Mapping):
        return {str(key): _meant(each) for key, each in value.items()}
    return [_meant(each) for each in value] if isinstance(value, list | tuple) else value

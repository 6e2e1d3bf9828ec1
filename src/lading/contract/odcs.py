"""Open Data Contract Standard, v3.1 and v3.2: https://bitol-io.github.io/open-data-contract-standard/

A document is checked against the official JSON Schema and the standard's own models, both of the package
`open-data-contract-standard`, and then read as a `Contract`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from datetime import timedelta
from functools import cache
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lading.contract.model import Contract, ContractField, QualityRule, Sla, SlaProperty
from lading.documents import (
    Document,
    Loc,
    check_name,
    known_keys,
    load,
    parse_duration,
    unknown_key,
    validate,
)
from lading.errors import InvalidProject, Problem

if TYPE_CHECKING:
    from open_data_contract_standard.model import DataQuality, SchemaProperty, ServiceLevelAgreementProperty

_KNOWN_VERSION = re.compile(r"v3\.[12]\.[0-9]+")
_VERSION = re.compile(r"v?([0-9]{1,6})(\.[0-9A-Za-z.+-]*)?")
_OPERATORS = (
    "mustBe", "mustNotBe", "mustBeGreaterThan", "mustBeGreaterOrEqualTo", "mustBeLessThan", "mustBeLessOrEqualTo",
    "mustBeBetween", "mustNotBeBetween",
)  # fmt: skip
# Months and years as the longest there are: an agreement is not broken by the calendar.
_DAYS = {"d": 1, "day": 1, "w": 7, "week": 7, "mo": 31, "month": 31, "y": 366, "yr": 366, "year": 366}
_SECONDS = {
    "s": 1,
    "sec": 1,
    "second": 1,
    "m": 60,
    "min": 60,
    "minute": 60,
    "h": 3600,
    "hr": 3600,
    "hour": 3600,
}
_SPANS = {
    "freshness": "freshness",
    "latency": "latency",
    "ly": "latency",
    "frequency": "frequency",
    "fy": "frequency",
}


def load_contract(path: Path, root: Path | None = None) -> Contract:
    """The contract in one file; ``root`` is the project's folder. Raises InvalidProject with all its problems."""
    return read_contract(load(path, root))


def read_contract(document: Document) -> Contract:
    """The contract in a document. Raises InvalidProject with all its problems."""
    from open_data_contract_standard.model import OpenDataContractStandard

    _check_version(document)
    problems = _schema_problems(document)
    if problems:
        raise InvalidProject(problems=problems)
    model = validate(OpenDataContractStandard, document)
    reader = _Reader(document)
    contract = reader.contract(model)
    if reader.problems:
        raise InvalidProject(problems=sorted(reader.problems, key=lambda problem: problem.line))
    return contract


def _check_version(document: Document) -> None:
    data = document.data
    if not isinstance(data, dict):
        raise InvalidProject(problems=[document.problem("the file must be a mapping of keys to values")])
    version = data.get("apiVersion")
    if isinstance(version, str) and _KNOWN_VERSION.fullmatch(version):
        return
    if version is None:
        reason = "apiVersion is missing: write apiVersion: v3.2.0"
    elif isinstance(version, str) and version.startswith("v3.0"):
        reason = (
            f"ODCS {version} is not read; v3.1 only adds to it, so that apiVersion: v3.1.0 will mostly do"
        )
    else:
        reason = f"apiVersion must be v3.1.0 or v3.2.0, not {version}"
    raise InvalidProject(problems=[document.problem(reason, "apiVersion")])


# --- the official JSON Schema --------------------------------------------------------------------------------------


@cache
def _validator() -> Any:
    from jsonschema import Draft201909Validator

    text = resources.files("open_data_contract_standard").joinpath("schema.json").read_text("utf-8")
    schema = json.loads(text)
    # Its rule "a map needs its map" also strikes where no logicalType is given, which the standard leaves optional.
    for rule in schema["$defs"]["SchemaBaseProperty"]["allOf"]:
        if "required" in rule.get("then", {}):
            rule["if"] = {"required": ["logicalType"], "allOf": [rule["if"]]}
    return Draft201909Validator(schema)


def _schema_problems(document: Document) -> list[Problem]:
    # Patch versions of the standard are not in the schema's list; what they may hold is the newest's.
    data = document.data | {"apiVersion": "v3.2.0"}
    found: dict[tuple[Loc, str], None] = {}
    for error in _validator().iter_errors(data):
        for loc, reason in _told(error):
            found[loc, reason] = None
    problems = [document.problem(reason, *loc) for loc, reason in found]
    return sorted(problems, key=lambda problem: problem.line)


def _told(error: Any) -> list[tuple[Loc, str]]:
    """A finding of the schema in plain words; of alternatives, the one that was nearly right."""
    if error.context:
        nearest = max(error.context, key=lambda inner: len(inner.absolute_path))
        if len(nearest.absolute_path) > len(error.absolute_path):
            return _told(nearest)
    loc: Loc = tuple(error.absolute_path)
    place = "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in loc).removeprefix(".")
    expected = error.validator_value
    match error.validator:
        case "unevaluatedProperties" | "additionalProperties":
            return [((*loc, key), unknown_key(key, known)) for key, known in _unknown(error, loc)]
        case "required":
            missing = [
                key for key in expected if isinstance(error.instance, dict) and key not in error.instance
            ]
            return [(loc, f"{place}.{key} is missing".removeprefix(".")) for key in missing]
        case "type":
            names = [expected] if isinstance(expected, str) else expected
            note = (
                " (put it in quotes)"
                if names == ["string"] and isinstance(error.instance, int | float)
                else ""
            )
            return [
                (loc, f"{place or 'the file'} must be {' or '.join(_TYPES.get(n, n) for n in names)}{note}")
            ]
        case "enum":
            return [(loc, f'{place} must be one of {", ".join(map(str, expected))}, not "{error.instance}"')]
        case "const":
            return [(loc, f'{place} must be {expected}, not "{error.instance}"')]
        case "oneOf" | "anyOf":
            return [(loc, _alternatives(error, place))]
    return [(loc, f"{place or 'the file'}: {error.message}")]


_TYPES = {
    "string": "text", "array": "a list", "object": "a mapping of keys to values", "number": "a number",
    "integer": "a whole number", "boolean": "true or false", "null": "empty",
}  # fmt: skip


def _alternatives(error: Any, place: str) -> str:
    keys = [rule["required"][0] for rule in error.validator_value if len(rule.get("required", ())) == 1]
    if keys:
        given = [key for key in keys if isinstance(error.instance, dict) and key in error.instance]
        return f"{place} must hold exactly one of {', '.join(keys)}" + (
            f", not {' and '.join(given)}" if given else ""
        )
    return f"{place} has a value that the standard does not allow here"


def _unknown(error: Any, loc: Loc) -> list[tuple[str, list[str]]]:
    """Keys that the schema does not know at a place, with those it does.

    A mistake deeper down makes the schema call its siblings unknown too, so keys that the models know are left out.
    """
    from open_data_contract_standard.model import OpenDataContractStandard

    if error.validator == "additionalProperties" and loc:
        known = sorted(error.schema.get("properties", ()))
    else:
        known = sorted(known_keys(OpenDataContractStandard, loc))
    extra = set(error.instance) - set(known)
    return [(key, known) for key in error.instance if key in extra]


# --- reading -------------------------------------------------------------------------------------------------------


class _Reader:
    """A valid document to a `Contract`. What the standard allows and Lading cannot use is collected as problems."""

    def __init__(self, document: Document) -> None:
        self.document = document
        self.problems: list[Problem] = []

    def _wrong(self, reason: str, *loc: str | int) -> None:
        self.problems.append(self.document.problem(reason, *loc))

    def contract(self, model: Any) -> Contract:
        version = _VERSION.fullmatch(model.version)
        if not version:
            self._wrong(
                f'version must begin with its major number, as 1.0.0 does, not "{model.version}"', "version"
            )
        name = model.name or ""
        try:
            check_name(name)
        except ValueError as error:
            self._wrong(f"name: {error}" if name else "name is missing: exports refer to it", "name")
        objects = model.schema_ or []
        if len(objects) != 1:
            names = ", ".join(each.name for each in objects) or "none"
            self._wrong(
                f"schema must hold exactly one object in this version; write a contract for each: {names}",
                "schema",
            )
        schema = objects[0] if objects else None
        fields = self._fields(schema.properties or [], ("schema", 0, "properties")) if schema else ()
        if schema and not fields:
            self._wrong("schema[0].properties is missing: a contract names its fields", "schema", 0)
        keys = [field for field in fields if field.primary_key]
        last = len(fields)
        return Contract(
            id=model.id,
            name=name,
            version=model.version,
            major=int(version[1]) if version else 0,
            status=model.status or "",
            description=_description(model, schema),
            path=self.document.path,
            sha256=self.document.sha256,
            owners=_owners(model),
            sla=self._sla(model.slaProperties or []),
            fields=fields,
            primary_key=tuple(f.name for f in sorted(keys, key=lambda f: f.primary_key_position or last)),
            quality=self._rules(schema.quality if schema else None, "schema", 0),
            lines={str(key): self.document.line(str(key)) for key in self.document.data},
        )

    def _fields(self, properties: Iterable[SchemaProperty], loc: Loc) -> tuple[ContractField, ...]:
        fields: list[ContractField] = []
        seen: dict[str, int] = {}
        columns: dict[str, str] = {}
        for index, each in enumerate(properties):
            here = (*loc, index)
            if each.semanticType == "measure":
                continue  # an aggregate that readers compute: no column
            field = self._field(each, here)
            line = self.document.line(*here)
            if field.name.lower() in seen:
                first = seen[field.name.lower()]
                self._wrong(
                    f'the field "{field.name}" is on line {first} already; upper and lower case count as one',
                    *here,
                )
            elif field.column in columns:
                self._wrong(
                    f'"{field.name}" and "{columns[field.column]}" are both the column "{field.column}"',
                    *here,
                )
            seen.setdefault(field.name.lower(), line)
            columns.setdefault(field.column, field.name)
            fields.append(field)
        return tuple(fields)

    def _field(self, each: SchemaProperty, loc: Loc) -> ContractField:
        position = each.primaryKeyPosition
        if not each.name and loc[-1] != "items":
            self._wrong("the field's name is empty", *loc)
        return ContractField(
            name=each.name or "items",
            physical_name=each.physicalName or None,
            logical_type=each.logicalType,  # type: ignore[arg-type]  # the schema has checked it
            physical_type=each.physicalType or None,
            options=dict(each.logicalTypeOptions or {}),
            required=bool(each.required),
            unique=bool(each.unique),
            primary_key=bool(each.primaryKey),
            primary_key_position=position if position is not None and position > 0 else None,
            classification=each.classification or None,
            tags=tuple(each.tags or ()),
            description=each.description or "",
            values=tuple(value.value for value in each.enum or ()),
            quality=self._rules(each.quality, *loc),
            items=self._field(each.items, (*loc, "items")) if each.items else None,
            properties=self._fields(each.properties or (), (*loc, "properties")),
            entries=each.map.model_dump_json(exclude_none=True) if each.map else "",
            entries_within=self._within(each, loc),
            line=self.document.line(*loc),
        )

    def _rules(self, rules: Iterable[DataQuality] | None, *loc: str | int) -> tuple[QualityRule, ...]:
        return tuple(
            _rule(rule, self.document.line(*loc, "quality", index)) for index, rule in enumerate(rules or ())
        )

    def _within(self, each: SchemaProperty, loc: Loc) -> tuple[ContractField, ...]:
        """What a value holds beside promised members: keys and values of a map, and measures, which are delivered with
        the object that they stand in."""
        parts = [part for part in (each.map.key, each.map.value) if part is not None] if each.map else []
        parts += [part for part in each.properties or () if part.semanticType == "measure"]
        return tuple(self._field(part, (*loc, "items")) for part in parts)

    def _sla(self, properties: Sequence[ServiceLevelAgreementProperty]) -> Sla:
        spans: dict[str, timedelta] = {}
        other: list[SlaProperty] = []
        for index, each in enumerate(properties):
            key = _SPANS.get((each.property or "").lower())
            if key is None:
                other.append(
                    SlaProperty(each.property or "", each.value, each.unit or "", each.element or "")
                )
                continue
            span = _span(each.value, each.unit or "")
            if span is None:
                self._wrong(
                    f"slaProperties[{index}] must be a positive span of time, such as value: 60 and unit: minutes",
                    "slaProperties", index, "value",
                )  # fmt: skip
            else:
                spans[key] = min(span, spans.get(key, span))
        return Sla(**spans, other=tuple(other))


def _span(value: object, unit: str) -> timedelta | None:
    """A value with its unit; where several are agreed, the strictest counts."""
    unit = unit.strip().lower()
    unit = unit if unit in _DAYS or unit in _SECONDS else unit.removesuffix("s")
    try:
        if unit:
            number = float(str(value))
            span = timedelta(days=number * _DAYS.get(unit, 0), seconds=number * _SECONDS.get(unit, 0))
        else:
            span = parse_duration(value)
    except (ValueError, OverflowError):
        return None
    return span if span > timedelta(0) else None


def _rule(rule: DataQuality, line: int) -> QualityRule:
    operator = next((name for name in _OPERATORS if getattr(rule, name) is not None), "")
    return QualityRule(
        type=rule.type or "library",
        name=rule.name or rule.id or "",
        metric=rule.metric or "",
        arguments=dict(rule.arguments or {}),
        operator=operator,
        operand=getattr(rule, operator) if operator else None,
        unit=rule.unit or "",
        severity=rule.severity or "",
        description=rule.description or "",
        body="\n".join(
            str(part) for part in (rule.rule, rule.engine, rule.query, rule.implementation) if part
        ),
        line=line,
    )


def _description(model: Any, schema: Any) -> str:
    purpose = model.description.purpose if model.description else None
    return str(purpose or (schema.description if schema else None) or "")


def _owners(model: Any) -> tuple[str, ...]:
    """Members of the team whose role says owner; else the team."""
    team = model.team
    members = (team if isinstance(team, list) else team.members or []) if team else []
    owners = [member.username or member.name for member in members if "owner" in (member.role or "").lower()]
    if not owners and team and not isinstance(team, list):
        owners = [team.name]
    return tuple(owner for owner in owners if owner)

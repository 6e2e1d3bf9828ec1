"""Delivery records, and the JSON Schemas (draft 2020-12) that they are held against before anything is committed.

A record lies beside a delivery and says in five fields what it is (SVC-002, section 3). Each channel has a schema of
its own, ``export.<channel>.v<n>``, which the record names as its ``schema_version``: the version is that of the
record's form, whatever major the delivered contract has. The schemas are shipped, and a project may keep its own under
``schemas/events/``. Those add to the shipped ones and never replace them, so that nothing that is written there weakens
what readers of a version were promised.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

from lading.documents import Document, Loc, load, unknown, unknown_key
from lading.errors import InvalidProject, Problem, Refused

FOLDER = "schemas/events"
VERSIONS: Mapping[str, str] = {
    "snapshot": "export.snapshot.v1",
    "drop": "export.customer_drop.v1",
    "bundle": "export.partner.zip.v1",
    "audit": "export.audit.v1",
}
"""The version of the delivery record that each channel writes."""

_DRAFT = "https://json-schema.org/draft/2020-12/schema"


@dataclass(frozen=True, slots=True)
class Schemas:
    """What records are held against: the shipped schemas, and the project's own by their version."""

    own: Mapping[str, Mapping[str, Any]]

    def check(self, record: Mapping[str, Any]) -> None:
        """Raises Refused for a record that is not what its ``schema_version`` says."""
        version = str(record.get("schema_version"))
        if version not in VERSIONS.values():
            raise Refused(f'The delivery record names the schema "{version}", which is none of Lading\'s.')
        wrong = list(_found(_validator(version), record))
        where = f"{version}, which Lading ships"
        if not wrong and version in self.own:
            wrong = list(_found(_made(self.own[version]), record))
            where = f"{FOLDER}/{version}.json"
        if wrong:
            raise Refused(
                f"The delivery record of {record.get('dataset')} does not keep {where}: {'; '.join(wrong)}.",
                hint="Change the export so that its deliveries keep the schema; nothing was committed.",
            )


SHIPPED = Schemas({})


def shipped(version: str) -> str:
    """The text of a shipped schema."""
    file = resources.files("lading").joinpath("schemas", "events", f"{version}.json")
    return file.read_text(encoding="utf-8")


def read_schemas(root: Path) -> Schemas:
    """The schemas of the project in the folder ``root``. Raises InvalidProject with every problem of its own.

    Files of other names than ``export.….json`` are those of other events, and none of Lading's affair.
    """
    own: dict[str, Mapping[str, Any]] = {}
    problems: list[Problem] = []
    for path in sorted((root / FOLDER).glob("export.*.json")):
        try:
            document = _load(path, root)
        except InvalidProject as error:
            problems.extend(error.problems)
            continue
        version = path.name.removesuffix(".json")
        if version not in VERSIONS.values():
            problems.append(document.problem(unknown("schema", version, VERSIONS.values())))
        found = list(lint(document, version))
        problems.extend(found)
        own[version] = document.data
    if problems:
        raise InvalidProject(problems=problems)
    return Schemas(own)


def _load(path: Path, root: Path) -> Document:
    """A file of JSON, with the lines of its keys: JSON is YAML."""
    document = load(path, root)
    try:
        json.loads(path.read_bytes())
    except ValueError as error:
        line = error.lineno if isinstance(error, json.JSONDecodeError) else 0
        raise InvalidProject(problems=[Problem(document.path, line, f"is no JSON: {error}")]) from None
    return document


# --- checking ------------------------------------------------------------------------------------------------------


@cache
def _validator(version: str) -> Any:
    return _made(json.loads(shipped(version)))


def _made(schema: Mapping[str, Any]) -> Any:
    from jsonschema import Draft202012Validator, FormatChecker

    checker = FormatChecker(formats=[each for each in FORMATS if each != "date-time"])
    checker.checks("date-time", raises=ValueError)(_date_time)
    return Draft202012Validator(schema, format_checker=checker)


FORMATS = ("date", "date-time", "email", "ipv4", "ipv6", "regex", "uuid")
"""Those that are checked wherever Lading runs, without a package that may be there or not."""
_DATE_TIME = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]+)?(Z|[+-][0-9]{2}:[0-9]{2})", re.ASCII
)


def _date_time(value: object) -> bool:
    """RFC 3339, section 5.6, without leap seconds. Raises ValueError for a day or an hour that there is not."""
    if not isinstance(value, str):
        return True
    return bool(_DATE_TIME.fullmatch(value)) and bool(datetime.fromisoformat(value))


def _found(validator: Any, record: Mapping[str, Any]) -> Iterator[str]:
    try:
        errors = list(validator.iter_errors(record))
    except RecursionError:
        yield "the schema refers to itself without end"
        return
    for error in sorted(errors, key=lambda each: list(map(str, each.absolute_path))):
        place = ".".join(map(str, error.absolute_path))
        yield f"{place}: {error.message}" if place else error.message


# --- lint ----------------------------------------------------------------------------------------------------------

_SCHEMA = ("items", "additionalProperties", "contains", "propertyNames", "not", "if", "then", "else",
           "unevaluatedProperties", "unevaluatedItems")  # fmt: skip
_SCHEMAS = ("allOf", "anyOf", "oneOf", "prefixItems")
_NAMED = ("properties", "patternProperties", "$defs", "dependentSchemas")
_PLAIN = (
    "$schema", "$id", "$ref", "$comment", "title", "description", "default", "deprecated", "examples", "readOnly",
    "writeOnly", "type", "enum", "const", "format", "pattern", "required", "dependentRequired", "minimum", "maximum",
    "exclusiveMinimum", "exclusiveMaximum", "multipleOf", "minLength", "maxLength", "minItems", "maxItems",
    "uniqueItems", "minContains", "maxContains", "minProperties", "maxProperties",
)  # fmt: skip
_KEYWORDS = frozenset({*_SCHEMA, *_SCHEMAS, *_NAMED, *_PLAIN})


def lint(document: Document, version: str) -> Iterator[Problem]:
    """What is wrong with a schema of records: what draft 2020-12 does not allow, what a validator would take for an
    annotation and not check, and what a reader has to guess."""
    from jsonschema import Draft202012Validator

    schema = document.data
    if not isinstance(schema, dict):
        yield document.problem("a schema must be a mapping of keys to values")
        return
    if schema.get("$schema") != _DRAFT:
        yield document.problem(f"$schema must be {_DRAFT}", "$schema")
    for key in ("$id", "title", "description"):
        if not schema.get(key):
            yield document.problem(f"{key} is missing: who meets the schema must know what it is", key)
    wrong = False
    for error in Draft202012Validator(Draft202012Validator.META_SCHEMA).iter_errors(schema):
        wrong = True
        yield document.problem(f"is no JSON Schema: {error.message}", *error.absolute_path)
    if wrong:
        return
    if schema.get("type") != "object":
        yield document.problem("type must be object: a record is one", "type")
    named = (schema.get("properties") or {}).get("schema_version")
    if not isinstance(named, dict) or named.get("const") != version:
        yield document.problem(
            f"properties.schema_version must have the const {version}", "properties", "schema_version"
        )
    if "schema_version" not in schema.get("required", ()):
        yield document.problem("required must hold schema_version: records are told apart by it", "required")
    for loc, inner in _schemas(schema):
        yield from _lint_one(document, schema, loc, inner)


def _schemas(schema: Any, loc: Loc = ()) -> Iterator[tuple[Loc, Mapping[str, Any]]]:
    """A schema and all schemas inside of it; ``true`` and ``false`` say all there is to say."""
    if not isinstance(schema, Mapping):
        return
    yield loc, schema
    for key in _SCHEMA:
        yield from _schemas(schema.get(key), (*loc, key))
    for key in _SCHEMAS:
        for index, inner in enumerate(schema.get(key, ())):
            yield from _schemas(inner, (*loc, key, index))
    for key in _NAMED:
        for name, inner in schema.get(key, {}).items():
            yield from _schemas(inner, (*loc, key, name))


def _lint_one(document: Document, root: Any, loc: Loc, schema: Mapping[str, Any]) -> Iterator[Problem]:
    for key in schema:
        if key not in _KEYWORDS:
            yield document.problem(unknown_key(key, _KEYWORDS), *loc, key)
    for name, inner in schema.get("properties", {}).items():
        if not isinstance(inner, Mapping) or not inner.get("description"):
            yield document.problem(f"{name} has no description", *loc, "properties", name)
    if "properties" in schema and "additionalProperties" not in schema:
        yield document.problem(
            "additionalProperties is missing: say whether fields may come that are not named", *loc
        )
    format = schema.get("format")
    if format is not None and format not in FORMATS:
        reason = f"{unknown('format', format, FORMATS)}: it would not be checked; write a pattern"
        yield document.problem(reason, *loc, "format")
    for key, patterns in (
        ("pattern", [schema.get("pattern")]),
        ("patternProperties", schema.get("patternProperties", ())),
    ):
        for pattern in patterns:
            if pattern is not None and (why := _broken(pattern)):
                yield document.problem(f'"{pattern}" is no pattern: {why}', *loc, key)
    if "$ref" in schema and not _leads(root, schema["$ref"]):
        yield document.problem(
            f"$ref must lead to a place in this file, and {schema['$ref']} does not", *loc, "$ref"
        )


def _broken(pattern: str) -> str:
    try:
        re.compile(pattern)
    except re.error as error:
        return str(error)
    return ""


def _leads(root: Any, reference: str) -> bool:
    """Whether a JSON pointer (RFC 6901) in a fragment leads to a schema of the same document."""
    if reference != "#" and not reference.startswith("#/"):
        return False
    place = root
    for token in reference.removeprefix("#").split("/")[1:]:
        name = token.replace("~1", "/").replace("~0", "~")
        if isinstance(place, list) and name.isdigit() and int(name) < len(place):
            place = place[int(name)]
        elif isinstance(place, Mapping) and name in place:
            place = place[name]
        else:
            return False
    return isinstance(place, Mapping | bool)

"""Delivery records are what their schemas say, before anything is committed."""

# S5, S7
from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from lading import Project, scaffold
from lading.documents import parse
from lading.errors import InvalidProject, Refused
from lading.evidence.records import FOLDER, SHIPPED, VERSIONS, lint, read_schemas, shipped

DROP = VERSIONS["drop"]
PAGE = Path(__file__).parents[2] / "docs" / "delivery-records.md"


def record(version: str = DROP, **changes: object) -> dict[str, object]:
    """The sample of SVC-002, section 3."""
    return {
        "dataset": "discovery",
        "generated_at": "2025-11-09T03:30:00Z",
        "encryption": "aws:kms:arn:aws:kms:us-east-1:123456789012:key/acme",
        "records": 125034,
        "schema_version": version,
        **changes,
    }


def linted(schema: dict[str, Any], version: str = DROP) -> list[str]:
    document = parse(json.dumps(schema, indent=1).encode(), f"{FOLDER}/{version}.json")
    return [problem.reason for problem in lint(document, version)]


def changed(**changes: object) -> dict[str, Any]:
    return {**json.loads(shipped(DROP)), **changes}


@pytest.mark.parametrize("version", VERSIONS.values())
def test_the_shipped_schemas_are_clean_and_know_the_sample(version: str) -> None:
    Draft202012Validator.check_schema(json.loads(shipped(version)))
    assert linted(json.loads(shipped(version)), version) == []
    SHIPPED.check(record(version))


# What was promised under v1 stays: fields may come, and none may go or mean something else.
@pytest.mark.parametrize("version", VERSIONS.values())
def test_version_1_is_only_added_to(version: str) -> None:
    promised = {
        "dataset": {"type": "string", "pattern": "^[a-z0-9][a-z0-9_-]{0,62}$"},
        "generated_at": {
            "type": "string",
            "pattern": r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{6})?Z$",
        },
        "encryption": {"type": "string", "minLength": 1},
        "records": {"type": "integer", "minimum": 0},
        "schema_version": {"const": version},
    }
    schema = json.loads(shipped(version))
    now = {
        name: {key: value for key, value in inner.items() if key != "description"}
        for name, inner in schema["properties"].items()
    }
    assert promised.items() <= now.items()
    assert set(promised) <= set(schema["required"])
    assert schema["additionalProperties"] is True  # so that readers who check v1 take what is added to it


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"dataset": "Two Words"}, "dataset: 'Two Words' does not match"),
        ({"generated_at": "yesterday"}, "generated_at: 'yesterday' does not match"),
        ({"encryption": ""}, "encryption: ''"),
        ({"records": -1}, "records: -1 is less than the minimum of 0"),
        ({"records": True}, "records: True is not of type 'integer'"),
    ],
)
def test_a_record_that_is_not_what_its_schema_says_is_refused(changes: dict[str, object], told: str) -> None:
    with pytest.raises(Refused, match=re.escape(told)):
        SHIPPED.check(record(**changes))


def test_a_record_lacks_nothing_and_names_a_schema_that_there_is() -> None:
    for name in record():
        with pytest.raises(Refused):
            SHIPPED.check({key: value for key, value in record().items() if key != name})
    with pytest.raises(Refused, match=r'names the schema "export\.customer_drop\.v2"'):
        SHIPPED.check(record(schema_version="export.customer_drop.v2"))
    SHIPPED.check(record(a_field_to_come=1))


@pytest.mark.parametrize(
    ("schema", "told"),
    [
        (changed(**{"$schema": "http://json-schema.org/draft-07/schema#"}), "$schema must be"),
        (changed(**{"$id": ""}), "$id is missing"),
        (changed(title=None), "title is missing"),
        (changed(type="record"), "is no JSON Schema"),
        (changed(type="array"), "type must be object"),
        (changed(requird=[]), 'unknown key "requird" – did you mean "required"?'),
        (changed(required=["dataset"]), "required must hold schema_version"),
        (
            {k: v for k, v in changed().items() if k != "additionalProperties"},
            "additionalProperties is missing",
        ),
    ],
)
def test_a_schema_that_leaves_something_open_is_told(schema: dict[str, Any], told: str) -> None:
    assert any(told in reason for reason in linted(schema))


@pytest.mark.parametrize(
    ("inner", "told"),
    [
        ({"type": "string"}, "note has no description"),
        (True, "note has no description"),
        ({"description": "x", "format": "uri"}, 'there is no format "uri"'),
        ({"description": "x", "pattern": "("}, '"(" is no pattern'),
        ({"description": "x", "$ref": "other.json"}, "$ref must lead to a place in this file"),
        ({"description": "x", "$ref": "#/$defs/none"}, "$ref must lead to a place in this file"),
        ({"description": "x", "anyOf": [{"pattern": "["}]}, '"[" is no pattern'),
        ({"description": "x", "properties": {"a": {"description": "y"}}}, "additionalProperties is missing"),
    ],
)
def test_what_no_validator_would_check_is_told_of_every_property(inner: Any, told: str) -> None:
    schema = changed()
    schema["properties"]["note"] = inner
    assert any(told in reason for reason in linted(schema))


def test_a_schema_names_its_own_file() -> None:
    schema = changed()
    schema["properties"]["schema_version"]["const"] = "export.audit.v1"
    assert f"properties.schema_version must have the const {DROP}" in linted(schema)


# --- of a project --------------------------------------------------------------------------------------------------


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """The sample project, whose files have the layout that has delivery records."""
    scaffold.write(tmp_path, scaffold.sample("shop"))
    with (tmp_path / "exports/orders_drop.yaml").open("a") as file:
        file.write("layout: {preset: svc002}\n")
    settings = (tmp_path / "lading.yaml").read_text()
    quick = settings.replace('"file://./deliveries"', '"file://./deliveries", durable: false')
    (tmp_path / "lading.yaml").write_text(quick)
    return tmp_path


def edit(project: Path, **properties: object) -> Path:
    """Asks more of one property of the record than the shipped schema does."""
    path = project / FOLDER / f"{DROP}.json"
    schema = json.loads(path.read_text())
    for name, more in properties.items():
        schema["properties"].setdefault(name, {"description": "x"}).update(more)
    path.write_text(json.dumps(schema, indent=2))
    return path


def test_init_writes_the_schemas_where_they_are_looked_for(project: Path) -> None:
    assert sorted(path.name for path in (project / FOLDER).iterdir()) == sorted(
        f"{v}.json" for v in VERSIONS.values()
    )
    assert set(read_schemas(project).own) == set(VERSIONS.values())


def test_records_of_a_delivery_keep_their_schema(project: Path) -> None:
    results = Project.load(project).run("orders_drop")
    assert {result.status for result in results} == {"succeeded"}
    records = list((project / "deliveries").rglob("export.orders.????????.json"))
    assert len(records) == len(results)
    for path in records:
        Draft202012Validator(json.loads(shipped(DROP))).validate(json.loads(path.read_text()))


def test_the_version_is_the_record_s_and_not_the_contract_s(project: Path) -> None:
    contract = project / "contracts/orders.v1.odcs.yaml"
    contract.write_text(contract.read_text().replace("version: 1.0.0", "version: 2.0.0"))
    export = project / "exports/orders_drop.yaml"
    export.write_text(export.read_text().replace("orders@1", "orders@2"))
    Project.load(project).run("orders_drop")
    records = list((project / "deliveries").rglob("v2/**/export.orders.????????.json"))
    assert {json.loads(path.read_text())["schema_version"] for path in records} == {DROP}


def test_what_a_project_s_own_schema_does_not_allow_is_not_committed(project: Path) -> None:
    edit(project, encryption={"pattern": "^aws:kms:"})
    Project.load(project).validate()
    results = Project.load(project).run("orders_drop")
    assert {(result.status, result.exit_code) for result in results} == {("failed", 3)}
    error = str(results[0].error)
    assert f"does not keep {FOLDER}/{DROP}.json: encryption: 'none' does not match '^aws:kms:'" in error
    left = [path for path in (project / "deliveries").rglob("*") if path.is_file()]
    assert {path.name for path in left} <= {"FAILURE"}
    # The same call goes on where the schema allows it.
    edit(project, encryption={"pattern": ""})
    assert {result.status for result in Project.load(project).run("orders_drop")} == {"succeeded"}


def test_a_project_s_own_schema_takes_nothing_back(project: Path) -> None:
    path = project / FOLDER / f"{DROP}.json"
    schema = json.loads(path.read_text())
    path.write_text(json.dumps({**schema, "required": ["schema_version"]}))
    with pytest.raises(Refused, match="which Lading ships"):
        read_schemas(project).check(record(dataset="Two Words"))


def test_wrong_schemas_are_told_with_their_lines_before_anything_is_read(project: Path) -> None:
    edit(project, note={"description": "", "format": "uri"})
    (project / FOLDER / "export.other.v1.json").write_text(shipped(DROP))
    (project / FOLDER / "export.audit.v1.json").write_text("{\n  type: object\n}\n")
    (project / FOLDER / "order.placed.v1.json").write_text("of no concern")
    with pytest.raises(InvalidProject) as caught:
        Project.load(project).validate()
    told = list(map(str, caught.value.problems))
    assert any(re.fullmatch(rf"{FOLDER}/{DROP}\.json:\d+: note has no description", each) for each in told)
    assert any('there is no schema "export.other.v1"' in each for each in told)
    assert any(each.startswith(f"{FOLDER}/export.audit.v1.json:2: is no JSON") for each in told)
    assert not any("order.placed" in each for each in told)
    with pytest.raises(InvalidProject):
        Project.load(project).run("orders_drop")
    assert not (project / "deliveries").exists()


def test_a_project_without_schemas_goes_by_the_shipped_ones(project: Path) -> None:
    for path in (project / FOLDER).iterdir():
        path.unlink()
    assert read_schemas(project).own == {}
    assert {result.status for result in Project.load(project).run("orders_drop")} == {"succeeded"}


def test_the_page_names_every_field_and_schema() -> None:
    page = PAGE.read_text(encoding="utf-8")
    for version in VERSIONS.values():
        assert f"`{version}`" in page
        assert all(f"`{name}`" in page for name in json.loads(shipped(version))["properties"])

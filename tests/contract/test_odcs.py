from __future__ import annotations

import hashlib
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from lading.contract import SlaProperty, load_contract, read_contract
from lading.documents import parse
from lading.errors import InvalidProject

DATA = Path(__file__).parent / "data"
FLIGHTS = DATA / "flights.v1.odcs.yaml"

SHORT = """\
apiVersion: v3.1.0
kind: DataContract
id: x
name: flights
version: 1.0.0
status: active
schema:
  - name: flights
    properties:
      - name: id
        logicalType: integer
"""


def problems(text: str) -> list[str]:
    with pytest.raises(InvalidProject) as caught:
        read_contract(parse(text.encode(), "contracts/f.yaml"))
    return [str(problem).removeprefix("contracts/f.yaml:") for problem in caught.value.problems]


def test_a_contract_is_read_as_a_whole() -> None:
    contract = load_contract(FLIGHTS, DATA)
    assert (contract.name, contract.version, contract.major, contract.status) == (
        "flights",
        "1.2.0",
        1,
        "active",
    )
    assert contract.path == "flights.v1.odcs.yaml"
    assert contract.sha256 == hashlib.sha256(FLIGHTS.read_bytes()).hexdigest()
    assert contract.owners == ("mara.olsen@example.com",)
    assert contract.description.startswith("Every departure")
    assert contract.primary_key == ("flight_id",)
    assert [field.name for field in contract.fields] == [
        "flight_id", "carrier", "scheduled_hour", "origin", "distance", "dep_delay", "tail_number", "record_locator",
        "passenger_email", "stops", "weather"]  # fmt: skip
    flight_id, carrier = contract.fields[:2]
    assert (flight_id.column, carrier.column) == ("id", "carrier")
    assert (carrier.logical_type, carrier.physical_type, carrier.classification) == (
        "string",
        "varchar(2)",
        "public",
    )
    stops, weather = contract.fields[-2:]
    assert stops.items is not None
    assert stops.items.logical_type == "string"
    assert weather.properties[0].name == "wind_speed"


def test_the_sla_is_spans_of_time() -> None:
    sla = load_contract(FLIGHTS).sla
    assert (sla.latency, sla.frequency, sla.freshness) == (
        timedelta(hours=4),
        timedelta(days=1),
        timedelta(minutes=90),
    )
    assert sla.other == (SlaProperty("retention", 3, "y"),)


@pytest.mark.parametrize("version", ["v3.1.0", "v3.1.1", "v3.2.0"])
def test_versions_from_3_1_are_read(version: str) -> None:
    assert read_contract(parse(SHORT.replace("v3.1.0", version).encode(), "f")).fields[0].name == "id"


def test_a_key_of_several_fields_keeps_its_order() -> None:
    text = SHORT + "        primaryKey: true\n        primaryKeyPosition: 2\n      - {name: org, primaryKey: true, " \
        "primaryKeyPosition: 1}\n      - {name: late, primaryKey: true}\n"  # fmt: skip
    assert read_contract(parse(text.encode(), "f")).primary_key == ("org", "id", "late")


# M10
@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("v3.1.0", "v3.0.2",
         ["1: ODCS v3.0.2 is not read; v3.1 only adds to it, so that apiVersion: v3.1.0 will mostly do"]),
        ("v3.1.0", "v2.2.1", ["1: apiVersion must be v3.1.0 or v3.2.0, not v2.2.1"]),
        ("apiVersion: v3.1.0\n", "", ["1: apiVersion is missing: write apiVersion: v3.2.0"]),
        ("status:", "stauts:", ['6: unknown key "stauts" – did you mean "status"?']),
        ("logicalType:", "logicalTyp:", ['11: unknown key "logicalTyp" – did you mean "logicalType"?']),
        ("logicalType: integer", "logicalType: int",
         ["11: schema[0].properties[0].logicalType must be one of string, date, timestamp, time, number, integer, "
          'object, array, boolean, map, vector, not "int"']),
        ("logicalType: integer", "logicalType: string\n        logicalTypeOptions: {maxLenght: 2}",
         ['12: unknown key "maxLenght" – did you mean "maxLength"?']),
        ("      - name: id\n        logicalType", "      - logicalType",
         ["10: schema[0].properties[0].name is missing"]),
        ("version: 1.0.0", "version: 1.0", ["5: version must be text (put it in quotes)"]),
        ("version: 1.0.0", "version: latest",
         ['5: version must begin with its major number, as 1.0.0 does, not "latest"']),
        ("name: flights\nversion", "version", ["1: name is missing: exports refer to it"]),
        ("name: flights\nversion", "name: Flights\nversion",
         ['4: name: "Flights" cannot be a name: use 1 to 63 lower-case letters, digits, "-" and "_", and begin with a '
          "letter or digit"]),
        ("kind: DataContract", "kind: Contract", ['2: kind must be one of DataContract, not "Contract"']),
        ("      - name: id", "      - name: ID\n      - name: id",
         ['11: the field "id" is on line 10 already; upper and lower case count as one']),
        ("      - name: id", "      - {name: a, physicalName: id}\n      - name: id",
         ['11: "id" and "a" are both the column "id"']),
        ("schema:", "schema:\n  - name: airports",
         ["7: schema must hold exactly one object in this version; write a contract for each: airports, flights",
          "8: schema[0].properties is missing: a contract names its fields"]),
        ("status: active", "slaProperties: [{property: latency, value: soon}]",
         ["6: slaProperties[0] must be a positive span of time, such as value: 60 and unit: minutes"]),
        ("logicalType: integer", "logicalType: integer\n        quality: [{metric: nullValues}]",
         ["12: schema[0].properties[0].quality[0] must hold exactly one of mustBe, mustNotBe, mustBeGreaterThan, "
          "mustBeGreaterOrEqualTo, mustBeLessThan, mustBeLessOrEqualTo, mustBeBetween, mustNotBeBetween"]),
        ("logicalType: integer", "logicalType: integer\n        required: maybe",
         ["12: schema[0].properties[0].required must be true or false"]),
    ],
)  # fmt: skip
def test_a_mistake_is_named_with_its_line(old: str, new: str, expected: list[str]) -> None:
    assert problems(SHORT.replace(old, new, 1)) == expected


@pytest.mark.parametrize("text", ["", "- a\n", "text\n"])
def test_a_file_that_is_no_mapping_says_so(text: str) -> None:
    assert problems(text) == ["1: the file must be a mapping of keys to values"]


@pytest.mark.parametrize(
    ("value", "unit", "span"),
    [(60, "minutes", timedelta(hours=1)), (1, "mo", timedelta(days=31)), ("2", "d", timedelta(days=2)),
     ("PT90M", "", timedelta(minutes=90)), (0.5, "hrs", timedelta(minutes=30)), (0, "d", None), (5, "", None),
     (1, "fortnight", None), ("x", "d", None)],
)  # fmt: skip
def test_an_agreed_span_has_a_unit(value: Any, unit: str, span: timedelta | None) -> None:
    text = SHORT + f"slaProperties:\n  - {{property: freshness, value: {value!r}, unit: '{unit}'}}\n"
    if span is None:
        assert len(problems(text)) == 1
    else:
        assert read_contract(parse(text.encode(), "f")).sla.freshness == span

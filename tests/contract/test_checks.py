from __future__ import annotations

from pathlib import Path

import pytest

from lading.contract import contract_checks, load_contract, read_contract, unmapped_quality
from lading.contract.model import Contract
from lading.documents import parse

FLIGHTS = Path(__file__).parent / "data" / "flights.v1.odcs.yaml"


def contract(field: str = "", schema: str = "") -> Contract:
    text = f"""\
apiVersion: v3.2.0
kind: DataContract
id: x
name: c
version: 1.0.0
schema:
  - name: c
    properties:
      - {{name: a, {field}}}
      - {{name: b, physicalName: b_column}}
    quality: [{schema}]
"""
    return read_contract(parse(text.encode(), "c.yaml"))


# D18
def test_a_contract_implies_its_checks() -> None:
    found = contract_checks(load_contract(FLIGHTS))
    assert found == [
        {"not_null": ["id", "carrier", "scheduled_hour", "origin"]},
        {"unique": ["id"]},
        {"range": {"id": [1, None]}},
        {"regex": {"carrier": "^[A-Z0-9]{2}$"}},
        {"regex": {"carrier": r"\A(?s:.){2,2}\z"}},
        {"range": {"scheduled_hour": ["2013-01-01T00:00:00Z", None]}},
        {"in": {"origin": ["EWR", "JFK", "LGA"]}},
        {"range": {"distance": [0, 20000]}},
        {"range": {"dep_delay": [-1439, 10080]}},
        {"unique": ["record_locator"]},
        {"not_null": ["record_locator"], "on_violation": "warn"},
        {"unique": ["carrier", "id"]},
    ]


def test_the_row_count_counts_only_where_a_reading_is_the_whole_dataset() -> None:
    rule = {"row_count": {"min": 1000, "max": 10000000}}
    assert rule in contract_checks(load_contract(FLIGHTS), whole=True)
    assert rule not in contract_checks(load_contract(FLIGHTS))


def test_what_is_not_checked_is_listed() -> None:
    assert unmapped_quality(load_contract(FLIGHTS), whole=True) == (
        "tail_number: Few flights have no tail number. (library)",
        "stops[]: what is promised inside of a array",
        "no arrival before its departure (sql)",
        "Delays are those the airline reported. (text)",
    )
    assert "a year of flights (library)" in unmapped_quality(load_contract(FLIGHTS))


@pytest.mark.parametrize(
    ("field", "check"),
    [
        ("quality: [{metric: nullValues, mustBe: 0}]", {"not_null": ["a"]}),
        ("quality: [{metric: nullValues, mustBeLessThan: 1}]", {"not_null": ["a"]}),
        ("quality: [{metric: nullValues, mustBeLessOrEqualTo: 0, unit: percent}]", {"not_null": ["a"]}),
        (
            "quality: [{metric: missingValues, mustBe: 0, arguments: {missingValues: [null]}}]",
            {"not_null": ["a"]},
        ),
        ("quality: [{metric: duplicateValues, mustBe: 0}]", {"unique": ["a"]}),
        (
            "quality: [{metric: invalidValues, mustBe: 0, arguments: {validValues: [x, y]}}]",
            {"in": {"a": ["x", "y"]}},
        ),
        ("quality: [{metric: invalidValues, mustBe: 0, arguments: {pattern: '^x'}}]", {"regex": {"a": "^x"}}),
        (
            "logicalType: integer, logicalTypeOptions: {exclusiveMaximum: 10, format: u8}",
            {"range": {"a": [0, 9]}},
        ),
        ("logicalType: string, logicalTypeOptions: {maxLength: 3}", {"regex": {"a": r"\A(?s:.){0,3}\z"}}),
        ("logicalType: string, logicalTypeOptions: {minLength: 1}", {"regex": {"a": r"\A(?s:.){1,}\z"}}),
        (
            "logicalType: date, logicalTypeOptions: {maximum: '2030-01-01'}",
            {"range": {"a": [None, "2030-01-01"]}},
        ),
    ],
)
def test_a_promise_becomes_a_check(field: str, check: dict[str, object]) -> None:
    assert contract_checks(contract(field)) == [check]
    assert unmapped_quality(contract(field)) == ()


@pytest.mark.parametrize(
    ("field", "told"),
    [
        ("quality: [{metric: nullValues, mustBeLessThan: 1, unit: percent}]",
         "a: nullValues mustBeLessThan 1 (library)"),
        ("quality: [{metric: duplicateValues, mustBe: 3}]", "a: duplicateValues mustBe 3 (library)"),
        ("quality: [{metric: missingValues, mustBe: 0, arguments: {missingValues: [null, '']}}]",
         "a: missingValues mustBe 0 (library)"),
        ("quality: [{type: sql, query: SELECT 1, mustBe: 1, name: one}]", "a: one (sql)"),
        ("quality: [{type: custom, engine: soda, implementation: x}]", "a: custom (custom)"),
        ("logicalType: string, logicalTypeOptions: {pattern: '^(?=x)'}", "a: pattern ^(?=x)"),
        ("logicalType: string, logicalTypeOptions: {maxLength: 5000}", "a: maxLength 5000"),
        ("logicalType: number, logicalTypeOptions: {exclusiveMinimum: 0}", "a: exclusiveMinimum 0"),
        ("logicalType: integer, logicalTypeOptions: {multipleOf: 5}", "a: multipleOf 5"),
        ("logicalType: time, logicalTypeOptions: {minimum: '08:00'}", "a: minimum or maximum of a time"),
        ("logicalType: array, logicalTypeOptions: {uniqueItems: true}, items: {logicalType: string}",
         "a: uniqueItems True"),
    ],
)  # fmt: skip
def test_a_promise_without_a_check_is_told(field: str, told: str) -> None:
    assert contract_checks(contract(field)) == []
    assert unmapped_quality(contract(field)) == (told,)


@pytest.mark.parametrize(
    ("rule", "ends"),
    [
        ("mustBe: 5", {"min": 5, "max": 5}),
        ("mustBe: 0", {"min": 0, "max": 0}),
        ("mustBeGreaterThan: 0", {"min": 1}),
        ("mustBeGreaterOrEqualTo: 10", {"min": 10}),
        ("mustBeLessThan: 10", {"max": 9}),
        ("mustBeBetween: [1, 5]", {"min": 1, "max": 5}),
        ("mustBeGreaterOrEqualTo: 0", None),
        ("mustBeGreaterThan: -5", None),
        ("mustBe: 5, unit: percent", None),
        ("mustNotBe: 0", None),
    ],
)
def test_a_row_count_has_ends(rule: str, ends: dict[str, int] | None) -> None:
    found = contract(schema=f"{{metric: rowCount, {rule}}}")
    assert contract_checks(found, whole=True) == ([{"row_count": ends}] if ends else [])
    assert bool(unmapped_quality(found, whole=True)) == (ends is None)


def test_duplicates_over_fields_use_the_names_of_the_source() -> None:
    rule = "{metric: duplicateValues, mustBe: 0, arguments: {properties: [a, %s]}}"
    assert contract_checks(contract(schema=rule % "b")) == [{"unique": ["a", "b_column"]}]
    assert unmapped_quality(contract(schema=rule % "nowhere")) == ("duplicateValues mustBe 0 (library)",)

"""What the contract alone refuses, no source could have made right: refusing early never refuses what would run."""

from __future__ import annotations

import itertools
import json
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest

from lading.assemble import open_format
from lading.binding import Binder
from lading.contract import read_contract
from lading.documents import parse, validate
from lading.errors import LadingError
from lading.export.definition import Export
from lading.inspection import check_problems
from lading.ports import Dataset
from lading.sources.memory import MemorySource

LOGICAL = ("string", "integer", "number", "date", "timestamp", "boolean", "time", "array", None)
TYPES = (
    pa.string(), pa.large_string(), pa.binary(), pa.int8(), pa.int64(), pa.uint64(), pa.float32(), pa.float64(),
    pa.decimal128(38, 0), pa.decimal128(20, 4), pa.decimal128(38, 30), pa.decimal256(76, 0), pa.decimal256(76, 40),
    pa.date32(), pa.timestamp("us"), pa.timestamp("ns", "UTC"), pa.bool_(), pa.time64("us"), pa.list_(pa.int64()),
    pa.dictionary(pa.int32(), pa.string()),
)  # fmt: skip
ENDS: tuple[Any, ...] = (0, 5, -1.5, 0.123456789012345678, 2**70, "2024-01-01", "2024-01-01T00:00:00",
                         "2024-01-01T00:00:00Z")  # fmt: skip
CHECKS: list[dict[str, Any]] = [
    *({"range": {"c": [end, None]}} for end in ENDS),
    *({"in": {"c": [value]}} for value in (*ENDS, True, "x")),
    *({"distribution": {"column": "c", "expect": {value: [0, 1]}}} for value in (1, True, "x", 2**70)),
    {"range": {"c": [0.2, 0.4]}},
    {"unique": ["c"]},
    {"not_null": ["c"]},
    {"regex": {"c": "^x"}},
    {"ordered": {"column": "c"}},
    {"ordered": {"column": "k", "by": ["c"]}},
    {"balance": {"column": "c"}},
    {"balance": {"column": "c", "equals": 0.5}},
    {"freshness": {"column": "c", "max_age": "1h"}},
    {"distribution": {"column": "c", "mean": [0, 1]}},
    {"distribution": {"column": "c", "distinct": [0, 9]}},
]


def given(logical: str | None, check: dict[str, Any]) -> tuple[Any, ...]:
    field: dict[str, Any] = {"name": "c", **({"logicalType": logical} if logical else {})}
    contract = {
        "apiVersion": "v3.1.0", "kind": "DataContract", "id": "t", "name": "t", "version": "1.0.0", "status": "active",
        "schema": [{"name": "t", "logicalType": "object",
                    "properties": [{"name": "k", "logicalType": "integer"}, field]}],
    }  # fmt: skip
    export = {"name": "t", "contract": "t@1", "source": {"connection": "m", "table": "t"}, "destination": "lake",
              "mode": "full_refresh", "format": {"type": "arrow"}, "checks": [check]}  # fmt: skip
    document = parse(json.dumps(export).encode(), "exports/t.yaml")
    return (
        validate(Export, document),
        document,
        read_contract(parse(json.dumps(contract).encode(), "contracts/t.yaml")),
    )


def runs(export: Export, document: Any, contract: Any, type_: pa.DataType) -> bool:
    table = pa.table({"k": pa.array([], pa.int64()), "c": pa.array([], type_)})
    binder = Binder(
        export, document, contract, MemorySource({"t": table}), Dataset(table="t"), open_format(document, "1"), ()
    )  # fmt: skip
    try:
        binder.bind()
    except LadingError:
        return False
    return True


@pytest.mark.parametrize("check", CHECKS, ids=str)
def test_a_check_that_some_source_could_keep_is_never_refused_by_the_contract(check: dict[str, Any]):
    for logical in LOGICAL:
        export, document, contract = given(logical, check)
        problems = list(check_problems(export, document, contract))
        if problems:
            fitting = [type_ for type_ in TYPES if runs(export, document, contract, type_)]
            assert fitting == [], f"{logical}: {problems[0]}"


def test_most_of_what_no_source_could_keep_is_refused_by_the_contract():
    """So that the promise above is not kept by refusing nothing."""
    hopeless = refused = 0
    for logical, check in itertools.product(LOGICAL[:6], CHECKS):
        export, document, contract = given(logical, check)
        if not any(runs(export, document, contract, type_) for type_ in TYPES):
            hopeless += 1
            refused += bool(list(check_problems(export, document, contract)))
    assert Decimal(refused) / hopeless > Decimal("0.8")

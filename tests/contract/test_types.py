from __future__ import annotations

from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lading.contract import ContractField
from lading.contract.types import AS_IS, AS_TEXT, fit

UUID, JSON = pa.uuid(), pa.json_()
UTC = pa.timestamp("us", "UTC")
LOCAL = pa.timestamp("us")
LIST = pa.list_(pa.int32())


def promise(logical: Any, physical: str | None = None, **options: object) -> ContractField:
    return ContractField("x", logical_type=logical, physical_type=physical, options=options)


def column(type_: pa.DataType, native: str = "", logical: str = "") -> pa.Field:
    metadata = {"lading.native": native} if native else {}
    return pa.field("x", type_, metadata=metadata | ({"lading.logical": logical} if logical else {}) or None)


def mismatch(promised: str, native: str) -> str:
    return f'the contract promises {promised} for "x", the source has {native}'


@pytest.mark.parametrize(
    ("promised", "source"),
    [
        (promise("string"), column(pa.string())),
        (promise("string"), column(pa.string_view())),
        (promise("string"), column(pa.dictionary(pa.int32(), pa.string()))),
        (promise("string"), column(pa.string(), "jsonb", "json")),
        (promise("string", "varchar(2)"), column(pa.large_string())),
        (promise("string", format="uuid"), column(UUID)),
        (promise("string", format="binary"), column(pa.binary())),
        (promise("boolean"), column(pa.bool_())),
        (promise("integer"), column(pa.int64())),
        (promise("integer"), column(pa.decimal128(10, 0))),
        (promise("integer", "bigint"), column(pa.int32())),
        (promise("integer", format="i64"), column(pa.int64())),
        (promise("integer", format="u32"), column(pa.int32())),
        (promise("number"), column(pa.float32())),
        (promise("number"), column(pa.string(), "numeric", "decimal")),
        (promise("number", "numeric"), column(pa.string(), "numeric", "decimal")),
        (promise("number", "numeric(15,2)"), column(pa.decimal128(15, 2))),
        (promise("number", "numeric(15,2)"), column(pa.int32())),
        (promise("number", "double precision"), column(pa.float32())),
        (promise("number", "double precision"), column(pa.int32())),
        (promise("number", format="f64"), column(pa.float64())),
        (promise("date"), column(pa.date32())),
        (promise("timestamp"), column(LOCAL)),
        (promise("timestamp", "timestamptz"), column(UTC)),
        (promise("timestamp", "timestamp(3) with time zone"), column(UTC, "timestamp(3) with time zone")),
        (promise("timestamp", timezone=False), column(LOCAL)),
        (promise("time"), column(pa.time64("us"))),
        (promise("time"), column(pa.string(), "time with time zone", "timetz")),
        (promise("object"), column(JSON)),
        (promise("object"), column(pa.string(), "jsonb", "json")),
        (promise("object"), column(pa.struct({"a": pa.int32()}))),
        (promise("array"), column(LIST)),
        (promise("array"), column(pa.string(), "integer[]", "array")),
        (promise("map"), column(pa.map_(pa.string(), pa.int32()))),
        (promise("vector"), column(pa.list_(pa.float32(), 3))),
        (promise(None), column(LIST)),
        (promise(None, "bigint"), column(pa.int64())),
        (promise(None, "geometry(Point, 4326)"), column(pa.string())),
    ],
)
def test_what_fits_is_delivered_as_it_is(promised: ContractField, source: pa.Field) -> None:
    assert fit(promised, source) is AS_IS


@pytest.mark.parametrize(
    "type_", [pa.int32(), UUID, pa.binary(), UTC, LIST, pa.decimal128(10, 2), pa.null(), pa.bool_()]
)
def test_what_is_promised_as_text_is_read_as_text(type_: pa.DataType) -> None:
    assert fit(promise("string"), column(type_)) is AS_TEXT
    assert fit(promise("string"), column(type_), as_text=True).verdict == "refused"


@pytest.mark.parametrize(
    ("promised", "source", "reason"),
    [
        (promise("integer"), column(pa.string(), "text"), mismatch("an integer", "text")),
        (promise("integer"), column(pa.float64(), "double precision"),
         mismatch("an integer", "double precision")),
        (promise("integer"), column(pa.decimal128(10, 2), "numeric(10,2)"),
         mismatch("an integer", "numeric(10,2)")),
        (promise("integer", "integer"), column(pa.int64(), "bigint"),
         mismatch("integer", "bigint")),
        (promise("integer", format="u8"), column(pa.int16(), "smallint"),
         mismatch("an integer of 8 bits (u8)", "smallint")),
        (promise("number"), column(pa.string(), "text"), mismatch("a number", "text")),
        (promise("number", "numeric(15,2)"), column(pa.decimal128(20, 4), "numeric(20,4)"),
         '"x" would be rounded: numeric(20,4) has 4 decimal places, numeric(15,2) has 2'),
        (promise("number", "numeric(15,2)"), column(pa.decimal128(20, 2), "numeric(20,2)"),
         '"x" could overflow: numeric(20,2) has 18 digits before the point, numeric(15,2) has 13'),
        (promise("number", "numeric(15,2)"), column(pa.string(), "numeric", "decimal"),
         '"x" could be rounded: numeric has no limit, numeric(15,2) is promised'),
        (promise("number", "numeric(15,2)"), column(pa.float64(), "double precision"),
         '"x" could be rounded: double precision has no limit, numeric(15,2) is promised'),
        (promise("number", "double precision"), column(pa.decimal128(10, 2), "numeric(10,2)"),
         '"x" could be rounded: 64 bits of floating point do not hold every numeric(10,2)'),
        (promise("number", "real"), column(pa.float64(), "float8"),
         '"x" could be rounded: 32 bits of floating point do not hold every float8'),
        (promise("number", "double"), column(pa.int64(), "bigint"),
         '"x" could be rounded: 64 bits of floating point do not hold every bigint'),
        (promise("boolean"), column(pa.int8()), mismatch("a boolean", "int8")),
        (promise("date"), column(LOCAL, "timestamp"), mismatch("a date", "timestamp")),
        (promise("timestamp"), column(pa.date32(), "date"), mismatch("a timestamp", "date")),
        (promise("timestamp", "timestamptz"), column(LOCAL, "timestamp"),
         mismatch("timestamptz", "timestamp")),
        (promise("timestamp", timezone=True), column(LOCAL, "timestamp"),
         mismatch("a timestamp with time zone", "timestamp")),
        (promise("timestamp", "timestamp(3)"), column(LOCAL, "timestamp"),
         '"x" would be rounded: timestamp is finer than the promised timestamp(3)'),
        (promise("time"), column(pa.string(), "text"), mismatch("a time of day", "text")),
        (promise("object"), column(pa.string(), "text"), mismatch("an object", "text")),
        (promise("array"), column(pa.string(), "text"), mismatch("an array", "text")),
        (promise("map"), column(LIST, "integer[]"), mismatch("a map", "integer[]")),
        (promise("vector"), column(pa.list_(pa.string()), "text[]"),
         mismatch("a vector", "text[]")),
        (promise(None, "bigint"), column(pa.string(), "text"), mismatch("an integer", "text")),
        (promise("integer"), pa.field("x", pa.null(), metadata={"lading.refused": "a domain over a range"}),
         'the column "x" cannot be delivered: a domain over a range'),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused_with_the_reason(
    promised: ContractField, source: pa.Field, reason: str
) -> None:
    found = fit(promised, source)
    assert (found.verdict, found.reason) == ("refused", reason)


def test_promises_hold_inside_arrays_and_objects() -> None:
    texts = ContractField("x", logical_type="array", items=ContractField("items", logical_type="string"))
    assert fit(texts, column(pa.list_(pa.string()))) is AS_IS
    assert (
        fit(texts, column(LIST, "integer[]")).reason
        == 'the contract promises text inside "x", the source has integer[]'
    )
    dates = ContractField("x", logical_type="array", items=ContractField("items", logical_type="date"))
    assert fit(dates, column(LIST)).reason == (
        'inside "x": the contract promises a date for "items", the source has int32'
    )
    shape = ContractField(
        "x", logical_type="object", properties=(ContractField("a", logical_type="integer"),)
    )
    assert fit(shape, column(pa.struct({"a": pa.int32()}))) is AS_IS
    assert fit(shape, column(pa.struct({"b": pa.int32()}))).reason == (
        'the contract promises "a" inside "x", the source has no such member'
    )


scales = st.integers(1, 38).flatmap(lambda p: st.tuples(st.just(p), st.integers(0, p)))


@given(scales, scales)
def test_a_decimal_fits_where_its_greatest_and_its_finest_value_do(
    promised: tuple[int, int], source: tuple[int, int]
) -> None:
    extremes = [Decimal(f"{'9' * source[0]}E-{source[1]}"), Decimal(f"1E-{source[1]}")]
    try:
        pa.array(extremes, pa.decimal128(*source)).cast(pa.decimal128(*promised))
        holds = True
    except pa.ArrowInvalid:
        holds = False
    found = fit(promise("number", f"numeric({promised[0]},{promised[1]})"), column(pa.decimal128(*source)))
    assert (found is AS_IS) == holds


@given(
    st.sampled_from([pa.int8(), pa.int16(), pa.int32(), pa.int64(), pa.uint8(), pa.uint32()]),
    st.sampled_from([16, 32, 64]),
)
def test_an_integer_fits_where_its_extremes_do(type_: pa.DataType, bits: int) -> None:
    names = {16: "smallint", 32: "integer", 64: "bigint"}
    greatest = 2 ** (type_.bit_width - pa.types.is_signed_integer(type_)) - 1
    found = fit(promise("integer", names[bits]), column(type_))
    assert (found is AS_IS) == (greatest <= 2 ** (bits - 1) - 1)

from __future__ import annotations

import base64
import gzip
import io
import json
import uuid
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings

from lading.errors import DataRefused, IntegrityError, SchemaMismatch
from lading.formats.jsonl import JsonlFormat, JsonlOptions
from lading.ports import LOGICAL
from lading.testing.format import SCHEMA, FormatSuite, batch_of, differences, rows, sample, scan, write


class TestJsonl(FormatSuite):
    @pytest.fixture(params=["none", "gzip", "zstd"])
    def format(self, request: pytest.FixtureRequest) -> JsonlFormat:
        return JsonlFormat(JsonlOptions(compression=request.param))


class TestJsonlWithStrings(FormatSuite):
    @pytest.fixture
    def format(self) -> JsonlFormat:
        return JsonlFormat(JsonlOptions(int64="string", nan="string"))


def table(**columns: Any) -> Any:
    return pa.record_batch(columns)


def lines(batch: Any, types: Any = "portable", **options: Any) -> list[str]:
    data, _ = write(JsonlFormat(JsonlOptions(**options)), [batch], types)
    return data.decode().splitlines()


# D3, design law 8
@settings(max_examples=60, deadline=None)
@given(values=rows())
def test_python_reads_exactly_what_was_written(values: list[dict[str, Any]]) -> None:
    batch = batch_of(values)
    data, _ = write(JsonlFormat(), [batch])
    assert data.count(b"\n") == len(values)
    found = [json.loads(line) for line in data.split(b"\n")[:-1]]
    assert all(list(row) == SCHEMA.names for row in found)

    def restored(name: str, value: Any) -> Any:
        if value is None:
            return None
        if name in ("price", "fine", "huge"):
            return Decimal(value)
        if name == "raw":
            return base64.b64decode(value, validate=True)
        if name == "uuid":
            return uuid.UUID(value).bytes
        if name in ("day", "local", "clock"):
            return type(next(r[name] for r in values if r[name] is not None)).fromisoformat(value)
        if name == "moment":
            return datetime.fromisoformat(value)
        if name == "double":
            return float(value)
        if name == "single":
            return pa.array([float(value)]).cast(pa.float32())[0].as_py()
        if name == "pair":
            return {"a": value["a"], "b": None if value["b"] is None else Decimal(value["b"])}
        if name == "tags":
            return list(value.items())
        return value

    for name in SCHEMA.names:
        wanted = batch.column(name).to_pylist()
        if name == "doc":  # embedded as it stands
            wanted = [value if value is None else json.loads(value) for value in wanted]
        got = [row[name] for row in found]
        assert not list(differences([restored(name, value) for value in got], wanted)), name


# D3
@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(values=rows())
def test_duckdb_reads_exactly_what_was_written(values: list[dict[str, Any]], tmp_path: Path) -> None:
    names = [
        "id",
        "small",
        "large",
        "double",
        "price",
        "fine",
        "flag",
        'te"xt, ö',
        "day",
        "local",
        "numbers",
        "words",
    ]
    kinds = ["BIGINT", "TINYINT", "UBIGINT", "DOUBLE", "DECIMAL(15,2)", "DECIMAL(38,10)", "BOOLEAN", "VARCHAR", "DATE",
             "TIMESTAMP", "BIGINT[]", "VARCHAR[][]"]  # fmt: skip
    batch = batch_of(values).select(names)
    path = tmp_path / "t.jsonl"
    path.write_bytes(write(JsonlFormat(), [batch])[0])
    columns = dict(zip(names, kinds, strict=True))
    with duckdb.connect() as connection:
        relation = connection.execute(
            "select * from read_json(?, format='newline_delimited', columns=?)", [str(path), columns]
        )
        found = relation.fetchall()
    for i, name in enumerate(names):
        assert not list(differences([row[i] for row in found], batch.column(name).to_pylist())), name


# D3, correction 7
def test_decimals_are_strings_when_portable_and_numbers_of_all_digits_when_exact() -> None:
    batch = table(d=pa.array([Decimal("12345678901234567890.10"), None], pa.decimal128(30, 2)))
    assert lines(batch) == ['{"d":"12345678901234567890.10"}', '{"d":null}']
    assert lines(batch, "exact") == ['{"d":12345678901234567890.10}', '{"d":null}']
    data, _ = write(JsonlFormat(), [batch], "exact")
    assert scan(JsonlFormat(), data, batch.schema, "exact").to_batches()[0] == batch


def test_int64_may_be_strings() -> None:
    batch = table(a=pa.array([2**63 - 1, None]), b=pa.array([1, 2], pa.int32()))
    assert lines(batch) == ['{"a":9223372036854775807,"b":1}', '{"a":null,"b":2}']
    assert lines(batch, int64="string") == ['{"a":"9223372036854775807","b":1}', '{"a":null,"b":2}']
    assert JsonlFormat(JsonlOptions(int64="string")).notices() == ("64-bit integers are JSON strings",)


# D3
def test_times_are_rfc_3339() -> None:
    moment = datetime(2013, 1, 1, 5, tzinfo=UTC)
    batch = table(
        s=pa.array([moment], pa.timestamp("s", "UTC")),
        us=pa.array([moment], pa.timestamp("us", "America/New_York")),
        naive=pa.array([moment.replace(tzinfo=None)], pa.timestamp("ms")),
    )
    (line,) = lines(batch)
    assert json.loads(line) == {
        "s": "2013-01-01T05:00:00Z",
        "us": "2013-01-01T05:00:00.000000Z",
        "naive": "2013-01-01T05:00:00.000",
    }
    frame = pd.read_json(io.StringIO(line), lines=True, dtype=False)
    assert pd.to_datetime(frame["us"])[0] == pd.Timestamp(moment)


@pytest.mark.parametrize(
    ("column", "message"),
    [
        (
            pa.array([-719163, 0, 2932897], pa.int32()).view(pa.date32()),
            "'c': at least 2 values are dates outside",
        ),
        (
            pa.array([2**62], pa.int64()).view(pa.timestamp("us")),
            "'c': at least 1 value is timestamps outside",
        ),
        (
            pa.array([86_400_000_000], pa.int64()).view(pa.time64("us")),
            "'c': at least 1 value is from 24:00 on",
        ),
        (pa.array([1.0, float("nan"), float("-inf"), None]), "'c': at least 2 values are NaN or infinite"),
        (pa.array([[1.0, float("nan")]]), r"'c\[\]': at least 1 value is NaN or infinite"),
    ],
)
def test_values_that_json_has_no_form_for_refuse_the_file(column: Any, message: str) -> None:
    with pytest.raises(DataRefused, match=message):
        lines(table(c=column))


def test_nan_may_be_null_or_a_string() -> None:
    batch = table(f=[1.5, float("nan"), float("inf"), float("-inf"), None])
    assert lines(batch, nan="null") == ['{"f":1.5}', *['{"f":null}'] * 4]
    assert lines(batch, nan="string")[1:] == [
        '{"f":"NaN"}',
        '{"f":"Infinity"}',
        '{"f":"-Infinity"}',
        '{"f":null}',
    ]
    assert len(JsonlFormat(JsonlOptions(nan="null")).notices()) == 1
    assert len(JsonlFormat(JsonlOptions(nan="string")).notices()) == 1


def test_json_columns_are_embedded_on_one_line() -> None:
    schema = pa.schema([pa.field("doc", pa.string(), metadata={LOGICAL: b"json"})])
    batch = pa.RecordBatch.from_arrays([pa.array(['{"a":\r\n 1.10}', None, '"x"'])], schema=schema)
    assert lines(batch) == ['{"doc":{"a":   1.10}}', '{"doc":null}', '{"doc":"x"}']
    extension = pa.record_batch({"doc": pa.array(["[1]"], pa.json_())})
    assert lines(extension) == ['{"doc":[1]}']


@pytest.mark.parametrize("null", ["null", " null\n"])
def test_a_json_null_is_refused_where_it_would_be_taken_for_a_missing_value(null: str) -> None:
    schema = pa.schema([pa.field("doc", pa.string(), metadata={LOGICAL: b"json"})])
    batch = pa.RecordBatch.from_arrays([pa.array(['"null"', null, None, "[null]", null])], schema=schema)
    with pytest.raises(DataRefused, match=r"column 'doc' holds the JSON value null \(2 in all\)"):
        lines(batch)
    assert lines(batch.filter(pa.array([True, False, True, True, False])))[1] == '{"doc":null}'


def test_every_control_character_is_escaped() -> None:
    text = "".join(map(chr, range(32))) + '"\\/\x7f\u2028\u2029é😀'
    (line,) = lines(table(t=[text]))
    assert json.loads(line) == {"t": text}
    assert line.isprintable() or line.replace("\x7f", "").isprintable()
    assert "é😀" in line
    assert "\\u2028" in line


def test_maps_without_text_keys_are_arrays_of_pairs() -> None:
    batch = table(m=pa.array([[(1, "a")], None, []], pa.map_(pa.int32(), pa.string())))
    assert lines(batch) == ['{"m":[{"key":1,"value":"a"}]}', '{"m":null}', '{"m":[]}']
    data, _ = write(JsonlFormat(), [batch])
    assert scan(JsonlFormat(), data, batch.schema)["m"].to_pylist() == batch.column("m").to_pylist()


def test_other_encodings_of_a_column_give_the_same_lines() -> None:
    texts = ["a", None, "b"]
    kinds = [pa.large_string(), pa.string_view(), pa.dictionary(pa.int32(), pa.string())]
    expected = lines(table(t=pa.array(texts)))
    for kind in kinds:
        assert lines(table(t=pa.array(texts).cast(kind))) == expected
    assert lines(table(t=pa.array([[1], None], pa.large_list(pa.int8())))) == ['{"t":[1]}', '{"t":null}']
    assert lines(table(t=pa.array([[1, 2], None], pa.list_(pa.int8(), 2)))) == ['{"t":[1,2]}', '{"t":null}']
    assert lines(table(t=pa.nulls(1))) == ['{"t":null}']
    assert lines(table(t=pa.array([0.1], pa.float32()))) == ['{"t":0.1}']


def test_a_type_without_a_json_form_is_refused_by_name() -> None:
    schema = pa.schema([pa.field("shape", pa.opaque(pa.binary(), "box", "postgres"))])
    with pytest.raises(SchemaMismatch, match="'shape'"):
        JsonlFormat().schema(schema, "portable")


# D3
def test_gzip_is_deterministic_and_opens_with_anything() -> None:
    format = JsonlFormat(JsonlOptions(compression="gzip"))
    plain, _ = write(JsonlFormat(), [sample(3000)])
    data, _ = write(format, [sample(3000)])
    assert (format.codec, format.suffix) == ("gz", "jsonl.gz")
    assert gzip.decompress(data) == plain
    assert data[3:8] == bytes(5)  # no name, no time


@pytest.mark.parametrize("bad", [b"{", b"[1]", b'{"a":1,"b":2}', b'{"b":1}', b'{"a":"x"}', b'{"a":1.5}'])
def test_what_does_not_fit_is_an_integrity_error(bad: bytes) -> None:
    with pytest.raises(IntegrityError):
        list(JsonlFormat().scan(io.BytesIO(bad + b"\n"), pa.schema([("a", pa.int64())])))


def test_a_number_in_a_text_column_is_an_integrity_error() -> None:
    with pytest.raises(IntegrityError, match="'a'"):
        list(JsonlFormat().scan(io.BytesIO(b'{"a":1}\n'), pa.schema([("a", pa.string())])))


# Law 8: the sign of a zero is lost where a reader takes it for an integer
def test_a_negative_zero_is_no_integer() -> None:
    assert lines(table(f=[-0.0, 0.0, None, 1.0])) == ['{"f":-0.0}', '{"f":0}', '{"f":null}', '{"f":1}']


REFUSED = {
    "half of a pair": r'{"a":["\ud800"]}',
    "the other half": r'"x\uDFFF"',
    "half of a pair as a key": r'{"\ud83d":1}',
    "too many digits": '{"n":%s}' % ("7" * 5_000),
    "too many digits below zero": "-" + "7" * 5_000,
    "too many levels": "[" * 900 + "]" * 900,
    "levels that no parser takes": '{"a":' * 5_000 + "1" + "}" * 5_000,
}


@pytest.mark.parametrize("value", REFUSED.values(), ids=REFUSED)
@pytest.mark.parametrize("inside", [False, True])
def test_json_that_no_reader_could_read_back_is_refused_and_its_column_named(
    value: str, inside: bool
) -> None:
    docs = pa.array(["1", None, value], pa.json_())
    column = pa.StructArray.from_arrays([docs], ["part"]) if inside else docs
    named = "doc.part" if inside else "doc"
    batch = pa.record_batch({"doc": column})
    with pytest.raises(DataRefused, match=f"column '{named}' holds at least 1 JSON value that") as refused:
        write(JsonlFormat(), [batch])
    assert value[:9] not in str(refused.value)


@pytest.mark.parametrize(
    "value",
    [
        r'"\ud83d\ude00"',
        r'"\\ud800"',
        '"%s"' % ("7" * 5_000),
        "7" * 4_300,
        "0.%s" % ("7" * 5_000),
        "[" * 200 + "]" * 200,
        '"%s"' % ("[" * 900),
        "[[]" + ",[]" * 900 + "]",
    ],
)
def test_json_that_only_looks_like_it_is_delivered_and_read_back(value: str) -> None:
    batch = pa.record_batch({"doc": pa.array([value], pa.json_())})
    data, _ = write(JsonlFormat(), [batch])
    assert data == b'{"doc":%s}\n' % value.encode()
    scan(JsonlFormat(), data, batch.schema)

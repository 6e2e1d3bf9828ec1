from __future__ import annotations

import base64
import csv
import gzip
import io
import json
import uuid
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from lading.errors import DataRefused, IntegrityError, SchemaMismatch
from lading.formats.csv import CsvFormat, CsvOptions
from lading.testing.format import (
    SCHEMA,
    TRICKY_TEXTS,
    FormatSuite,
    batch_of,
    differences,
    rows,
    sample,
    scan,
    write,
)

DIALECTS: list[dict[str, Any]] = [
    {},
    {"compression": "gzip"},
    {"compression": "zstd", "header": False},
    {"delimiter": ";", "null_marker": "NULL", "line_ending": "crlf"},
    {"delimiter": "\t", "quote": "'", "null_marker": "\\N"},
    {"escape": "\\", "null_marker": "null"},
    {"bom": True, "delimiter": "|"},
]


class TestCsv(FormatSuite):
    @pytest.fixture(params=DIALECTS, ids=str)
    def format(self, request: pytest.FixtureRequest) -> CsvFormat:
        return CsvFormat(CsvOptions(**request.param))


def encoded(columns: dict[str, Any], **options: Any) -> str:
    return write(CsvFormat(CsvOptions(**options)), [pa.record_batch(columns)])[0].decode()


def text_columns(*values: str | None) -> dict[str, Any]:
    return {"n": pa.array(range(len(values))), "t": pa.array(values, pa.string())}


# D4, design law 8
@settings(max_examples=60, deadline=None)
@given(values=rows(finite=False))
def test_python_reads_exactly_what_was_written(values: list[dict[str, Any]]) -> None:
    batch = batch_of(values)
    data, _ = write(CsvFormat(CsvOptions(null_marker="\\N")), [batch])
    header, *found = csv.reader(io.StringIO(data.decode(), newline=""), strict=True)
    assert header == SCHEMA.names
    convert: dict[str, Any] = {
        "id": int, "small": int, "large": int, "double": float, "price": Decimal, "fine": Decimal, "huge": Decimal,
        "flag": lambda t: {"true": True, "false": False}[t], "kind": str,
        "raw": lambda t: base64.b64decode(t, validate=True),
        "uuid": lambda t: uuid.UUID(t).bytes, "local": datetime.fromisoformat, "moment": datetime.fromisoformat,
        "numbers": json.loads, "words": json.loads, "tags": lambda t: list(json.loads(t).items()),
        "single": lambda t: pa.array([t]).cast(pa.float32())[0].as_py(),
        "pair": lambda t: (json.loads(t)["a"], json.loads(t, parse_float=Decimal, parse_int=Decimal)["b"]),
        "day": lambda t: datetime.fromisoformat(t).date(),
        "clock": lambda t: datetime.fromisoformat("2000-01-01T" + t).time(),
    }  # fmt: skip
    for i, name in enumerate(SCHEMA.names):
        wanted = batch.column(name).to_pylist()
        if name == "pair":
            wanted = [v if v is None else (v["a"], v["b"]) for v in wanted]
        cells = [row[i] for row in found]
        back = convert.get(name, str)
        # The csv module does not tell a quoted marker from a bare one; scan and DuckDB do, below.
        got = [w if cell == "\\N" else back(cell) for cell, w in zip(cells, wanted, strict=True)]
        assert not list(differences(got, wanted)), name


# D4
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(values=rows(finite=False), dialect=st.sampled_from([DIALECTS[0], DIALECTS[3], DIALECTS[5]]))
def test_duckdb_reads_exactly_what_was_written(
    values: list[dict[str, Any]], dialect: dict[str, Any], tmp_path: Path
) -> None:
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
        "clock",
        "doc",
    ]
    kinds = ["BIGINT", "TINYINT", "UBIGINT", "DOUBLE", "DECIMAL(15,2)", "DECIMAL(38,10)", "BOOLEAN", "VARCHAR", "DATE",
             "TIMESTAMP", "TIME", "VARCHAR"]  # fmt: skip
    options = CsvOptions(**dialect)
    batch = batch_of(values).select(names)
    path = tmp_path / "t.csv"
    path.write_bytes(write(CsvFormat(options), [batch])[0])
    escape = '"' if options.escape == "double" else options.escape
    new_line = {"lf": "\\n", "crlf": "\\r\\n"}[options.line_ending]
    with duckdb.connect() as connection:
        found = connection.execute(
            "select * from read_csv(?, header=true, auto_detect=false, columns=?, delim=?, quote='\"', escape=?,"
            " nullstr=?, allow_quoted_nulls=false, new_line=?)",
            [
                str(path),
                dict(zip(names, kinds, strict=True)),
                options.delimiter,
                escape,
                options.null_marker,
                new_line,
            ],
        ).fetchall()
    for i, name in enumerate(names):
        assert not list(differences([row[i] for row in found], batch.column(name).to_pylist())), name


@pytest.mark.parametrize("dialect", DIALECTS, ids=str)
@settings(max_examples=30, deadline=None)
@given(values=rows(finite=False))
def test_null_and_every_text_come_back_apart(dialect: dict[str, Any], values: list[dict[str, Any]]) -> None:
    batch = batch_of(values)
    format = CsvFormat(CsvOptions(**dialect))
    data, _ = write(format, [batch], "exact")
    table = scan(format, data, SCHEMA, "exact")
    for name in SCHEMA.names:
        if table.schema.field(name).type == SCHEMA.field(name).type:
            assert not list(differences(table[name].to_pylist(), batch.column(name).to_pylist())), name


# D4
def test_null_is_bare_and_the_empty_string_is_quoted() -> None:
    assert encoded(text_columns("a", None, "", "x,y", 'q"')) == 'n,t\n0,a\n1,\n2,""\n3,"x,y"\n4,"q"""\n'
    assert (
        encoded(text_columns("a", None, "", "NULL"), null_marker="NULL") == 'n,t\n0,a\n1,NULL\n2,\n3,"NULL"\n'
    )


# D4: the dialect of the specification
def test_backslash_escapes_quotes_and_itself() -> None:
    assert encoded(text_columns('q"', "b\\", "ab"), escape="\\") == 'n,t\n0,"q\\""\n1,"b\\\\"\n2,ab\n'


def test_pandas_reads_marked_nulls() -> None:
    text = encoded(text_columns(*TRICKY_TEXTS, None), null_marker="<null>")
    frame = pd.read_csv(
        io.StringIO(text, newline=""), keep_default_na=False, na_values=["<null>"], lineterminator="\n"
    )
    assert frame["t"].where(frame["t"].notna(), None).tolist()[:-1] == list(TRICKY_TEXTS)
    assert frame["t"].isna().tolist() == [False] * len(TRICKY_TEXTS) + [True]


def test_without_quotes_what_needs_them_is_refused() -> None:
    assert encoded(text_columns("a", None, 'q"'), quote="") == 'n,t\n0,a\n1,\n2,q"\n'
    for value in ("", "a,b", "a\nb"):
        with pytest.raises(DataRefused, match="column 't': at least 1 value needs quotes"):
            encoded(text_columns("ok", value), quote="")


def test_the_formula_guard_is_off_unless_asked_for_and_says_so() -> None:
    texts = text_columns("=1+1", "+1", "-1", "@x", "\tx", "\rx", "a=b", None, "")
    assert "0,=1+1\n" in encoded(texts)
    assert CsvFormat().notices() == ()
    guarded = encoded(texts | {"i": pa.array([-1] * 9)}, formula_guard=True)
    cells = list(csv.reader(io.StringIO(guarded, newline="")))
    assert [row[1] for row in cells[1:]] == ["'=1+1", "'+1", "'-1", "'@x", "'\tx", "'\rx", "a=b", "", ""]
    assert {row[2] for row in cells[1:]} == {"-1"}
    assert "formula guard" in CsvFormat(CsvOptions(formula_guard=True)).notices()[0]


def test_a_guarded_name_of_a_column_is_read_back() -> None:
    batch = pa.record_batch({"@note": pa.array(["=a", "b"]), "n": pa.array([1, 2])})
    format = CsvFormat(CsvOptions(formula_guard=True))
    data, _ = write(format, [batch])
    assert data.startswith(b"'@note,n\n'=a,1\n")
    found = pa.Table.from_batches(format.scan(io.BytesIO(data), batch.schema))
    assert found.to_pydict() == {"@note": ["'=a", "b"], "n": [1, 2]}


def test_line_ends_header_and_byte_order_mark_are_as_configured() -> None:
    columns = {"a,b": pa.array([1]), "c": pa.array(["x"])}
    assert encoded(columns) == '"a,b",c\n1,x\n'
    assert encoded(columns, line_ending="crlf", bom=True) == '\ufeff"a,b",c\r\n1,x\r\n'
    assert encoded(columns, header=False, delimiter="|") == "1|x\n"


def test_decimals_are_plain_digits_at_every_scale() -> None:
    values = ["0", "-0.0000000001", "0.0000001234", "12345678901234567890.5", "-7"]
    for kind in (pa.decimal128(38, 10), pa.decimal256(60, 30)):
        cells = [
            line.split(",")[1]
            for line in encoded(
                {"n": pa.array([0] * 5), "d": pa.array(map(Decimal, values), kind)}
            ).splitlines()[1:]
        ]
        assert [Decimal(cell) for cell in cells] == list(map(Decimal, values))
        assert all("E" not in cell and len(cell.split(".")[1]) == kind.scale for cell in cells)
        if kind.scale == 10:
            assert cells == ["0.0000000000", *values[1:3], "12345678901234567890.5000000000", "-7.0000000000"]
    negative = encoded(
        {"n": pa.array([0, 1]), "d": pa.array([Decimal("12300"), Decimal(0)], pa.decimal128(5, -2))}
    )
    assert negative == "n,d\n0,12300\n1,0\n"


def test_a_nullable_column_alone_needs_a_marker() -> None:
    with pytest.raises(SchemaMismatch, match="'a' stands alone"):
        CsvFormat().schema(pa.schema([("a", pa.int64())]), "portable")
    assert encoded({"a": pa.array([1, None])}, null_marker="\\N") == "a\n1\n\\N\n"


def test_gzip_is_deterministic_and_opens_with_anything() -> None:
    format = CsvFormat(CsvOptions(compression="gzip"))
    data, _ = write(format, [sample(3000)])
    assert gzip.decompress(data) == write(CsvFormat(), [sample(3000)])[0]
    assert (format.codec, format.suffix) == ("gz", "csv.gz")


@pytest.mark.parametrize(
    "options",
    [
        {"delimiter": "ab"},
        {"delimiter": "a"},
        {"delimiter": "-"},
        {"delimiter": '"'},
        {"quote": "\n"},
        {"escape": '"'},
        {"escape": "\\", "null_marker": "\\N"},
        {"null_marker": "0"},
        {"null_marker": "nan"},
        {"null_marker": "PT0S"},
        {"null_marker": "-P1D"},
        {"null_marker": "true"},
        {"null_marker": "a,b"},
        {"null_marker": " x"},
    ],
    ids=str,
)
def test_dialects_that_cannot_be_read_back_are_refused(options: dict[str, str]) -> None:
    with pytest.raises(ValidationError):
        CsvOptions.model_validate(options)


@pytest.mark.parametrize("bad", [b"", b"a,c\n1,x\n", b"a,b\n1\n", b"a,b\nx,y\n", b"a,b\n1,2,3\n"])
def test_what_does_not_fit_is_an_integrity_error(bad: bytes) -> None:
    with pytest.raises(IntegrityError):
        list(CsvFormat().scan(io.BytesIO(bad), pa.schema([("a", pa.int64()), ("b", pa.string())])))


@pytest.mark.parametrize("escape", ["double", "\\"])
@pytest.mark.parametrize("size", range(1, 12))
def test_rows_are_whole_wherever_a_file_is_cut_for_reading(
    size: int, escape: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lading.formats.csv._READ", size)
    texts = ["a\nb", '"', '\n"\n', "\\", '\\"\n', "", None, "x,\r\n", "\n\n"]
    batch = pa.record_batch({"t": pa.array(texts), "n": pa.array(range(len(texts)))})
    format = CsvFormat(CsvOptions(escape=escape))
    data, _ = write(format, [batch])
    assert pa.Table.from_batches(format.scan(io.BytesIO(data), batch.schema)).equals(
        pa.Table.from_batches([batch])
    )


def test_a_mark_that_begins_a_value_is_read_back_wherever_a_block_begins(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("lading.formats.csv._READ", 5)
    batch = pa.record_batch({"t": pa.array(["\ufeff", "\ufeffa", "b", "\ufeff\ufeff"] * 3)})
    format = CsvFormat(CsvOptions(null_marker="\\N"))
    data, _ = write(format, [batch])
    found = pa.Table.from_batches(format.scan(io.BytesIO(data), batch.schema))
    assert found.to_pydict() == batch.to_pydict()


def test_a_row_of_seventy_megabytes_is_read_back() -> None:
    batch = pa.record_batch(
        {"t": pa.array(["a", ('x"' * 350 + "\n") * 100_000, "b"]), "n": pa.array(range(3))}
    )
    data, _ = write(CsvFormat(), [batch])
    found = pa.Table.from_batches(CsvFormat().scan(io.BytesIO(data), batch.schema))
    assert found.equals(pa.Table.from_batches([batch]))


def test_a_row_that_never_ends_is_an_integrity_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lading.formats.csv._READ", 8)
    monkeypatch.setattr("lading.formats.csv._MOST", 32)
    with pytest.raises(IntegrityError, match="row is larger"):
        list(CsvFormat().scan(io.BytesIO(b'a\n"' + b"x\n" * 99), pa.schema([("a", pa.string())])))


# A byte order mark belongs to the file, U+FEFF in a text to the text.
@pytest.mark.parametrize("bom", [False, True])
@pytest.mark.parametrize("compression", ["none", "gzip", "zstd"])
def test_a_file_of_no_rows_reads_back_with_and_without_header_and_mark(bom: bool, compression: str) -> None:
    for header in (False, True):
        format = CsvFormat(
            CsvOptions.model_validate({"header": header, "bom": bom, "compression": compression})
        )
        empty = pa.schema([("a", pa.int64()), ("b", pa.string())]).empty_table()
        data, _ = write(format, [pa.RecordBatch.from_pylist([], schema=empty.schema)])
        assert sum(batch.num_rows for batch in format.scan(io.BytesIO(data), empty.schema)) == 0


@pytest.mark.parametrize("bom", [False, True])
def test_a_first_text_that_begins_with_a_byte_order_mark_keeps_it(bom: bool) -> None:
    columns = {"t": pa.array(["\ufeffx", "y", None]), "\ufeffn": pa.array(["\ufeff", "\ufeffz", "z"])}
    for header in (False, True):
        batch = pa.record_batch(columns if not header else {"\ufeffn": columns["\ufeffn"], "t": columns["t"]})
        format = CsvFormat(CsvOptions(header=header, bom=bom))
        data, _ = write(format, [batch])
        assert pa.Table.from_batches(format.scan(io.BytesIO(data), batch.schema)).equals(
            pa.Table.from_batches([batch])
        )
        text = data.decode("utf-8-sig" if bom else "utf-8")
        found = list(csv.reader(io.StringIO(text, newline="")))
        assert found[-3:][0][0] == batch.column(0)[0].as_py()
        assert data.decode().startswith('\ufeff"\ufeff' if bom else '"\ufeff')
    with pytest.raises(DataRefused, match="1 value needs quotes"):
        encoded({"t": pa.array(["\ufeffx"]), "n": pa.array([1])}, header=False, quote="")


def test_a_file_without_its_byte_order_mark_is_an_integrity_error() -> None:
    format = CsvFormat(CsvOptions(bom=True))
    with pytest.raises(IntegrityError, match="byte order mark"):
        list(format.scan(io.BytesIO(b"a,b\n1,x\n"), pa.schema([("a", pa.int64()), ("b", pa.string())])))

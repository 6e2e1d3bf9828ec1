"""PostgreSQL's types through a reading, compared with PostgreSQL's own text: exact, or refused by column."""

from __future__ import annotations

import json
import uuid
from decimal import Decimal
from typing import Any

import psycopg
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lading.errors import DataRefused
from lading.ports import LOGICAL, NATIVE, Dataset, Query, Types
from lading.sources.postgres import PostgresOptions, PostgresSource
from lading.testing.source import collect

T = Dataset(table="t")
US = pa.timestamp("us")


def arrow(
    url: str, kind: str, values: list[str | None], types: Types = "portable", *, text: bool = False
) -> pa.Table:
    """The values, as PostgreSQL's input text, in a column ``v`` of this type, read back; ``t`` is PostgreSQL's text."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("drop table if exists t")
        connection.execute(f"create table t (i serial, v {kind}, t text)")
        for value in values:
            connection.execute(f"insert into t (v) values (%s::text::{kind})", (value,))
        connection.execute("set timezone = 'UTC'")
        connection.execute("set intervalstyle = 'iso_8601'")
        connection.execute("update t set t = v::text")
    as_text = frozenset({"v"}) if text else frozenset()
    with PostgresSource(PostgresOptions(url=url)).open(Query(T, ("i", "v", "t"), as_text, types)) as reading:
        return collect(reading).sort_by("i")


def since(postgres: Any, version: int, what: str) -> None:
    if postgres.version < version:
        pytest.skip(f"PostgreSQL {postgres.version} has no {what}")


def values(table: pa.Table) -> list[Any]:
    return list(table.column("v").to_pylist())


def logical(table: pa.Table) -> str:
    return str(table.schema.field("v").metadata.get(LOGICAL, b"").decode())


EXACT_BY_TEXT = [
    ("int2", pa.int16(), ["-32768", "32767", None]),
    ("int4", pa.int32(), ["-2147483648", "2147483647"]),
    ("int8", pa.int64(), ["-9223372036854775808", "9223372036854775807"]),
    ("oid", pa.int64(), ["0", "4294967295"]),
    ("numeric(1)", pa.decimal128(1, 0), ["9", "-9", "0", None]),
    ("numeric(9,2)", pa.decimal128(9, 2), ["9999999.99", "-0.01"]),
    ("numeric(18,9)", pa.decimal128(18, 9), ["999999999.999999999", "0.000000001"]),
    ("numeric(38,0)", pa.decimal128(38, 0), ["9" * 38, "-" + "9" * 38]),
    ("numeric(38,37)", pa.decimal128(38, 37), ["-9." + "9" * 37, "0." + "0" * 36 + "1"]),
]


@pytest.mark.parametrize(("kind", "type_", "given_"), EXACT_BY_TEXT, ids=[row[0] for row in EXACT_BY_TEXT])
def test_numbers_arrive_digit_by_digit(
    url: str, kind: str, type_: pa.DataType, given_: list[str | None]
) -> None:
    got = arrow(url, kind, given_)
    assert got.schema.field("v").type == type_
    assert [
        None if v is None else f"{v:f}" if isinstance(v, Decimal) else str(v) for v in values(got)
    ] == got.column("t").to_pylist()


@pytest.mark.parametrize(
    ("kind", "name", "given_"),
    [
        ("numeric", "decimal", ["1" * 200 + ".5", "NaN", "Infinity", "-0.000", None]),
        ("numeric(39,2)", "decimal", ["9" * 37 + ".99", "NaN"]),
        ("numeric(5,-2)", "decimal", ["12345"]),
        ("numeric(3,5)", "decimal", ["0.00123"]),
        ("money", "money", ["1234.50"]),
        ("timetz", "timetz", ["24:00:00+02", "10:00:00.000001-11:30"]),
        ("interval", "interval", ["1 year 2 mons -3 days 04:05:06.789", "-178000000 years"]),
        ("interval", "interval", ["infinity", "-infinity"]),
        ("uuid", "uuid", ["123e4567-e89b-12d3-a456-426614174000"]),
        ("json", "json", ['{"b": 1,  "a": 1.10, "a": "é"}', "null"]),
        ("jsonb", "json", ['{"b":1,"a":12345678901234567890.10}']),
        ("inet", "inet", ["::1/64", "10.0.0.1"]),
        ("cidr", "cidr", ["10.0.0.0/8"]),
        ("macaddr", "macaddr", ["08:00:2b:01:02:03"]),
        ("macaddr8", "macaddr8", ["08:00:2b:01:02:03:04:05"]),
        ("bit(5)", "bit", ["10101"]),
        ("varbit", "varbit", ["101", ""]),
        ("tsvector", "tsvector", ["a:1 b:2"]),
        ("tsquery", "tsquery", ["a & b"]),
        ("pg_lsn", "pg_lsn", ["16/B374D848"]),
        ("point", "point", ["(1.1,2.2)"]),
        ("polygon", "polygon", ["((0,0),(1,1))"]),
        ("int4range", "int4range", ["[1,10)", "empty"]),
        ("nummultirange", "nummultirange", ["{[1.5,2.5),(7,)}"]),
        ("bytea[]", "bytea[]", ['{"\\\\xdead",null}']),
        ("int2vector", "int2vector", ["1 2"]),
        ("jsonpath", "jsonpath", ["$.a"]),
        ("xid8", "xid8", ["123"]),
    ],
)
def test_what_arrow_has_no_type_for_is_text_and_says_what_it_is(
    postgres: Any, url: str, kind: str, name: str, given_: list[str | None]
) -> None:
    if kind in ("numeric(5,-2)", "numeric(3,5)"):
        since(postgres, 15, "scales beyond a numeric's precision")
    if kind == "interval" and "infinity" in given_:
        since(postgres, 17, "infinite intervals")
    got = arrow(url, kind, given_)
    assert got.schema.field("v").type == pa.string()
    assert logical(got) == name
    assert values(got) == got.column("t").to_pylist()


@pytest.mark.parametrize(
    ("kind", "given_"),
    [
        ("text", ["", "é\U0001f600", "a\nb\t\\\"'", None]),
        ("varchar(3)", ["ab ", "é"]),
        ("char(5)", ["ab", "a b", "", "é", "日本\t"]),
        ("name", ["x"]),
        ('"char"', ["q"]),
    ],
)
def test_strings_arrive_as_postgresql_casts_them_to_text(
    url: str, kind: str, given_: list[str | None]
) -> None:
    got = arrow(url, kind, given_)
    assert got.schema.field("v").type == pa.string()
    assert logical(got) == ""
    assert values(got) == got.column("t").to_pylist()


def test_floats_keep_nan_and_infinities(url: str) -> None:
    for kind, type_ in (("float4", pa.float32()), ("float8", pa.float64())):
        got = arrow(url, kind, ["NaN", "Infinity", "-Infinity", "-0", "1.1754944e-38", None])
        assert got.schema.field("v").type == type_
        assert [str(v) for v in values(got)[:4]] == ["nan", "inf", "-inf", "-0.0"]
        assert got.column("v")[4].as_py() == pa.scalar(1.1754944e-38, type_).as_py()


def test_bytes_booleans_and_nulls(url: str) -> None:
    assert values(arrow(url, "bytea", ["\\x00ff", "", None])) == [b"\0\xff", b"", None]
    assert values(arrow(url, "bool", ["t", "f", None])) == [True, False, None]


@pytest.mark.parametrize(
    ("kind", "type_", "given_"),
    [
        ("date", pa.date32(), ["0001-01-01", "9999-12-31", "1969-12-31", "2000-02-29", None]),
        ("time", pa.time64("us"), ["00:00:00", "23:59:59.999999"]),
        (
            "timestamp",
            US,
            ["0001-01-01 00:00:00", "9999-12-31 23:59:59.999999", "1969-12-31 23:59:59.999999"],
        ),
        (
            "timestamptz",
            pa.timestamp("us", "UTC"),
            ["0001-01-01 00:00:00+00", "9999-12-31 23:59:59.999999+00"],
        ),
        ("timestamp(0)", US, ["2024-01-01 00:00:01"]),
    ],
)
def test_times_arrive_to_the_microsecond(
    url: str, kind: str, type_: pa.DataType, given_: list[str | None]
) -> None:
    got = arrow(url, kind, given_)
    assert got.schema.field("v").type == type_
    written = [None if v is None else v.isoformat(*([" "] if hasattr(v, "hour") and hasattr(v, "year") else []))
               for v in values(got)]  # fmt: skip
    assert [w and w.replace("+00:00", "+00") for w in written] == got.column("t").to_pylist()


@pytest.mark.parametrize(
    ("kind", "bad"),
    [
        ("date", ["infinity", "-infinity", "0044-03-15 BC", "5874897-12-31", "10000-01-01", "0001-12-31 BC"]),
        ("timestamp", ["infinity", "-infinity", "4713-01-01 00:00:00 BC", "294276-12-31 23:59:59.999999"]),
        (
            "timestamptz",
            ["infinity", "-infinity", "0001-12-31 23:59:59.999999+00 BC", "10000-01-01 00:00:00+00"],
        ),
        ("time", ["24:00:00"]),
        ("numeric(10,2)", ["NaN"]),
        ("numeric(38,5)", ["NaN"]),
        ("int[]", ["{{1,2},{3,4}}", "[0:1]={5,6}", "[2:3]={5,6}"]),
        ("text[]", ["{{a},{b}}"]),
        ("numeric(5,2)[]", ["{1.5,NaN}"]),
        ("date[]", ["{2024-01-01,infinity}"]),
    ],
)
def test_a_value_that_its_type_cannot_hold_refuses_with_column_and_count(
    url: str, kind: str, bad: list[str]
) -> None:
    for value in bad:
        with pytest.raises(DataRefused, match=r't: column "v" holds .* \(2 in all\)') as error:
            arrow(url, kind, [value, None, value])
        assert "string in the contract" in str(error.value.hint)
    got = arrow(url, kind, [*bad, None], text=True)
    assert got.schema.field("v").type == pa.string()
    assert values(got) == got.column("t").to_pylist()


def test_nan_beside_true_zeros_is_seen(url: str) -> None:
    assert values(arrow(url, "numeric(5,1)", ["0", "0.0", None])) == [Decimal("0.0"), Decimal("0.0"), None]
    with pytest.raises(DataRefused, match=r'"v" holds values of NaN \(1 in all\)'):
        arrow(url, "numeric(5,1)", ["0", "NaN", "0"])


@pytest.mark.parametrize(
    ("kind", "item", "given_", "expected"),
    [
        ("int[]", pa.int32(), ["{1,null,3}", "{}", None], [[1, None, 3], [], None]),
        ("int8[3][3]", pa.int64(), ["{1}"], [[1]]),
        ("oid[]", pa.int64(), ["{4294967295}"], [[4294967295]]),
        ("bool[]", pa.bool_(), ["{t,null}"], [[True, None]]),
        ("float8[]", pa.float64(), ["{1.5,-Infinity}"], [[1.5, float("-inf")]]),
        ("text[]", pa.string(), ['{a,null,"NULL","b\\"c,{}"}'], [["a", None, "NULL", 'b"c,{}']]),
        ("varchar(3)[]", pa.string(), ["{abc}"], [["abc"]]),
        ("char(3)[]", pa.string(), ["{a,NULL,é}"], [["a", None, "é"]]),
        ("numeric(10,2)[]", pa.decimal128(10, 2), ["{1.50,null}"], [[Decimal("1.50"), None]]),
        ("numeric[]", pa.string(), ["{1.500,NaN}"], [["1.500", "NaN"]]),
        (
            "uuid[]",
            pa.string(),
            ["{123e4567-e89b-12d3-a456-426614174000}"],
            [["123e4567-e89b-12d3-a456-426614174000"]],
        ),
        ("jsonb[]", pa.string(), ['{"{\\"a\\": 1}"}'], [['{"a": 1}']]),
        ("interval[]", pa.string(), ["{1 day}"], [["P1D"]]),
        ("inet[]", pa.string(), ["{::1}"], [["::1/128"]]),
        ("time[]", pa.time64("us"), ["{}"], [[]]),
        ("timestamptz[]", pa.timestamp("us", "UTC"), ["{}", None], [[], None]),
    ],
)
@pytest.mark.parametrize("types", ["portable", "exact"])
def test_arrays_of_one_dimension_arrive_as_lists(
    url: str, kind: str, item: pa.DataType, given_: list[str | None], expected: list[Any], types: Types
) -> None:
    got = arrow(url, kind, given_, types)
    assert got.schema.field("v").type == pa.list_(item)
    assert values(got) == expected


def test_enums_domains_and_composites(url: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        for kind in (
            "type mood as enum ('sad', 'it''s')",
            "domain cents as numeric(10,2) check (value >= 0)",
            "domain price as cents",
            "domain tag as text",
            "domain tags as int[]",
            "domain stamp as timestamptz",
            'type pair as (a numeric(20,10), "B b" text, c int[])',
        ):
            connection.execute(f"create {kind}")
    mood = arrow(url, "mood", ["sad", "it's", None])
    assert (values(mood), logical(mood)) == (["sad", "it's", None], "enum")
    assert values(arrow(url, "mood[]", ["{sad,null}"])) == [["sad", None]]
    price = arrow(url, "price", ["1.5", None])
    assert price.schema.field("v").type == pa.decimal128(10, 2)
    assert price.schema.field("v").metadata[NATIVE] == b"price"
    assert values(arrow(url, "price[]", ["{1.5}"])) == [[Decimal("1.50")]]
    assert values(arrow(url, "tag[]", ["{a,b}"])) == [["a", "b"]]
    assert values(arrow(url, "tags", ["{1,2}"])) == [[1, 2]]
    assert arrow(url, "stamp", ["2024-01-01 00:00+00"]).schema.field("v").type == pa.timestamp("us", "UTC")
    with pytest.raises(DataRefused, match=r"holds infinite .*\(1 in all\)"):
        arrow(url, "stamp", ["infinity"])
    pair = arrow(url, "pair", ['(1.5,"x ""y",{1})'])
    assert values(pair) == ['{"a":1.5000000000,"B b":"x \\"y","c":[1]}']
    assert logical(pair) == "json"
    pairs = arrow(url, "pair[]", ['{{"(1,x,)"},{"(2,y,)"}}'])
    assert [[row[0]["B b"] for row in json.loads(v)] for v in values(pairs)] == [["x", "y"]]
    with pytest.raises(DataRefused, match="lower bound"):
        arrow(url, "pair[]", ['[0:0]={"(1,x,)"}'])


def test_exact_types_keep_uuids_intervals_and_wide_decimals(postgres: Any, url: str) -> None:
    wide = "9" * 66 + "." + "9" * 10
    got = arrow(url, "numeric(76,10)", [wide, "-0.0000000001", None], "exact")
    assert got.schema.field("v").type == pa.decimal256(76, 10)
    assert [v and f"{v:f}" for v in values(got)] == got.column("t").to_pylist()
    with pytest.raises(DataRefused, match=r"holds values of NaN \(1 in all\)"):
        arrow(url, "numeric(50,10)", ["NaN"], "exact")
    one = "123e4567-e89b-12d3-a456-426614174000"
    got = arrow(url, "uuid", [one, None], "exact")
    assert got.schema.field("v").type == pa.binary(16)
    assert values(got) == [uuid.UUID(one).bytes, None]
    assert logical(got) == "uuid"
    got = arrow(url, "interval", ["1 year 2 mons -3 days 04:05:06.789", "-2562046 hours", None], "exact")
    first, second, _ = values(got)
    assert tuple(first) == (14, -3, 14_706_789_000_000)
    assert tuple(second) == (0, 0, -2562046 * 3600 * 10**9)
    for bad in ("3000000 hours", *(("infinity", "-infinity") if postgres.version >= 17 else ())):
        with pytest.raises(DataRefused, match=r'"v" holds infinite intervals .*\(1 in all\)'):
            arrow(url, "interval", [bad, None], "exact")
    assert logical(arrow(url, "numeric", ["1"], "exact")) == "decimal"


def test_every_type_of_the_catalogue_can_be_carried(url: str) -> None:
    with psycopg.connect(url) as connection:
        names = [row[0] for row in connection.execute(
            "select format_type(t.oid, null) from pg_type t left join pg_class c on c.oid = t.typrelid "
            "where typtype in ('b', 'r', 'm') and typname not like 'pg_%' and typisdefined order by 1")]  # fmt: skip
    assert len(names) > 100
    columns = ", ".join(f"null::{name} as c{i}" for i, name in enumerate(names))
    for types in ("portable", "exact"):
        query = Query(
            Dataset(sql=f"select {columns}"), tuple(f"c{i}" for i in range(len(names))), types=types
        )
        with PostgresSource(PostgresOptions(url=url)).open(query) as reading:
            assert collect(reading).num_rows == 1


def test_extension_types_are_text(debian_postgres: Any) -> None:
    url = debian_postgres.database()
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("create extension citext")
        connection.execute("create extension hstore")
        connection.execute("create extension ltree")
    for kind, name, given_ in (
        ("citext", "", ["ÄbC", None]),
        ("hstore", "hstore", ['a=>1, "b c"=>NULL']),
        ("xml", "xml", ["<a>é</a>", None]),
        ("ltree", "ltree", ["Top.Science"]),
    ):
        got = arrow(url, kind, given_)
        assert (got.schema.field("v").type, logical(got)) == (pa.string(), name)
        assert values(got) == got.column("t").to_pylist()
    assert values(arrow(url, "citext[]", ["{A,b}"])) == [["A", "b"]]
    assert values(arrow(url, "numeric(10,2)", ["1.5"])) == [Decimal("1.50")]


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(
        st.tuples(
            st.decimals(-(10**8), 10**8, places=4, allow_nan=False),
            st.datetimes(),
            st.text(st.characters(exclude_characters="\0", exclude_categories=("Cs",))),
            st.floats(allow_nan=False),
            st.binary(max_size=50),
            st.lists(st.none() | st.integers(-(2**63), 2**63 - 1), max_size=5),
        ),
        max_size=20,
    )
)
def test_any_row_survives(postgres: Any, rows: list[tuple[Any, ...]]) -> None:
    columns = ("d", "at", "s", "f", "b", "a")
    with psycopg.connect(postgres.url, autocommit=True) as connection:
        connection.execute("drop table if exists any_row")
        kinds = ("numeric(20,4)", "timestamp", "text", "float8", "bytea", "int8[]")
        connection.execute(
            f"create table any_row ({', '.join(map(' '.join, zip(columns, kinds, strict=True)))})"
        )
        with connection.cursor() as cursor:
            cursor.executemany("insert into any_row values (%s, %s, %s, %s, %s, %s::int8[])", rows)
    with PostgresSource(PostgresOptions(url=postgres.url)).open(
        Query(Dataset(table="any_row"), columns)
    ) as reading:
        got = collect(reading).to_pylist()
    assert [tuple(row.values()) for row in got] == rows

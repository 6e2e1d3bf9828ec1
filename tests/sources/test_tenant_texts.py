"""What may name tenants has one text: the rows that a source gives for a tenant are those that routing calls so."""

from __future__ import annotations

import io
import json
from collections import defaultdict
from decimal import Decimal
from typing import Any
from uuid import UUID

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from servers import run

from lading.ports import Dataset, Member, Newest, Query, Source, Types
from lading.routing.keys import Cutter, names_tenants
from lading.sources.files import FilesOptions, FilesSource
from lading.sources.postgres import PostgresOptions, PostgresSource
from lading.stores.memory import MemoryStore
from lading.testing.source import collect

SOME = "A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11"
MODES = [("portable", False), ("exact", False), ("portable", True), ("exact", True)]

POSTGRES: dict[str, list[str]] = {
    "text": ["'a'", "'A'", "'007'", "' a'", "'a '", "''", "'Ünïcödé'", "'it''s'", "'e\u0301'", "'\u00e9'", "'a\\b'"],
    "varchar(9)": ["'a'", "'a  '", "'ß'"],
    "char(9)": ["'a'", "'a  '", "' b'", "''", "'Ünï'"],
    "name": ["'a'", "'Ü'"],
    '"char"': ["'a'", "''"],
    "int2": ["-32768", "0", "7"],
    "int4": ["-2147483648", "007", "1000000"],
    "int8": ["-9223372036854775808", "9223372036854775807"],
    "oid": ["0", "4294967295"],
    "numeric(38,0)": ["0", "-0", "-7", "'00012'", "'9e37'", "1.4"],
    "numeric(76,0)": ["0", "-7", "'9e75'"],
    "numeric(9,2)": ["0", "1.50", "-7"],
    "numeric(10,8)": ["0.00000001"],
    "numeric(5,-2)": ["12300"],
    "numeric": ["1.0", "1.00", "'1e-7'"],
    "bool": ["true", "false"],
    "uuid": [f"'{SOME}'", "'00000000-0000-0000-0000-000000000000'"],
    "mood": ["'sad'", "'VERY  Ü'", "'it''s '"],
    "place": ["'x'", "' x'"],
    "many": ["-1", "0"],
    "date": ["'0001-01-01'", "'1969-12-31'", "'2024-02-29'", "'9999-12-31'"],
    "real": ["1234567", "1e-5", "-0"],
    "float8": ["1e15", "1e-5", "'NaN'"],
    "time": ["'10:00'", "'10:00:00.5'"],
    "timestamp": ["'2024-01-01'", "'2024-01-01 00:00:00.5'"],
    "timestamptz": ["'2024-01-01 00:00Z'"],
    "interval": ["'1 day'"],
    "bytea": ["'a'"],
    "json": ["'[1]'"],
    "inet": ["'10.0.0.1'"],
    "int[]": ["'{1}'"],
}  # fmt: skip
MAY = {"text", "varchar(9)", "char(9)", "name", '"char"', "int2", "int4", "int8", "oid", "numeric(38,0)", "bool",
       "uuid", "mood", "place", "many", "date"}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize(("types", "as_text"), MODES)
def test_postgres_gives_the_rows_that_routing_calls_a_tenant_s(
    postgres: Any, url: str, types: Types, as_text: bool
) -> None:
    run(
        url,
        "create type mood as enum ('sad', 'VERY  Ü', 'it''s ')",
        "create domain place as text",
        "create domain many as int",
    )
    source = PostgresSource(PostgresOptions(url=url))
    for number, (kind, values) in enumerate(POSTGRES.items()):
        if kind == "numeric(5,-2)" and postgres.version < 15:
            continue  # no such scale before
        rows = ", ".join(f"({i}, {literal}::{kind})" for i, literal in enumerate(map(quoted, values)))
        run(
            url,
            f"create table t{number} (id int, who {kind}, same int default 1)",
            f"insert into t{number} values {rows}",
        )
        dataset = Dataset(table=f"t{number}")
        may = kind in MAY or (kind, types) == ("numeric(76,0)", "exact")
        may = as_text or (may and (kind, types) != ("uuid", "exact"))
        assert allowed(source, dataset, types, as_text) == may, kind
        if may:
            assert_agree(source, dataset, types, as_text)


def quoted(value: str) -> str:
    return value if value.startswith("'") else f"'{value}'"


PARQUET: dict[str, pa.Array] = {
    "string": pa.array(["a", "A", "007", "a ", "", "Ünï", "e\u0301", "\u00e9"]),
    "large": pa.array(["a", "ß"], pa.large_string()),
    "dictionary": pa.array(["a", "b", "a"]).dictionary_encode(),
    "int8": pa.array([-128, 0, 7], pa.int8()),
    "int64": pa.array([-(2**63), 2**63 - 1]),
    "uint64": pa.array([0, 2**64 - 1], pa.uint64()),
    "decimal(38,0)": pa.array([Decimal(0), Decimal(-7), Decimal(10**37)], pa.decimal128(38, 0)),
    "decimal(76,0)": pa.array([Decimal(-7), Decimal(10) ** 75], pa.decimal256(76, 0)),
    "bool": pa.array([True, False]),
    "uuid": pa.ExtensionArray.from_storage(pa.uuid(), pa.array([UUID(SOME).bytes, bytes(16)], pa.binary(16))),
    "date": pa.array([-719162, -1, 19782, 2932896], pa.date32()),
    "double": pa.array([1e15, 1e-5, -0.0]),
    "float": pa.array([1234567, 1e-5], pa.float32()),
    "decimal(9,2)": pa.array([Decimal("1.50")], pa.decimal128(9, 2)),
    "timestamp": pa.array([0, 500], pa.timestamp("ms")),
    "time": pa.array([0, 500], pa.time64("us")),
    "duration": pa.array([1], pa.duration("s")),
}  # fmt: skip
MAY_OF_FILES = {
    "string",
    "large",
    "dictionary",
    "int8",
    "int64",
    "uint64",
    "decimal(38,0)",
    "bool",
    "uuid",
    "date",
}


@pytest.mark.parametrize("kind", PARQUET)
@pytest.mark.parametrize(("types", "as_text"), MODES)
def test_parquet_gives_the_rows_that_routing_calls_a_tenant_s(kind: str, types: Types, as_text: bool) -> None:
    values = PARQUET[kind]
    out = io.BytesIO()
    pq.write_table(pa.table({"id": range(len(values)), "who": values, "same": [1] * len(values)}), out)
    store = MemoryStore()
    store.put("t.parquet", out.getvalue())
    source, dataset = FilesSource(FilesOptions(), store), Dataset(files="t.parquet")
    may = kind in MAY_OF_FILES or (kind, types) == ("decimal(76,0)", "exact")
    assert allowed(source, dataset, types, as_text) == (
        as_text or (may and (kind, types) != ("uuid", "exact"))
    )
    if allowed(source, dataset, types, as_text):
        assert_agree(source, dataset, types, as_text)


TEXTS: dict[str, list[str]] = {
    "string": ["a", "A", "007", "a ", "Ünï", "e\u0301"],
    "int64": ["007", "-1", "0", "7"],
    "decimal(38,0)": ["007", "-1", "1e3", "1.0"],
    "bool": ["true", "TRUE", "0"],
    "uuid": [SOME, SOME.lower()],
    "date": ["0001-01-01", "2024-02-29"],
    "float64": ["1e15", "1.50"],
    "timestamp": ["2024-01-01", "2024-01-01 00:00:00.50"],
}


@pytest.mark.parametrize("ending", ["csv", "jsonl"])
@pytest.mark.parametrize("kind", TEXTS)
@pytest.mark.parametrize(("types", "as_text"), MODES)
def test_text_files_give_the_rows_that_routing_calls_a_tenant_s(
    kind: str, types: Types, as_text: bool, ending: str
) -> None:
    values = TEXTS[kind]
    if ending == "csv":
        lines = ["id,who,same", *(f"{i},{value},1" for i, value in enumerate(values))]
    else:
        told = [True, False, True] if kind == "bool" else values
        lines = [json.dumps({"id": i, "who": value, "same": 1}) for i, value in enumerate(told)]
    store = MemoryStore()
    store.put(f"t.{ending}", ("\n".join(lines) + "\n").encode())
    source = FilesSource(FilesOptions(columns={"id": "int32", "who": kind, "same": "int8"}), store)
    dataset = Dataset(files=f"t.{ending}")
    may = kind not in ("float64", "timestamp") and (kind, types) != ("uuid", "exact")
    assert allowed(source, dataset, types, as_text) == (as_text or may)
    if allowed(source, dataset, types, as_text):
        assert_agree(source, dataset, types, as_text)


def allowed(source: Source, dataset: Dataset, types: Types, as_text: bool) -> bool:
    texts = frozenset({"who"}) if as_text else frozenset()
    return names_tenants(source.describe(dataset, types, texts).field("who"))


def assert_agree(source: Source, dataset: Dataset, types: Types, as_text: bool) -> None:
    texts = frozenset({"who"}) if as_text else frozenset()
    plain = Query(dataset, ("id", "who"), texts, types)
    routed = by_tenant(source, plain)
    for tenant, ids in routed.items():
        asked: dict[str, Any] = {"as_text": texts, "types": types, "member": Member("who", (tenant,))}
        assert by_tenant(source, Query(dataset, ("id", "who"), **asked)) == {tenant: ids}
        with source.open(Query(dataset, ("id",), **asked)) as reading:
            assert collect(reading)["id"].to_pylist() == ids
    newest = Query(dataset, ("id", "who"), texts, types, newest=Newest(("same",), "id", by="who"))
    assert by_tenant(source, newest) == {tenant: [max(ids)] for tenant, ids in routed.items()}


def by_tenant(source: Source, query: Query) -> dict[str, list[int]]:
    found: dict[str, list[int]] = defaultdict(list)
    with source.open(query) as reading:
        for part in reading.survey().parts:
            for batch in reading.read(part):
                for key, rows in Cutter("who", ()).cut(batch):
                    found[key.tenant] += rows.column("id").to_pylist()
    return {tenant: sorted(ids) for tenant, ids in found.items()}

"""What a role, a database or a server prefers does not change what is read, and nor does the language it speaks."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from servers import DEBIAN, Postgres, found, run, started

from lading.errors import DataRefused, LadingError, SchemaMismatch, SourceDenied, SourceUnavailable
from lading.ports import Dataset, Query, Range
from lading.sources.postgres import PostgresOptions, PostgresSource
from lading.testing.source import EPOCH, collect

T = Dataset(table="public.t")
COLUMNS = ("i", "f", "g", "d", "at", "z", "b", "n", "bs", "fs", "s")
TABLE = (
    "create domain public.price as numeric(10,2)",
    "create table public.t (i int, f float8, g float8[], d interval, at timestamptz, z timetz, b bytea, n price,"
    " bs bytea[], fs point, s text)",
    "insert into public.t values (1, 0.1::float8 + 0.2::float8, array[1/3.0], '1 year 2 days 03:04:05.678',"
    " '2024-01-02 03:04:05.678901+05', '03:04:05+05', '\\x00ff', 1.5, array['\\xdead'::bytea],"
    " '(0.1,0.30000000000000004)', 'a\\b''c')",
)


def rows(url: str) -> tuple[Any, Any]:
    query = Query(T, COLUMNS, ranges=(Range("at", EPOCH),))
    with PostgresSource(PostgresOptions(url=url)).open(query) as reading:
        got = collect(reading)
    return got.schema, got.to_pylist()


SETTINGS = (
    "DateStyle = 'SQL, DMY'",
    "DateStyle = 'German'",
    "IntervalStyle = 'postgres_verbose'",
    "TimeZone = 'America/St_Johns'",
    "bytea_output = 'escape'",
    "extra_float_digits = -15",
    "search_path = 'elsewhere, pg_catalog'",
    "standard_conforming_strings = off",
    "default_transaction_read_only = off",
    "default_transaction_isolation = 'serializable'",
    "default_transaction_deferrable = on",
    "quote_all_identifiers = on",
    "transform_null_equals = on",
    "client_encoding = 'LATIN1'",
    "row_security = on",
    "enable_seqscan = off",
)


@pytest.fixture
def role(url: str) -> Iterator[str]:
    """A role that may read `public.t`, and `elsewhere.t`: of the same name, and found first in some search paths."""
    database = url.rpartition("?")[0].rpartition("/")[2]
    role = f"{database}r"
    run(url, *TABLE, "create schema elsewhere", f"create role {role} login")
    run(url, "create table elsewhere.t (like public.t)", "create domain elsewhere.price as text")
    run(url, f"grant usage on schema elsewhere to {role}", f"grant select on public.t, elsewhere.t to {role}")
    yield role
    run(url.replace(f"/{database}?", "/postgres?"), f"alter database {database} reset all")
    run(url, f"drop owned by {role}", f"drop role {role}")


@pytest.mark.parametrize("setting", SETTINGS)
def test_no_default_of_a_role_changes_what_is_read(url: str, role: str, setting: str) -> None:
    theirs = url.replace("postgres@", f"{role}@")
    before = rows(theirs)
    run(url, f"alter role {role} set {setting}")
    assert rows(theirs) == before
    assert before[1][0]["d"] == "P1Y2DT3H4M5.678S"
    assert before[1][0]["f"] == 0.1 + 0.2


def test_no_defaults_of_a_database_change_what_is_read(url: str, role: str) -> None:
    theirs = url.replace("postgres@", f"{role}@")
    before = rows(theirs)
    for setting in SETTINGS:
        run(url, f"alter database {role.removesuffix('r')} set {setting}")
    assert rows(theirs) == before


@pytest.mark.parametrize(
    "name", ["statement_timeout", "idle_in_transaction_session_timeout", "transaction_timeout"]
)
def test_no_timeout_of_a_role_ends_a_reading(postgres: Any, url: str, role: str, name: str) -> None:
    if name == "transaction_timeout" and postgres.version < 17:
        pytest.skip(f"PostgreSQL {postgres.version} has no {name}")
    run(url, f"alter role {role} set {name} = '800ms'")
    slow = Query(Dataset(sql="select i, pg_sleep(1)::text s from public.t"), ("i", "s"))
    with PostgresSource(PostgresOptions(url=url.replace("postgres@", f"{role}@"))).open(slow) as reading:
        run(url, "select pg_sleep(1)")
        assert collect(reading).column("i").to_pylist() == [1]


def test_the_policy_of_a_role_that_would_rather_be_fenced_is_an_error(url: str) -> None:
    role = url.rpartition("?")[0].rpartition("/")[2] + "r"
    run(
        url,
        *TABLE,
        f"create role {role} login",
        f"grant select on t to {role}",
        f"alter role {role} set row_security = on",
        "alter table t enable row level security",
    )
    try:
        with pytest.raises(SourceDenied, match="row-level security"):
            rows(url.replace("postgres@", f"{role}@"))
    finally:
        run(url, f"drop owned by {role}", f"drop role {role}")


# --- a server that speaks another language ---------------------------------------------------------------------------


@pytest.fixture(scope="module")
def german() -> Iterator[Postgres]:
    if 15 not in found():
        pytest.skip(f"no PostgreSQL in {DEBIAN}, which brings translations")
    subprocess.run(
        ["localedef", "-i", "de_DE", "-f", "UTF-8", "de_DE.UTF-8"], capture_output=True, check=False
    )
    if (
        "de_DE.utf8"
        not in subprocess.run(["locale", "-a"], capture_output=True, text=True, check=False).stdout
    ):
        pytest.skip("this machine has no German locale and cannot make one")
    with started(DEBIAN, 15, "lc_messages = 'de_DE.UTF-8'\nmax_connections = 20") as server:
        try:
            psycopg.connect(server.of("nirgends"))
        except psycopg.OperationalError as error:
            if "existiert nicht" not in str(error):
                pytest.skip("this PostgreSQL has no German messages")
        yield server


def source(url: str, **options: Any) -> PostgresSource:
    return PostgresSource(PostgresOptions(url=url, **options))


def failure(url: str, query: Query, **options: Any) -> LadingError:
    with pytest.raises(LadingError) as error, source(url, **options).open(query) as reading:
        collect(reading)
    return error.value


def test_failures_in_german_are_what_they_are_in_english(german: Postgres) -> None:
    url = german.database()
    run(
        url,
        "create role zaun login",
        "create table t as select i, '98765432101'::text x from generate_series(1, 100) i",
        "create table streng as select 1 as i",
        "alter table streng enable row level security",
        "grant select on streng to zaun",
    )
    asked = {
        "select 1 / (i - 5) as v from t": (DataRefused, "division by zero"),
        "select x::int as v from t": (DataRefused, "numeric value out of range"),
        "select ('y' || x)::int as v from t": (DataRefused, "invalid text representation"),
        "select * from nichts": (SchemaMismatch, "nichts"),
    }
    for text, (kind, said) in asked.items():
        error = failure(url, Query(Dataset(sql=text), ("v",)))
        assert type(error) is kind
        assert said in str(error).lower()
        assert "9876" not in str(error) + str(error.hint)
    theirs = url.replace("postgres@", "zaun@")
    assert "Grant SELECT" in str(failure(theirs, Query(Dataset(table="t"), ("i",))).hint)
    assert "BYPASSRLS" in str(failure(theirs, Query(Dataset(table="streng"), ("i",))).hint)
    slow = Query(Dataset(sql="select pg_sleep(10)::text as v"), ("v",))
    assert type(failure(url, slow, statement_timeout=0.2)) is SourceUnavailable


def test_a_cancelled_german_reading_may_be_tried_again(german: Postgres) -> None:
    url = german.database()
    text = "select i, repeat('x', 1000) x from generate_series(1, 300000) i"
    with source(url).open(Query(Dataset(sql=text), ("i", "x"))) as reading:
        stream = reading.read(reading.survey().parts[0])
        next(stream)
        run(
            url,
            "select pg_cancel_backend(pid) from pg_stat_activity where query like 'COPY%' and state = 'active'",
        )
        with pytest.raises(SourceUnavailable, match="interrupted"):
            list(stream)


def test_a_german_server_that_refuses_is_told_from_one_that_cannot_be_reached(german: Postgres) -> None:
    with pytest.raises(SourceDenied, match="nirgends"):
        source(german.of("nirgends")).test()
    with pytest.raises(SourceDenied, match="niemand"):
        source(german.url.replace("postgres@", "niemand@")).test()


def test_a_lock_that_a_german_server_does_not_grant_may_be_tried_again(german: Postgres) -> None:
    url = german.database()
    run(url, "create table t (i int)")
    with psycopg.connect(url) as other:
        other.execute("lock table t")
        assert type(failure(url, Query(T, ("i",)), lock_timeout=0.2)) is SourceUnavailable

"""Immutable rows of PostgreSQL: parts that another reading, in another snapshot, finds again."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from servers import run

from lading.errors import DataRefused, IntegrityError, SchemaMismatch
from lading.ports import Dataset, Query, Range, Ranger, Reading, Survey
from lading.sources.postgres import PostgresOptions, PostgresSource

JANUARY = datetime(2024, 1, 1, tzinfo=UTC)
FEBRUARY = datetime(2024, 2, 1, tzinfo=UTC)
T = Dataset(table="t")
HOURS = "timestamptz '2024-01-01 00:00Z' + i * interval '1 hour'"
NOON = "timestamptz '2024-01-15 12:00Z'"


def query(*columns: str, window: str = "at", **more: Any) -> Query:
    return Query(T, columns, ranges=(Range(window, JANUARY, FEBRUARY),), immutable=True, **more)


def source(url: str) -> PostgresSource:
    return PostgresSource(PostgresOptions(url=url, part_size=8192))


@contextmanager
def reading(url: str, asked: Query) -> Iterator[Reading]:
    with source(url).open(asked) as opened:
        yield opened


def surveyed(url: str, asked: Query) -> Survey:
    with reading(url, asked) as opened:
        return opened.survey()


def read(url: str, asked: Query) -> tuple[Survey, list[list[Any]]]:
    """The survey, and the first column's values of each part."""
    with reading(url, asked) as opened:
        found = []
        for part in opened.survey().parts:
            batches = list(opened.read(part))
            values = pa.chunked_array([b.column(0) for b in batches], opened.survey().schema.field(0).type)
            assert len(values) == part.rows
            found.append(sorted(values.to_pylist()))
        return opened.survey(), found


KEYS = {
    "a number": ("id int8 primary key", "i - 300"),
    "a small number": ("id int2 primary key", "i"),
    "a uuid": ("id uuid primary key", "md5(i::text)::uuid"),
    "text": ("id text primary key", "case i % 3 when 0 then 'é' when 1 then 'Z''\\' else 'a b' end || i"),
    "text of a domain": ("id word primary key", "'w' || i"),
    "short text": ("id varchar(9) primary key", "chr(65 + i % 2 * 32) || i"),
    "a date": ("id date primary key", "date '2024-01-01' - i"),
    "a moment": ("id timestamptz primary key", "now() - i * interval '1 microsecond'"),
    "a zoneless moment": (
        "id timestamp primary key",
        "timestamp '2024-01-01' - i * interval '1 microsecond'",
    ),
    "a unique constraint": ("id int not null unique", "i"),
}


@pytest.mark.parametrize("at", [HOURS, NOON], ids=["rows of their own moments", "all rows of one moment"])
@pytest.mark.parametrize("kind", KEYS)
def test_parts_are_ranges_of_a_key_that_together_hold_every_row_once(url: str, kind: str, at: str) -> None:
    declared, value = KEYS[kind]
    run(
        url,
        "create domain word as text check (value <> '')",
        f"create table t (at timestamptz not null, {declared}, note text)",
        f"insert into t select {at}, {value}, repeat('x', 60) from generate_series(1, 600) i",
        "analyze t",
    )
    survey, parts = read(url, query("id", "note"))
    assert survey.version
    assert survey.rows == 600
    assert len(parts) > 3
    assert {len(part) for part in parts[:-1]} == {survey.step}
    with psycopg.connect(url) as connection:
        expected = [row[0] for row in connection.execute("select id from t")]
    if kind == "a uuid":
        expected = [str(value) for value in expected]
    assert Counter(value for part in parts for value in part) == Counter(expected)


def test_text_is_ordered_by_its_bytes_whatever_the_column_s_collation(debian_postgres: Any) -> None:
    url = debian_postgres.database() if hasattr(debian_postgres, "database") else debian_postgres.url
    run(
        url,
        "create collation same_but_for_case (provider = icu, locale = 'und-u-ks-level2', deterministic = false)",
        "create table t (at timestamptz not null, id text collate same_but_for_case primary key)",
        f"insert into t select {NOON}, chr(65 + i % 2 * 32) || i from generate_series(1, 600) i",
    )
    _, parts = read(url, query("id"))
    assert len(parts) > 3
    assert [key for part in parts for key in part] == sorted(
        chr(65 + i % 2 * 32) + str(i) for i in range(1, 601)
    )


TABLE = (
    "create table t (at timestamptz not null, id uuid primary key, note text)",
    f"insert into t select {HOURS}, md5(i::text)::uuid, repeat('x', i % 90) from generate_series(0, 799) i",
)


def test_another_reading_has_the_same_parts_wherever_the_rows_lie_by_then(url: str) -> None:
    run(url, *TABLE, "analyze t")
    first, parts = read(url, query("id", "note"))
    run(
        url,
        "insert into t select timestamptz '2024-03-01 00:00Z', gen_random_uuid(), 'of another interval' "
        "from generate_series(1, 5000)",
        "create index on t (note)",
        "cluster t using t_note_idx",
        "vacuum full analyze t",
    )
    again, found = read(url, query("id", "note", step=first.step))
    assert (again.version, again.step, again.rows) == (first.version, first.step, first.rows)
    assert found == parts
    assert len(parts) > 3


@pytest.mark.parametrize(
    "change",
    [
        "delete from t where id = (select min(id::text)::uuid from t)",
        f"insert into t values ({NOON}, gen_random_uuid(), '')",
        f"delete from t where at = {NOON}; insert into t values ({NOON}, gen_random_uuid(), '')",
        "alter table t alter note type varchar(90)",
        "create table u (like t including all); insert into u table t; drop table t; alter table u rename to t",
    ],
    ids=["a row went", "a row came", "a row was replaced where parts meet", "another type", "another table"],
)
def test_other_rows_or_another_table_have_another_version(url: str, change: str) -> None:
    run(url, *TABLE)
    asked = (
        query("id", "note", step=1) if "replaced" in change or "gen_random" in change else query("id", "note")
    )
    first = surveyed(url, asked)
    run(url, *change.split(";"))
    assert surveyed(url, replace(asked, step=first.step)).version != first.version


def test_another_server_s_database_has_another_version(url: str, postgres: Any) -> None:
    other = str(postgres.database())
    for each in (url, other):
        run(each, *TABLE, "analyze t")
    first, parts = read(url, query("id", "note"))
    second, same = read(other, query("id", "note", step=first.step))
    assert parts == same
    assert first.version != second.version


def test_a_version_shows_no_value_of_the_table(url: str) -> None:
    run(
        url,
        "create table t (at timestamptz not null, id text primary key)",
        f"insert into t select {HOURS}, 'ann' || i || '@example.com' from generate_series(0, 700) i",
    )
    survey, _ = read(url, query("id", step=9))
    told = f"{survey.version} {survey.snapshot} {[part.spec for part in survey.parts]}"
    assert "example.com" not in told
    assert "2024" not in told.replace(survey.version, "")


def test_a_partitioned_table_is_cut_by_a_key_of_several_columns(url: str) -> None:
    run(
        url,
        "create table t (id int, region text, at timestamptz not null, primary key (region, at, id)) "
        "partition by range (at)",
        "create table t1 partition of t for values from ('2024-01-01 00:00Z') to ('2024-01-10 00:00Z')",
        "create table t2 partition of t for values from ('2024-01-10 00:00Z') to ('2024-03-01 00:00Z')",
        f"insert into t select i / 2, (array['Nord', 'süd'])[i % 2 + 1], {HOURS} from generate_series(0, 999) i",
    )
    assert source(url).part_key(T, "at") == ("at", "id", "region")
    survey, parts = read(url, query("id"))
    assert len(parts) > 3
    assert survey.rows == 744
    assert Counter(i for part in parts for i in part) == Counter(i // 2 for i in range(744))


def test_the_key_with_the_fewest_columns_is_taken(url: str) -> None:
    run(
        url,
        "create table t (a int not null, b int not null, c numeric not null unique, at timestamptz not null, "
        "unique (a, b), unique (b, at))",
    )
    assert isinstance(source(url), Ranger)
    assert source(url).part_key(T, "at") == ("at", "b")
    assert read(url, query("a"))[1] == [[]]


@pytest.mark.parametrize(
    "table",
    [
        "create table t (id int, at timestamptz not null)",
        "create table t (id int unique, at timestamptz not null)",
        "create table t (id numeric primary key, at timestamptz not null)",
        "create table t (id int[] primary key, at timestamptz not null)",
        "create table t (id int not null unique deferrable, at timestamptz not null)",
        "create table b (id int primary key, at timestamptz not null); create view t as select * from b",
        "create table t (id int primary key, at timestamptz not null); create table c () inherits (t)",
    ],
    ids=["no key", "NULLs", "numeric", "an array", "deferrable", "a view", "children"],
)
def test_without_a_proven_key_of_a_fit_type_immutable_rows_are_refused(url: str, table: str) -> None:
    run(url, *table.split(";"))
    for act in (lambda: source(url).part_key(T, "at"), lambda: read(url, query("id"))):
        with pytest.raises(
            SchemaMismatch, match="A primary key, or a unique constraint over NOT NULL columns, is"
        ):
            act()


@pytest.mark.parametrize("at", ["null", "'infinity'", "'-infinity'"])
def test_rows_that_lie_in_no_interval_are_still_refused(url: str, at: str) -> None:
    run(
        url,
        "create table t (at timestamptz, id int primary key)",
        f"insert into t select {HOURS}, i from generate_series(0, 700) i",
        f"insert into t values ({at}, 1000)",
    )
    with pytest.raises(DataRefused, match=r'column "at" holds .* \(1 in all\)'):
        read(url, query("id"))


def test_a_nullable_window_without_nulls_is_cut_like_any_other(url: str) -> None:
    run(
        url,
        "create table t (at timestamp, id int primary key)",
        "insert into t select timestamp '2024-01-01' + i / 100 * interval '1 hour', i from generate_series(0, 999) i",
        "analyze t",
    )
    _, parts = read(url, query("id"))
    assert len(parts) > 3
    assert [i for part in parts for i in part] == list(range(1000))


def test_a_part_that_gives_other_than_the_counted_rows_fails(url: str) -> None:
    run(url, *TABLE)
    with reading(url, query("id")) as opened:
        cuts = opened._cuts  # type: ignore[attr-defined]
        cuts[1] = replace(cuts[1], span=replace(cuts[1].span, high=cuts[2].span.high))
        with pytest.raises(IntegrityError, match="a part of"):
            list(opened.read(opened.survey().parts[1]))


def test_a_role_that_may_not_know_the_server_reads_without_a_version(url: str, postgres: Any) -> None:
    run(url, *TABLE, "revoke execute on function pg_control_system() from public", "create role poor login")
    try:
        run(url, "grant select on t to poor")
        poor = source(url.replace("postgres@", "poor@"))
        with poor.open(query("id", step=99)) as opened:
            assert opened.survey().version == ""
            assert sum(b.num_rows for part in opened.survey().parts for b in opened.read(part)) == 744
    finally:
        run(url, "drop owned by poor", "drop role poor")


def test_newest_rows_and_whole_readings_are_not_cut(url: str) -> None:
    run(url, *TABLE)
    with reading(url, query("id", whole_parts=True)) as opened:
        assert (len(opened.survey().parts), opened.replayable, opened.survey().version) == (1, False, "")


@pytest.mark.slow
def test_wide_immutable_rows_are_read_in_small_slices(url: str) -> None:
    run(
        url,
        "create table t (at timestamptz, id int primary key, x text)",
        "alter table t alter x set storage external",
        f"insert into t select {NOON}, i, repeat(md5(i::text), 16000) from generate_series(1, 300) i",
        "analyze t",
    )
    wide = PostgresSource(PostgresOptions(url=url, part_size=100 * 2**20))
    with wide.open(query("id", "x")) as opened:
        seen: list[int] = []
        assert len(opened.survey().parts) == 2
        for part in opened.survey().parts:
            for batch in opened.read(part):
                assert batch.nbytes <= 40 * 2**20
                seen += batch.column("id").to_pylist()
    assert sorted(seen) == list(range(1, 301))


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    rows=st.dictionaries(
        st.text(st.characters(exclude_characters="\0", exclude_categories=("Cs",)), max_size=6),
        st.integers(0, 5),
        max_size=40,
    ),
    step=st.integers(1, 12),
)
def test_any_texts_at_any_moments_are_cut_without_loss(url: str, rows: dict[str, int], step: int) -> None:
    run(url, "drop table if exists t", "create table t (at timestamptz not null, id text primary key)")
    with psycopg.connect(url, autocommit=True) as connection, connection.cursor() as cursor:
        cursor.executemany(
            "insert into t values (%s, %s)", [(JANUARY + timedelta(days=n), key) for key, n in rows.items()]
        )
    survey, parts = read(url, query("id", step=step))
    assert [key for part in parts for key in part] == [
        key
        for part in _in_steps(sorted(rows.items(), key=lambda row: (row[1], row[0].encode())), step)
        for key in part
    ]
    assert survey.rows == len(rows)


def _in_steps(rows: list[tuple[str, int]], step: int) -> list[list[str]]:
    return [sorted(key for key, _ in rows[i : i + step]) for i in range(0, len(rows), step)]

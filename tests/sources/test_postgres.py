"""PostgreSQL as a source: what every source promises, and its own: snapshots, parts, keys, bounds."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from typing import Any

import psycopg
import pyarrow as pa
import pytest
from servers import run

from lading.errors import DataRefused, InvalidProject, SchemaMismatch, SourceUnavailable
from lading.ports import NATIVE, Dataset, Member, Newest, Query, Range, Reading, Source
from lading.sources import postgres_sql as sql
from lading.sources.postgres import PostgresOptions, PostgresSource
from lading.sources.postgres_duckdb import Lane
from lading.testing.source import EPOCH, SourceSuite, collect

Q = Query
T = Dataset(table="t")


class TestPostgres(SourceSuite):
    @pytest.fixture(autouse=True)
    def _database(self, url: str) -> None:
        self.url = url

    def make(self, rows: pa.Table, unique: tuple[str, ...] = ()) -> tuple[Source, Dataset]:
        with psycopg.connect(self.url, autocommit=True) as connection:
            connection.execute(
                "create table data (id int8 not null, tenant text, at timestamptz, amount numeric(12,2), note text)"
            )
            copy = "copy data from stdin"
            with connection.cursor() as cursor, cursor.copy(copy) as out:
                for row in rows.to_pylist():
                    out.write_row(list(row.values()))
            if unique:
                connection.execute(f"create unique index on data ({', '.join(unique)})")
        return PostgresSource(PostgresOptions(url=self.url, part_size=8192)), Dataset(table="public.data")


class TestPostgresQuery(TestPostgres):
    def make(self, rows: pa.Table, unique: tuple[str, ...] = ()) -> tuple[Source, Dataset]:
        source, _ = super().make(rows, unique)
        return source, Dataset(sql="select * from data -- a comment\n;")


class TestPartitioned(TestPostgres):
    def make(self, rows: pa.Table, unique: tuple[str, ...] = ()) -> tuple[Source, Dataset]:
        source, _ = super().make(rows)
        with psycopg.connect(self.url, autocommit=True) as connection:
            connection.execute("create table parted (like data) partition by list (tenant)")
            connection.execute("create table p1 partition of parted for values in ('a', null)")
            connection.execute("create table p2 (junk int, like data)")
            connection.execute("alter table p2 drop column junk")
            connection.execute("alter table parted attach partition p2 for values in ('b', 'c')")
            connection.execute("insert into parted select * from data")
            if unique:
                connection.execute("create unique index on parted (tenant, id)")
        return source, Dataset(table="parted")


def source(url: str, **options: Any) -> PostgresSource:
    return PostgresSource(PostgresOptions(url=url, **options))


@contextmanager
def reading(url: str, query: Query, **options: Any) -> Iterator[Reading]:
    with source(url, **options).open(query) as opened:
        yield opened


def ids(url: str, query: Query, **options: Any) -> list[Any]:
    with reading(url, query, **options) as opened:
        return sorted(collect(opened).column(0).to_pylist())


def test_all_parts_read_the_snapshot_of_the_opening_whatever_is_written_meanwhile(url: str) -> None:
    run(url, "create table t as select i from generate_series(1, 5000) i")
    with reading(url, Q(T, ("i",)), part_size=8192) as opened:
        parts = opened.survey().parts
        assert len(parts) > 10
        first = list(opened.read(parts[0]))
        run(url, "delete from t where i % 2 = 0", "insert into t select generate_series(5001, 9000)")
        rest = [batch for part in parts[1:] for batch in opened.read(part)]
    got = pa.Table.from_batches(first + rest).column("i").to_pylist()
    assert sorted(got) == list(range(1, 5001))
    assert opened.survey().snapshot


@pytest.mark.parametrize("lanes", [1, 2, 3])
def test_parts_are_of_one_size_and_as_many_for_each_lane(url: str, lanes: int) -> None:
    run(url, "create table t as select i from generate_series(1, 60000) i")  # some 270 pages
    for pages in (30, 50, 70, 100):
        with reading(url, Q(T, ("i",), lanes=lanes), part_size=pages * 8192) as opened:
            specs = [part.spec for part in opened.survey().parts]
        assert len(specs) % lanes == 0
        sizes = {int(str(spec["end"])) - int(str(spec["start"])) for spec in specs[:-1]}
        assert len(sizes) == 1
        assert sizes.pop() in range(pages // 2, pages + 1)
    with reading(url, Q(T, ("i",), lanes=lanes)) as opened:
        assert len(opened.survey().parts) == 1


def test_parts_are_cut_by_pages_of_each_partition_and_the_last_is_open_ended(url: str) -> None:
    run(
        url,
        "create table t (i int) partition by range (i)",
        "create table t1 partition of t for values from (0) to (3000)",
        "create table t2 partition of t for values from (3000) to (9000)",
        "insert into t select generate_series(0, 5999)",
    )
    with reading(url, Q(T, ("i",)), part_size=65536) as opened:
        specs = [
            (part.spec["relation"], part.spec["start"], part.spec["end"]) for part in opened.survey().parts
        ]
        assert sorted(collect(opened).column("i").to_pylist()) == list(range(6000))
    assert specs == [
        ('"public"."t1"', 0, 7),
        ('"public"."t1"', 7, None),
        ('"public"."t2"', 0, 7),
        ('"public"."t2"', 7, None),
    ]


def test_views_queries_and_newest_are_one_part(url: str) -> None:
    run(
        url,
        "create table t as select i, i % 5 k, now() at from generate_series(1, 5000) i",
        "create view v as select * from t",
        "create materialized view m as select * from t",
    )
    for query in (
        Q(Dataset(table="v"), ("i",)),
        Q(Dataset(table="m"), ("i",), whole_parts=True),
        Q(Dataset(sql="select * from t"), ("i",)),
        Q(T, ("i",), newest=Newest(("k",), "at")),
    ):
        with reading(url, query, part_size=8192) as opened:
            assert len(opened.survey().parts) == 1
            assert collect(opened).num_rows == (5 if query.newest else 5000)


def test_children_of_a_plain_table_are_read_with_it_and_its_keys_are_not_believed(url: str) -> None:
    run(
        url,
        "create table t (i int primary key)",
        "create table child () inherits (t)",
        "insert into t select generate_series(1, 2000)",
        "insert into child select generate_series(1001, 4000)",
    )
    expected = sorted([*range(1, 2001), *range(1001, 4001)])
    assert ids(url, Q(T, ("i",)), part_size=8192) == expected
    assert source(url).unique_keys(T) == frozenset()


def test_names_of_any_kind_are_read(url: str) -> None:
    run(
        url,
        'create schema "my schema"',
        'create table "my schema"."Ta""ble" ("sp ace" int, "qu""ote" text, "{c}" int, "ünï" timestamptz, "guard" int)',
        """insert into "my schema"."Ta""ble" values (1, 'x', 2, '2024-01-01', 3)""",
    )
    columns = ("sp ace", 'qu"ote', "{c}", "ünï", "guard")
    dataset = Dataset(table='"my schema"."Ta""ble"')
    window = Range("ünï", EPOCH, EPOCH + timedelta(days=1))
    query = Q(
        dataset, columns, ranges=(window,), member=Member('qu"ote', ("x", "'; drop table x; --", "\\'"))
    )
    with reading(url, query) as opened:
        assert collect(opened).to_pylist() == [dict(zip(columns, (1, "x", 2, EPOCH, 3), strict=True))]


@pytest.mark.parametrize(
    ("kind", "first", "last"), [("timestamp", 10, 19), ("timestamptz", 10, 19), ("date", 1, 1)]
)
def test_ranges_are_half_open_in_utc_for_every_kind_of_time(
    url: str, kind: str, first: int, last: int
) -> None:
    run(
        url,
        f"create table t as select i, ('2024-01-01 00:00:00+00'::timestamptz at time zone 'utc' "
        f"+ i * interval '1 {'day' if kind == 'date' else 'minute'}')::{kind} at from generate_series(0, 59) i",
    )
    if kind == "timestamptz":
        run(url, "update t set at = '2024-01-01 00:00:00+00'::timestamptz + i * interval '1 minute'")
    start = EPOCH + (timedelta(minutes=10) if kind != "date" else timedelta(hours=1))
    end = EPOCH + (timedelta(minutes=20) if kind != "date" else timedelta(days=1, hours=1))
    assert ids(url, Q(T, ("i",), ranges=(Range("at", start, end),))) == list(range(first, last + 1))
    if kind == "date":
        whole = Range("at", EPOCH + timedelta(days=1), EPOCH + timedelta(days=3))
        assert ids(url, Q(T, ("at",), ranges=(whole,))) == [date(2024, 1, 2), date(2024, 1, 3)]


# An infinity lies in no interval: passed over, such a row would never be delivered, and nobody would know.
@pytest.mark.parametrize("kind", ["timestamptz", "timestamp", "date"])
@pytest.mark.parametrize("nullable", [True, False])
def test_an_infinity_in_a_window_refuses_and_is_counted(url: str, kind: str, nullable: bool) -> None:
    run(
        url,
        f"create table t (i int, at {kind} {'' if nullable else 'not null'})",
        "insert into t values (1, '2024-01-01'), (2, 'infinity'), (3, '-infinity'), (4, '2024-02-01')",
    )
    day = Range("at", EPOCH, EPOCH + timedelta(days=1))
    for bounds in (day, Range("at", EPOCH), Range("at", end=EPOCH + timedelta(days=1))):
        for columns, as_text in (("i",), ()), (("i", "at"), ()), (("i", "at"), ("at",)):
            query = Q(T, columns, ranges=(bounds,), as_text=frozenset(as_text))
            with (
                pytest.raises(DataRefused, match=r'column "at" holds infinite .*\(2 in all\)'),
                reading(url, query) as opened,
            ):
                collect(opened)
    run(url, "delete from t where not isfinite(at)")
    assert ids(url, Q(T, ("i",), ranges=(day,))) == [1]


def test_a_window_on_something_else_than_time_does_not_fit(url: str) -> None:
    run(url, "create table t (i int)")
    with (
        pytest.raises(SchemaMismatch, match='"i" of t is integer'),
        reading(url, Q(T, ("i",), ranges=(Range("i"),))),
    ):
        pass


def test_a_not_null_that_was_never_validated_proves_nothing(postgres: Any, url: str) -> None:
    if postgres.version < 18:
        pytest.skip(f"PostgreSQL {postgres.version} validates each NOT NULL")
    run(
        url,
        "create table t (at timestamptz)",
        "insert into t values (null)",
        "alter table t add constraint n not null at not valid",
    )
    assert source(url).describe(T, "portable").field("at").nullable
    with pytest.raises(DataRefused, match=r'"at" holds NULLs \(1 in all\)'):
        ids(url, Q(T, ("at",), ranges=(Range("at", EPOCH),)))


def test_only_plain_immediate_valid_keys_without_nulls_are_believed(url: str) -> None:
    run(
        url,
        "create table t (a int primary key, b int not null, c int not null, d int, e int not null unique deferrable)",
        "create unique index on t (b, c) include (d)",
        "create unique index on t (d)",
        "create unique index on t (c) where a > 0",
        "create unique index on t ((b + 1))",
    )
    assert source(url).unique_keys(T) == {frozenset({"a"}), frozenset({"b", "c"})}
    assert source(url).unique_keys(Dataset(sql="select * from t")) == frozenset()


def test_newest_needs_no_work_where_the_source_proves_the_key_unique(url: str) -> None:
    run(
        url,
        "create table t as select i, now() at from generate_series(1, 5000) i",
        "alter table t add primary key (i)",
    )
    with reading(url, Q(T, ("i",), newest=Newest(("i",), "at")), part_size=8192) as opened:
        assert len(opened.survey().parts) > 1
        assert collect(opened).num_rows == 5000
        assert opened.superseded() == {}


def test_a_key_that_is_unique_in_each_tenant_needs_no_work_either(url: str) -> None:
    run(
        url,
        "create table t as select x, i, now() at from generate_series(1, 2500) i, unnest(array['a', 'b']) x",
        "alter table t add primary key (x, i)",
    )
    with reading(url, Q(T, ("i",), newest=Newest(("i",), "at", by="x")), part_size=8192) as opened:
        assert len(opened.survey().parts) > 1
        assert collect(opened).num_rows == 5000
        assert opened.superseded() == {}


def test_columns_that_differ_in_case_only_are_refused(url: str) -> None:
    run(url, 'create table t (a int, "A" int)')
    for dataset in (T, Dataset(sql='select 1 as a, 2 as "A"'), Dataset(sql="select 1 as a, 2 as a")):
        with pytest.raises(SchemaMismatch, match=r"two columns|more than one"):
            source(url).describe(dataset, "portable")


def test_a_missing_table_is_answered_with_near_names(url: str) -> None:
    run(url, "create table public.flights (i int)")
    for wrong in ("public.flihgts", "flight", "ops.flights"):
        with pytest.raises(SchemaMismatch) as error:
            source(url).describe(Dataset(table=wrong), "portable")
        assert "public.flights" in str(error.value.hint)
    for wrong in ("a b c", "x;y", "", '"'):
        with pytest.raises(SchemaMismatch):
            source(url).describe(Dataset(table=wrong), "portable")


@pytest.mark.parametrize(
    "text", ["select 1; select 2", "delete from t", "select 1) q; drop table t; select (1", "nonsense"]
)
def test_a_query_is_one_select_or_nothing(url: str, text: str) -> None:
    run(url, "create table t (i int)", "insert into t values (1)")
    with pytest.raises(SchemaMismatch):
        source(url).describe(Dataset(sql=text), "portable")
    assert ids(url, Q(T, ("i",))) == [1]


def test_a_query_is_described_with_its_types(url: str) -> None:
    schema = source(url).describe(
        Dataset(sql="select 1.5::numeric(10,2) as n, now() as at, 'x%s' as text"), "portable"
    )
    assert schema.types == [pa.decimal128(10, 2), pa.timestamp("us", "UTC"), pa.string()]
    assert schema.field("n").metadata[NATIVE] == b"numeric(10,2)"


def test_files_are_no_tables(url: str) -> None:
    with pytest.raises(InvalidProject):
        source(url).describe(Dataset(files="x.parquet"), "portable")


# --- NaN --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("what", ["t", "v"])
def test_a_nan_is_seen_in_whatever_part_it_stands_before_its_rows_are_given(url: str, what: str) -> None:
    run(url, "create table t (i int, a numeric(9,2), b numeric(9,2), at timestamptz default '2024-01-01')")
    run(url, "insert into t select n, n % 3, n + 1 from generate_series(1, 20000) n")
    run(url, "create view v as select * from t")
    query = Q(Dataset(table=what), ("i", "a", "b"), ranges=(Range("at", EPOCH),))
    assert ids(url, query, part_size=65536) == list(range(1, 20001))
    for column, i in (("a", 20000), ("b", 9000)):
        run(url, f"update t set {column} = 'NaN' where i = {i}")
        with reading(url, query, part_size=65536) as opened:
            given: list[int] = []
            with pytest.raises(DataRefused, match=f'"{column}" holds values of NaN \\(1 in all\\)'):
                for part in opened.survey().parts:
                    for batch in opened.read(part):
                        given += batch.column("i").to_pylist()
            assert i not in given
        run(url, f"update t set {column} = 1 where i = {i}")
    run(url, "update t set a = 'NaN', at = '1969-01-01' where i = 7")  # of no interval that is read
    assert len(ids(url, query, part_size=65536)) == 19999


def test_whoever_wants_the_first_rows_of_a_table_alone_waits_for_no_question_about_the_others(
    url: str,
) -> None:
    run(url, "create table t (i int, a numeric(9,2))")
    run(
        url,
        "insert into t select n, 0 from generate_series(1, 200000) n; insert into t values (200001, 'NaN')",
    )
    with reading(url, Q(T, ("i", "a"), whole_parts=True)) as opened:
        batches = opened.read(opened.survey().parts[0])
        assert next(batches).column("i")[0].as_py() == 1
        with pytest.raises(DataRefused, match='"a" holds values of NaN'):
            list(batches)


def test_a_question_about_zeros_that_fails_is_told_and_holds_nothing_up(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(url, "create table t (i int, a numeric(9,2))")
    run(url, "insert into t select n, 0 from generate_series(1, 20000) n")
    count, query = sql.count, Q(T, ("i", "a"))
    slow = lambda *words: count(*words).replace(" from ", ", pg_sleep(60)::text from ", 1)  # noqa: E731
    monkeypatch.setattr(sql, "count", slow)
    with (
        reading(url, query, statement_timeout=1) as opened,
        pytest.raises(SourceUnavailable, match="timeout"),
    ):
        list(opened.read(opened.survey().parts[0]))
    with reading(url, query) as opened, ThreadPoolExecutor(1) as pool:
        read = pool.submit(lambda: list(opened.read(opened.survey().parts[0])))
        while not asked(url, "pg_sleep"):
            time.sleep(0.01)
        opened.close()
        with pytest.raises(SourceUnavailable, match="was closed"):
            read.result(timeout=30)


def asked(url: str, what: str) -> bool:
    """Whether a session is at work on a statement that holds these words."""
    with psycopg.connect(url) as connection:
        found = connection.execute(
            "select from pg_stat_activity where state = 'active' and query like %s and pid <> pg_backend_pid()",
            (f"%{what}%",),
        ).fetchone()
    return found is not None


# --- the bound ------------------------------------------------------------------------------------------------------


def test_the_bound_is_a_second_before_the_clock_when_nothing_runs(url: str) -> None:
    bound = source(url).bound()
    assert bound.at == bound.now - timedelta(seconds=1)
    assert bound.now.tzinfo is UTC


def test_the_bound_stays_before_the_oldest_running_transaction(url: str) -> None:
    with psycopg.connect(url) as writer:
        (began,) = writer.execute("select now()").fetchone() or (None,)
        bound = source(url).bound()
        assert bound.at == began.astimezone(UTC) - timedelta(seconds=1)
    assert source(url).bound().at > bound.at


def test_our_own_readings_do_not_hold_the_bound_back(url: str) -> None:
    run(url, "create table t as select i from generate_series(1, 100000) i")
    ours = source(url)
    with ours.open(Q(T, ("i",))) as opened:
        stream = opened.read(opened.survey().parts[0])
        next(stream)
        bound = ours.bound()
        assert bound.at == bound.now - timedelta(seconds=1)
        other = source(url).bound()
        assert other.at < other.now - timedelta(seconds=1)


def test_the_bound_is_unknown_without_the_right_to_see_others(url: str, postgres: Any) -> None:
    run(url, "create role blind login")
    try:
        bound = source(url.replace("postgres@", "blind@")).bound()
        assert bound.at is None
        assert "GRANT pg_read_all_stats TO blind" in bound.why
        run(url, "grant pg_monitor to blind")
        assert source(url.replace("postgres@", "blind@")).bound().at is not None
    finally:
        run(url, "drop role blind")


@pytest.mark.slow
def test_the_bound_is_unknown_while_a_prepared_transaction_stands(doomed_postgres: Any) -> None:
    url = doomed_postgres.database()
    run(url, "alter system set max_prepared_transactions = 5")
    doomed_postgres.restart()
    run(url, "create table t (i int)")
    run(url, "begin", "insert into t values (1)", "prepare transaction 'x'")
    bound = source(url).bound()
    assert bound.at is None
    assert "prepared" in bound.why
    assert source(doomed_postgres.url).bound().at is not None  # another database


def test_the_bound_is_unknown_where_a_subscription_writes_into_the_database(url: str, postgres: Any) -> None:
    """The publisher's open transactions cannot be seen. Roles that are no superusers are told too."""
    run(
        url,
        "create subscription s connection 'dbname=nowhere' publication p with (connect = false)",
        "create role onlooker login in role pg_monitor",
    )
    try:
        for role in ("postgres", "onlooker"):
            bound = source(url.replace("postgres@", f"{role}@")).bound()
            assert bound.at is None
            assert "subscription" in bound.why
        assert source(postgres.url).bound().at is not None  # another database
    finally:
        run(url, "alter subscription s set (slot_name = none)", "drop subscription s", "drop role onlooker")


FOREIGN = (
    "create extension file_fdw",
    "create server other foreign data wrapper file_fdw",
    "create foreign table f (i int not null, at timestamptz not null) server other options (program 'true')",
    "create table plain (i int primary key)",
    "create table p (i int not null, at timestamptz not null) partition by range (i)",
    "create table p1 partition of p for values from (0) to (10)",
    "create foreign table p2 partition of p for values from (10) to (20) server other"
    " options (program 'true')",
    "create view inner_view as select i from plain union all select i from p where at > '2024-01-01'",
    "create view v as select count(*) as n from inner_view",
    "create view needless as"
    " select plain.i, k.n from plain left join (select i, count(*) n from p group by i) k using (i)",
    "create table parent (i int)",
    "create foreign table child () inherits (parent) server other options (program 'true')",
    "create materialized view m as select * from plain",
)  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize(
    "what", ["f", "p", "v", "needless", "parent", "m", "select i from plain except select i from p2"]
)
def test_the_bound_is_unknown_where_rows_come_from_elsewhere(debian_postgres: Any, what: str) -> None:
    """A foreign table at any depth has its own transactions, and a materialized view its own moment."""
    url = debian_postgres.database()
    run(url, *FOREIGN, "create role clerk login in role pg_monitor", "grant select (i) on p, plain to clerk")
    try:
        dataset = Dataset(sql=what) if " " in what else Dataset(table=what)
        bound = source(url).bound(dataset)
        assert bound.at is None
        assert ("materialized view" if what == "m" else "foreign table") in bound.why
        assert source(url).bound(Dataset(table="plain")).at is not None
        theirs = source(url.replace("postgres@", "clerk@"))
        assert theirs.bound(Dataset(table="p")).at is None  # with a right to one column alone
        assert theirs.bound(Dataset(table="plain")).at is not None
    finally:
        run(url, "drop owned by clerk", "drop role clerk")


@pytest.mark.slow
def test_foreign_partitions_prove_nothing(debian_postgres: Any) -> None:
    """PostgreSQL does not hold their rows to the NOT NULL of the table that they belong to."""
    url = debian_postgres.database()
    run(url, *FOREIGN, "create table q (i int not null, at timestamptz not null) partition by range (i)",
        "create table q1 partition of q for values from (0) to (10)")  # fmt: skip
    for table, nullable in (("p", True), ("q", False)):
        schema = source(url).describe(Dataset(table=table), "portable")
        assert [field.nullable for field in schema] == [nullable, nullable]


@pytest.mark.slow
def test_a_null_window_of_a_foreign_partition_refuses(debian_postgres: Any) -> None:
    url = debian_postgres.database()
    run(
        url,
        "create extension file_fdw",
        "create server files foreign data wrapper file_fdw",
        "create table t (i int, at timestamptz not null) partition by range (i)",
        "create table t1 partition of t for values from (0) to (10)",
        "create foreign table t2 partition of t for values from (10) to (20) server files"
        " options (program 'echo 11,2024-01-02; echo 12,', format 'csv')",
        "insert into t1 values (1, '2024-01-02')",
    )
    query = Q(T, ("i",), ranges=(Range("at", start=EPOCH),))
    with reading(url, query) as opened, pytest.raises(DataRefused, match=r'"at" holds NULLs \(1 in all\)'):
        collect(opened)


def test_partitions_behind_a_join_that_a_count_would_not_need_are_locked_too(url: str) -> None:
    run(
        url,
        "create table t (i int)",
        "create table p (i int primary key, x int) partition by range (i)",
        "create table p1 partition of p for values from (0) to (10)",
        "create view v as select t.i, p.x from t left join p using (i)",
        "insert into t values (1)",
        "insert into p values (1, 2)",
    )
    with reading(url, Q(Dataset(table="v"), ("i", "x"))) as opened:
        with pytest.raises(psycopg.errors.LockNotAvailable):
            run(url, "set lock_timeout = '50ms'", "truncate p1")
        assert collect(opened).to_pylist() == [{"i": 1, "x": 2}]


# --- size -----------------------------------------------------------------------------------------------------------


def test_batches_are_bounded_by_rows_and_bytes(url: str) -> None:
    run(
        url,
        "create table t as select i, repeat(md5(i::text), 30) x from generate_series(1, 70000) i",
        "analyze t",
    )
    with reading(url, Q(T, ("i", "x"))) as opened:
        sizes = [(b.num_rows, b.nbytes) for part in opened.survey().parts for b in opened.read(part)]
    assert sum(rows for rows, _ in sizes) == 70000
    assert max(rows for rows, _ in sizes) <= 65536
    assert max(size for _, size in sizes) <= 17 * 2**20
    with reading(url, Q(T, ("i",))) as opened:
        assert collect(opened).num_rows == 70000


@pytest.mark.slow
def test_wide_rows_are_read_in_small_slices(url: str) -> None:
    run(
        url,
        "create table t (i int, x text)",
        "alter table t alter x set storage external",
        "insert into t select i, repeat(md5(i::text), 16000) from generate_series(1, 300) i",  # 500 kB each
        "delete from t where i % 7 = 0",
        "analyze t",
    )
    with reading(url, Q(T, ("i", "x"))) as opened:
        seen: list[int] = []
        for part in opened.survey().parts:
            for batch in opened.read(part):
                assert batch.nbytes <= 40 * 2**20
                seen += batch.column("i").to_pylist()
                assert batch.column("x")[0].as_py()[:32] == batch.column("x")[0].as_py()[-32:]
    assert sorted(seen) == [i for i in range(1, 301) if i % 7]


# Peak of a process that reads all parts of a query, less what it had before, in MiB (VmHWM, proc(5)).
PEAK = """
import re, sys
from datetime import UTC, datetime
from lading.ports import Dataset, Query, Range
from lading.sources.postgres import PostgresOptions, PostgresSource

def most():
    return int(re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read())[1]) >> 10

source = PostgresSource(PostgresOptions(url=sys.argv[1]))
dataset = Dataset(sql="select * from t") if sys.argv[2] == "query" else Dataset(table="t")
since = (Range("at", datetime(2024, 1, 1, tzinfo=UTC)),)
immutable = sys.argv[2] == "immutable"
query = Query(dataset, ("i", "x"), ranges=since if immutable else (), batch_bytes=1 << 21, immutable=immutable)
rows, before = 0, most()
with source.open(query) as reading:
    for part in reading.survey().parts:
        rows += sum(batch.num_rows for batch in reading.read(part))
print(rows, most() - before)
"""


@pytest.mark.slow
def test_values_that_compress_well_take_no_more_memory_than_others(url: str) -> None:
    """800 MB of text that lie on 12 MB of disk: neither catalogues nor the planner know of more."""
    run(
        url,
        "create table t (i int primary key, x text, at timestamptz not null default '2024-01-02')",
        "insert into t select i, repeat(md5(i::text), 600) from generate_series(1, 40000) i",
        "vacuum analyze t",
    )
    for what in ("table", "query", "immutable"):
        done = subprocess.run(
            [sys.executable, "-c", PEAK, url, what], check=True, capture_output=True, text=True
        )
        rows, grown = map(int, done.stdout.split())
        assert rows == 40000, what
        assert grown < 256, what


def test_rows_that_turn_wide_in_later_pages_are_read_in_slices_from_then_on(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(
        url,
        "create table t (i int, x text)",
        "insert into t select i, 'narrow' from generate_series(1, 60000) i",
        "insert into t select i, repeat(md5(i::text), 600) from generate_series(60001, 68000) i",
        "analyze t",
    )
    sizes: list[int] = []
    read = Lane.read

    def watched(self: Lane, text: str, rows: int) -> Iterator[pa.RecordBatch]:
        batches = list(read(self, text, rows))
        sizes.append(sum(batch.nbytes for batch in batches))
        yield from batches

    monkeypatch.setattr(Lane, "read", watched)
    with reading(url, Q(T, ("i", "x"), batch_bytes=2**20), part_size=2**20) as opened:
        assert len(opened.survey().parts) > 3
        assert sorted(collect(opened).column("i").to_pylist()) == list(range(1, 68001))
    assert max(sizes) < 40 * 2**20  # the part in which it shows, of 150 MB in three
    assert len(sizes) < 200


def test_small_batches_are_put_together(url: str) -> None:
    run(url, "create table t as select i from generate_series(1, 100000) i")
    for dataset in (T, Dataset(sql="select * from t")):
        with reading(url, Q(dataset, ("i",))) as opened:
            sizes = [b.num_rows for part in opened.survey().parts for b in opened.read(part)]
        assert sum(sizes) == 100000
        assert len(sizes) == 2


@pytest.mark.slow
def test_a_hundred_megabytes_of_json_in_one_value_arrive(url: str) -> None:
    run(url, "create table t (i int, j json)")
    run(
        url,
        "insert into t select 1, to_json(repeat('x', 100 * 1000 * 1000))",
        "insert into t values (2, '{}')",
    )
    with reading(url, Q(T, ("i", "j"))) as opened:
        lengths = {b.column("i")[n].as_py(): len(b.column("j")[n].as_py())
                   for part in opened.survey().parts for b in opened.read(part) for n in range(b.num_rows)}  # fmt: skip
    assert lengths == {1: 100_000_002, 2: 2}


def test_parts_are_read_by_many_threads_in_the_same_snapshot(url: str) -> None:
    run(url, "create table t as select i from generate_series(1, 20000) i")
    got: list[int] = []
    lock = threading.Lock()
    with reading(url, Q(T, ("i",)), part_size=65536) as opened:
        parts = list(opened.survey().parts)

        def work() -> None:
            while True:
                with lock:
                    if not parts:
                        return
                    part = parts.pop()
                found = [i for b in opened.read(part) for i in b.column("i").to_pylist()]
                with lock:
                    got.extend(found)

        threads = [threading.Thread(target=work) for _ in range(4)]
        for thread in threads:
            thread.start()
        run(url, "update t set i = -i")
        for thread in threads:
            thread.join()
    assert sorted(got) == list(range(1, 20001))


def test_a_moment_of_any_zone_bounds_in_utc(url: str) -> None:
    run(url, "create table t as select '2024-01-01 00:30:00'::timestamp at")
    start = datetime.fromisoformat("2024-01-01T01:00:00+01:00")
    assert len(ids(url, Q(T, ("at",), ranges=(Range("at", start, start + timedelta(hours=1)),)))) == 1


@pytest.mark.parametrize(
    ("text", "line", "hint"),
    [
        ("\n-- sums\nselect i\nfrom from t\n", "line 4", "one SELECT"),
        ("select i\nfrom t\nwhere gone = 1", "line 3", ""),
        ("select (i\nfrom t\n\n", "line 2", "one SELECT"),
        ("delete from t returning *", "line 1", "one SELECT"),
    ],
)
def test_a_query_that_is_none_is_refused_with_its_line(url: str, text: str, line: str, hint: str) -> None:
    run(url, "create table t (i int)")
    with pytest.raises(SchemaMismatch, match=f"the query, {line}: ") as refusal:
        source(url).describe(Dataset(sql=text), "portable")
    assert hint in (refusal.value.hint or "")


def test_a_materialized_view_s_safety_lag_is_told_by_its_refreshes(url: str) -> None:
    run(url, "create table t (i int)", "create materialized view m as select * from t")
    assert "from one refresh's start to the next one's end" in source(url).bound(Dataset(table="m")).why

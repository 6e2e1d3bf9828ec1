"""What PostgreSQL can do to a reading: refuse it, change under it, or go away."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import sys
import textwrap
import threading
from pathlib import Path
from typing import Any

import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st
from servers import run

from lading.errors import (
    DataRefused,
    InvalidProject,
    LadingError,
    SchemaMismatch,
    SourceDenied,
    SourceUnavailable,
)
from lading.ports import Dataset, Query, Range
from lading.sources.postgres import PostgresOptions, PostgresSource
from lading.sources.postgres_errors import redacted
from lading.testing.source import collect

T = Dataset(table="t")


def source(url: str, **options: Any) -> PostgresSource:
    return PostgresSource(PostgresOptions(url=url, **options))


def kill_readers(url: str) -> int:
    with psycopg.connect(url, autocommit=True) as connection:
        rows = connection.execute(
            "select pg_terminate_backend(pid) from pg_stat_activity "
            "where datname = current_database() and query like 'COPY%' and application_name = 'lading'"
        ).fetchall()
    return len(rows)


def test_a_killed_session_ends_as_unavailable_and_the_reading_goes_on(url: str) -> None:
    run(url, "create table t as select i, repeat('x', 500) x from generate_series(1, 200000) i")
    with source(url).open(Query(T, ("i", "x"))) as reading:
        part = reading.survey().parts[0]
        stream = reading.read(part)
        next(stream)
        assert kill_readers(url) == 1
        with pytest.raises(SourceUnavailable):
            list(stream)
        assert sum(batch.num_rows for batch in reading.read(part)) == 200000  # the snapshot still stands


def test_a_reading_whose_own_sessions_are_killed_ends_as_unavailable(url: str) -> None:
    run(url, "create table t as select i from generate_series(1, 100) i")
    with source(url).open(Query(T, ("i",))) as reading:
        run(
            url,
            "select pg_terminate_backend(pid) from pg_stat_activity "
            "where application_name = 'lading' and datname = current_database()",
        )
        with pytest.raises(SourceUnavailable):
            list(reading.read(reading.survey().parts[0]))


@pytest.mark.slow
@pytest.mark.parametrize("end", ["list(stream)", "stream.close()", "del stream", "pass"])
def test_a_server_that_dies_midway_does_not_take_the_process_with_it(doomed_postgres: Any, end: str) -> None:
    url = doomed_postgres.database()
    run(url, "create table t as select i, repeat('x', 500) x from generate_series(1, 200000) i")
    script = f"""
        from lading.errors import SourceUnavailable
        from lading.ports import Dataset, Query
        from lading.sources.postgres import PostgresOptions, PostgresSource
        try:
            with PostgresSource(PostgresOptions(url={url!r})).open(Query(Dataset(table="t"), ("i", "x"))) as reading:
                stream = reading.read(reading.survey().parts[0])
                next(stream)
                print("reading", flush=True)
                input()
                {end}
                list(reading.read(reading.survey().parts[0]))
        except SourceUnavailable:
            print("unavailable", flush=True)
    """
    with subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(script)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout
        assert process.stdout.readline() == "reading\n"
        doomed_postgres.stop()
        out, err = process.communicate("\n", timeout=60)
    assert (process.returncode, out) == (0, "unavailable\n"), err


def test_two_parts_of_a_dead_server_both_end_as_unavailable(doomed_postgres: Any) -> None:
    url = doomed_postgres.database()
    run(url, "create table t as select i, repeat('x', 1900) x from generate_series(1, 200000) i")
    with source(url, part_size=190 * 2**20).open(Query(T, ("i", "x"))) as reading:
        streams = [reading.read(part) for part in reading.survey().parts[:2]]
        assert [next(stream).num_rows > 0 for stream in streams] == [True, True]
        doomed_postgres.stop()
        for stream in streams:
            with pytest.raises(SourceUnavailable):
                list(stream)
    with pytest.raises(SourceUnavailable):
        source(url).test()


def test_an_abandoned_part_is_cancelled_not_read_to_its_end(url: str) -> None:
    endless = Dataset(
        sql="select 1 i, repeat('x', 1000) x from pg_class a, pg_class b, pg_class c, pg_class d"
    )
    with source(url).open(Query(endless, ("i", "x"))) as reading:
        stream = reading.read(reading.survey().parts[0])
        next(stream)
        stream.close()
    with source(url).open(Query(endless, ("i", "x"))) as reading:
        left = reading.read(reading.survey().parts[0])
        next(left)
    with pytest.raises(SourceUnavailable, match="closed"):
        list(left)
    with pytest.raises(SourceUnavailable, match="closed"):
        list(reading.read(reading.survey().parts[0]))


def test_a_table_cannot_change_under_a_reading_and_a_waiting_change_ends_it(url: str) -> None:
    run(url, "create table t as select i from generate_series(1, 100) i")
    opening = source(url, lock_timeout=0.3).open(Query(T, ("i",)))
    with opening as reading, psycopg.connect(url, autocommit=True) as other:
        other.execute("set lock_timeout = '100ms'")
        with pytest.raises(psycopg.errors.LockNotAvailable):
            other.execute("truncate t")
        other.execute("set lock_timeout = 0")
        waiting = threading.Thread(target=_change, args=(other,))
        waiting.start()
        try:
            _until_someone_waits(url)
            with pytest.raises(SourceUnavailable, match="locked"):
                collect(reading)
        finally:
            other.cancel()
            waiting.join()


def _change(connection: Any) -> None:
    with contextlib.suppress(psycopg.errors.QueryCanceled):
        connection.execute("alter table t drop column i")


def _until_someone_waits(url: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        while not connection.execute("select 1 from pg_locks where not granted").fetchone():
            pass


def test_a_column_dropped_after_the_plan_does_not_fit(url: str) -> None:
    run(url, "create table t (a int, b int)")
    assert source(url).describe(T, "portable").names == ["a", "b"]
    run(url, "alter table t drop column b")
    with pytest.raises(SchemaMismatch, match='no column "b"'), source(url).open(Query(T, ("a", "b"))):
        pass


def test_a_role_without_privileges_is_denied(url: str) -> None:
    run(url, "create role nobody login", "create table t (i int)")
    try:
        theirs = source(url.replace("postgres@", "nobody@"))
        with pytest.raises(SourceDenied, match="permission denied") as error, theirs.open(Query(T, ("i",))):
            pass
        assert "Grant SELECT" in str(error.value.hint)
        run(url, "grant select (i) on t to nobody", "insert into t values (1)")
        with theirs.open(Query(T, ("i",))) as reading:
            assert collect(reading).num_rows == 1
    finally:
        run(url, "drop owned by nobody", "drop role nobody")


def test_a_policy_that_would_hide_rows_is_an_error_not_an_empty_delivery(url: str) -> None:
    run(
        url,
        "create role fenced login",
        "create table t as select i from generate_series(1, 10) i",
        "grant select on t to fenced",
        "alter table t enable row level security",
        "create policy few on t using (i < 3)",
        "create table p (i int) partition by list (i)",
        "create table p1 partition of p default",
        "insert into p values (1), (2)",
        "alter table p1 enable row level security",
        "grant select on p, p1 to fenced",
    )
    try:
        theirs = source(url.replace("postgres@", "fenced@"))
        with pytest.raises(SourceDenied, match="row-level security") as error, theirs.open(Query(T, ("i",))):
            pass
        assert "BYPASSRLS" in str(error.value.hint)
        with theirs.open(
            Query(Dataset(table="p"), ("i",))
        ) as reading:  # the policies of partitions bind direct readers
            assert collect(reading).num_rows == 2
        with source(url).open(Query(T, ("i",))) as reading:
            assert collect(reading).num_rows == 10
    finally:
        run(url, "drop owned by fenced", "drop role fenced")


def test_a_failing_query_says_why_without_the_value(url: str) -> None:
    run(url, "create table t as select 'top secret'::text x")
    for text, said in (
        ("select 1 / (i - 5) as v from generate_series(1, 10) i", "division by zero"),
        ("select x::int as v from t", "invalid input syntax for type integer"),
    ):
        with (
            pytest.raises(DataRefused, match=said) as error,
            source(url).open(Query(Dataset(sql=text), ("v",))) as r,
        ):
            collect(r)
        assert "top secret" not in str(error.value)


@pytest.mark.parametrize(
    ("expression", "said"),
    [
        ("x::int", "value is out of range for type integer"),
        ("('y' || x)::int", "invalid input syntax for type integer"),
        ("x::numeric(3, 1)", "numeric field overflow"),
        ("to_date(x || 'x', 'Month')::text", "invalid value"),
        ("x::date", "date/time field value out of range|invalid input syntax for type date"),
        ("(x || '-z')::uuid::text", "invalid input syntax for type uuid"),
        ("('y' || x || ' \"quoted\" ' || chr(10) || x)::int", "invalid input syntax for type integer"),
        ("x::regclass::text", "may hold values"),
        ("('t' || x)::regtype::text", "may hold values"),
        ("raised(x)", "may hold values"),
        ("raised(x, '57014')", "may hold values"),
        ("convert_from(decode(x || '0', 'hex'), 'utf8')", "may hold values"),
    ],
)
def test_no_message_about_a_row_holds_its_value(url: str, expression: str, said: str) -> None:
    run(
        url,
        "create table t as select '98765432101'::text x",
        "create function raised(x text, state text default 'P0001') returns text language plpgsql as "
        "$$ begin raise exception 'no place of % for %', x, x using errcode = state; end $$",
    )
    with (
        pytest.raises(LadingError, match=said) as error,
        source(url).open(Query(Dataset(sql=f"select {expression} as v from t"), ("v",))) as reading,
    ):
        collect(reading)
    assert "9876" not in str(error.value) + str(error.value.hint) + repr(error.value.__cause__)


def test_no_value_is_shown_where_refused_rows_are_counted(url: str) -> None:
    run(
        url,
        "create table t as select x::text, 'infinity'::timestamptz at from generate_series(98765, 98766) x",
    )
    for cast in ("x::regclass::oid::int8", "(x || '98765432101')::int"):
        dataset = Dataset(sql=f"select {cast} v, at from t")
        query = Query(dataset, ("v", "at"), ranges=(Range("at"),))
        with pytest.raises(LadingError) as error, source(url).open(query) as reading:
            collect(reading)
        assert "9876" not in str(error.value) + str(error.value.hint)


def test_a_statement_timeout_is_passing(url: str) -> None:
    slow = Dataset(sql="select pg_sleep(10)::text as v")
    with (
        pytest.raises(SourceUnavailable),
        source(url, statement_timeout=0.2).open(Query(slow, ("v",))) as reading,
    ):
        collect(reading)


def test_nothing_listens(tmp_path: Any) -> None:
    for target in ("postgresql://u:s3cret@127.0.0.1:1/db", f"host={tmp_path} user=u password=s3cret"):
        with pytest.raises(SourceUnavailable) as error:
            source(target).test()
        assert "s3cret" not in str(error.value)


def test_what_the_url_asks_of_the_way_and_cannot_have_is_no_matter_of_another_try() -> None:
    with pytest.raises(SourceDenied, match="sslmode"):
        source("postgresql://u:s3cret@127.0.0.1:1/db?sslmode=requir").test()
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]

        def without_tls() -> None:  # PostgreSQL's protocol, SSLRequest: N is "no"
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                with connection:
                    connection.recv(8)
                    connection.sendall(b"N")

        threading.Thread(target=without_tls, daemon=True).start()
        with pytest.raises(SourceDenied, match="does not support SSL") as error:
            source(f"postgresql://u:s3cret@127.0.0.1:{port}/db?sslmode=require").test()
        server.shutdown(socket.SHUT_RDWR)
    assert "s3cret" not in str(error.value)


def test_a_mistyped_parameter_of_the_url_is_told_by_what_it_may_mean() -> None:
    for url in ("postgresql://u@h/db?sslmod=require", "host=h sslmod=require"):
        with pytest.raises(InvalidProject, match='did you mean "sslmode"'):
            source(url)


def test_a_wrong_password_role_or_database_is_denied_and_never_shown(doomed_postgres: Any) -> None:
    url = doomed_postgres.url
    run(url, "create role ann login password 'right'")
    with psycopg.connect(url) as connection:
        (hba,) = connection.execute("show hba_file").fetchone() or ("",)
    Path(hba).write_text("local all ann scram-sha-256\nlocal all postgres trust\n")
    run(url, "select pg_reload_conf()")
    for wrong in ("ann:wr0ng@", "ann@", "bob:wr0ng@"):
        with pytest.raises(SourceDenied) as error:
            source(url.replace("postgres@", wrong)).test()
        assert "wr0ng" not in str(error.value) + repr(error.value.__cause__)
    with pytest.raises(SourceDenied, match="nowhere"):
        source(doomed_postgres.of("nowhere")).test()
    assert "ann" in source(url.replace("postgres@", "ann:right@")).test()


def test_the_url_never_shows() -> None:
    options = PostgresOptions(url="postgresql://u:s3cret@h/db")
    assert "s3cret" not in repr(options) + str(options) + options.model_dump_json()
    for broken in ("postgresql://u:s3cret%zz@h/db", "s3cret", "postgresql://u@h/db?s3cret=1"):
        with pytest.raises(InvalidProject) as error:
            source(broken)
        assert "s3cret" not in str(error.value)
        assert error.value.__cause__ is None


@pytest.mark.parametrize(
    "broken",
    [
        "postgresql://u:p@S3CRETPW@127.0.0.1/db",
        "postgres://u:p@S3CRETPW@127.0.0.1",
        "postgresql://u:p@S3CRETPW/x@127.0.0.1/db",
        "postgresql://u:S3CRETPW/x@127.0.0.1/db",
        "postgresql://u:S3CRETPW/db",
        "postgresql://u:p@S3CRETPW%40127.0.0.1/db",
        "host=S3CRETPW@127.0.0.1 user=u password=p",
    ],
)
def test_a_password_that_would_be_read_as_host_or_port_is_refused_and_not_shown(broken: str) -> None:
    with pytest.raises(InvalidProject, match="cannot be told apart") as error:
        source(broken)
    assert "%40" in str(error.value.hint)
    assert "S3CR" not in str(error.value) + str(error.value.hint)
    source("postgresql://u:p%40S3CRETPW@127.0.0.1,h:5432,/db?password=a@b")


@given(st.text(min_size=4, max_size=20), st.text(max_size=20), st.text(max_size=20))
def test_no_piece_of_a_secret_is_left_in_what_is_shown(secret: str, before: str, after: str) -> None:
    secret = secret.replace("…", "x")
    for piece in (secret, secret[1:], secret[: max(4, len(secret) // 2)]):
        shown = redacted(before + piece + after, [secret, ""])
        assert not any(secret[i : i + 4] in shown for i in range(len(secret) - 3))
    assert redacted("nothing of it", ["s3cret"]) == "nothing of it"
    assert redacted("the pin is 123", ["123"]) == "the pin is …"


def test_a_server_that_cannot_be_reached_is_named() -> None:
    with pytest.raises(SourceUnavailable, match=r"^PostgreSQL at localhost:1 cannot be reached: "):
        source("postgresql://u:s3cret@localhost:1/db").test()
    with pytest.raises(SourceUnavailable, match=r"^PostgreSQL at /nowhere cannot be reached: "):
        source("postgresql:///db?host=/nowhere").test()


def test_a_server_that_cannot_be_reached_is_named_without_what_the_password_has_too() -> None:
    with pytest.raises(SourceUnavailable) as error:
        source("postgresql://u:xx127.0.0.1yy@127.0.0.1:1/db").test()
    assert "127." not in str(error.value)

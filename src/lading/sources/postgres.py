"""PostgreSQL 14 and later as a source: tables, partitioned tables, views, foreign tables, and reviewed queries.

A reading holds two connections of its own beside those that read. The first locks what is read against DROP, TRUNCATE
and rewrites (ACCESS SHARE, as any SELECT does), *before* the second takes the snapshot: those commands are not bound by
snapshots, and a table truncated in between would read as empty. The second exports its snapshot to the readers.

Every connection works in one read-only transaction that sets what it needs by SET LOCAL, so that nothing depends on the
server's, the database's or the role's defaults, nor on a pooler that drops startup options and shares sessions.
``row_security = off`` makes a policy that would hide rows an error.

How types arrive is written in `lading.sources.postgres_types`.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from datetime import UTC, timedelta
from functools import partial
from typing import Any

import psycopg
import pyarrow as pa
from psycopg import pq
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.pq import ConninfoOption
from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_validator

from lading.documents import nearest
from lading.errors import InvalidProject, SourceUnavailable
from lading.ports import Bound, Dataset, Query, Types
from lading.sources import postgres_catalog as catalog
from lading.sources import postgres_sql as sql
from lading.sources.postgres_catalog import Connection
from lading.sources.postgres_errors import failed_statement, refused_connection
from lading.sources.postgres_parts import Order
from lading.sources.postgres_reading import PostgresReading
from lading.sources.postgres_standing import Standing
from lading.sources.postgres_types import carry, field

# Transactions read exact, comparable text whatever the server, the database or the role prefer.
_SETTINGS = {
    "row_security": "off",
    "TimeZone": "UTC",
    "DateStyle": "ISO,YMD",
    "IntervalStyle": "iso_8601",
    "extra_float_digits": "1",
    "bytea_output": "hex",
    "standard_conforming_strings": "on",
    "idle_in_transaction_session_timeout": "0",
}
_NEWER = {"transaction_timeout": (170000, "0")}


class PostgresOptions(BaseModel):
    """A PostgreSQL server, read through libpq."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    url: SecretStr = Field(
        description="postgresql://user:password@host:port/database?sslmode=verify-full, or key=value words."
    )
    application_name: str = Field(
        "lading", description="How the sessions call themselves in pg_stat_activity."
    )
    connect_timeout: int = Field(10, ge=2, description="Seconds to wait for the server's answer.")
    statement_timeout: float = Field(0, ge=0, description="Seconds that one statement may take; 0: no limit.")
    lock_timeout: float = Field(
        30,
        gt=0,
        description="Seconds to wait for a table that another session is changing, or waits to change.",
    )
    part_size: int = Field(
        128 * 1024 * 1024,
        ge=8192,
        description="Bytes of a table that make one part, the unit of reading and retry.",
    )

    @field_validator("url")
    @classmethod
    def _named(cls, url: SecretStr) -> SecretStr:
        """libpq would fill an empty one from its defaults, and read whatever database those name."""
        if not url.get_secret_value().strip():
            raise ValueError("must name a database, and is empty: does its variable hold anything?")
        return url


class PostgresSource:
    """Fulfils `lading.ports.Source`. Thread-safe; connects anew for each call."""

    def __init__(self, options: PostgresOptions) -> None:
        """Raises InvalidProject when the URL is none."""
        self._options = options
        self._parameters = _parameters(options)
        self._settings = {
            **_SETTINGS,
            "statement_timeout": f"{round(options.statement_timeout * 1000)}",
            "lock_timeout": f"{max(1, round(options.lock_timeout * 1000))}",
        }
        self._lock = threading.Lock()
        self._own: dict[object, list[int]] = {}  # what we run ourselves holds no bound back
        self._readings: set[PostgresReading] = set()

    def describe(self, dataset: Dataset, types: Types, as_text: frozenset[str] = frozenset()) -> pa.Schema:
        with self._session(dataset) as connection:
            columns = catalog.describe(connection, dataset).columns
        return pa.schema(
            field(name, c.native, carry(c.native, types, as_text=name in as_text), nullable=c.nullable)
            for name, c in columns.items()
        )

    def unique_keys(self, dataset: Dataset) -> frozenset[frozenset[str]]:
        with self._session(dataset) as connection:
            return catalog.unique_keys(connection, catalog.describe(connection, dataset))

    def part_key(self, dataset: Dataset, window: str) -> tuple[str, ...]:
        with self._session(dataset) as connection:
            described = catalog.describe(connection, dataset)
            return Order.of(described, catalog.unique_keys(connection, described), window).columns

    def bound(self, dataset: Dataset | None = None) -> Bound:
        """Without a dataset: as far as it does not matter what is read."""
        with self._lock:
            own = [pid for pids in self._own.values() for pid in pids]
            own += [pid for reading in self._readings for pid in reading.pids()]
        with self._session(dataset) as connection:
            elsewhere = (
                catalog.elsewhere(connection, catalog.describe(connection, dataset)) if dataset else ""
            )
            (now,) = _one(connection, sql.CLOCK)
            oldest, hidden, prepared, standby, sees, subscribed = _one(connection, sql.ACTIVITY, own)
            (role,) = _one(connection, "select quote_ident(current_user)")
            several = self._many_servers(connection)
            # Before it is closed: a pooler lets go of a session by and by, and the next look would meet it.
            connection.execute("rollback")
        now = now.astimezone(UTC)
        reasons = {
            "the server is a standby, which cannot see the primary's transactions": standby,
            "the role lacks pg_read_all_stats and cannot see when others' transactions began "
            f"(GRANT pg_read_all_stats TO {role} lets it)": not sees,
            "a prepared transaction stands, and its start is not kept": prepared,
            "a session hides its activity (track_activities is off)": hidden,
            "the database has a subscription, and the publisher's transactions cannot be seen": subscribed,
            elsewhere: elsewhere,
            "the url leads to several servers, and what is asked here may be read on another, "
            "a standby that lags (a url of one server, the primary, makes it known)": several,
        }
        why = "; ".join(reason for reason, holds in reasons.items() if holds)
        if why:
            return Bound(now, None, why)
        return Bound(now, min(now, oldest.astimezone(UTC) if oldest else now) - timedelta(seconds=1))

    @contextmanager
    def open(self, query: Query) -> Iterator[PostgresReading]:
        with ExitStack() as stack:
            holder = stack.enter_context(self._session(query.dataset))
            # Locks and a snapshot belong to one server, so every other connection goes where the first one went.
            parameters = {**self._parameters, **(_server(holder) if self._many_servers(holder) else {})}
            control = stack.enter_context(closing(self._connect("repeatable read", parameters)))
            with _translated(query.dataset):
                reading = self._read(query, holder, control, parameters)
                # Asked now: the first question to `control`, whatever it is, takes the snapshot.
                own = [_pid(holder), _pid(control)]
            with self._lock:
                self._readings.add(reading)
                self._own[reading] = own
            try:
                yield reading
            finally:
                with self._lock:
                    self._readings.discard(reading)
                    del self._own[reading]
                reading.close()

    def test(self) -> str:
        with self._session() as connection:
            version, database, user, standby = _one(connection, sql.GREETING)
        return f"PostgreSQL {version}, database {database}, role {user}{standby}"

    def _read(
        self, query: Query, holder: Connection, control: Connection, parameters: Mapping[str, Any]
    ) -> PostgresReading:
        described = catalog.describe(holder, query.dataset)
        catalog.lock(holder, described)
        standing = Standing(holder, described.what)
        described = catalog.describe(holder, query.dataset)
        unique = catalog.unique_keys(holder, described)
        # The snapshot is taken here. ATTACH PARTITION does not wait for the lock on the table.
        unlocked = control.execute(sql.UNLOCKED, {"oid": described.oid, "holder": _pid(holder)}).fetchone()
        if unlocked:
            what = "became" if unlocked[0] == described.oid else "got a partition or child"
            raise SourceUnavailable(f"{described.what} {what} {unlocked[1]} while it was opened.")
        return PostgresReading(
            query,
            described,
            control,
            partial(self._connect, parameters=parameters),
            make_conninfo(**parameters),
            standing=standing,
            begin=self._begin(control),
            unique=unique,
            part_bytes=self._options.part_size,
        )

    def _many_servers(self, connection: Connection) -> bool:
        """Whether the next connection may be to another server: by the URL, the environment or a service file."""
        # psycopg tries hosts one by one, so the connection itself tells only of several that a service file names.
        defaults = _values(pq.Conninfo.get_defaults())
        return any(
            "," in f"{said.get('host') or ''}{said.get('hostaddr') or ''}"
            or said.get("load_balance_hosts") == "random"
            for said in ({**defaults, **self._parameters}, _values(connection.pgconn.info))
        )

    @contextmanager
    def _session(self, dataset: Dataset | None = None) -> Iterator[Connection]:
        with closing(self._connect()) as connection, _translated(dataset):
            yield connection

    def _connect(
        self, isolation: str = "read committed", parameters: Mapping[str, Any] | None = None
    ) -> Connection:
        """A connection in a transaction of its own, which ends with it. Without prepared statements: a pooler's next
        client would meet them."""
        parameters = parameters or self._parameters
        conninfo = make_conninfo(**parameters)
        try:
            connection = psycopg.connect(conninfo, autocommit=True, prepare_threshold=None)
        except psycopg.Error as error:
            secrets = [str(parameters.get(name) or "") for name in ("password", "sslpassword")]
            starting = lambda: pq.PGconn.ping(conninfo.encode()) == pq.Ping.REJECT  # noqa: E731
            raise refused_connection(error, secrets, starting, _place(parameters)) from None
        try:
            begin = f"begin isolation level {isolation} read only"
            connection.execute(f"{begin}; {self._begin(connection)}")
        except psycopg.Error as error:
            connection.close()
            raise failed_statement(error, "PostgreSQL") from None
        return connection

    def _begin(self, connection: Connection) -> str:
        """What each transaction begins with."""
        newer = {
            name: value for name, (since, value) in _NEWER.items() if connection.info.server_version >= since
        }
        settings = {**self._settings, **newer}
        return "; ".join(f"set local {name} = {sql.literal(value)}" for name, value in settings.items())


def _parameters(options: PostgresOptions) -> dict[str, Any]:
    """libpq's parameters."""
    url = options.url.get_secret_value()
    _check_authority(url)
    try:
        given = conninfo_to_dict(url)
    except psycopg.ProgrammingError as error:
        named = re.search(r'invalid (?:URI query parameter|connection option)[: ]+"(\w+)"', str(error))
        near = (
            nearest(named[1], [each.keyword.decode() for each in pq.Conninfo.get_defaults()]) if named else ""
        )
        if near:  # else it may be a piece of the password
            raise InvalidProject(
                f"The PostgreSQL connection's url has a parameter that there is not{near}."
            ) from None
        raise InvalidProject(
            "The PostgreSQL connection's url is neither a postgresql:// URL nor key=value words, or has a parameter "
            "that there is not.",
            hint="Percent-encode special characters in user and password.",
        ) from None
    if "@" in f"{given.get('host', '')}{given.get('hostaddr', '')}":
        raise _misread('an "@" would be part of the host')
    if not all(port.isdigit() for port in str(given.get("port") or "0").split(",") if port):
        raise _misread("the port is no number")
    return {
        "connect_timeout": options.connect_timeout,
        **given,
        "application_name": options.application_name,
        "client_encoding": "utf8",
    }


def _place(parameters: Mapping[str, Any]) -> str:
    """``host:port``, or the socket's folder, as the URL names it; "" where libpq's defaults say."""
    host = str(parameters.get("host") or parameters.get("hostaddr") or "")
    port = str(parameters.get("port") or "")
    return f"{host}:{port}" if host and port and not host.startswith("/") and "," not in host else host


def _check_authority(url: str) -> None:
    """libpq ends the password at the first ``@``, and the host at the first ``/``: the rest would be shown as a host.

    Raises InvalidProject, which shows nothing of the URL.
    """
    scheme, found, rest = url.strip().partition("://")
    if not found or scheme not in ("postgresql", "postgres"):
        return
    authority, _, path = rest.partition("/")
    if authority.count("@") > 1:
        raise _misread('more than one "@" stands before the database')
    if "@" in path.partition("?")[0]:
        raise _misread('an "@" stands after a "/"')


def _misread(why: str) -> InvalidProject:
    return InvalidProject(
        f"The PostgreSQL connection's url cannot be told apart into password, host and database: {why}.",
        hint="Percent-encode special characters in user and password: @ is %40, / is %2F, : is %3A.",
    )


@contextmanager
def _translated(dataset: Dataset | None) -> Iterator[None]:
    what = "PostgreSQL" if dataset is None else dataset.table or "the query"
    try:
        yield
    except psycopg.Error as error:
        raise failed_statement(error, what) from None


def _values(options: Sequence[ConninfoOption]) -> dict[str, str]:
    return {each.keyword.decode(): each.val.decode(errors="replace") for each in options if each.val}


def _server(connection: Connection) -> dict[str, Any]:
    """Parameters that lead to the same server."""
    info = connection.info
    network = not info.host.startswith(("/", "@"))  # a socket's address is none
    return {"host": info.host, "port": info.port, "hostaddr": info.hostaddr if network else ""}


def _pid(connection: Connection) -> int:
    """Of the backend. What libpq was told at the start is a pooler's own number."""
    return int(_one(connection, "select pg_backend_pid()")[0])


def _one(connection: Connection, statement: str, *values: object) -> tuple[Any, ...]:
    row = connection.execute(statement, values or None).fetchone()
    assert row is not None
    return row

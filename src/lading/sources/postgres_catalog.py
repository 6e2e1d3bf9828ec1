"""What PostgreSQL's catalogues say of a dataset: its columns, types and unique keys."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import psycopg

from lading.errors import InvalidProject, SchemaMismatch
from lading.ports import Dataset
from lading.sources import postgres_sql as sql
from lading.sources.postgres_errors import failed_statement
from lading.sources.postgres_types import Native

Connection = psycopg.Connection[tuple[Any, ...]]


@dataclass(frozen=True, slots=True)
class Column:
    native: Native
    nullable: bool  # False only where the table proves that there is no NULL


@dataclass(frozen=True, slots=True)
class Described:
    """A dataset as it stands. ``oid`` is 0 for a query."""

    what: str  # for messages
    target: sql.Target
    columns: dict[str, Column]
    oid: int = 0
    kind: str = ""  # relkind: r, p, v, m, f
    heap: bool = False
    unproven: bool = (
        False  # read with rows that keep no promise of the table: of children, of foreign partitions
    )

    def column(self, name: str) -> Column:
        """Raises SchemaMismatch where there is none."""
        found = self.columns.get(name)
        if found is None:
            near = difflib.get_close_matches(name, self.columns, 3) or list(self.columns)[:10]
            raise SchemaMismatch(f'{self.what} has no column "{name}".', hint=f"It has: {', '.join(near)}.")
        return found


def describe(connection: Connection, dataset: Dataset) -> Described:
    """Raises SchemaMismatch where the dataset does not exist or has two columns of one name but for case."""
    if dataset.table is not None:
        described = _relation(connection, dataset.table)
    elif dataset.sql is not None:
        described = _query(connection, dataset.sql)
    else:
        raise InvalidProject("A PostgreSQL connection reads a table or a query, not files.")
    _refuse_twins(described.what, described.columns)
    return described


def unique_keys(connection: Connection, described: Described) -> frozenset[frozenset[str]]:
    """Column sets that an index keeps unique and NOT NULL; none where rows are read along that it does not cover."""
    if not described.oid or described.unproven or described.kind not in ("r", "p", "m"):
        return frozenset()
    keys = (frozenset(row[0]) for row in connection.execute(sql.UNIQUE_KEYS, (described.oid,)))
    return frozenset(key for key in keys if not any(described.columns[name].nullable for name in key))


def lock(connection: Connection, described: Described) -> None:
    """Locks all that is read (ACCESS SHARE), by planning it with every column: a join that nothing needs is left out of
    a plan, and its partitions with it."""
    names = list(described.columns)
    if described.oid:
        names = [row[0] for row in connection.execute(sql.READABLE, (described.oid,))]
    shown = ", ".join(map(sql.column, names)) or "1"
    connection.execute(f"explain select {shown} from {described.target.text} as q", binary=True)


def elsewhere(connection: Connection, described: Described) -> str:
    """Why open transactions of this database do not tell which rows are still to come, or ""."""
    lock(connection, described)
    for kind, name in connection.execute(sql.ELSEWHERE):
        if kind == "f":
            return f"{name} is a foreign table, and the transactions of its own server cannot be seen"
        return (
            f"{name} is a materialized view, which has the rows of its last refresh (its safety_lag is the longest "
            "writing transaction and, beside it, the longest time from one refresh's start to the next one's end)"
        )
    return ""


def _relation(connection: Connection, table: str) -> Described:
    try:
        with connection.transaction():  # a savepoint: what follows needs the transaction
            row = connection.execute(sql.RELATION, (table,)).fetchone()
    except (psycopg.errors.InvalidName, psycopg.errors.SyntaxError, psycopg.errors.FeatureNotSupported):
        row = None
    if row is None:
        raise SchemaMismatch(f"There is no table {table}.", hint=_near(connection, table))
    oid, schema, name, kind, method, unproven = row
    if kind not in ("r", "p", "v", "m", "f"):
        raise SchemaMismatch(f"{table} is neither a table nor a view.")
    rows = connection.execute(sql.COLUMNS, (oid,)).fetchall()
    natives = _natives(connection, [(row[1], row[2]) for row in rows])
    if kind == "p":  # PostgreSQL enforces neither NOT NULL nor keys in foreign partitions
        unproven = connection.execute(sql.FOREIGN_PARTITION, {"oid": oid}).fetchone() != (False,)
    proven = kind in ("r", "p", "m") and not unproven
    columns = {
        row[0]: Column(native, not (row[3] and proven)) for row, native in zip(rows, natives, strict=True)
    }
    target = sql.Target.relation(schema, name, only=kind == "r" and not unproven)
    return Described(table, target, columns, oid, kind, kind == "r" and method == "heap", unproven)


def _query(connection: Connection, text: str) -> Described:
    target = sql.Target.query(text)
    # Binary goes by the extended protocol, in which the server itself refuses a second statement.
    statement = f"select * from {target.text} as q limit 0"
    try:
        cursor = connection.execute(statement, binary=True)
    except psycopg.Error as error:
        raise failed_statement(error, f"the query{_line(error, text, statement)}") from None
    result = cursor.pgresult
    assert result is not None
    names = [column.name for column in cursor.description or ()]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise SchemaMismatch(
            f"The query has more than one column {', '.join(twice)}.", hint="Name them apart."
        )
    natives = _natives(connection, [(result.ftype(i), result.fmod(i)) for i in range(len(names))])
    columns = {name: Column(native, True) for name, native in zip(names, natives, strict=True)}
    return Described("the query", target, columns)


def _line(error: psycopg.Error, text: str, statement: str) -> str:
    """Where in the query the server found the error: ``, line 3``; nothing where it does not say."""
    at = error.diag.statement_position
    if not at or not at.isdigit():
        return ""
    before = text[: len(text) - len(text.lstrip())].count("\n")
    last = text.rstrip().count("\n") + 1
    line = before + statement[: int(at) - 1].count("\n")
    return f", line {max(1, min(line, last))}"


def _refuse_twins(what: str, names: Iterable[str]) -> None:
    seen: dict[str, str] = {}
    for name in names:
        other = seen.setdefault(name.casefold(), name)
        if other != name:
            raise SchemaMismatch(
                f'{what} has two columns that differ in case only: "{other}" and "{name}".',
                hint="Many readers cannot tell them apart. Read a query that renames one.",
            )


def _near(connection: Connection, table: str) -> str:
    names = [row[0] for row in connection.execute(sql.RELATIONS)]
    tails = {name.rpartition(".")[2].strip('"').casefold(): name for name in names}
    wanted = table.rpartition(".")[2].strip('"').casefold()
    near = difflib.get_close_matches(table, names, 3)
    near += [tails[tail] for tail in difflib.get_close_matches(wanted, tails, 3) if tails[tail] not in near]
    return f"Did you mean {' or '.join(near)}?" if near else f"The role sees {len(names)} tables and views."


def _natives(connection: Connection, columns: Sequence[tuple[int, int]]) -> list[Native]:
    """The types of columns given as (type's oid, type modifier), domains and array elements resolved."""
    known: dict[int, tuple[Any, ...]] = {}
    wanted = {oid for oid, _ in columns}
    while wanted:
        for row in connection.execute(sql.TYPES, (sorted(wanted),)):
            known[row[0]] = row
        wanted = {oid for row in known.values() for oid in (row[4], row[6]) if oid} - known.keys()
    wanted_names = list(dict.fromkeys(_named(known, columns)))
    oids, mods = [oid for oid, _ in wanted_names], [mod for _, mod in wanted_names]
    written = [row[0] for row in connection.execute(sql.TYPE_NAMES, (oids, mods))]
    names = dict(zip(wanted_names, written, strict=True))
    return [_native(known, names, oid, mod) for oid, mod in columns]


def _named(
    known: dict[int, tuple[Any, ...]], columns: Sequence[tuple[int, int]]
) -> Iterable[tuple[int, int]]:
    """Every (type, modifier) whose name is needed: the column's, its domains' base types, its elements'."""
    for oid, mod in columns:
        yield oid, mod
        _, _, _, _, base, base_mod, element = known[oid]
        if base:
            yield from _named(known, [(base, base_mod)])
        if element:
            yield from _named(known, [(element, mod)])


def _native(
    known: dict[int, tuple[Any, ...]], names: dict[tuple[int, int], str], oid: int, mod: int
) -> Native:
    name, domain = names[oid, mod], False
    while known[oid][4]:
        oid, mod, domain = known[oid][4], known[oid][5], True
    _, schema, typname, kind, _, _, element = known[oid]
    return Native(
        name=name,
        base=typname if schema == "pg_catalog" else f"{schema}.{typname}",
        kind=kind,
        typmod=mod,
        cast=names[oid, mod] if domain else "",
        element=_native(known, names, element, mod) if element else None,
    )

"""The SQL that the PostgreSQL source sends: catalogue queries by name, and the text that reads rows.

Names and values come from catalogues, contracts and tenants, so all of them pass `quoted` or `literal`. The sessions
run with ``standard_conforming_strings = on``, under which doubling the quote is all that a literal needs.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

from lading.ports import Newest, Range

RELATION = """
select c.oid, n.nspname, c.relname, c.relkind::text, coalesce(am.amname, ''), c.relhassubclass and c.relkind = 'r'
from pg_class c
join pg_namespace n on n.oid = c.relnamespace
left join pg_am am on am.oid = c.relam
where c.oid = to_regclass(%s)
"""

RELATIONS = """
select quote_ident(n.nspname) || '.' || quote_ident(c.relname)
from pg_class c join pg_namespace n on n.oid = c.relnamespace
where c.relkind in ('r', 'p', 'v', 'm', 'f') and n.nspname not in ('pg_catalog', 'information_schema', 'pg_toast')
order by 1 limit 10000
"""

# A NOT NULL that was added NOT VALID (PostgreSQL 18) sets attnotnull although NULLs may stand in the column.
COLUMNS = """
select a.attname, a.atttypid, a.atttypmod,
       a.attnotnull and not exists (
         select from pg_constraint k
         where k.conrelid = a.attrelid and k.contype = 'n' and k.conkey = array[a.attnum] and not k.convalidated)
from pg_attribute a
where a.attrelid = %s and a.attnum > 0 and not a.attisdropped
order by a.attnum
"""

TYPES = """
select t.oid, n.nspname, t.typname, t.typtype::text, t.typbasetype, t.typtypmod,
       case when e.typarray = t.oid then t.typelem else 0 end
from pg_type t
join pg_namespace n on n.oid = t.typnamespace
left join pg_type e on e.oid = t.typelem
where t.oid = any(%s::oid[])
"""

CANCEL = "select pg_cancel_backend(%s)"

TYPE_NAMES = (
    "select format_type(t, m) from unnest(%s::oid[], %s::int[]) with ordinality u(t, m, i) order by i"
)

UNIQUE_KEYS = """
select array_agg(a.attname::text)
from pg_index i
cross join lateral unnest(i.indkey::int2[]) with ordinality k(attnum, position)
join pg_attribute a on a.attrelid = i.indrelid and a.attnum = k.attnum
where i.indrelid = %s and i.indisunique and i.indisvalid and i.indislive and i.indimmediate
  and not i.indisexclusion and i.indpred is null and i.indexprs is null and k.position <= i.indnkeyatts
group by i.indexrelid
"""

# A table and the partitions or children that it has in the snapshot: pg_partition_tree knows them as they are now.
_TREE = """
with recursive tree as (
  select %(oid)s::oid as relid
  union
  select i.inhrelid from tree t
  join pg_inherits i on i.inhparent = t.relid and not i.inhdetachpending
)
"""

FOREIGN_PARTITION = f"""{_TREE}
select exists (select from tree t join pg_class c on c.oid = t.relid where c.relkind = 'f')
"""

# Leaves of a partitioned table, or the table itself and its children; the fifth column: it can be read, alone and by
# ctid. A partition has no children.
LEAVES = f"""{_TREE}
select n.nspname, c.relname, pg_relation_size(c.oid), pg_table_size(c.oid),
       c.relkind = 'r' and coalesce(am.amname, '') = 'heap' and has_table_privilege(c.oid, 'select')
         and has_schema_privilege(n.oid, 'usage') and (not c.relrowsecurity or c.oid = %(oid)s),
       greatest(c.reltuples, 0)::int8, c.oid::int8, not c.relispartition
from tree l
join pg_class c on c.oid = l.relid and c.relkind <> 'p'
join pg_namespace n on n.oid = c.relnamespace
left join pg_am am on am.oid = c.relam
order by c.oid
"""

# Partitions and children on which a session has no lock.
UNLOCKED = f"""{_TREE}
select relid::int8, relid::regclass::text from tree
where relid <> 0 and relid not in (select relation from pg_locks where pid = %(holder)s and locktype = 'relation')
"""

# Relations, not of the system, that a session has locked.
LOCKED = """
select distinct c.oid::int8
from pg_locks l join pg_class c on c.oid = l.relation
where l.pid = pg_backend_pid() and l.locktype = 'relation' and c.relkind in ('r', 'p', 'v', 'm', 'f')
  and l.database = (select oid from pg_database where datname = current_database())
  and c.relnamespace <> 'pg_catalog'::regnamespace
order by 1
"""

# Labels of the enums, and the composite types, of which the relations' columns are made.
USED_TYPES = """
with recursive used as (
  select a.atttypid as type
  from pg_attribute a join pg_class c on c.oid = a.attrelid
  where a.attrelid = any(%s::oid[]) and not c.relispartition and a.attnum > 0 and not a.attisdropped
  union
  select p.part from used u join pg_type t on t.oid = u.type
  cross join lateral (
    select t.typelem union all select t.typbasetype
    union all select r.rngsubtype from pg_range r where t.oid in (r.rngtypid, r.rngmultitypid)
    union all select a.atttypid from pg_attribute a
              where a.attrelid = t.typrelid and a.attnum > 0 and not a.attisdropped
  ) p (part)
  where p.part <> 0
)
select array(select e.oid::int8 from pg_enum e join used u on u.type = e.enumtypid),
       array(select t.typrelid::int8 from pg_type t join used u on u.type = t.oid where t.typrelid <> 0)
"""

_NAME = "hashtextextended(quote_ident(n.nspname) || '.' || quote_ident(c.relname), c.oid::int8)"

NAMES = f"""
select c.oid::int8, {_NAME}
from pg_class c join pg_namespace n on n.oid = c.relnamespace where c.oid = any(%s::oid[])
"""

STANDING = f"""
select (select coalesce(sum({_NAME}), 0)
        from pg_class c join pg_namespace n on n.oid = c.relnamespace where c.oid = any(%(relations)s::oid[])),
       (select coalesce(sum(hashtextextended(concat_ws(' ', inhparent, inhrelid, inhdetachpending), 0)), 0)
        from pg_inherits where inhparent = any(%(parents)s::oid[])),
       (select coalesce(sum(hashtextextended(enumlabel::text, oid::int8)), 0)
        from pg_enum where oid = any(%(labels)s::oid[]))
     + (select coalesce(sum(hashtextextended(concat_ws(' ', attnum, atttypid, attname), attrelid::int8)), 0)
        from pg_attribute where attrelid = any(%(composites)s::oid[]) and attnum > 0 and not attisdropped)
"""

# What a session has locked whose rows come from elsewhere: they may show later than their own moment says.
ELSEWHERE = """
select c.relkind::text, c.oid::regclass::text
from pg_locks l join pg_class c on c.oid = l.relation
where l.pid = pg_backend_pid() and l.locktype = 'relation' and c.relkind in ('f', 'm')
  and l.database = (select oid from pg_database where datname = current_database())
order by c.relkind, c.oid
"""

READABLE = """
select a.attname from pg_attribute a
where a.attrelid = %s and a.attnum > 0 and not a.attisdropped
  and has_column_privilege(a.attrelid, a.attnum, 'select')
"""

# The clock is read first, in a statement of its own: a writer that starts later starts after it.
CLOCK = "select clock_timestamp()"

ACTIVITY = """
select min(xact_start) filter (where xact_start is not null),
       count(*) filter (where state = 'disabled'),
       (select count(*) from pg_prepared_xacts where database = current_database()),
       pg_is_in_recovery(),
       pg_has_role(current_user, 'pg_read_all_stats', 'usage'),
       exists (select from pg_subscription s join pg_database d on d.oid = s.subdbid
               where d.datname = current_database())
from pg_stat_activity
where datname = current_database() and pid <> pg_backend_pid() and pid <> all(%s::int[])
  and backend_type <> 'autovacuum worker'
"""

# Which server's data these are; a standby has its primary's. Not every role may know.
MAY_IDENTIFY = "select has_function_privilege('pg_control_system()', 'execute')"
IDENTITY = """
select s.system_identifier::text, d.oid::text from pg_control_system() s, pg_database d
where d.datname = current_database()
"""

GREETING = """
select current_setting('server_version'), current_database(), current_user,
       case when pg_is_in_recovery() then ', a standby' else '' end
"""


@dataclass(frozen=True, slots=True)
class Target:
    """What is read, aliased ``q``: a relation by its quoted name, or a query in brackets."""

    text: str

    @classmethod
    def relation(cls, schema: str, name: str, *, only: bool = False) -> Target:
        """``only``: without the rows of its children."""
        return cls(f"{'only ' if only else ''}{quoted(schema)}.{quoted(name)}")

    @classmethod
    def query(cls, sql: str) -> Target:
        return cls(f"(\n{sql.strip().removesuffix(';')}\n)")


def quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def column(name: str) -> str:
    return f"q.{quoted(name)}"


def literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def select(
    target: Target,
    columns: Sequence[str],
    where: Iterable[str] = (),
    *,
    guard: str = "",
    keep: str = "",
    by: str = "",
) -> str:
    """``c0, c1, … [, guard][, keep][, by]`` of the target; the names hide whatever the source calls its columns."""
    shown = [f"{sql} as c{i}" for i, sql in enumerate(columns)]
    shown += [f"coalesce({guard}, false) as guard"] if guard else []
    shown += [f"{keep} as keep"] if keep else []
    shown += [f"{by} as by"] if by else []
    return f"select {', '.join(shown)} from {target.text} as q{clause(where)}"


def count(target: Target, conditions: Sequence[str], where: Iterable[str] = ()) -> str:
    """How many rows meet each condition."""
    counts = ", ".join(f"count(*) filter (where {condition})" for condition in conditions)
    return f"select {counts} from {target.text} as q{clause(where)}"


def within(bounds: Range, base: str, *, nullable: bool) -> str:
    """``start <= column < end``, and infinities, and NULL where there may be any: such rows must be seen to be refused.

    Dates and zoneless timestamps count as UTC: a date is the midnight that it starts with.
    """
    name = column(bounds.column)
    sides = []
    if bounds.start is not None:
        sides.append(f"{name} >= {_moment(bounds.start, base)}")
    if bounds.end is not None:
        sides.append(f"{name} < {_moment(bounds.end, base)}")
    if not sides:
        return "true"
    outside = [infinite(bounds, base), *([f"{name} is null"] if nullable else [])]
    return f"(({' and '.join(sides)}) or {' or '.join(outside)})"


def infinite(bounds: Range, base: str) -> str:
    """The infinities that dates and timestamps have in PostgreSQL alone. An index on the column finds them."""
    return f"{column(bounds.column)} in ({base} 'infinity', {base} '-infinity')"


def member(text: str, name: str, values: Iterable[str]) -> str:
    """The column's text is one of the values, or NULL; PostgreSQL's text cannot hold NUL, so nothing equals that."""
    known = ", ".join(literal(value) for value in values if "\0" not in value)
    return f"({text} = any(array[{known}]::text[]) or {column(name)} is null)"


def newest(rule: Newest, *, ties: str, by: str = "") -> str:
    """True for the rows to keep, each text of ``by`` on its own. A key with a NULL in it equals no other key."""
    # Tenants are told apart by bytes, also where the column's collation would take two for one.
    key = ", ".join([*map(column, rule.key), *([f'({by}) collate "C"'] if by else [])])
    order = f"{column(rule.order)} desc nulls last{ties}"
    nulls = " or ".join(f"{column(name)} is null" for name in rule.key)
    return f"(row_number() over (partition by {key} order by {order}) = 1 or {nulls})"


def pages(start: tuple[int, int], end: tuple[int, int] | None) -> str:
    """Rows from one (page, line) up to, and without, another."""
    below = f" and q.ctid < '({end[0]},{end[1]})'::tid" if end else ""
    return f"(q.ctid >= '({start[0]},{start[1]})'::tid{below})"


def clause(conditions: Iterable[str]) -> str:
    """`` where …``, or nothing."""
    text = " and ".join(conditions)
    return f" where {text}" if text else ""


def _moment(moment: datetime, base: str) -> str:
    at = moment.astimezone(UTC)
    if base == "timestamptz":
        return f"timestamptz {literal(_written(at))}"
    if base == "timestamp":
        return f"timestamp {literal(_written(at.replace(tzinfo=None)))}"
    day: date = at.date()
    if at.timetz().replace(tzinfo=None) != datetime.min.time():
        day += timedelta(days=1)
    return f"date {literal(day.isoformat())}"


def _written(moment: datetime) -> str:
    return moment.isoformat(sep=" ")

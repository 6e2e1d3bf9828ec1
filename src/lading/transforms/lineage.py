"""Which of the source's columns an export names, where, and what its transforms make of them by name."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from lading.contract import Contract, ContractField
from lading.documents import Loc, nearest
from lading.export.definition import Export
from lading.export.interval import midnight
from lading.export.sections import LateColumn
from lading.policy import Exposure, level, names_personal
from lading.ports import Transform
from lading.transforms.consent import Consent
from lading.transforms.mask import Mask
from lading.transforms.select import Exclude, Rename, Select

# Logical types of the standard that hold no text.
_TEXTLESS = frozenset({"date", "timestamp", "time", "number", "integer", "boolean"})


class Reference(NamedTuple):
    """A column of the source that an export names, at a place in its file. ``read``: rows must carry it."""

    at: Loc
    column: str
    read: bool = True


class Moment(NamedTuple):
    """A column whose values lie in intervals. ``arrival``: `now()` set it in the writing transaction, by the clock of
    the ``timezone`` that the export declares where the column has none."""

    at: Loc
    column: str
    arrival: bool
    timezone: str | None


def references(export: Export, transforms: Sequence[Transform]) -> Iterator[Reference]:
    """The columns that an export names as its source does, promised by the contract or not."""
    if export.tenants is not None:
        yield Reference(("tenants", "column"), export.tenants.column)
    for index, partition in enumerate(export.layout.columns):
        yield Reference(("layout", "partition_by", index, "column"), partition.column)
    for index, transform in enumerate(transforms):
        at: Loc = ("transforms", index)
        if isinstance(transform, Consent):
            yield Reference((*at, "consent", "column"), transform.column)
        elif isinstance(transform, Rename):
            yield from (Reference((*at, "rename", old), old) for old in transform.names)
        elif isinstance(transform, Exclude):
            for place, column in enumerate(transform.columns):
                yield Reference((*at, "exclude", place), column, read=False)
    for index, check in enumerate(export.checks):
        yield from (Reference(("checks", index, *below), column) for below, column in columns_of(check))
    yield from (Reference(moment.at, moment.column, read=False) for moment in moments(export))
    for index, column in enumerate(export.merge_key or ()):
        yield Reference(("merge_key", index), column, read=False)


def moments(export: Export) -> Iterator[Moment]:
    """The columns whose values lie in intervals."""
    window = export.window
    if window is None:
        return
    yield Moment(("window", "column"), window.column, window.clock == "transaction", window.timezone)
    if isinstance(window.late, LateColumn):
        yield Moment(("window", "late", "column"), window.late.column, True, window.late.timezone)


def untimely(export: Export, moment: Moment, *, date: bool) -> Iterator[tuple[Loc, str]]:
    """Why rows would be lost where the column has no zone, being a date or a timestamp."""
    window, column = export.window, moment.column
    if moment.arrival and moment.timezone is None:
        kind, cast = (
            ("date", "(now() at time zone 'UTC')::date")
            if date
            else ("timestamp", "now() at time zone 'UTC'")
        )
        key = ".".join(map(str, moment.at[:-1]))
        yield (
            moment.at,
            f'"{column}" is a {kind} without a time zone, so that now() wrote it by whatever zone the writer was in, '
            f"and rows would be lost: make it a timestamptz, or, where it is set by {cast}, say {key}.timezone: UTC",
        )
    if window is None or not date or moment.at != ("window", "column"):
        return
    if window.start != midnight(window.start):
        reason = f'"{column}" is a date, and a date is never cut: window.start must be a midnight in UTC'
        yield ("window", "start"), reason
    if window.every is not None and not window.every.whole_days:
        reason = (
            f'"{column}" is a date, and a date is never cut: window.every must be whole days, such as 1 day'
        )
        yield ("window", "every"), reason


def told_name(column: str, contract: Contract, known: Sequence[str]) -> str:
    """What to write instead of a column that is not there: the source's name of a field, or the nearest column."""
    field = contract.field(column)
    if field is not None and field.column in known:
        return f'; the contract\'s "{column}" is called "{field.column}" in the source: write that'
    return nearest(column, known)


def needed(export: Export, transforms: Sequence[Transform]) -> list[str]:
    """Columns that the export itself looks at, promised or not."""
    return list(dict.fromkeys(each.column for each in references(export, transforms) if each.read))


def unread(export: Export, transforms: Sequence[Transform]) -> frozenset[str]:
    """Excluded columns of the source at which nothing else looks: they are not even read."""
    excluded: set[str] = set()
    for transform, renamed in _renamed(transforms):
        if isinstance(transform, Exclude):
            excluded |= set(transform.columns) - renamed
    return frozenset(excluded - set(needed(export, transforms)))


def without(transforms: Sequence[Transform], absent: Collection[str]) -> tuple[Transform, ...]:
    """The transforms for rows that do not have some of the source's columns, each at its place."""
    gone, made = set(absent), list[Transform]()
    for transform in transforms:
        if isinstance(transform, Mask):
            kept = {name: action for name, action in transform.actions.items() if name not in gone}
            transform = Mask(kept, transform.constants)
        elif isinstance(transform, Select | Exclude):
            transform = type(transform)(tuple(name for name in transform.columns if name not in gone))
        elif isinstance(transform, Rename):
            gone -= set(transform.names.values())
        made.append(transform)
    return tuple(made)


def named_by_source(transforms: Sequence[Transform], exclude: Exclude) -> frozenset[str]:
    """The columns of an `exclude` that are the source's: any other is called so by a rename before it."""
    for transform, renamed in _renamed(transforms):
        if transform is exclude:
            return frozenset(exclude.columns) - renamed
    return frozenset()


def _renamed(transforms: Sequence[Transform]) -> Iterator[tuple[Transform, frozenset[str]]]:
    """Each transform, and the names that renames before it have made."""
    made: frozenset[str] = frozenset()
    for transform in transforms:
        yield transform, made
        if isinstance(transform, Rename):
            made = (made - transform.names.keys()) | frozenset(transform.names.values())


def after(transform: Transform, origins: Mapping[str, str]) -> dict[str, str]:
    """Names and the source's columns behind them, as a transform leaves them."""
    if isinstance(transform, Rename):
        return {transform.names.get(name, name): origin for name, origin in origins.items()}
    if isinstance(transform, Exclude):
        return {name: origin for name, origin in origins.items() if name not in transform.columns}
    if isinstance(transform, Select):
        return {name: origin for name, origin in origins.items() if name in transform.columns}
    return dict(origins)


def exposures(export: Export, contract: Contract, transforms: Sequence[Transform]) -> tuple[Exposure, ...]:
    """The promised columns as recipients get them: what is not promised is never delivered."""
    fields = {field.column: field for field in contract.fields}
    # A rename may give a promised column's name to one that the contract does not name.
    origins = {name: name for name in (*fields, *needed(export, transforms))}
    masks: dict[str, set[str]] = {}
    for transform in transforms:
        if isinstance(transform, Mask):
            for name, action in transform.actions.items():
                if name in origins:
                    masks.setdefault(origins[name], set()).add(action)
        origins = after(transform, origins)
    names = {origin: name for name, origin in origins.items()}
    return tuple(
        Exposure(
            field.name,
            *_marked(field),
            frozenset(masks.get(field.column, ())),
            field.logical_type not in _TEXTLESS,
            frozenset({names[field.column], *_names(field)}),
        )
        for field in contract.fields
        if field.column in names
    )


def _names(field: ContractField) -> Iterator[str]:
    """What a field is called: by its recipients, by the source, and inside."""
    yield field.name
    yield field.column
    for each in _inside(field):
        yield from _names(each)


def _inside(field: ContractField) -> tuple[ContractField, ...]:
    return (*field.properties, *field.entries_within, *((field.items,) if field.items else ()))


def _marked(field: ContractField) -> tuple[str | None, bool]:
    """The strictest classification of a field and what is inside it, and whether any of it is about a person. What is
    inside and not classified is as its field."""
    own = names_personal((field.classification or "", *field.tags))
    found = [(field.classification, own)]
    for each in _inside(field):
        classification, personal = _marked(each)
        found.append((classification or field.classification, personal))
    strictest = max((classification for classification, _ in found), key=level)
    return strictest, any(personal for _, personal in found)


def shown(
    export: Export, contract: Contract, bare: Collection[str], masked: Collection[str]
) -> Iterator[tuple[Loc, str]]:
    """Where folders or manifests would show what recipients may not see. ``bare``: the source's columns that they get
    as they are."""
    promised = {field.column for field in contract.fields}
    for index, partition in enumerate(export.layout.columns):
        column = partition.column
        if column not in bare:
            near = "" if column in promised else told_name(column, contract, sorted(bare))
            reason = f'"{column}" is not delivered as it is, and its values would stand in folder names{near}'
            yield ("layout", "partition_by", index, "column"), reason
    if export.tenants is not None and export.tenants.column in masked:
        reason = f'"{export.tenants.column}" is masked, and names folders and manifests as the tenant'
        yield ("tenants", "column"), reason


def columns_of(check: Mapping[str, Any]) -> Iterator[tuple[Loc, str]]:
    """The columns that one entry of `checks:` names, each with its place in the entry."""
    for name, value in check.items():
        if name in ("on_violation", "row_count"):
            continue
        if isinstance(value, list):
            yield from (((name, index), str(column)) for index, column in enumerate(value))
        elif isinstance(value, Mapping) and name in ("range", "regex", "in"):
            yield from (((name, column), str(column)) for column in value)
        elif isinstance(value, Mapping):
            for key in ("column", "by"):
                inner = value.get(key)
                columns = [inner] if isinstance(inner, str) else inner if isinstance(inner, list) else ()
                yield from (((name, key), str(column)) for column in columns)

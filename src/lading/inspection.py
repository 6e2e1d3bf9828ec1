"""Whether what a project's files ask for can be done, as far as that is known without opening anything they name.

`project_files` holds the files against each other; here they are held against the adapters that they name, and against
what their contracts promise.
"""

from __future__ import annotations

import itertools
import math
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa

from lading.assemble import (
    Versioned,
    Workshop,
    open_format,
    open_transforms,
    signed_beside,
    versions,
)
from lading.clearance import Gate
from lading.contract import Contract, ContractField
from lading.contract.lifecycle import STATES
from lading.documents import Document, Loc, nearest, show_duration
from lading.errors import InvalidProject, LadingError, Problem
from lading.evidence.records import read_schemas
from lading.export.definition import Export
from lading.export.layout import may_meet
from lading.export.schedule import DAILY, Schedule, longest_gap
from lading.ports import Transform
from lading.project_files import ProjectFiles, gathered
from lading.run.parity import INCOMPARABLE
from lading.transforms.checks import parse_check
from lading.transforms.consent import Consent
from lading.transforms.lineage import (
    after,
    moments,
    needed,
    references,
    shown,
    told_name,
    unread,
    untimely,
)
from lading.transforms.mask import Mask
from lading.transforms.select import Exclude, Rename, Select

# Classifications of columns that one expects to be masked or excluded.
GUARDED = frozenset({"confidential", "restricted", "secret", "sensitive"})

# Below these a file is mostly what each group, batch or page of it brings along, and readers crawl. The formats
# themselves take less, since deliveries that were made with less must still be verified.
_LEAST = {"row_group_rows": 100, "batch_rows": 100}

# The types that a source's column may have where the contract's promise of it holds (`lading.contract.types.fit`).
_MAY_ARRIVE: Mapping[str, tuple[pa.DataType, ...]] = {
    "integer": (pa.int64(), pa.decimal128(38, 0)),
    "number": (pa.float64(), pa.decimal128(38, 18), pa.int64(), pa.decimal256(76, 18), pa.string()),
    "string": (pa.string(),),
    "date": (pa.date32(),),
    "timestamp": (pa.timestamp("us", "UTC"), pa.timestamp("us")),
    "boolean": (pa.bool_(),),
}
_MOST_TRIALS = 64


@dataclass(frozen=True, slots=True)
class Inspection:
    """Of one project. Nothing is connected to, and no server is started."""

    project: ProjectFiles
    workshop: Workshop

    def problems(self) -> list[Problem]:
        """Everything that a command would be refused for before it reads a row."""
        settings, found = self.project.files.settings, []
        for name in settings.stores:
            found += self._refusals(lambda name=name: self.workshop.check_store(name))  # type: ignore[misc]
        for name in settings.catalogues:
            found += self._refusals(lambda name=name: self.workshop.check_catalogue(name))  # type: ignore[misc]
        for name in settings.connections:
            found += self._refusals(lambda name=name: self.workshop.check_source(name))  # type: ignore[misc]
        found += self._refusals(self.workshop.check_limits)
        found += self._refusals(lambda: read_schemas(self.project.files.root))
        if settings.keys is not None:
            found += self._refusals(self.workshop.check_keys)
        if settings.signing is not None:
            found += self._refusals(self.workshop.check_signing)
        found += self._refusals(self._gate.owners)
        found += self._refusals(self._gate.approvals)
        for name in self.project.exports:
            own = self._definition(name)
            found += own or [*self._gate.problems(name), *self._gate.journal_problems(name)]
            found += self._late_by_design(name)
        return list(dict.fromkeys(found))

    @property
    def _gate(self) -> Gate:
        return Gate(self.project, self.workshop)

    def require(self, name: str) -> None:
        """Raises InvalidProject with every problem of one export, and of the stores and the connection that it uses."""
        export, files = self.project.exports[name], self.project.files
        own = (t.destination for t in files.tenants.values() if export.tenants and t.destination)
        found = self._refusals(lambda: self.workshop.check_source(export.source.connection))
        found += self._refusals(lambda: read_schemas(files.root))
        if export.channel == "snapshot":
            found += self._refusals(lambda: self.workshop.check_catalogue(export.destination))
        for store in dict.fromkeys((*self._stores(export), *own, files.settings.journal)):
            found += self._refusals(lambda store=store: self.workshop.check_store(store))  # type: ignore[misc]
        found += self._definition(name)
        found += self._gate.journal_problems(name)
        if found:
            raise InvalidProject(problems=list(dict.fromkeys(found)))

    def warnings(self) -> list[str]:
        """What is allowed and still worth a look. Only of a project without problems."""
        found: list[str] = []
        for name in self.project.exports:
            found.extend(self._advice(name))
        return [*dict.fromkeys(found), *self._unequipped(), *self._shared_folders()]

    # --- one export

    def _refusals(self, check: Callable[[], object]) -> list[Problem]:
        found: list[Problem] = []
        gathered(found, check)
        return found

    def _definition(self, name: str) -> list[Problem]:
        export, document = self.project.exports[name], self.project.documents[name]
        found: list[Problem] = []
        for each in export.versions():
            contract = self.project.contracts[each.contract]
            gathered(found, lambda c=contract: open_format(document, c.version))  # type: ignore[misc]
        for key, least in _LEAST.items():
            value = export.format.get(key)
            if isinstance(value, int) and value < least and not found:
                reason = f"format.{key} must be at least {least}: fewer rows take less room than what describes them"
                found.append(document.problem(reason, "format", key))
        if export.tenants and not export.tenants.discover and not self.project.files.tenants:
            reason = (
                "no tenant is known, so nothing would ever be due: list each in a file of tenants/, or set "
                "discover: true to deliver to every tenant that the data names"
            )
            found.append(document.problem(f"tenants: {reason}", "tenants"))
        delivered = gathered(found, lambda: versions(export, document, self.project.contracts)) or ()
        contracts = [self.project.contracts[each.contract] for each in export.versions()]
        checks = [p for contract in contracts for p in check_problems(export, document, contract)]
        for version, contract, transforms in delivered if not checks else ():
            found += _Columns(version, document, contract, transforms, self._columns_of(name)).problems()
            gathered(found, lambda t=transforms, c=contract: table_columns(export, document, c, t))  # type: ignore[misc]
        masks = (transform for each in delivered for transform in each.transforms)
        if any("hmac_sha256" in getattr(t, "actions", {}).values() for t in masks):
            found += self._refusals(self.workshop.check_keys)
        found += self._unknown_differences(name) or self._nothing_alike(name, delivered)
        found += self._one_place(name)
        if export.channel == "audit" and self.project.files.settings.signing is None:
            reason = (
                "the channel audit signs what it delivers, and lading.yaml has no keys to sign by: "
                "signing: {url: file://./keys/signing}"
            )
            found.append(document.problem(reason, "channel"))
        if export.encryption is not None:
            own = export.encryption.key == "recipient"
            found += self._refusals(self.workshop.check_recipients if own else self.workshop.wrapper)
        return found + checks

    def _columns_of(self, name: str) -> frozenset[str]:
        """The source's columns that a contract of the export names, under whichever major."""
        contracts = (self.project.contracts[each.contract] for each in self.project.exports[name].versions())
        return frozenset(field.column for contract in contracts for field in contract.fields)

    def _unknown_differences(self, name: str) -> list[Problem]:
        """Columns that are said to differ between two majors and are not in both."""
        export, document = self.project.exports[name], self.project.documents[name]
        if export.beside is None:
            return []
        own, other = (
            {field.name for field in self.project.contracts[each.contract].fields}
            for each in export.versions()
        )
        return [
            document.problem(
                f"not a field of both contracts: {column}{nearest(column, sorted(own & other))}",
                *("beside", "differs", index),
            )
            for index, column in enumerate(export.beside.differs)
            if column not in own & other
        ]

    def _nothing_alike(self, name: str, delivered: Sequence[Versioned]) -> list[Problem]:
        """Two majors of which no column could be compared, whatever types the source gives."""
        export, document = self.project.exports[name], self.project.documents[name]
        if export.beside is None or len(delivered) < 2:  # where transforms are wrong, nothing is known
            return []
        own, other = (set(_delivered(each.contract, each.transforms).values()) for each in delivered)
        if own & other - set(export.beside.differs):
            return []
        at = ("beside", "differs") if own & other else ("beside",)
        return [document.problem(INCOMPARABLE, *at)]

    def _one_place(self, name: str) -> Iterator[Problem]:
        """Two majors that whoever reads a folder, or a pointer, would take for one."""
        export, document = self.project.exports[name], self.project.documents[name]
        if export.beside is None:
            return
        folders = [each.paths().template(**self._who(each)) for each in export.versions()]
        pointers = {each.paths().pointer_template(name, **self._who(each)) for each in export.versions()}
        one, other = (each.contract for each in export.versions())
        if may_meet(*folders):
            reason = (
                f"{one} and {other} would lie in one folder, where whoever reads it meets every row twice: give "
                "layout.path a {major}, take preset svc002, or give one of the two a layout of its own (beside.layout)"
            )
            yield document.problem(reason, "beside")
        elif export.mode == "full_refresh" and len(pointers) == 1:
            reason = "both majors would have one latest.json: let one of the two have preset svc002"
            yield document.problem(reason, "beside")

    def _late_by_design(self, name: str) -> Iterator[Problem]:
        """A schedule that cannot hold what the contract agrees on, however fast the runs are."""
        export, document = self.project.exports[name], self.project.documents[name]
        slas = [self.project.contracts[each.contract].sla for each in export.versions()]
        agreed = {
            what: min((span for sla in slas if (span := getattr(sla, what)) is not None), default=None)
            for what in ("frequency", "freshness", "latency")
        }
        history = export.window is not None and export.window.end is not None
        if history or not any(agreed.values()):
            return
        now = datetime.now(UTC)
        gap = _gap(export, now)
        # When a delivery comes, the one before is as old as the gap to it, and its rows are older.
        step, lag = timedelta(0), timedelta(0)
        if export.window is not None:
            lag = export.window.safety_lag or lag
            if export.window.every is not None:
                step = longest_gap(Schedule(every=export.window.every), now)
        apart = max(gap, step)
        for what, reached in (("frequency", apart), ("freshness", apart + lag), ("latency", apart + lag)):
            span = agreed[what]
            # A run takes some time, so what is used up without it cannot be held.
            if span is not None and (reached > span or (reached == span and what != "frequency")):
                place = (
                    "schedule" if export.schedule and gap >= step else "window" if export.window else "mode"
                )
                reason = (
                    f"the contract's slaProperties agree on a {what} of {show_duration(span)}, and this comes to "
                    f"{show_duration(reached)} and the time that a run takes: deliver more often, or agree on more"
                )
                yield document.problem(reason, place)

    def _advice(self, name: str) -> Iterator[str]:
        export, document = self.project.exports[name], self.project.documents[name]
        delivered = versions(export, document, self.project.contracts)
        for transform in open_transforms(document):
            if isinstance(transform, Mask):
                yield from (f"{document.path}: {told}" for told in transform.warnings())
        for own, contract, transforms in delivered:
            yield from _Columns(own, document, contract, transforms, self._columns_of(name)).warnings()
            if contract.status.lower() not in ("proposed", *STATES):
                place = f"{contract.path}:{contract.lines.get('status', 1)}"
                yield f'{place}: status "{contract.status}" is none that is known{nearest(contract.status, STATES)}'
            silent = [f.name for f in contract.fields if not f.classification]
            if silent:
                yield f"{contract.path}: not classified, so treated as Restricted: {', '.join(silent)}"
            hidden = {c for t in transforms for c in getattr(t, "actions", ())}
            hidden |= {c for t in transforms if isinstance(t, Exclude) for c in t.columns}
            bare = [
                f.name
                for f in contract.fields
                if (f.classification or "").lower() in GUARDED and f.column not in hidden
            ]
            if bare:
                yield f"{document.path}: delivered as they are, though classified: {', '.join(bare)}"
        if export.encryption is not None and export.encryption.key == "recipient" and export.tenants:
            listed = self.project.files.tenants.items()
            if bare := [tenant for tenant, settings in listed if settings.active and settings.age is None]:
                yield (
                    f"{document.path}: what has rows for a tenant without a public key (age) in its file of tenants/ "
                    f"is not delivered: {', '.join(bare)}"
                )
        for _, outcome in self._gate.standing(name):
            if isinstance(outcome, str):
                yield f"{document.path}: {outcome}; `lading approvals {name}` shows what is needed"

    def _unequipped(self) -> Iterator[str]:
        """A key that runs will need. It is no problem of the files: who only checks them may well have no keys."""
        files = self.project.files
        if files.settings.signing is None:
            return
        exports = self.project.exports.values()
        try:
            self.workshop.signer(*dict.fromkeys(name for each in exports for name in signed_beside(each)))
        except LadingError as error:
            yield f"{files.document.path}: signing: nothing can be delivered from here: {error}"

    # --- exports beside each other

    def _shared_folders(self) -> Iterator[str]:
        """Where two exports deliver into one folder: whoever reads it meets the rows of both."""
        places = {name: list(self._places(name)) for name in self.project.exports}
        for one, other in itertools.combinations(sorted(places), 2):
            for (url, store, folder), (url_, _, folder_) in itertools.product(places[one], places[other]):
                if url == url_ and may_meet(folder, folder_):
                    yield (
                        f"{self.project.documents[one].path}, {self.project.documents[other].path}: both deliver into "
                        f'one folder of the store "{store}", {_fixed(folder) or folder}, so that whoever lists it '
                        f"(lading files, lading verify, a glob) meets the rows of {one} and of {other} together; give "
                        "one of them a layout.path of its own, or a store of its own (another prefix of the bucket)"
                    )
                    break

    def _stores(self, export: Export) -> tuple[str, ...]:
        if export.channel != "snapshot":
            return (export.destination, *export.copies)
        store = self.project.files.settings.tables_store(export.destination)
        return (store,) if store is not None else ()

    def _places(self, name: str) -> Iterator[tuple[str, str, str]]:
        """URL and name of each store that an export delivers to, and its folders there, with variables of runs."""
        export, files = self.project.exports[name], self.project.files
        own = (t.destination for t in files.tenants.values() if export.tenants and t.destination)
        for each, store in itertools.product(export.versions(), dict.fromkeys((*self._stores(export), *own))):
            folder = each.paths().template(**self._who(each))
            yield str(files.settings.stores[store]["url"]).rstrip("/"), store, folder

    def _who(self, export: Export) -> dict[str, Any]:
        """What all runs of an export share in templates of names."""
        settings = self.project.files.settings
        return {
            "env": settings.environment,
            "dataset": settings.name,
            "entity": export.contract_name,
            "major": export.contract_major,
        }


def _fixed(folder: str) -> str:
    """The part of a template that no variable changes, with its slash."""
    return "".join(
        f"{part}/" for part in itertools.takewhile(lambda part: "{" not in part, folder.split("/"))
    )


# --- columns -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Columns:
    """The columns that an export names, held against its contract.

    The export speaks of the source's columns, and a source may have some that the contract does not name. What is
    delivered is promised, though, and transforms see promised columns and those that the export itself looks at. So a
    mask of a column that is neither is wrong for certain; a check of one may be right, and is told as a warning.
    """

    export: Export
    document: Document
    contract: Contract
    transforms: Sequence[Transform]
    named: frozenset[str]  # by this contract, or by the one of the other major that the export delivers

    def problems(self) -> list[Problem]:
        if self.export.unknown_columns == "refuse":
            found = [self._problem(reason, at) for at, reason in self._unpromised()]
            if found:
                return found
        return [self._problem(reason, at) for at, reason in (*self._wrong_types(), *self._lost())]

    def warnings(self) -> Iterator[str]:
        """Columns that the contract does not name. Those by which rows are chosen often stand outside of it, so that of
        these only what may be misspelt is told."""
        for at, reason in self._unpromised():
            if "did you mean" in reason or "is called" in reason or at[0] not in ("tenants", "window"):
                place = f"{self.document.path}:{self.document.line(*at)}"
                yield f"{place}: {reason} A run is refused where the source has none."

    def _problem(self, reason: str, at: Loc) -> Problem:
        return self.document.problem(reason, *at)

    @property
    def _promised(self) -> dict[str, ContractField]:
        return {field.column: field for field in self.contract.fields}

    def _unpromised(self) -> Iterator[tuple[Loc, str]]:
        promised, seen = self._promised, set[str]()
        for each in references(self.export, self.transforms):
            if each.column not in self.named and each.column not in seen:
                seen.add(each.column)
                near = told_name(each.column, self.contract, list(promised))
                what = f'{each.at[0]}: {self.contract.path} names no column "{each.column}"'
                yield each.at, f"{what}{near}" if near.endswith("?") else f"{what}{near}."

    def _wrong_types(self) -> Iterator[tuple[Loc, str]]:
        """What no column that keeps the contract's promise could serve for."""
        promised = self._promised
        for index, partition in enumerate(self.export.layout.columns):
            kind = _kind(promised.get(partition.column))
            if partition.shards and kind in ("string", "date", "timestamp", "boolean"):
                yield (
                    ("layout", "partition_by", index, "column"),
                    f'shards are of whole numbers, and the contract promises "{partition.column}" as a {kind}: '
                    f"write {partition.column} alone, for a folder for each value",
                )
        for each in moments(self.export):
            kind = _kind(promised.get(each.column))
            if kind in ("integer", "number", "boolean"):
                reason = f'"{each.column}" is promised as a {kind}, and a window needs a timestamp or a date'
                yield each.at, reason
            elif kind == "date" or (
                kind == "timestamp" and promised[each.column].options.get("timezone") is False
            ):
                yield from untimely(self.export, each, date=kind == "date")

    def _lost(self) -> Iterator[tuple[Loc, str]]:
        """Columns that a transform, a folder or a tenant needs and that are not there when it comes to them."""
        named, out = needed(self.export, self.transforms), unread(self.export, self.transforms)
        origins = {name: name for name in {*self._promised, *named} if name not in out}
        masked: set[str] = set()
        for index, transform in enumerate(self.transforms):
            for below, column in _named_by(transform):
                if column not in origins and not (isinstance(transform, Exclude) and column in out):
                    reason = self._why_lost(column, origins, out)
                    yield (
                        ("transforms", index, *below),
                        f'{below[0]}: there is no column "{column}" here{reason}',
                    )
            if isinstance(transform, Mask):
                masked |= {origins[name] for name in transform.actions if name in origins}
            origins = after(transform, origins)
        bare = {origin for origin in origins.values() if origin in self._promised and origin not in masked}
        yield from shown(self.export, self.contract, bare, masked)

    def _why_lost(self, column: str, origins: Mapping[str, str], out: frozenset[str]) -> str:
        if column in out:
            return " – it is excluded, and so not read"
        renamed = next((name for name, origin in origins.items() if origin == column), None)
        if renamed is not None:
            return f': it was renamed, and is called "{renamed}" by then'
        return told_name(column, self.contract, list(origins))


def _named_by(transform: Transform) -> Iterator[tuple[Loc, str]]:
    """The columns that a transform looks for, each with its place below the transform's own."""
    if isinstance(transform, Mask):
        yield from ((("mask", column), column) for column in transform.actions)
    elif isinstance(transform, Rename):
        yield from ((("rename", column), column) for column in transform.names)
    elif isinstance(transform, Consent):
        yield ("consent", "column"), transform.column
    elif isinstance(transform, Select | Exclude):
        name = type(transform).__name__.lower()
        yield from (((name, place), column) for place, column in enumerate(transform.columns))


def _kind(field: ContractField | None) -> str | None:
    return field.logical_type if field is not None else None


def _delivered(contract: Contract, transforms: Sequence[Transform]) -> Mapping[str, str]:
    """By the source's names of promised columns, what recipients find them under."""
    origins = {field.column: field.column for field in contract.fields}
    for transform in transforms:
        origins = after(transform, origins)
    names = {field.column: field.name for field in contract.fields}
    return {origin: names[origin] if name == origin else name for name, origin in origins.items()}


# --- tables --------------------------------------------------------------------------------------------------------


def table_columns(
    export: Export, document: Document, contract: Contract, transforms: Sequence[Transform]
) -> Mapping[str, tuple[str, ...]]:
    """The columns by which an export's tables are merged, partitioned and ordered, by the names that recipients see.

    Raises InvalidProject for one that is not delivered.
    """
    given = {
        "merge_key": export.merge_key or (),
        "partition_by": tuple(column.column for column in export.layout.columns),
        "sort_by": export.sort_by,
    }
    if export.channel != "snapshot":
        return given
    final = _delivered(contract, transforms)
    problems = [
        document.problem(f'{what}: a table has no column "{column}" that the export does not deliver',
                         *(("layout", what) if what == "partition_by" else (what,)))
        for what, columns in given.items()
        for column in columns
        if column not in final
    ]  # fmt: skip
    if problems:
        raise InvalidProject(problems=problems)
    return {what: tuple(final[column] for column in columns) for what, columns in given.items()}


# --- checks --------------------------------------------------------------------------------------------------------


def check_problems(export: Export, document: Document, contract: Contract) -> Iterator[Problem]:
    """Checks whose settings are wrong, or fit no column that keeps the contract's promise."""
    fields = {field.column: field for field in contract.fields}
    scope = (export.tenants.column,) if export.tenants else ()
    for index, check in enumerate(export.checks):
        spill = Path(tempfile.gettempdir())  # nothing is written before a row is seen
        try:
            made = parse_check(check, scope=scope, now=datetime.now(UTC), memory=0, spill=spill)
        except ValueError as error:
            name = next((name for name in check if name != "on_violation"), "")
            yield document.problem(str(error), "checks", index, name)
            continue
        named = {each.column for each in references(export, ()) if each.at[:2] == ("checks", index)}
        for each in made:
            reason = _unfit(each, sorted({*scope, *named}), fields)
            each.close()
            if reason is not None:
                yield document.problem(f"{reason} ({contract.path} says so)", "checks", index)


def _unfit(check: Any, columns: Iterable[str], fields: Mapping[str, ContractField]) -> str | None:
    """Why the check fits no columns that keep the contract's promises; None where it fits some, or that is unknown."""
    choices: list[list[pa.Field]] = []
    for column in columns:
        types = _MAY_ARRIVE.get(_kind(fields.get(column)) or "", ())
        if _kind(fields.get(column)) == "string" and (fields[column].options.get("format") in _NOT_TEXT):
            types = ()
        if not types:
            return None
        choices.append([pa.field(column, type_) for type_ in types])
    first: str | None = None
    for trial in itertools.product(*choices) if math.prod(map(len, choices)) <= _MOST_TRIALS else ():
        try:
            check.bind(pa.schema(trial))
        except InvalidProject as error:
            first = first or error.message
        else:
            return None
    return first


_NOT_TEXT = ("uuid", "binary", "byte")


def _gap(export: Export, now: datetime) -> timedelta:
    """How far apart an export's runs lie at most; nothing where whoever calls decides."""
    if export.schedule is not None:
        return longest_gap(export.schedule.schedule(), now)
    return longest_gap(DAILY, now) if export.mode == "full_refresh" else timedelta(0)

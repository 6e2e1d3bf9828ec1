"""Binding an export to its source: which columns are read, as what, and what recipients get of them."""

from __future__ import annotations

import tempfile
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa

from lading.contract import Contract, ContractField, contract_checks, unmapped_quality
from lading.contract.types import fit
from lading.documents import Document, Loc, nearest
from lading.errors import InvalidProject, Problem, Refused, SchemaMismatch
from lading.export.definition import Export
from lading.formats.written import becomes_text
from lading.manifest import OPEN_CLASSIFICATIONS
from lading.ports import LOGICAL, NATIVE, Check, Dataset, Format, Ranger, Reading, Source, Transform
from lading.routing.keys import PartitionColumn, names_tenants
from lading.run import Binding
from lading.run.parity import INCOMPARABLE, Parity
from lading.transforms.checks import parse_check
from lading.transforms.checks_secrets import NoSecrets
from lading.transforms.columns import castable, is_number, value_type
from lading.transforms.lineage import (
    after,
    columns_of,
    exposures,
    moments,
    named_by_source,
    needed,
    references,
    shown,
    told_name,
    unread,
    untimely,
)
from lading.transforms.mask import Mask
from lading.transforms.select import Exclude, Rename, Select

# Told to recipients where a column is text because common readers cannot hold its type.
_TEXT_KINDS = frozenset({"decimal", "interval", "uuid", "money", "timetz"})


@dataclass(frozen=True, slots=True)
class Binder:
    """Everything that binding looks at. ``document`` is the export's file, for places in messages."""

    export: Export
    document: Document
    contract: Contract
    source: Source
    dataset: Dataset
    format: Format
    transforms: Sequence[Transform]
    named: frozenset[str] = frozenset()  # columns of the contract, under whichever major the export delivers

    def bind(self) -> Binding:
        """Raises SchemaMismatch, InvalidProject or Refused where the parts do not fit each other."""
        described, as_text, by_day = self._described()
        excluded = unread(self.export, self.transforms)
        promised = [f.column for f in self.contract.fields if f.column not in excluded]
        wanted = list(dict.fromkeys([*promised, *needed(self.export, self.transforms)]))
        self._refuse_untyped(wanted, described)
        read = pa.schema([described.field(name) for name in wanted])
        transforms = self._pruned(excluded, set(wanted))
        output = self._without_nulls(read)
        for transform in transforms:
            output = self._bound(transform, output)
        delivered = self._delivered(transforms, read, output)
        self._refuse_leaking_folders(delivered)
        self._refuse_uncut()
        last = Select(tuple(delivered)), Rename({n: d.name for n, d in delivered.items() if d.name != n})
        output = last[1].bind(last[0].bind(output))
        self._refuse_unroutable(read)
        self._judge_checks(read)
        fields = {d.name: d for d in delivered.values()}
        recipient = self.format.schema(output, self.export.types)
        return Binding(
            columns=tuple(wanted),
            as_text=as_text,
            read=read,
            output=output,
            recipient=[_column(f, fields) for f in recipient],
            policy=self._policy(transforms, excluded),
            transforms=(*transforms, *last),
            notices=(*_written_as_text(output, recipient, fields, as_text), *self._notices(described)),
            open_columns=frozenset(name for name, d in fields.items() if d.open),
            by_day=by_day,
            conceals_tenants=self._conceals_tenants(delivered),
        )

    def checks(
        self, binding: Binding, reading: Reading, now: datetime, spill: Path, memory: int
    ) -> list[Check]:
        """The export's checks and those that the contract implies, bound to what is read. What proves a key now may
        not have proven it of the rows of a reading: the reading alone is asked."""
        return self._checks(binding.read, now, spill, memory, reading.unique_keys)

    def _judge_checks(self, read: pa.Schema) -> None:
        """A check that does not fit its columns is refused before anything is claimed."""
        spill = Path(tempfile.gettempdir())  # nothing is written before a row is seen
        for check in self._checks(read, datetime.now(UTC), spill, 0, frozenset()):
            check.close()

    def _checks(
        self, read: pa.Schema, now: datetime, spill: Path, memory: int, proven: frozenset[frozenset[str]]
    ) -> list[Check]:
        whole = self.export.mode == "full_refresh"
        scope = (self.export.tenants.column,) if self.export.tenants else ()
        columns = set(read.names)
        implied = [_readable(check, columns) for check in contract_checks(self.contract, whole=whole)]
        stated = [dict(check) for check in self.export.checks]
        made: list[Check] = [NoSecrets(column) for column in self._looked_at() if column in columns]
        for index, check in enumerate([*stated, *(c for c in implied if c and c not in stated)]):
            own = index < len(stated)
            place = self.document.path, self.document.line("checks", index) if own else 0
            try:
                parsed = parse_check(check, scope=scope, now=now, memory=memory, spill=spill, proven=proven)
                for each in parsed:
                    each.bind(read)
            except (ValueError, InvalidProject) as error:
                reason = str(error) if own else f"a check that {self.contract.path} implies: {error}"
                raise InvalidProject(problems=[Problem(*place, reason)]) from error
            made.extend(parsed)
        return made

    # --- columns

    def _looked_at(self) -> list[str]:
        """The source's columns whose values recipients get as they are, and which may hold text."""
        spared = self.export.not_secret or ()
        bare = {
            e.column
            for e in exposures(self.export, self.contract, self.transforms)
            if e.text and not e.masks and e.column not in spared
        }
        return [field.column for field in self.contract.fields if field.name in bare]

    def _described(self) -> tuple[pa.Schema, frozenset[str], frozenset[str]]:
        """The source's columns; which of them are text since the contract declares them strings; which of the window's
        are dates. Every promised field is judged."""
        types = self.export.types
        schema = self.source.describe(self.dataset, types)
        self._promised(schema)
        self._refuse_unknown(schema)
        times = {each.column for each in moments(self.export)}
        by_day = frozenset(column for column in times if pa.types.is_date(schema.field(column).type))
        verdicts = {f.column: fit(f, schema.field(f.column)) for f in self.contract.fields}
        as_text = frozenset(column for column, verdict in verdicts.items() if verdict.verdict == "as_text")
        if as_text:
            schema = self.source.describe(self.dataset, types, as_text)
            for f in self.contract.fields:
                if f.column in as_text:
                    verdicts[f.column] = fit(f, schema.field(f.column), as_text=True)
        refused = {
            f.name: f"{f.name}: {verdicts[f.column].reason}"
            for f in self.contract.fields
            if verdicts[f.column].verdict == "refused"
            and f.column not in unread(self.export, self.transforms)
        }
        if refused:
            hints = (castable(schema.field(f.column)) for f in self.contract.fields if f.name in refused)
            raise SchemaMismatch(
                f"{self._where()} does not fit {self.contract.path}: {'; '.join(refused.values())}.",
                hint=" ".join(filter(None, hints)) or None,
            )
        return schema, as_text, by_day

    def _where(self) -> str:
        return self.dataset.table or self.dataset.files or f"the query of {self.export.name}"

    def _promised(self, schema: pa.Schema) -> None:
        missing = [f.column for f in self.contract.fields if f.column not in schema.names]
        if missing:
            near = nearest(missing[0], schema.names).removeprefix(" – did you mean ").removesuffix("?")
            raise SchemaMismatch(
                f"{self._where()} lacks what {self.contract.path} promises: {', '.join(missing)}.",
                hint=f"There is a column {near}." if near else "Mend the source, or promise it no longer.",
            )
        columns = {f.column for f in self.contract.fields} | self.named
        unknown = [name for name in schema.names if name not in columns]
        if unknown and self.export.unknown_columns == "refuse":
            raise Refused(
                f"{self._where()} has columns that {self.contract.path} does not name: {', '.join(unknown)}.",
                hint="Name and classify them in the contract, or set unknown_columns: ignore.",
            )

    def _refuse_unknown(self, schema: pa.Schema) -> None:
        """Every column that the export names is there, and those of the window tell times that lose no row."""
        problems = [
            self.document.problem(
                f'{self._where()} has no column "{each.column}"{told_name(each.column, self.contract, schema.names)}',
                *each.at,
            )
            for each in references(self.export, self.transforms)
            if each.column not in schema.names
        ]
        for each in () if problems else moments(self.export):
            field = schema.field(each.column)
            if _never_time(field):
                reason = f'"{each.column}" is {_native(field)}, and a window needs a timestamp or a date'
                problems.append(self.document.problem(reason, *each.at))
            elif _zoneless(field):
                told = untimely(self.export, each, date=pa.types.is_date(field.type))
                problems += [self.document.problem(reason, *at) for at, reason in told]
        if problems:
            raise InvalidProject(problems=problems)

    def _refuse_untyped(self, wanted: Sequence[str], described: pa.Schema) -> None:
        refused = [n for n in wanted if pa.types.is_null(described.field(n).type)]
        if refused:
            raise SchemaMismatch(f"Column {refused[0]}: its type cannot be carried.")

    def _without_nulls(self, read: pa.Schema) -> pa.Schema:
        """What is delivered has no NULL where the contract requires a value: a check of it lets none pass."""
        full = {f.column for f in self.contract.fields if f.never_null}
        return pa.schema([f.with_nullable(f.nullable and f.name not in full) for f in read], read.metadata)

    def _refuse_unroutable(self, read: pa.Schema) -> None:
        """Tenants and partitions are told apart by text, shards by whole numbers."""
        empty = read.empty_table().to_batches() or [pa.RecordBatch.from_pylist([], read)]
        tenants = self.export.tenants
        if tenants is not None and not names_tenants(read.field(tenants.column)):
            native = _native(read.field(tenants.column))
            reason = (
                f'"{tenants.column}" is {native}, which names no folder of a tenant: its values have no one text. '
                "Declare it a string in the contract, or cast it in a query"
            )
            raise InvalidProject(problems=[self.document.problem(reason, "tenants", "column")])
        try:
            at: Loc = ()
            for index, partition in enumerate(self.export.layout.columns):
                at = ("layout", "partition_by", index)
                PartitionColumn(partition.column, *partition).values(empty[0])
        except InvalidProject as error:
            raise InvalidProject(problems=[self.document.problem(error.message, *at)]) from error
        except pa.ArrowException as error:
            reason = "a column of this type names no folder: its values have no text of their own"
            raise InvalidProject(problems=[self.document.problem(reason, *at)]) from error

    # --- transforms

    def _pruned(self, excluded: frozenset[str], wanted: set[str]) -> list[Transform]:
        """The transforms without those columns of `exclude` that are not read in the first place."""
        kept: list[Transform] = []
        for transform in self.transforms:
            if not isinstance(transform, Exclude):
                kept.append(transform)
                continue
            source = named_by_source(self.transforms, transform)
            rest = tuple(
                c for c in transform.columns if c not in source or (c not in excluded and c in wanted)
            )
            if rest:
                kept.append(Exclude(rest))
        return kept

    def _bound(self, transform: Transform, schema: pa.Schema) -> pa.Schema:
        try:
            return transform.bind(schema)
        except InvalidProject as error:
            index = list(self.transforms).index(transform) if transform in self.transforms else 0
            place = self.document.line("transforms", index)
            raise InvalidProject(problems=[Problem(self.document.path, place, str(error))]) from error

    def _delivered(
        self, transforms: Sequence[Transform], read: pa.Schema, output: pa.Schema
    ) -> dict[str, _Delivered]:
        """What recipients get, by its name after the transforms: promised columns alone, each traced to its source."""
        sources, masked = {name: name for name in read.names}, set[str]()
        for transform in transforms:
            if isinstance(transform, Mask):
                masked |= {sources[name] for name in transform.actions}
            sources = after(transform, sources)
        fields = {f.column: f for f in self.contract.fields}
        promised = {f.name for f in self.contract.fields}
        found: dict[str, _Delivered] = {}
        for name in output.names:
            source = sources[name]
            field = fields.get(source)
            if field is None:
                continue
            # A column that the export renames goes by that name, any other by the contract's.
            final = name if name != source else field.name
            if final != field.name and final in promised:
                reason = f'"{source}" would be delivered as "{final}", which the contract promises as something else'
                raise InvalidProject(problems=[self.document.problem(f"rename: {reason}", "transforms")])
            found[name] = _Delivered(final, source, field, source in masked)
        if not found:
            problem = self.document.problem("no promised column is left to deliver", "transforms")
            raise InvalidProject(problems=[problem])
        return found

    def _refuse_leaking_folders(self, delivered: Mapping[str, _Delivered]) -> None:
        """What recipients may not see cannot name their folders either."""
        bare = {d.source for d in delivered.values() if not d.masked}
        masked = {d.source for d in delivered.values() if d.masked}
        problems = [
            self.document.problem(why, *at) for at, why in shown(self.export, self.contract, bare, masked)
        ]
        if problems:
            raise InvalidProject(problems=problems)

    def _conceals_tenants(self, delivered: Mapping[str, _Delivered]) -> bool:
        """Whether an unknown tenant, which is a value of the source, is not to be told: where the contract says that
        the column is not for everybody, or the export leaves it out."""
        if self.export.tenants is None:
            return False
        column = self.export.tenants.column
        promised = [f for f in self.contract.fields if f.column == column]
        if not promised:
            return any(isinstance(t, Exclude) and column in t.columns for t in self.transforms)
        closed = any((f.classification or "").lower() not in OPEN_CLASSIFICATIONS for f in promised)
        return closed or not any(d.source == column for d in delivered.values())

    def _refuse_uncut(self) -> None:
        """Immutable rows are read in parts of an order that the source must prove."""
        export = self.export
        if not export.immutable_rows or export.window is None:
            return
        if not isinstance(self.source, Ranger):
            reason = f"immutable_rows: the connection {export.source.connection} cannot cut parts by ranges of a key"
            raise InvalidProject(problems=[self.document.problem(reason, "immutable_rows")])
        self.source.part_key(self.dataset, export.window.column)

    # --- what is told

    def _policy(self, transforms: Sequence[Transform], excluded: frozenset[str]) -> list[Mapping[str, Any]]:
        actions: list[Mapping[str, Any]] = [{"column": c, "action": "excluded"} for c in sorted(excluded)]
        for transform in transforms:
            actions.extend({"column": a.column, "action": a.action} for a in transform.policy())
        return actions

    def _notices(self, described: pa.Schema) -> tuple[str, ...]:
        told: list[str] = []
        columns = {f.column for f in self.contract.fields} | self.named
        unknown = sorted(set(described.names) - columns)
        if unknown:
            told.append(f"not in the contract and not delivered: {', '.join(unknown)}")
        whole = self.export.mode == "full_refresh"
        told.extend(
            f"promised and not checked: {promise}" for promise in unmapped_quality(self.contract, whole=whole)
        )
        for transform in self.transforms:
            if isinstance(transform, Mask):
                told.extend(transform.warnings())
        told.extend(self.format.notices())
        if self.export.window is not None and self.export.window.late == "ignore":
            told.append("rows that arrive after their interval was delivered are not delivered")
        if self.export.immutable_rows:
            told.append(
                "rows are declared immutable: after a failure, parts that were read before it are used again"
            )
        return tuple(told)


@dataclass(frozen=True, slots=True)
class _Delivered:
    """A delivered column: what it is called in the end, and which promise about which source's column it keeps."""

    name: str
    source: str
    field: ContractField
    masked: bool

    @property
    def open(self) -> bool:
        return not self.masked and (self.field.classification or "").lower() in OPEN_CLASSIFICATIONS


def _written_as_text(
    output: pa.Schema, recipient: pa.Schema, delivered: Mapping[str, _Delivered], as_text: frozenset[str]
) -> Iterator[str]:
    """Which columns are text for recipients alone. Of what a mask makes the policy tells."""
    for field in output:
        metadata = field.metadata or {}
        native = metadata.get(NATIVE, b"").decode() or str(field.type)
        logical, known = metadata.get(LOGICAL, b"").decode(), delivered[field.name]
        if known.source in as_text and not known.masked:
            yield f"{field.name}: {native} is delivered as text, since the contract declares a string"
        elif logical in _TEXT_KINDS and pa.types.is_string(field.type):
            yield f"{field.name}: {native} is delivered as text"
        elif becomes_text(field.type, recipient.field(field.name).type):
            inside = " in part" if pa.types.is_nested(recipient.field(field.name).type) else ""
            yield f"{field.name}: {native} is delivered as text{inside}"


@dataclass(frozen=True, slots=True)
class Pair:
    """Two majors of one dataset, bound to one reading, of whose columns each takes its own."""

    own: Binder
    beside: Binder
    differs: Collection[str] = ()  # columns whose name means something else in each of the two

    def bind(self) -> Binding:
        """The own binding, which reads for both and has the other in ``beside``. Raises what each alone would, and
        SchemaMismatch where the two want one column in two types."""
        own, other = self.own.bind(), self.beside.bind()
        for name in own.columns:
            if name not in other.columns:
                continue
            one, another = own.read.field(name).type, other.read.field(name).type
            if not one.equals(another) or (name in own.as_text) != (name in other.as_text):
                raise SchemaMismatch(
                    f"{self.own.export.name}: {self.own.contract.path} takes the column {name} as {_read(one)}, and "
                    f"{self.beside.contract.path} as {_read(another)}: one reading gives it once.",
                    hint="Let a query give the column twice, cast in one of them, and name the second as physicalName.",
                )
        if not Parity.of(own.output, other.output, self.differs).columns:
            raise InvalidProject(problems=[self.own.document.problem(INCOMPARABLE, "beside")])
        fields = {field.name: field for field in (*other.read, *own.read)}
        columns = tuple(dict.fromkeys((*own.columns, *other.columns)))
        return replace(
            own,
            columns=columns,
            as_text=own.as_text | other.as_text,
            read=pa.schema([fields[name] for name in columns]),
            transforms=(Select(own.columns), *own.transforms),
            conceals_tenants=own.conceals_tenants or other.conceals_tenants,
            beside=replace(other, transforms=(Select(other.columns), *other.transforms)),
        )

    def own_checks(
        self, binding: Binding, reading: Reading, now: datetime, spill: Path, memory: int
    ) -> list[Check]:
        """As `Binder.checks`, of the columns that the own major looks at alone."""
        taken = binding.transforms[0]
        assert isinstance(taken, Select)
        return self.own.checks(replace(binding, read=taken.bind(binding.read)), reading, now, spill, memory)


def _read(type_: pa.DataType) -> str:
    return "text" if pa.types.is_string(type_) else str(type_)


def _column(field: pa.Field, delivered: Mapping[str, _Delivered]) -> dict[str, Any]:
    """One column of the manifest's schema."""
    known = delivered.get(field.name)
    return {
        "name": field.name,
        "type": str(field.type),
        "logical": (field.metadata or {}).get(LOGICAL, b"").decode() or None,
        "nullable": bool(field.nullable),
        "classification": known.field.classification if known else None,
    }


def _native(field: pa.Field) -> str:
    """The source's own name of the type."""
    return (field.metadata or {}).get(NATIVE, b"").decode() or str(field.type)


def _never_time(field: pa.Field) -> bool:
    """Whether no window could be laid over the column; of text with a meaning of its own the source is the judge."""
    plain = (pa.types.is_string(field.type) or pa.types.is_large_string(field.type)) and LOGICAL not in (
        field.metadata or {}
    )
    return bool(plain or pa.types.is_boolean(field.type) or is_number(value_type(field.type)))


def _zoneless(field: pa.Field) -> bool:
    return bool(pa.types.is_date(field.type) or (pa.types.is_timestamp(field.type) and field.type.tz is None))


def _readable(check: dict[str, object], read: set[str]) -> dict[str, object] | None:
    """An implied check, without columns that the export excludes."""
    (name, value), *_ = check.items()
    if isinstance(value, list):
        kept = [v for v in value if v in read]
        if name == "not_null":
            return {**check, name: kept} if kept else None
        return check if kept == value else None
    if isinstance(value, Mapping) and name in ("range", "regex", "in"):
        inside = {k: v for k, v in value.items() if k in read}
        return {**check, name: inside} if inside else None
    return check if all(column in read for _, column in columns_of(check)) else None

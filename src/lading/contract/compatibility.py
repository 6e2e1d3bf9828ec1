"""What a later version of a contract changes, and for whom: who reads what is delivered, and who must fill it.

What is promised more strictly serves readers and binds whoever fills the source; what is promised less does the
opposite; a change that does neither breaks both. New fields are additive, where they come last and may be NULL. A
change that breaks either side needs a new major version, and each version is held against all earlier ones of its
major: two steps that break nothing can do so together, where one takes a field away and the other brings it back.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any, Literal

from lading.contract import promises
from lading.contract.model import Contract, ContractField, QualityRule, SlaProperty
from lading.contract.promises import Relation
from lading.documents import show_duration
from lading.errors import InvalidProject, Problem
from lading.policy import names_personal

Effect = Literal["none", "additive", "breaking"]
Verdict = Literal["unchanged", "additive", "breaking"]

_EFFECTS: dict[Relation, tuple[Effect, Effect]] = {  # consumer, producer
    "same": ("none", "none"),
    "tighter": ("additive", "breaking"),
    "looser": ("breaking", "additive"),
    "other": ("breaking", "breaking"),
}


@dataclass(frozen=True, slots=True)
class Change:
    """One thing that is promised otherwise. ``field`` is a path, ``stops[]`` or ``weather.wind``; "" is the dataset."""

    kind: str  # a key of ODCS, or: added, removed, renamed, order
    field: str
    reason: str
    consumer: Effect
    producer: Effect
    file: str
    line: int

    @property
    def breaks(self) -> tuple[str, ...]:
        """Whom it breaks: ``consumer``, ``producer``."""
        sides = (("consumer", self.consumer), ("producer", self.producer))
        return tuple(side for side, effect in sides if effect == "breaking")

    def __str__(self) -> str:
        return f"{self.field}: {self.reason}" if self.field else self.reason

    def record(self) -> dict[str, Any]:
        return {
            "kind": self.kind,
            "field": self.field or None,
            "reason": self.reason,
            "consumer": self.consumer,
            "producer": self.producer,
            "file": self.file,
            "line": self.line,
        }


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two versions of one dataset's contract."""

    old: Contract
    new: Contract
    changes: tuple[Change, ...]

    @property
    def consumer(self) -> Verdict:
        return _verdict(change.consumer for change in self.changes)

    @property
    def producer(self) -> Verdict:
        return _verdict(change.producer for change in self.changes)

    @property
    def verdict(self) -> Verdict:
        """The graver of both."""
        return _verdict(effect for change in self.changes for effect in (change.consumer, change.producer))

    def problems(self) -> list[Problem]:
        """Each change that breaks a side although the major is the same."""
        if self.old.major != self.new.major:
            return []
        return [self._problem(change) for change in self.changes if change.breaks]

    def _problem(self, change: Change) -> Problem:
        """At the newer version, which is the one to mend: what it lacks stands in the older one alone."""
        there = change.file == self.new.path
        was = "" if there else f" ({change.file}:{change.line})" if change.line else f" ({change.file})"
        return Problem(
            self.new.path,
            change.line if there else 0,
            f"{change}{was} – for the {' and the '.join(change.breaks)} version {self.new.version} breaks what version "
            f"{self.old.version} promises ({self.old.path}), and a breaking change needs a new major: "
            f"{self.new.major + 1}.0.0",
        )

    def record(self) -> dict[str, Any]:
        return {
            "old": _named(self.old),
            "new": _named(self.new),
            "verdict": self.verdict,
            "consumer": self.consumer,
            "producer": self.producer,
            "needs_major": bool(self.problems()),
            "changes": [change.record() for change in self.changes],
        }


def _named(contract: Contract) -> dict[str, str]:
    return {"name": contract.name, "version": contract.version, "file": contract.path}


def _verdict(effects: Iterable[Effect]) -> Verdict:
    found = set(effects)
    return "breaking" if "breaking" in found else "additive" if "additive" in found else "unchanged"


# --- versions ------------------------------------------------------------------------------------------------------

_DRAFTS = ("draft", "proposed")


def version_order(version: str) -> tuple[Any, ...]:
    """A key by which versions sort: Semantic Versioning 2.0, section 11, with as many numbers as there are. 1.0 is
    1.0.0, and what follows a ``+`` does not count."""
    core, _, before = version.removeprefix("v").partition("+")[0].partition("-")
    parts = _identifiers(core)
    while len(parts) > 1 and parts[-1] == (0, 0, ""):
        parts.pop()
    return tuple(parts), not before, tuple(_identifiers(before)) if before else ()


def _identifiers(text: str) -> list[tuple[int, int, str]]:
    return [(0, int(part), "") if re.fullmatch("[0-9]+", part) else (1, 0, part) for part in text.split(".")]


def in_use(versions: Sequence[Contract]) -> Contract:
    """Of the versions of one major, the one that exports deliver under: the newest that is no draft, or the newest."""
    agreed = [each for each in versions if each.status.lower() not in _DRAFTS]
    return max(agreed or versions, key=lambda each: version_order(each.version))


def history(versions: Sequence[Contract]) -> list[Comparison]:
    """Each version against each earlier one, the oldest first. Raises InvalidProject where they are not of one dataset,
    or a later one has the lower version."""
    first = versions[0]
    for other in versions[1:]:
        if other.name != first.name:
            raise InvalidProject(
                f"{first.path} is a contract of {first.name}, and {other.path} of {other.name}: "
                "versions of one dataset are compared."
            )
    return [compare(old, new) for old, new in combinations(versions, 2)]


# --- two versions --------------------------------------------------------------------------------------------------


def compare(old: Contract, new: Contract) -> Comparison:
    """What ``new`` changes of what ``old`` promises. Raises InvalidProject where it is the earlier version."""
    if version_order(new.version) < version_order(old.version):
        raise InvalidProject(
            f"{new.path} is version {new.version}, which comes before {old.version} of {old.path}.",
            hint="Name the older version first.",
        )
    return Comparison(old, new, tuple(_Differ(old, new).changes()))


class _Differ:
    def __init__(self, old: Contract, new: Contract) -> None:
        self.old, self.new = old, new

    def changes(self) -> Iterator[Change]:
        old, new = self.old, self.new
        if old.id != new.id:
            yield self._here(
                "id", f"{_was(old.id, new.id)}, and manifests name the contract by it", ("breaking", "none")
            )
        for kind in ("status", "description"):
            before, after = getattr(old, kind), getattr(new, kind)
            if before != after:
                reason = (
                    "the description is another" if kind == "description" else f"status {_was(before, after)}"
                )
                yield self._here(kind, reason, ("none", "none"))
        yield from self._fields(old.fields, new.fields, "")
        yield from self._order()
        yield from self._primary_key()
        yield from self._quality(old.quality, new.quality, None, "")
        yield from self._sla()

    def _here(
        self,
        kind: str,
        reason: str,
        effects: tuple[Effect, Effect],
        *,
        at: ContractField | None = None,
        path: str = "",
        line: int = 0,
    ) -> Change:
        """A change in the new document, at a field or at the line of its key."""
        line = line or (at.line if at else self.new.lines.get(kind, 0))
        return Change(kind, path, reason, *effects, self.new.path, line)

    # --- fields

    def _fields(
        self, old: Sequence[ContractField], new: Sequence[ContractField], prefix: str
    ) -> Iterator[Change]:
        before, after = {f.name: f for f in old}, {f.name: f for f in new}
        renamed = _renamed(old, new)
        for field in old:
            name = renamed.get(field.name, field.name)
            if name not in after:
                yield Change(
                    "removed", prefix + field.name, "was removed", "breaking", "additive",
                    self.old.path, field.line,
                )  # fmt: skip
                continue
            if name != field.name:
                reason = f'was renamed: the column "{field.column}" is called {name}'
                yield self._here(
                    "renamed", reason, ("breaking", "none"), at=after[name], path=prefix + field.name
                )
            yield from self._field(field, after[name], prefix + name)
        for field in new:
            if field.name not in before and field.name not in renamed.values():
                yield self._added(field, prefix + field.name)

    def _added(self, field: ContractField, path: str) -> Change:
        """The source must have a new field, and where it may be NULL nothing more is asked."""
        why = _demanded(field)
        reason = f"is new, and {why}" if why else "is new, and may be NULL"
        return self._here(
            "added", reason, ("additive", "breaking" if why else "additive"), at=field, path=path
        )

    def _field(self, old: ContractField, new: ContractField, path: str) -> Iterator[Change]:
        def told(kind: str, relation: Relation, before: object, after: object) -> Iterator[Change]:
            if relation != "same":
                reason = f"{kind} {_was(before, after)}"
                yield self._here(kind, reason, _EFFECTS[relation], at=new, path=path)

        if old.column != new.column:
            reason = f"physicalName {_was(old.column, new.column)}: the source must have that column"
            yield self._here("physicalName", reason, ("none", "additive"), at=new, path=path)
        kept = list(self._type(old, new, path))
        yield from kept
        yield from told("required", _flag(old.never_null, new.never_null), old.never_null, new.never_null)
        yield from told("unique", _flag(old.unique, new.unique), old.unique, new.unique)
        yield from self._classification(old, new, path)
        if old.description != new.description:
            yield self._here("description", "the description is another", ("none", "none"), at=new, path=path)
        yield from self._quality(old.quality, new.quality, new, path)
        yield from told("enum", promises.listed(old.values, new.values), *map(_values, (old, new)))
        if any(len(change.breaks) == 2 and change.kind == "logicalType" for change in kept):
            return  # options of two types that have nothing in common
        for name in ("minimum", "maximum"):
            ends = (_end(old, name), _end(new, name))
            yield from told(name, promises.bounds(old, new, name), *ends)
        for name, find in _OPTIONS.items():
            before, after = old.options.get(name), new.options.get(name)
            yield from told(name, find(before, after), before, after)
        for name in sorted({*old.options, *new.options} - _OPTIONS.keys() - _ELSEWHERE):
            before, after = old.options.get(name), new.options.get(name)
            yield from told(name, promises.given(before, after), before, after)
        yield from self._inside(old, new, path)

    def _type(self, old: ContractField, new: ContractField, path: str) -> Iterator[Change]:
        """Logical and physical type, format and time zone together: what `types.fit` judges."""
        told = [(kind, before, after) for kind, before, after in _types(old, new) if before != after]
        if not told:
            return
        relations = [
            promises.relation(*promises.types(old, new)),
            promises.physical(old, new),
            promises.given(*_written(old, new)),
        ]
        effects = [_EFFECTS[relation] for relation in relations]
        consumer, producer = (max(side, key=_GRAVITY.index) for side in zip(*effects, strict=True))
        reason = "; ".join(f"{kind} {_was(before, after)}" for kind, before, after in told)
        yield self._here(told[0][0], reason, (consumer, producer), at=new, path=path)

    def _classification(self, old: ContractField, new: ContractField, path: str) -> Iterator[Change]:
        marks = [names_personal((field.classification or "", *field.tags)) for field in (old, new)]
        if marks[0] != marks[1]:
            told = "personal data now: it may no longer be delivered as it was"
            effects: tuple[Effect, Effect] = (
                ("breaking", "breaking") if marks[1] else ("additive", "additive")
            )
            reason = told if marks[1] else "no longer called personal data"
            yield self._here("tags", reason, effects, at=new, path=path)
        before, after = (field.classification for field in (old, new))
        if (before or "").lower() == (after or "").lower():
            return
        ranks = [_RANKS.get((each or "restricted").lower()) for each in (before, after)]
        effects = ("breaking", "breaking")
        more = ""
        if ranks[0] is not None and ranks[1] is not None:
            if ranks[1] == ranks[0]:
                effects = ("none", "none")
            elif ranks[1] < ranks[0]:
                effects = ("additive", "additive")
            else:
                more = ": it may no longer be delivered as it was"
        yield self._here(
            "classification", f"classification {_was(before, after)}{more}", effects, at=new, path=path
        )

    def _inside(self, old: ContractField, new: ContractField, path: str) -> Iterator[Change]:
        if old.items is not None and new.items is not None:
            yield from self._field(old.items, new.items, f"{path}[]")
        elif old.items is not None or new.items is not None:
            relation: Relation = "looser" if new.items is None else "tighter"
            state = "no longer promised" if new.items is None else "promised now"
            yield self._here("items", f"what its items are is {state}", _EFFECTS[relation], at=new, path=path)
        if old.entries != new.entries:
            relation = promises.given(old.entries or None, new.entries or None)
            yield self._here(
                "map", "what its keys and values are was changed", _EFFECTS[relation], at=new, path=path
            )
        yield from self._fields(old.properties, new.properties, f"{path}.")

    # --- the dataset

    def _order(self) -> Iterator[Change]:
        """Columns are delivered in the contract's order, and whoever reads CSV may count them."""
        renamed = _renamed(self.old.fields, self.new.fields)
        after = [field.name for field in self.new.fields]
        kept = [name for field in self.old.fields if (name := renamed.get(field.name, field.name)) in after]
        for place, field in enumerate(self.new.fields):
            if place < len(kept) and field.name != kept[place]:
                reason = (
                    f"{field.name} stands where {kept[place]} stood: columns are delivered in the contract's order, "
                    "and readers of CSV may count them; put new fields last"
                )
                yield self._here("order", reason, ("breaking", "none"), at=field)
                return

    def _primary_key(self) -> Iterator[Change]:
        before, after = self.old.primary_key, self.new.primary_key
        if before == after:
            return
        first = self.new.field(after[0]) if after else None
        relation = promises.given(before or None, after or None)
        effects: tuple[Effect, Effect] = _EFFECTS[relation]
        if sorted(before) == sorted(after):
            effects = ("additive", "additive")  # as unique as it was
        reason = f"primaryKey {_was(', '.join(before) or None, ', '.join(after) or None)}"
        line = first.line if first else self.new.lines.get("schema", 0)
        yield self._here("primaryKey", reason, effects, line=line)

    def _quality(
        self,
        old: Sequence[QualityRule],
        new: Sequence[QualityRule],
        field: ContractField | None,
        path: str,
    ) -> Iterator[Change]:
        before = [rule for rule in old if not rule.warns]
        after = [rule for rule in new if not rule.warns]
        for rule in before:
            rivals = [each for each in after if promises.subject(each) == promises.subject(rule)]
            relations = [promises.rules(rule, each) for each in rivals]
            if not {"same", "tighter"} & set(relations):
                weaker = next(
                    (r for r, found in zip(rivals, relations, strict=True) if found == "looser"), None
                )
                what = "is promised less strictly" if weaker else "is no longer promised"
                side = self.new if weaker else self.old
                yield self._rule(weaker or rule, what, ("breaking", "additive"), side, path)
        for rule in after:
            rivals = [each for each in before if promises.subject(each) == promises.subject(rule)]
            relations = [promises.rules(each, rule) for each in rivals]
            if not {"same", "looser"} & set(relations):
                what = "is promised more strictly" if "tighter" in relations else "is promised now"
                yield self._rule(rule, what, ("additive", "breaking"), self.new, path)
        yield from self._warnings(old, new, path)

    def _warnings(
        self, old: Sequence[QualityRule], new: Sequence[QualityRule], path: str
    ) -> Iterator[Change]:
        """Rules that refuse nothing are no promises, and are told of."""
        known = {(promises.subject(rule), str(rule.operand)) for rule in (*old, *new) if not rule.warns}
        for rules, others, side, what in (
            (old, new, self.old, "no longer warns"),
            (new, old, self.new, "warns now"),
        ):
            there = {(promises.subject(rule), str(rule.operand)) for rule in others}
            for rule in rules:
                name = (promises.subject(rule), str(rule.operand))
                if rule.warns and name not in there | known:
                    yield self._rule(rule, what, ("none", "none"), side, path)

    @staticmethod
    def _rule(
        rule: QualityRule, what: str, effects: tuple[Effect, Effect], side: Contract, path: str
    ) -> Change:
        return Change("quality", path, f'the rule "{rule}" {what}', *effects, side.path, rule.line)

    def _sla(self) -> Iterator[Change]:
        for name in ("freshness", "latency", "frequency"):
            spans = [getattr(contract.sla, name) for contract in (self.old, self.new)]
            relation = promises.upper(*(span and span.total_seconds() for span in spans))
            if relation != "same":
                before, after = (span and show_duration(span) for span in spans)
                yield self._here("slaProperties", f"{name} {_was(before, after)}", _EFFECTS[relation])
        before, after = (_agreed(contract.sla.other) for contract in (self.old, self.new))
        for name in sorted({*before, *after}):
            relation = promises.given(before.get(name), after.get(name))
            effects = _EFFECTS[relation]
            if name.partition(" ")[0].lower() in _ANNOUNCED and relation == "tighter":
                effects = ("additive", "none")
            if relation != "same":
                yield self._here(
                    "slaProperties", f"{name} {_was(before.get(name), after.get(name))}", effects
                )


_GRAVITY: tuple[Effect, ...] = ("none", "additive", "breaking")
# As far as levels can be told apart. None counts as restricted, since who wrote nothing has classified nothing.
_RANKS = {"public": 0, "internal": 1, "confidential": 2, "sensitive": 2, "restricted": 3, "secret": 3}
# Dates of a version's life, which nobody has to keep by delivering.
_ANNOUNCED = ("generalavailability", "ga", "endofsupport", "es", "endoflife", "el")

_OPTIONS: Mapping[str, Callable[[Any, Any], Relation]] = {
    "minLength": lambda old, new: promises.lower(old or 0, new or 0),
    "maxLength": promises.upper,
    "minItems": lambda old, new: promises.lower(old or 0, new or 0),
    "maxItems": promises.upper,
    "minProperties": lambda old, new: promises.lower(old or 0, new or 0),
    "maxProperties": promises.upper,
    "multipleOf": promises.multiple,
    "uniqueItems": lambda old, new: _flag(bool(old), bool(new)),
    "required": lambda old, new: promises.relation(set(old or ()) <= set(new or ()), set(new or ()) <= set(old or ())),
}  # fmt: skip
_ELSEWHERE = {"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "format", "timezone"}


def _flag(old: bool, new: bool) -> Relation:
    return "same" if old == new else "tighter" if new else "looser"


def _renamed(old: Sequence[ContractField], new: Sequence[ContractField]) -> dict[str, str]:
    """Fields that the source calls as before and recipients do not."""
    before, after = {f.name for f in old}, {f.name for f in new}
    gone = {f.column: f.name for f in old if f.name not in after}
    return {gone[f.column]: f.name for f in new if f.name not in before and f.column in gone}


def _demanded(field: ContractField) -> str:
    """What a new field asks for beyond being there."""
    if field.never_null:
        return "required"
    if field.unique:
        return "unique"
    rule = next((rule for rule in field.quality if not rule.warns), None)
    return f'promises "{rule}"' if rule else ""


def _agreed(properties: Iterable[SlaProperty]) -> dict[str, str]:
    return {
        f"{each.property} of {each.element}"
        if each.element
        else each.property: f"{each.value} {each.unit}".strip()
        for each in properties
    }


def _types(old: ContractField, new: ContractField) -> Iterator[tuple[str, object, object]]:
    yield "logicalType", old.logical_type, new.logical_type
    yield "physicalType", old.physical_type, new.physical_type
    for name in ("format", "timezone"):
        yield name, old.options.get(name), new.options.get(name)


def _written(old: ContractField, new: ContractField) -> tuple[object, object]:
    """The format of texts and times, which says how a value is written; that of numbers is part of the type."""
    if {old.logical_type, new.logical_type} <= {"integer", "number"}:
        return None, None
    return old.options.get("format"), new.options.get("format")


def _end(field: ContractField, name: str) -> str | None:
    exclusive = field.options.get(f"exclusive{name.capitalize()}")
    inclusive = field.options.get(name)
    ends = [str(inclusive)] if inclusive is not None else []
    ends += [f"{'more' if name == 'minimum' else 'less'} than {exclusive}"] if exclusive is not None else []
    return " and ".join(ends) or None


def _values(field: ContractField) -> str | None:
    return ", ".join(map(str, field.values)) or None


def _was(before: object, after: object) -> str:
    old, new = ("not set" if value is None else _word(value) for value in (before, after))
    return f"was {old}, and is {new}"


def _word(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)

"""Checks that follow from a contract, in the words of an export's ``checks:``.

What a contract promises and these words cannot say is listed by `unmapped_quality`, so that a manifest can tell what
was not checked. Columns are called as in the source, since checks see its values.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from lading.contract.model import Contract, ContractField, QualityRule

Check = dict[str, object]

_RANGED = ("number", "integer", "date", "timestamp")
_MAX_REPEAT = 1000  # of RE2, in which patterns are run


@dataclass(slots=True)
class _Implied:
    not_null: list[str] = field(default_factory=list)
    checks: list[Check] = field(default_factory=list)
    unmapped: list[str] = field(default_factory=list)

    def add(self, check: Check) -> None:
        if check not in self.checks:
            self.checks.append(check)


def contract_checks(contract: Contract, *, whole: bool = False) -> list[dict[str, object]]:
    """What the contract implies: required fields, keys, ranges, patterns, listed values, and quality rules.

    ``whole``: a reading is the whole dataset, so that rules about its row count can be judged.
    """
    implied = _imply(contract, whole)
    first: list[Check] = [{"not_null": implied.not_null}] if implied.not_null else []
    return first + implied.checks


def unmapped_quality(contract: Contract, *, whole: bool = False) -> tuple[str, ...]:
    """What the contract promises and no check judges, for people: ``tail_number: no repeated tails (sql)``."""
    return tuple(dict.fromkeys(_imply(contract, whole).unmapped))


def _imply(contract: Contract, whole: bool) -> _Implied:
    implied = _Implied()
    keys = [key for name in contract.primary_key if (key := contract.field(name))]
    implied.not_null = [each.column for each in contract.fields if each.never_null]
    if keys:
        implied.add({"unique": [key.column for key in keys]})
    for each in contract.fields:
        if each.unique:
            implied.add({"unique": [each.column]})
        _options(each, implied)
        if each.values:
            implied.add({"in": {each.column: list(each.values)}})
        for rule in each.quality:
            _rule(rule, each, contract, whole, implied)
        implied.unmapped += _nested(each)
    for rule in contract.quality:
        _rule(rule, None, contract, whole, implied)
    return implied


# --- logicalTypeOptions --------------------------------------------------------------------------------------------


def _options(each: ContractField, implied: _Implied) -> None:
    options = dict(each.options)
    low, high = options.pop("minimum", None), options.pop("maximum", None)
    if each.logical_type == "integer":
        # Of whole numbers, "more than 4" is "at least 5".
        below, above = options.get("exclusiveMinimum"), options.get("exclusiveMaximum")
        if isinstance(below, int) or isinstance(above, int):
            low, high = _tighter(low, below, 1), _tighter(high, above, -1)
            options = {
                k: v for k, v in options.items() if not (k.startswith("exclusive") and isinstance(v, int))
            }
        if str(options.get("format", "")).startswith("u") and low is None:
            low = 0
    if low is not None or high is not None:
        if each.logical_type in _RANGED:
            implied.add({"range": {each.column: [low, high]}})
        else:
            implied.unmapped.append(f"{each.name}: minimum or maximum of a {each.logical_type}")
    if each.logical_type == "string":
        _text_options(each, options, implied)
    not_rules = ("format", "timezone", "defaultTimezone", "dimensions", "elementType", "distanceMetric",
                 "embeddingModel", "embeddingModelVersion", "normalized")  # fmt: skip
    implied.unmapped += [
        f"{each.name}: {key} {value}" for key, value in options.items() if key not in not_rules
    ]


def _tighter(inclusive: object, exclusive: object, step: int) -> object:
    if not isinstance(exclusive, int):
        return inclusive
    if not isinstance(inclusive, int | float):
        return exclusive + step
    return max(inclusive, exclusive + step) if step > 0 else min(inclusive, exclusive + step)


def _text_options(each: ContractField, options: dict[str, object], implied: _Implied) -> None:
    pattern = options.get("pattern")
    if isinstance(pattern, str) and _runs(pattern):
        del options["pattern"]
        implied.add({"regex": {each.column: pattern}})
    least, most = options.get("minLength", 0), options.get("maxLength")
    lengths = [length for length in (least, most) if isinstance(length, int)]
    if (least or most is not None) and max(lengths) <= _MAX_REPEAT:
        options.pop("minLength", None)
        options.pop("maxLength", None)
        implied.add({"regex": {each.column: rf"\A(?s:.){{{least},{'' if most is None else most}}}\z"}})


def _runs(pattern: str) -> bool:
    """Whether RE2 knows the pattern; the standard's (ECMA-262) may look ahead and back, which RE2 cannot."""
    import pyarrow as pa
    import pyarrow.compute as pc

    try:
        pc.match_substring_regex(pa.array([""]), pattern)
    except pa.ArrowInvalid:
        return False
    return True


# --- quality rules -------------------------------------------------------------------------------------------------


def _rule(
    rule: QualityRule, each: ContractField | None, contract: Contract, whole: bool, implied: _Implied
) -> None:
    check = _library(rule, each, contract, whole) if rule.type == "library" else None
    if check is None:
        place = f"{each.name}: " if each else ""
        implied.unmapped.append(f"{place}{rule} ({rule.type})")
        return
    if rule.warns:
        check["on_violation"] = "warn"
    implied.add(check)


def _library(rule: QualityRule, each: ContractField | None, contract: Contract, whole: bool) -> Check | None:
    """The check that a rule of the standard's library asks for; None where there is none."""
    if rule.metric == "rowCount":
        return _row_count(rule) if whole and each is None else None
    if not _none_allowed(rule):
        return None
    arguments = rule.arguments
    if each is None:
        columns = _columns(arguments.get("properties"), contract)
        return {"unique": columns} if rule.metric == "duplicateValues" and columns else None
    if rule.metric == "nullValues" or (
        rule.metric == "missingValues" and arguments.get("missingValues") == [None]
    ):
        return {"not_null": [each.column]}
    if rule.metric == "duplicateValues" and not arguments:
        return {"unique": [each.column]}
    if rule.metric == "invalidValues" and len(arguments) == 1:
        values, pattern = arguments.get("validValues"), arguments.get("pattern")
        if isinstance(values, list) and values and None not in values:
            return {"in": {each.column: values}}
        if isinstance(pattern, str) and _runs(pattern):
            return {"regex": {each.column: pattern}}
    return None


def _none_allowed(rule: QualityRule) -> bool:
    zero = rule.operand == 0 and not isinstance(rule.operand, bool)
    if rule.operator in ("mustBe", "mustBeLessOrEqualTo"):
        return zero
    return rule.operator == "mustBeLessThan" and rule.operand == 1 and rule.unit != "percent"


def _columns(names: object, contract: Contract) -> list[str]:
    """The source's names of fields; none where one of them is unknown."""
    if not isinstance(names, list) or not names:
        return []
    found = [contract.field(str(name)) for name in names]
    return [each.column for each in found if each] if all(found) else []


def _row_count(rule: QualityRule) -> Check | None:
    low, high = _bounds(rule.operator, rule.operand)
    ends = {key: end for key, end in (("min", low), ("max", high)) if end is not None}
    if rule.unit not in ("", "rows") or min(ends.values(), default=-1) < 0 or ends == {"min": 0}:
        return None
    return {"row_count": ends}


def _bounds(operator: str, operand: object) -> tuple[int | None, int | None]:
    match operator, operand:
        case "mustBe", int(n):
            return n, n
        case "mustBeGreaterThan", int(n):
            return n + 1, None
        case "mustBeGreaterOrEqualTo", int(n):
            return n, None
        case "mustBeLessThan", int(n):
            return None, n - 1
        case "mustBeLessOrEqualTo", int(n):
            return None, n
        case "mustBeBetween", [int(low), int(high)]:
            return low, high
    return None, None


def _nested(each: ContractField) -> Iterator[str]:
    """Promises about what lies inside arrays and objects, which no check reaches."""
    for inner, name in _inside(each, each.name):
        if inner.required or inner.unique or inner.values or inner.quality:
            yield f"{name}: what is promised inside of a {each.logical_type or 'value'}"


def _inside(each: ContractField, name: str) -> Iterable[tuple[ContractField, str]]:
    inside = [(each.items, f"{name}[]")] if each.items else []
    inside += [(inner, f"{name}.{inner.name}") for inner in each.properties]
    for inner, path in inside:
        yield inner, path
        yield from _inside(inner, path)

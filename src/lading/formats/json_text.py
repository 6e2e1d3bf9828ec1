"""Values as JSON text (RFC 8259), a column at a time, nested ones too.

==================  ================================================================================================
type                JSON
==================  ================================================================================================
boolean, integer    ``true``, ``false``, digits; 64-bit integers as strings on request
float               the shortest number that reads back as the same value; -0.0 keeps its sign; NaN and infinities by
                    `Rules.nan`
decimal             portable: a string. exact: a number with all its digits
json                embedded as it stands; a line break in it, which can only be white space, becomes a space
list, struct, map   array; object; object, or an array of ``{"key": …, "value": …}`` where keys are not text
everything else     a string that holds what `lading.formats.text` says
==================  ================================================================================================

In strings ``"``, ``\\``, control characters and the line separators U+2028 and U+2029 are escaped, nothing else.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from lading.errors import DataRefused, counted
from lading.formats import text
from lading.formats.written import elements, is_binary, is_list, is_uuid, logical, plain, plain_type
from lading.ports import Types

_DIGITS = 4_300  # of a whole number, sign and all: what Python reads at most
_LEVELS = 200  # of arrays and objects in each other; readers' own bounds begin at a few hundred
_SHORT = {8: "\\b", 9: "\\t", 10: "\\n", 12: "\\f", 13: "\\r"}
_CONTROLS = {chr(code): _SHORT.get(code, f"\\u{code:04x}") for code in range(32)}


@dataclass(frozen=True, slots=True)
class Rules:
    """The choices that JSON leaves open."""

    types: Types = "portable"
    int64: Literal["number", "string"] = "number"
    nan: Literal["refuse", "null", "string"] = "refuse"


@dataclass(frozen=True, slots=True)
class Encoded:
    """A column of JSON values: ``before`` + value + ``after`` for every row. NULLs are already ``null``."""

    before: str
    values: Any
    after: str


def encode(array: Any, field: Any, rules: Rules, name: str) -> Encoded:
    """One column as JSON. ``name`` is its path, for errors.

    Raises DataRefused for NaN and infinities, unless ``rules.nan`` says otherwise, and for JSON that is null, or that
    readers could not read.
    """
    meaning = logical(field)
    array = plain(array)
    kind = array.type
    if pa.types.is_nested(kind):
        return _bare(_nested(array, rules, name))
    if pa.types.is_null(kind):
        return _bare(pa.nulls(len(array), pa.string()))
    if is_binary(kind):
        return _quoted(text.uuids(array) if is_uuid(kind, meaning) else text.base64(array))
    if pa.types.is_string(kind):
        return _bare(_embedded(array, name)) if meaning == "json" else _quoted(escape(array))
    if pa.types.is_floating(kind):
        return _bare(_floats(array, rules, name))
    values = text.render(array, name)
    return _quoted(values) if _as_string(kind, rules) else _bare(values)


def _as_string(kind: Any, rules: Rules) -> bool:
    if pa.types.is_boolean(kind):
        return False
    if pa.types.is_integer(kind):
        return rules.int64 == "string" and kind.bit_width == 64
    return not (pa.types.is_decimal(kind) and rules.types == "exact")


def written_type(field: Any, rules: Rules) -> tuple[Any, str]:
    """The type that a reader of the JSON finds, and its logical meaning."""
    kind, meaning = plain_type(field.type), logical(field)
    if is_list(kind):
        return pa.list_(_written_field(kind.value_field, rules)), meaning
    if pa.types.is_map(kind):
        return pa.map_(_written_field(kind.key_field, rules), _written_field(kind.item_field, rules)), meaning
    if pa.types.is_struct(kind):
        return pa.struct([_written_field(child, rules) for child in kind.fields]), meaning
    if is_binary(kind):
        return pa.string(), "uuid" if is_uuid(kind, meaning) else "base64"
    if pa.types.is_duration(kind) or kind == pa.month_day_nano_interval():
        return pa.string(), "interval"
    if pa.types.is_decimal(kind):
        return (pa.string(), "decimal") if rules.types == "portable" else (kind, meaning)
    return unified(kind), meaning


def unified(kind: Any) -> Any:
    """The type without what text cannot show: zones are UTC, dates are days, half floats are floats."""
    if pa.types.is_date(kind):
        return pa.date32()
    if pa.types.is_timestamp(kind) and kind.tz is not None:
        return pa.timestamp(kind.unit, "UTC")
    return pa.float32() if pa.types.is_float16(kind) else kind


def _written_field(field: Any, rules: Rules) -> Any:
    return field.with_type(written_type(field, rules)[0]).remove_metadata()


def escape(array: Any) -> Any:
    """The insides of JSON strings. Only the rows that need it are touched."""
    special = text.positions(array, b'"\\\xe2', below=0x20)
    if special is None:
        return array
    mask = pa.array(special)
    rows = pc.replace_substring(array.filter(mask), "\\", "\\\\")
    rows = pc.replace_substring(rows, '"', '\\"')
    _, data = text.spans(rows)
    for code in np.unique(data[data < 0x20]):
        rows = pc.replace_substring(rows, chr(code), _CONTROLS[chr(code)])
    if (data == 0xE2).any():
        rows = pc.replace_substring(pc.replace_substring(rows, "\u2028", "\\u2028"), "\u2029", "\\u2029")
    return pc.replace_with_mask(array, mask, rows)


def _bare(values: Any) -> Encoded:
    return Encoded("", pc.fill_null(values, "null") if values.null_count else values, "")


def _quoted(values: Any) -> Encoded:
    if not values.null_count:
        return Encoded('"', values, '"')
    return _bare(pc.binary_join_element_wise('"', values, '"', ""))


def _embedded(array: Any, name: str) -> Any:
    nulls = pc.sum(pc.match_substring_regex(array, r"^[ \t\r\n]*null[ \t\r\n]*$")).as_py()
    if nulls:
        raise DataRefused(
            f"column {name!r} holds the JSON value null ({nulls:,} in all), which JSON lines cannot tell from NULL",
            hint="Deliver the column as Parquet or CSV, or read a query that makes it NULL.",
        )
    refused = sum(not _readable(value) for value in _doubtful(array).to_pylist())
    if refused:
        raise DataRefused(
            f"column {name!r} holds at least {counted(refused, 'JSON value')} that common readers cannot read: half of "
            f"a surrogate pair, a whole number of more than {_DIGITS:,} digits, or more than {_LEVELS} levels",
            hint="Mend it in the source, or deliver the column as Parquet or CSV, where it is text.",
        )
    return _on_one_line(array)


def _doubtful(array: Any) -> Any:
    """The values that have to be looked at one by one: few, in most columns none."""
    levels = pc.add(pc.count_substring(array, "["), pc.count_substring(array, "{"))
    doubtful = pc.or_(pc.match_substring_regex(array, r"\\u[dD][89a-fA-F]"), pc.greater(levels, _LEVELS))
    long = pc.fill_null(pc.greater(pc.binary_length(array), _DIGITS), False)
    if pc.any(long).as_py():
        # RE2 counts to 1,000 and no further.
        digits = pc.match_substring_regex(array, "[0-9]{1000}")
        doubtful = pc.or_(doubtful, pc.and_(long, digits))
    return array.filter(pc.fill_null(doubtful, False))


def _readable(value: str) -> bool:
    """Whether a JSON text stays what it is where parsers hold text as UTF-8 and have bounds, as Python's has."""
    try:
        made = _DECODER.decode(value)
        json.dumps(made, ensure_ascii=False).encode()
    except (ValueError, RecursionError):
        return False
    level = [made]
    for _ in range(_LEVELS + 1):
        level = [
            item
            for each in level
            if isinstance(each, dict | list)
            for item in (each.values() if isinstance(each, dict) else each)
        ]
        if not level:
            return True
    return False


def _integer(digits: str) -> int:
    if len(digits) > _DIGITS:
        raise ValueError("too many digits")
    return 0  # which one it is, does not matter here


_DECODER = json.JSONDecoder(parse_int=_integer)


def _on_one_line(array: Any) -> Any:
    if text.positions(array, b"\r\n") is None:
        return array
    return pc.replace_substring(pc.replace_substring(array, "\n", " "), "\r", " ")


def _floats(array: Any, rules: Rules, name: str) -> Any:
    if pa.types.is_float16(array.type):
        array = array.cast(pa.float32())
    values = array.cast(pa.string())
    # Readers take -0 for the integer 0 and lose its sign.
    values = (
        pc.if_else(pc.equal(values, "-0"), "-0.0", values) if pc.any(pc.equal(array, 0)).as_py() else values
    )
    odd = pc.invert(pc.is_finite(array))
    count = pc.sum(odd).as_py()
    if not count:
        return values
    if rules.nan == "refuse":
        raise DataRefused(
            f"column {name!r}: at least {counted(count, 'value is', 'values are')} NaN or infinite, which JSON has "
            "no number for",
            hint='Set `nan: "null"` or `nan: string` in the format, or deliver the column as Parquet.',
        )
    if rules.nan == "null":
        return pc.if_else(odd, pa.scalar(None, pa.string()), values)
    spelled = values
    for ours, theirs in (("nan", '"NaN"'), ("-inf", '"-Infinity"'), ("inf", '"Infinity"')):
        spelled = pc.if_else(pc.equal(values, ours), theirs, spelled)
    return spelled


def _nested(array: Any, rules: Rules, name: str) -> Any:
    kind = array.type
    if pa.types.is_struct(kind):
        values = objects(
            [
                encode(array.field(i), kind.field(i), rules, f"{name}.{kind.field(i).name}")
                for i in range(kind.num_fields)
            ],
            [child.name for child in kind.fields],
            len(array),
        )
        return pc.if_else(array.is_valid(), values, pa.scalar(None, pa.string()))
    offsets, values = elements(array)
    brackets = "[", "]"
    if pa.types.is_map(kind):
        if pa.types.is_string(plain_type(kind.key_type)):
            brackets = "{", "}"
            key = encode(values.field(0), kind.key_field, rules, f"{name}.key")
            item = encode(values.field(1), kind.item_field, rules, f"{name}.value")
            values = pc.binary_join_element_wise(
                key.before, key.values, f"{key.after}:{item.before}", item.values, item.after, ""
            )
        else:
            values = _nested(values, rules, name)
    else:
        inner = encode(values, kind.value_field, rules, f"{name}[]")
        values = pc.binary_join_element_wise(inner.before, inner.values, inner.after, "")
    joined = pc.binary_join(pa.ListArray.from_arrays(offsets, values), ",")
    text_ = pc.binary_join_element_wise(brackets[0], joined, brackets[1], "")
    return pc.if_else(array.is_valid(), text_, pa.scalar(None, pa.string())) if array.null_count else text_


def objects(columns: list[Encoded], names: list[str], rows: int) -> Any:
    """One JSON object per row."""
    if not columns:
        return pa.array(["{}"] * rows, pa.string())
    return pc.binary_join_element_wise(*object_pieces(columns, names, "}"), "")


def object_pieces(columns: list[Encoded], names: list[str], end: str) -> list[Any]:
    """What one JSON object per row is joined from: fixed texts and columns in turn. ``end`` closes it."""
    pieces: list[Any] = []
    before = "{"
    for name, column in zip(names, columns, strict=True):
        pieces += [f"{before}{json.dumps(name, ensure_ascii=False)}:{column.before}", column.values]
        before = f"{column.after},"
    return [*pieces, columns[-1].after + end if columns else "{" + end]

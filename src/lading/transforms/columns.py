"""Columns by name, their types, and values that an export declares for them."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, date, datetime
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal, InvalidOperation
from typing import Any, Literal, TypeVar

import pyarrow as pa
import pyarrow.compute as pc
from pydantic import BaseModel, ValidationError

from lading.documents import explained, nearest
from lading.errors import InvalidProject
from lading.ports import LOGICAL, NATIVE

Side = Literal["exact", "low", "high"]
Model = TypeVar("Model", bound=BaseModel)


def declared(model: type[Model], value: object, what: str) -> Model:
    """The mapping of settings that ``what`` takes. Raises ValueError, which names an unknown key and its nearest."""
    if not isinstance(value, Mapping):
        raise ValueError(f"{what} takes a mapping of {', '.join(model.model_fields)}")
    for key in value:
        if key not in model.model_fields:
            raise ValueError(f'{what} has no setting "{key}"{nearest(key, model.model_fields)}')
    try:
        return model.model_validate(value)
    except ValidationError as error:
        raise ValueError(explained(model, value, error, what)) from None


def column_names(value: object, what: str) -> tuple[str, ...]:
    """A list of different column names, at least one. Raises ValueError."""
    if not isinstance(value, (list, tuple)):
        raise ValueError(f"{what} takes a list of columns, such as [a, b]")
    names = list(value)
    if not names:
        raise ValueError(f"{what} names no column")
    if odd := [name for name in names if not isinstance(name, str)]:
        raise ValueError(f"{what} takes columns by their names, and {odd[0]!r} is no text")
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise ValueError(f"{what} names {', '.join(repeated)} more than once")
    return tuple(names)


def position(schema: pa.Schema, column: str, what: str) -> int:
    """Where the column stands. Raises InvalidProject, which names the nearest column."""
    index = int(schema.get_field_index(column))
    if index < 0:
        raise InvalidProject(
            f'{what}: there is no column "{column}"{nearest(column, schema.names)}',
            hint=f"The columns are {', '.join(schema.names)}.",
        )
    return index


def value_type(type_: pa.DataType) -> pa.DataType:
    """The type of the values themselves, without dictionary and extension."""
    if isinstance(type_, pa.BaseExtensionType):
        return value_type(type_.storage_type)
    return value_type(type_.value_type) if pa.types.is_dictionary(type_) else type_


def is_text(type_: pa.DataType) -> bool:
    return bool(
        pa.types.is_string(type_) or pa.types.is_large_string(type_) or pa.types.is_string_view(type_)
    )


def is_number(type_: pa.DataType) -> bool:
    return bool(pa.types.is_integer(type_) or pa.types.is_floating(type_) or pa.types.is_decimal(type_))


def castable(field: pa.Field) -> str | None:
    """What to do about a column that is a number in the source and too wide for one here; None for any other."""
    metadata = field.metadata or {}
    if metadata.get(LOGICAL) != b"decimal" or not is_text(value_type(field.type)):
        return None
    native = metadata.get(NATIVE, b"numeric").decode()
    return (
        f"{field.name}: {native} arrives as text, since it may have more than 38 digits. Give the column a precision "
        f"of at most 38, or read a query that casts it ({field.name}::numeric(18,2))."
    )


def unfit(check: str, reason: object, field: pa.Field) -> InvalidProject:
    """The refusal of a check whose promise does not fit the column."""
    hint = castable(field)
    return InvalidProject(f"{check}: {reason}{'.' if hint else ''}", hint=hint)


def repeats(texts: pa.Array) -> bool:
    """Whether it pays to treat each value once: finding it again costs a fifth of hashing it."""
    first = texts.slice(0, 1024)
    return len(texts) > 2048 and pc.count_distinct(first).as_py() <= len(first) // 4


def plain(array: pa.Array) -> pa.Array:
    """The array without extension, dictionary and views, which few Arrow kernels take."""
    if isinstance(array.type, pa.BaseExtensionType):
        return plain(array.storage)
    if pa.types.is_dictionary(array.type):
        return plain(array.cast(array.type.value_type))
    if pa.types.is_string_view(array.type):
        return array.cast(pa.large_string())
    if pa.types.is_binary_view(array.type):
        return array.cast(pa.large_binary())
    return array


def without_origin(field: pa.Field, type_: pa.DataType) -> pa.Field:
    """The field with another type, and without what the source said of the old one."""
    kept = {k: v for k, v in (field.metadata or {}).items() if k not in (NATIVE, LOGICAL)}
    return pa.field(field.name, type_, field.nullable, kept or None)


def literal(value: object, type_: pa.DataType, side: Side = "exact") -> pa.Scalar:
    """A value declared in YAML, as a scalar to compare with a column of this type.

    Numbers for numeric columns, ISO 8601 text or YAML dates for dates and timestamps (read as UTC where the column is
    zoned and the text is not), text for text, true and false for booleans. As the ``low`` or ``high`` end of a range a
    number is tightened to the column's scale (0.5 is 1 for an integer column's low end).
    Raises ValueError for a value that the type cannot hold.
    """
    type_ = value_type(type_)
    if pa.types.is_boolean(type_) and isinstance(value, bool):
        return pa.scalar(value)
    if is_text(type_) and isinstance(value, str):
        return pa.scalar(value, pa.large_string() if pa.types.is_string_view(type_) else type_)
    if is_number(type_) and isinstance(value, (int, float, Decimal)) and not isinstance(value, bool):
        return _number(value, type_, side)
    if pa.types.is_date(type_) or pa.types.is_timestamp(type_):
        return _moment(value, type_)
    raise ValueError(f"{type(value).__name__} {value!r} does not fit a column of type {type_}")


def _number(value: int | float | Decimal, type_: pa.DataType, side: Side) -> pa.Scalar:
    if pa.types.is_floating(type_):
        return pa.scalar(float(value), pa.float64())
    exact = Decimal(str(value))
    scale = type_.scale if pa.types.is_decimal(type_) else 0
    rounding = {"exact": None, "low": ROUND_CEILING, "high": ROUND_FLOOR}[side]
    try:
        at_scale = exact.scaleb(scale).to_integral_value(rounding)
        if side == "exact" and at_scale != exact.scaleb(scale):
            raise ValueError(f"{value} has more digits than a column of type {type_}")
        fitting: Any = at_scale.scaleb(-scale) if pa.types.is_decimal(type_) else int(at_scale)
        return pa.scalar(fitting, type_)
    except (pa.ArrowException, InvalidOperation, OverflowError) as error:
        raise ValueError(f"{value} lies outside of what a column of type {type_} can hold") from error


def moment(text: str) -> date | datetime:
    """A date or a time in ISO 8601. Raises ValueError."""
    try:
        return date.fromisoformat(text) if len(text) == 10 else datetime.fromisoformat(text)
    except ValueError as error:
        raise ValueError(f"{text!r} is neither a date nor a time in ISO 8601") from error


def _moment(value: object, type_: pa.DataType) -> pa.Scalar:
    if isinstance(value, str):
        value = moment(value)
    if pa.types.is_date(type_):
        if not isinstance(value, date) or isinstance(value, datetime):
            raise ValueError(f"a column of type {type_} takes a date, not {value!r}")
        return pa.scalar(value, type_)
    if isinstance(value, date) and not isinstance(value, datetime):
        value = datetime(value.year, value.month, value.day)
    if not isinstance(value, datetime):
        raise ValueError(f"a column of type {type_} takes a time in ISO 8601, not {value!r}")
    if type_.tz is None and value.tzinfo is not None:
        raise ValueError(f"{value.isoformat()} has a time zone and the column of type {type_} has none")
    if type_.tz is not None and value.tzinfo is None:
        value = value.replace(tzinfo=UTC)
    try:
        return pa.scalar(value, type_)
    except pa.ArrowException as error:
        raise ValueError(f"{value.isoformat()} does not fit a column of type {type_}") from error

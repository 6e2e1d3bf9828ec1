"""Which type a recipient finds for which type of the source, and how a column gets there.

``columnar`` speaks for Parquet and Arrow. Types that have no other spelling are unified in both modes: dictionaries,
run ends, views and large offsets become plain columns, zones become UTC, ``date64`` becomes ``date32``. Then:

===========================  ===========================================  ====================================
source                       portable                                     exact
===========================  ===========================================  ====================================
decimal beyond 38 digits     text                                         ``decimal256``
uuid                         text                                         the format's UUID type
json                         text                                         the format's JSON type
calendar interval, duration  text (ISO 8601)                              Arrow: kept. Parquet: refused
half float                   ``float``                                    kept
===========================  ===========================================  ====================================

In Parquet, seconds and milliseconds become microseconds.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from lading.errors import DataRefused, SchemaMismatch, counted
from lading.formats import text
from lading.ports import LOGICAL, REFUSED, Types


def logical(field: Any) -> str:
    """What the column holds where Arrow's type does not say: ``uuid``, ``json``, ... or nothing."""
    name = getattr(field.type, "extension_name", "")
    if name in ("arrow.uuid", "arrow.json"):
        return str(name.removeprefix("arrow."))
    said = (field.metadata or {}).get(LOGICAL, b"").decode()
    return "" if said == "uuid" and pa.types.is_binary(field.type) else said


def marked(field: Any, kind: Any, meaning: str = "") -> Any:
    """The field with another type, and with a logical meaning where one is given."""
    metadata = dict(field.metadata or {})
    if meaning:
        metadata[LOGICAL] = meaning.encode()
    return field.with_type(kind).with_metadata(metadata or None)


def check(schema: Any) -> None:
    """Raises SchemaMismatch for a column that the source could not carry."""
    for field in schema:
        reason = (field.metadata or {}).get(REFUSED)
        if reason is not None:
            raise SchemaMismatch(
                f"column {field.name!r} cannot be read: {reason.decode()}",
                hint="Leave the column out, or declare it a string in the contract.",
            )


def accept(batch: Any, schema: Any) -> None:
    """Raises SchemaMismatch for a batch of another schema, DataRefused for a NULL where the schema says there is none.

    Metadata is not compared.
    """
    if batch.schema.names != schema.names or batch.schema.types != schema.types:
        raise SchemaMismatch(
            f"a batch has the columns {_columns(batch.schema)}, the file was opened for {_columns(schema)}"
        )
    for field, column in zip(schema, batch.columns, strict=True):
        if not field.nullable and column.null_count:
            raise DataRefused(
                f"column {field.name!r}: at least {counted(column.null_count, 'NULL')}, where "
                f"not_null({field.name}) allows none.",
                hint="Mend them in the source, or require no value in the contract.",
            )


def _columns(schema: Any) -> str:
    return ", ".join(f"{field.name} {field.type}" for field in schema)


def plain_type(kind: Any) -> Any:
    """The type without encodings and wide offsets; an extension's storage; other extensions stay."""
    if isinstance(kind, pa.BaseExtensionType):
        known = kind.extension_name in ("arrow.uuid", "arrow.json")
        return plain_type(kind.storage_type) if known else kind
    if pa.types.is_dictionary(kind) or pa.types.is_run_end_encoded(kind):
        return plain_type(kind.value_type)
    if pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
        return pa.string()
    if pa.types.is_large_binary(kind) or pa.types.is_binary_view(kind):
        return pa.binary()
    return kind


def plain(array: Any) -> Any:
    """The array in its `plain_type`."""
    kind = array.type
    if isinstance(kind, pa.BaseExtensionType):
        return plain(array.storage)
    if pa.types.is_run_end_encoded(kind):
        return plain(pc.run_end_decode(array))
    if pa.types.is_dictionary(kind):
        return plain(array.dictionary_decode())
    target = plain_type(kind)
    return array if target == kind else array.cast(target)


def becomes_text(kind: Any, written: Any) -> bool:
    """Whether values of one type, or some inside of them, are written as the text of another."""
    kind, written = plain_type(kind), plain_type(written)
    if pa.types.is_nested(kind) and pa.types.is_nested(written):
        pairs = ((kind.field(i).type, written.field(i).type) for i in range(kind.num_fields))
        return any(becomes_text(*pair) for pair in pairs)
    return bool(pa.types.is_string(written) and not pa.types.is_string(kind))


def is_list(kind: Any) -> bool:
    """Any of Arrow's list types, maps aside."""
    return bool(
        pa.types.is_list(kind)
        or pa.types.is_large_list(kind)
        or pa.types.is_fixed_size_list(kind)
        or pa.types.is_list_view(kind)
        or pa.types.is_large_list_view(kind)
    )


def is_binary(kind: Any) -> bool:
    """Binary of any kind of length, in its `plain_type`."""
    return bool(pa.types.is_binary(kind) or pa.types.is_fixed_size_binary(kind))


def is_uuid(kind: Any, meaning: str) -> bool:
    """Sixteen bytes that are said to be a UUID."""
    return meaning == "uuid" and bool(pa.types.is_fixed_size_binary(kind)) and kind.byte_width == 16


def refuse(path: str, kind: Any, name: str, hint: str) -> SchemaMismatch:
    """The error for a column whose type the format ``name`` cannot hold."""
    return SchemaMismatch(f"column {path!r}: {name} cannot hold the type {kind}", hint=hint)


def columnar(field: Any, types: Types, parquet: bool, path: str = "") -> Any:
    """The field as Parquet or Arrow files hold it. Raises SchemaMismatch, naming the column."""
    path = path or field.name
    kind, meaning = plain_type(field.type), logical(field)
    if pa.types.is_nested(kind):
        return marked(field, _nested(kind, types, parquet, path))
    if types == "portable" and (found := _portable(kind, meaning)) is not None:
        return marked(field, *found)
    if is_uuid(kind, meaning):
        return marked(field, pa.uuid())
    if meaning == "json" and pa.types.is_string(kind):
        return marked(field, pa.json_(pa.string()))
    return marked(field, _exact(kind, parquet, path))


def _portable(kind: Any, meaning: str) -> tuple[Any, str] | None:
    if is_uuid(kind, meaning):
        return pa.string(), "uuid"
    if meaning == "json" and pa.types.is_string(kind):
        return pa.string(), "json"
    if pa.types.is_duration(kind) or kind == pa.month_day_nano_interval():
        return pa.string(), "interval"
    if pa.types.is_decimal(kind) and kind.precision - min(kind.scale, 0) > 38:
        return pa.string(), "decimal"
    if pa.types.is_float16(kind):
        return pa.float32(), ""
    return None


def _exact(kind: Any, parquet: bool, path: str) -> Any:
    if pa.types.is_decimal(kind):
        precision, scale = kind.precision - min(kind.scale, 0), max(kind.scale, 0)
        return pa.decimal128(precision, scale) if precision <= 38 else pa.decimal256(precision, scale)
    if pa.types.is_date(kind):
        return pa.date32()
    if pa.types.is_timestamp(kind):
        unit = "us" if parquet and kind.unit in ("s", "ms") else kind.unit
        return pa.timestamp(unit, "UTC" if kind.tz is not None else None)
    if parquet and pa.types.is_time32(kind):
        return pa.time64("us")
    if parquet and (pa.types.is_duration(kind) or kind == pa.month_day_nano_interval()):
        raise refuse(path, kind, "Parquet", "use types: portable, which writes intervals as text")
    if isinstance(kind, pa.BaseExtensionType) or pa.types.is_union(kind):
        raise refuse(path, kind, "the format", "declare the column a string in the contract, or leave it out")
    return kind


def _nested(kind: Any, types: Types, parquet: bool, path: str) -> Any:
    if is_list(kind):
        return pa.list_(columnar(kind.value_field, types, parquet, f"{path}[]"))
    if pa.types.is_map(kind):
        key = columnar(kind.key_field, types, parquet, f"{path}.key")
        return pa.map_(key, columnar(kind.item_field, types, parquet, f"{path}.value"))
    if pa.types.is_struct(kind) and kind.num_fields:
        return pa.struct([columnar(child, types, parquet, f"{path}.{child.name}") for child in kind.fields])
    raise refuse(path, kind, "the format", "declare the column a string in the contract, or leave it out")


def convert(array: Any, target: Any, name: str) -> Any:
    """The column in the type that `columnar` gave for it.

    Raises DataRefused for a value that the target cannot hold, naming the column.
    """
    if array.type == target:
        return array
    array = plain(array)
    kind = array.type
    if isinstance(target, pa.BaseExtensionType):
        return pa.ExtensionArray.from_storage(target, array)
    if pa.types.is_nested(kind):
        return _convert_nested(array, target, name)
    if pa.types.is_string(target) and not pa.types.is_string(kind):
        return text.render(array, name)
    try:
        return array.cast(target)
    except pa.ArrowInvalid as error:
        raise DataRefused(f"column {name!r}: a value of {kind} does not fit {target}") from error


def _convert_nested(array: Any, target: Any, name: str) -> Any:
    missing = array.is_null() if array.null_count else None
    if pa.types.is_struct(target):
        children = [
            convert(array.field(i), field.type, f"{name}.{field.name}")
            for i, field in enumerate(target.fields)
        ]
        return pa.StructArray.from_arrays(children, fields=list(target.fields), mask=missing)
    offsets, values = elements(array)
    if pa.types.is_map(target):
        keys = convert(values.field(0), target.key_type, f"{name}.key")
        items = convert(values.field(1), target.item_type, f"{name}.value")
        if missing is not None:
            offsets = with_holes(offsets, missing)
        return pa.MapArray.from_arrays(offsets, keys, items, type=target)
    return pa.ListArray.from_arrays(
        offsets, convert(values, target.value_type, f"{name}[]"), type=target, mask=missing
    )


def elements(array: Any) -> tuple[Any, Any]:
    """A list or map column as int32 offsets that start at 0, and the values between them; NULLs are empty."""
    if pa.types.is_map(array.type):
        entries = pa.struct([array.type.key_field, array.type.item_field])
        array = array.cast(pa.list_(pa.field("entries", entries, nullable=False)))
    lengths = pc.fill_null(pc.list_value_length(array), 0)
    offsets = np.zeros(len(array) + 1, np.int64)
    np.cumsum(lengths.to_numpy(zero_copy_only=False), out=offsets[1:])
    return pa.array(offsets.astype(np.int32)), array.flatten()


def with_holes(offsets: Any, missing: Any) -> Any:
    """Offsets in which a NULL marks the NULL slots, as `pa.MapArray.from_arrays` wants them."""
    return pa.array(np.asarray(offsets, np.int32), mask=np.append(np.asarray(missing, np.bool_), False))

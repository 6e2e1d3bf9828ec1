"""Columns as Iceberg has them (table specification, version 2): from Arrow, and how a table may follow its files."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import date, datetime
from decimal import Decimal
from typing import Any, NamedTuple

import pyarrow as pa
from pyiceberg.exceptions import ValidationError
from pyiceberg.io.pyarrow import UnsupportedPyArrowTypeException, _pyarrow_to_schema_without_ids
from pyiceberg.partitioning import PARTITION_FIELD_ID_START, PartitionField, PartitionSpec
from pyiceberg.schema import Schema, assign_fresh_schema_ids
from pyiceberg.table import Transaction
from pyiceberg.table.sorting import (
    UNSORTED_SORT_ORDER,
    UNSORTED_SORT_ORDER_ID,
    NullOrder,
    SortDirection,
    SortField,
    SortOrder,
)
from pyiceberg.table.update import (
    AddSortOrderUpdate,
    AssertDefaultSortOrderId,
    SetDefaultSortOrderUpdate,
    TableUpdate,
)
from pyiceberg.transforms import IdentityTransform
from pyiceberg.typedef import Record
from pyiceberg.types import (
    BooleanType,
    DateType,
    DecimalType,
    DoubleType,
    FloatType,
    IcebergType,
    IntegerType,
    ListType,
    LongType,
    MapType,
    NestedField,
    StringType,
    StructType,
    TimestampType,
    TimestamptzType,
)
from pyiceberg.utils.datetime import date_to_days, datetime_to_micros

from lading.errors import SchemaMismatch


def iceberg_schema(schema: pa.Schema) -> Schema:
    """With ids of its own. Raises SchemaMismatch, naming the column, for a type that no table of version 2 holds."""
    for field in schema:
        _refuse(field.type, field.name)
    plain = pa.schema([pa.field(f.name, _plain(f.type), f.nullable) for f in schema])
    try:
        return assign_fresh_schema_ids(_pyarrow_to_schema_without_ids(plain, format_version=2))
    except (UnsupportedPyArrowTypeException, ValidationError, ValueError, TypeError) as error:
        raise SchemaMismatch(
            f"An Iceberg table cannot hold these columns: {error}",
            hint="Declare the column a string in the contract, or leave it out.",
        ) from error


def _refuse(kind: Any, path: str) -> None:
    for index in range(kind.num_fields):
        child = kind.field(index)
        _refuse(child.type, f"{path}.{child.name}")
    # pyiceberg takes uint32 for an int, in which half of its values are negative.
    unsigned = pa.types.is_uint32(kind) or pa.types.is_uint64(kind)
    wide = pa.types.is_decimal256(kind)
    nanoseconds = pa.types.is_timestamp(kind) and kind.unit == "ns"
    # pyiceberg takes it for a float, which Parquet keeps in another way.
    half = pa.types.is_float16(kind)
    if unsigned or wide or nanoseconds or half:
        raise SchemaMismatch(
            f"column {path!r}: an Iceberg table of version 2 cannot hold the type {kind}",
            hint="Cast it in a query, declare the column a string in the contract, or leave it out.",
        )


def _plain(kind: Any) -> Any:
    """JSON is text to Iceberg."""
    if getattr(kind, "extension_name", "") == "arrow.json":
        return pa.string()
    if pa.types.is_list(kind):
        return pa.list_(kind.value_field.with_type(_plain(kind.value_type)))
    if pa.types.is_map(kind):
        return pa.map_(
            kind.key_field.with_type(_plain(kind.key_type)), kind.item_field.with_type(_plain(kind.item_type))
        )
    if pa.types.is_struct(kind):
        return pa.struct([child.with_type(_plain(child.type)) for child in kind.fields])
    return kind


class Change(NamedTuple):
    """One step by which a table follows its files. ``to``: the type to add or to promote to; None: may be NULL now."""

    path: tuple[str, ...]
    to: IcebergType | None
    new: bool = False


def changes(have: Schema, want: Schema, *, all_columns: bool) -> list[Change]:
    """How a table of columns ``have`` comes to hold files of columns ``want`` too: by new columns, which may be NULL,
    by Iceberg's promotions, and by no longer requiring values. Files may have narrower types than the table.

    ``all_columns``: whether the files must have every column of the table; one that is required they must have anyway.
    Raises SchemaMismatch for anything else.
    """
    return list(_struct(have.as_struct(), want.as_struct(), (), all_columns))


def _struct(have: StructType, want: StructType, path: tuple[str, ...], whole: bool) -> Iterator[Change]:
    theirs = {field.name: field for field in want.fields}
    for field in have.fields:
        at = (*path, field.name)
        if field.name in theirs:
            yield from _field(field, theirs[field.name], at, whole)
        elif whole or field.required:
            raise SchemaMismatch(
                f"the table has a column {'.'.join(at)!r}, and the export no longer delivers it",
                hint="A contract that takes a column away is a new major version, which has tables of its own.",
            )
    known = {field.name for field in have.fields}
    yield from (
        Change((*path, field.name), field.field_type, new=True)
        for field in want.fields
        if field.name not in known
    )


def _field(have: NestedField, want: NestedField, at: tuple[str, ...], whole: bool) -> Iterator[Change]:
    if have.required and not want.required:
        yield Change(at, None)
    yield from _type(have.field_type, want.field_type, at, whole)


def _type(have: IcebergType, want: IcebergType, at: tuple[str, ...], whole: bool) -> Iterator[Change]:
    match have, want:
        case StructType(), StructType():
            yield from _struct(have, want, at, whole)
        case ListType(), ListType():
            yield from _field(have.element_field, want.element_field, (*at, "element"), whole)
        case MapType(), MapType() if have.key_type == want.key_type:
            yield from _field(have.value_field, want.value_field, (*at, "value"), whole)
        case _ if have == want or _wider(have, want):
            return
        case _ if _wider(want, have):
            yield Change(at, want)
        case _:
            raise SchemaMismatch(
                f"column {'.'.join(at)!r} is {have} in the table, and {want} now",
                hint="Tables only widen: int to long, float to double, decimals of more digits. Anything else is a new "
                "major version of the contract, which has tables of its own.",
            )


def _wider(one: IcebergType, other: IcebergType) -> bool:
    """Whether ``one`` holds every value of ``other`` by a promotion of Iceberg's."""
    match one, other:
        case LongType(), IntegerType():
            return True
        case DoubleType(), FloatType():
            return True
        case DecimalType(), DecimalType():
            return one.scale == other.scale and one.precision > other.precision
    return False


# --- partitions and order ------------------------------------------------------------------------------------------


_PARTITIONING = (
    StringType,
    BooleanType,
    IntegerType,
    LongType,
    DecimalType,
    DateType,
    TimestampType,
    TimestamptzType,
)
"""Types whose values `partition_of` has: of others it would be found out when a run is sealed."""


def partition_spec(schema: Schema, columns: Sequence[str]) -> PartitionSpec:
    """By the columns' own values. Raises SchemaMismatch for a column that cannot partition a table."""
    fields = []
    for index, name in enumerate(columns):
        field = _named(schema, name, "layout.partition_by")
        if not isinstance(field.field_type, _PARTITIONING):
            raise SchemaMismatch(f"column {name!r} is {field.field_type}, which partitions no table")
        fields.append(
            PartitionField(field.field_id, PARTITION_FIELD_ID_START + index, IdentityTransform(), name)
        )
    return PartitionSpec(*fields)


def sort_order(schema: Schema, columns: Sequence[str]) -> SortOrder:
    if not columns:
        return UNSORTED_SORT_ORDER
    return SortOrder(
        *(
            SortField(
                _named(schema, name, "sort_by").field_id,
                IdentityTransform(),
                SortDirection.ASC,
                NullOrder.NULLS_FIRST,
            )
            for name in columns
        )
    )


def _named(schema: Schema, name: str, what: str) -> NestedField:
    for field in schema.fields:
        if field.name == name:
            return field
    raise SchemaMismatch(f"{what} names a column {name!r}, which the table has not")


def partition_of(spec: PartitionSpec, schema: Schema, texts: Mapping[str, object]) -> Record:
    """A file's partition. ``texts``: by column, the value's text as `lading.export.layout.partition_text` gives it."""
    return Record(
        *(_value(schema.find_type(field.source_id), texts[field.name], field.name) for field in spec.fields)
    )


def _value(kind: IcebergType, text: object, name: str) -> Any:
    if text is None:
        return None
    assert isinstance(text, str)
    match kind:
        case StringType():
            return text
        case BooleanType():
            return text == "true"
        case IntegerType() | LongType():
            return int(text)
        case DecimalType():
            return Decimal(text)
        case DateType():
            return date_to_days(date.fromisoformat(text))
        case TimestampType() | TimestamptzType():
            return datetime_to_micros(datetime.fromisoformat(text))
    raise SchemaMismatch(f"column {name!r} is {kind}, which partitions no table here")


# --- what a commit changes


def evolve(transaction: Transaction, want: Schema) -> None:
    """Adds and widens columns of the table, so that it takes files with these."""
    steps = changes(transaction.table_metadata.schema(), want, all_columns=False)
    if not steps:
        return
    update = transaction.update_schema()
    for step in steps:
        if step.new:
            assert step.to is not None
            update.add_column(step.path, step.to, required=False)
        elif step.to is None:
            update.make_column_optional(step.path)
        else:
            update.update_column(step.path, field_type=step.to)
    update.commit()


def declare_order(transaction: Transaction, columns: Sequence[str]) -> None:
    """What the table says about its order: a wish to engines that rewrite it. Our own files claim none."""
    metadata = transaction.table_metadata
    fields = sort_order(metadata.schema(), columns).fields
    known = {tuple(order.fields): order.order_id for order in metadata.sort_orders}
    number = known.get(tuple(fields))
    if number == metadata.default_sort_order_id:
        return
    updates: list[TableUpdate] = []
    if number is None:
        number = max((0, *known.values())) + 1 if fields else UNSORTED_SORT_ORDER_ID
        updates = [AddSortOrderUpdate.model_validate({"sort-order": SortOrder(*fields, order_id=number)})]
    updates.append(SetDefaultSortOrderUpdate.model_validate({"sort-order-id": number}))
    transaction._stage(
        tuple(updates),
        (AssertDefaultSortOrderId.model_validate({"default-sort-order-id": metadata.default_sort_order_id}),),
    )

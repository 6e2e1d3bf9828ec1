"""Two majors of one dataset, delivered at once: whether they say the same where they speak of the same thing."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import pyarrow as pa

from lading.errors import DataRefused, counted


@dataclass(frozen=True, slots=True)
class Parity:
    """``columns``: what both majors deliver under one name and with one type. The values must be equal, row by row."""

    columns: tuple[str, ...]

    @classmethod
    def of(cls, one: pa.Schema, other: pa.Schema, differs: Collection[str] = ()) -> Parity:
        """``differs``: columns whose name means something else in each of the two."""
        common = (field for field in one if field.name in other.names and field.name not in differs)
        return cls(tuple(field.name for field in common if field.type.equals(other.field(field.name).type)))

    def require(self, one: pa.RecordBatch, other: pa.RecordBatch) -> None:
        """Raises DataRefused where the two hold other rows. Tells no value."""
        if one.num_rows != other.num_rows:
            raise DataRefused(
                f"Of the same rows one major would deliver {counted(one.num_rows, 'row')}, and the other "
                f"{other.num_rows:,}."
            )
        broken = [name for name in self.columns if not _equal(one[name], other[name])]
        if broken:
            raise DataRefused(
                f"The two majors would deliver different values in what both call {', '.join(broken)}.",
                hint="Let both contracts name the same column of the source; or, where two things have one name, say "
                "so under beside.differs.",
            )


def _equal(one: pa.Array, other: pa.Array) -> bool:
    """Value by value; NaN equals NaN."""
    if one.equals(other):
        return True
    bits = _bits(one.type)
    return not bits.equals(one.type) and bool(one.view(bits).equals(other.view(bits)))


def _bits(type_: pa.DataType) -> pa.DataType:
    """The type with whole numbers of the same width in place of floats, wherever they are in it."""
    if pa.types.is_floating(type_):
        return {16: pa.int16(), 32: pa.int32(), 64: pa.int64()}[type_.bit_width]
    if pa.types.is_struct(type_):
        return pa.struct([field.with_type(_bits(field.type)) for field in type_])
    if pa.types.is_map(type_):
        return pa.map_(_bits(type_.key_type), _bits(type_.item_type))
    if pa.types.is_fixed_size_list(type_):
        return pa.list_(_bits(type_.value_type), type_.list_size)
    if pa.types.is_list(type_) or pa.types.is_large_list(type_):
        make = pa.large_list if pa.types.is_large_list(type_) else pa.list_
        return make(_bits(type_.value_type))
    return type_

"""Two majors of one dataset, delivered at once: whether they say the same where they speak of the same thing."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import pyarrow as pa

from lading.errors import DataRefused, counted

INCOMPARABLE = (
    "the two majors deliver no column of one name and type, so nothing tells that they say the same"
)


@dataclass(frozen=True, slots=True)
class Parity:
    """``columns``: what both majors deliver under one name and with one type. The values must be equal, row by row."""

    columns: tuple[str, ...]

    @classmethod
    def of(cls, one: pa.Schema, other: pa.Schema, differs: Collection[str] = ()) -> Parity:
        """``differs``: columns whose name means something else in each of the two."""
        common = (field for field in one if field.name in other.names and field.name not in differs)
        alike = (f.name for f in common if _plain(f.type).equals(_plain(other.field(f.name).type)))
        return cls(tuple(alike))

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
    """Value by value, floats by their bits: NaN equals itself, and -0.0 is not 0.0."""
    plain = _plain(one.type)
    if plain.equals(one.type) and plain.equals(other.type):
        return bool(one.equals(other))
    return bool(one.view(plain).equals(other.view(plain)))


def _plain(type_: pa.DataType) -> pa.DataType:
    """The type with whole numbers of the same width in place of floats, and without promises about NULL inside."""
    if pa.types.is_floating(type_):
        return {16: pa.int16(), 32: pa.int32(), 64: pa.int64()}[type_.bit_width]
    if pa.types.is_struct(type_):
        return pa.struct([pa.field(field.name, _plain(field.type)) for field in type_])
    if pa.types.is_map(type_):
        return pa.map_(_plain(type_.key_type), _plain(type_.item_type))
    if pa.types.is_fixed_size_list(type_):
        return pa.list_(_plain(type_.value_type), type_.list_size)
    if pa.types.is_list(type_) or pa.types.is_large_list(type_):
        make = pa.large_list if pa.types.is_large_list(type_) else pa.list_
        return make(_plain(type_.value_type))
    return type_

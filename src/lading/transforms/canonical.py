"""The bytes that are hashed for a value: one text per value and type, so that anyone can compute the hash again.

=====================  ======================================================================================
type                   text, in UTF-8
=====================  ======================================================================================
text                   itself, unchanged: no trimming, no case folding, no Unicode normalisation
uuid                   lower case with hyphens, whether it arrives as text, as 16 bytes or as ``arrow.uuid``
binary                 no text: the bytes themselves
integer                decimal, ``-42``
decimal                plain, with every digit of the type's scale: ``-1.50`` of ``decimal(15, 2)``; no exponent
boolean                ``true`` or ``false``
date                   ``2024-03-17``
time                   ``13:05:09.000000``: as many fraction digits as the unit has (s 0, ms 3, us 6, ns 9)
timestamp              ``2024-03-17T13:05:09.000000``, with ``Z`` and in UTC where the column has a zone
=====================  ======================================================================================

Floating point numbers have no one text, and nested values neither: both are refused.
"""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc

from lading.ports import LOGICAL
from lading.transforms.columns import is_text, plain, value_type


def holds_uuid(field: pa.Field) -> bool:
    is_extension = getattr(field.type, "extension_name", "") == "arrow.uuid"
    return is_extension or (field.metadata or {}).get(LOGICAL) == b"uuid"


def check_canonical(field: pa.Field) -> None:
    """Raises ValueError, with the reason, for a type whose values have no canonical text."""
    type_ = value_type(field.type)
    types = pa.types
    if types.is_floating(type_):
        raise ValueError(
            "floating point numbers have no one text to hash; declare the field a string or a decimal"
        )
    if types.is_decimal(type_) and type_.scale < 0:
        raise ValueError("a decimal with a negative scale has no plain text to hash")
    known = (
        is_text(type_),
        types.is_binary(type_) or types.is_large_binary(type_) or types.is_binary_view(type_),
        types.is_fixed_size_binary(type_),
        types.is_integer(type_) or types.is_decimal(type_) or types.is_boolean(type_),
        types.is_date(type_) or types.is_time(type_) or types.is_timestamp(type_),
        types.is_null(type_),
    )
    if not any(known):
        raise ValueError(f"values of type {type_} have no canonical text to hash")


def canonical(array: pa.Array, uuid: bool = False) -> pa.Array:
    """Text or binary array of the same length, NULL where the value is NULL. ``uuid``: the column holds UUIDs."""
    array = plain(array)
    type_ = array.type
    if is_text(type_):
        return pc.utf8_lower(array) if uuid else array
    if pa.types.is_fixed_size_binary(type_):
        return _uuid_text(array) if uuid and type_.byte_width == 16 else array.cast(pa.binary())
    if pa.types.is_binary(type_) or pa.types.is_large_binary(type_):
        return array
    if pa.types.is_decimal(type_):
        return _decimal_text(array)
    if pa.types.is_timestamp(type_):
        in_utc = array.cast(pa.timestamp(type_.unit, "UTC")) if type_.tz else array
        return pc.replace_substring(
            in_utc.cast(pa.string()), pattern=" ", replacement="T", max_replacements=1
        )
    return array.cast(pa.string())


def _decimal_text(array: pa.Array) -> pa.Array:
    """Plain notation; Arrow's own cast writes ``1E-8`` for 0.00000001."""
    type_ = array.type
    make = {32: pa.decimal32, 64: pa.decimal64, 128: pa.decimal128, 256: pa.decimal256}[type_.bit_width]
    # the same bytes read at scale 0 are the unscaled integer
    unscaled = pa.Array.from_buffers(
        make(type_.precision, 0), len(array), array.buffers(), offset=array.offset
    )
    text = unscaled.cast(pa.string())
    if type_.scale == 0:
        return text
    sign = pc.if_else(pc.starts_with(text, "-"), "-", "")
    digits = pc.utf8_lpad(pc.utf8_ltrim(text, characters="-"), width=type_.scale + 1, padding="0")
    whole = pc.utf8_slice_codeunits(digits, start=0, stop=-type_.scale)
    fraction = pc.utf8_slice_codeunits(digits, start=-type_.scale)
    return pc.binary_join_element_wise(sign, whole, ".", fraction, "")


def _uuid_text(array: pa.Array) -> pa.Array:
    import polars as pl

    text = pl.from_arrow(array)
    assert isinstance(text, pl.Series)
    digits = text.bin.encode("hex").to_arrow(compat_level=pl.CompatLevel.oldest())
    cuts = ((0, 8), (8, 12), (12, 16), (16, 20), (20, 32))
    return pc.binary_join_element_wise(
        *(pc.utf8_slice_codeunits(digits, a, b) for a, b in cuts), pa.scalar("-", digits.type)
    )

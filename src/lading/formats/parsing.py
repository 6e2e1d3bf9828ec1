"""Plain text back to values: the inverse of `lading.formats.text`, for reading files back."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from lading.errors import IntegrityError


def parse(texts: Any, kind: Any, name: str) -> Any:
    """A string column as ``kind``. Raises IntegrityError, naming the column, for text that is no such value."""
    try:
        if pa.types.is_string(kind):
            return texts
        if pa.types.is_time(kind):
            moments = pc.binary_join_element_wise("1970-01-01T", texts, "").cast(pa.timestamp(kind.unit))
            ticks = moments.view(pa.int64())
            return ticks.cast(pa.int32()).view(kind) if kind.bit_width == 32 else ticks.view(kind)
        if pa.types.is_decimal(kind) and kind.scale < 0:
            return texts.cast(pa.decimal256(kind.precision - kind.scale, 0)).cast(kind)
        return texts.cast(kind)
    except pa.ArrowInvalid as error:
        raise IntegrityError(f"column {name!r} holds text that is no {kind}") from error

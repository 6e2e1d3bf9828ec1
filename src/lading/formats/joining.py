"""Lines of text, joined from columns of text.

What a join costs is first of all the number of its pieces. Columns of few values are therefore rendered once per value,
and neighbours among them, with the fixed text between them, become one piece: each combination is made once and looked
up for every row. What comes out is the same either way.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from lading.formats.written import logical

_LEAST = 1024  # rows; with fewer, looking up gains nothing
_SHARE = 4  # a value comes that often on average, or it is not looked up
_MEMBERS = 16  # columns of a group; numpy tells at most 64 places of an array
_COMBINED = 1 << 20  # bytes that the combinations of neighbours may take


@dataclass(frozen=True, slots=True)
class Few:
    """A column of few values: each of them once, NULL too, and which of them every row has (int32)."""

    values: Any
    places: np.ndarray


class Lookups:
    """Finds the columns of few values, batch by batch. One that once had many is not looked at again."""

    def __init__(self, schema: Any) -> None:
        self._tried = {index for index, field in enumerate(schema) if _can_be_few(field)}

    def find(self, batch: Any) -> dict[int, Few]:
        """By their place in the batch."""
        found: dict[int, Few] = {}
        if batch.num_rows < _LEAST:
            return found
        for index in sorted(self._tried):
            encoded = batch.column(index).dictionary_encode(null_encoding="encode")
            if len(encoded.dictionary) * _SHARE > batch.num_rows:
                self._tried.remove(index)
            else:
                found[index] = Few(encoded.dictionary, encoded.indices.to_numpy())
        return found


def _can_be_few(field: Any) -> bool:
    """Not floats, whose zeros of either sign are one value to a dictionary, and not JSON, which is looked into."""
    kind = field.type
    return bool(
        pa.types.is_integer(kind)
        or pa.types.is_decimal128(kind)
        or pa.types.is_temporal(kind)
        or pa.types.is_boolean(kind)
        or (pa.types.is_string(kind) and logical(field) != "json")
    )


def each(column: Any, change: Callable[[Any], Any]) -> Any:
    """The column with every value changed: ``change`` maps one array to another of the same length."""
    return Few(change(column.values), column.places) if isinstance(column, Few) else change(column)


def joined(pieces: Sequence[Any], separator: str, rows: int, step: int) -> Iterator[Any]:
    """The pieces of every row after each other, as string columns of at most ``step`` rows.

    A piece is a text, the same for all rows, or a column of text without NULLs. ``separator`` goes between pieces.
    """
    gathered = _gathered(pieces, separator, rows)
    for begin in range(0, rows, step):
        here = [_part(piece, begin, begin + step) for piece in gathered]
        if all(isinstance(piece, str) for piece in here):
            here[0] = pa.array([here[0]] * min(step, rows - begin), pa.string())
        yield pc.binary_join_element_wise(*here, separator)


def _part(piece: Any, begin: int, end: int) -> Any:
    if isinstance(piece, Few):
        return piece.values.take(pa.array(piece.places[begin:end]))
    return piece if isinstance(piece, str) else piece[begin:end]


def _gathered(pieces: Sequence[Any], separator: str, rows: int) -> list[Any]:
    """The pieces, of which those that can share a look-up are one."""
    gathered: list[Any] = []
    group = _Group(rows)
    for piece in pieces:
        looked_up = isinstance(piece, str | Few)
        if looked_up and group.takes(piece):
            continue
        if group.pieces:
            gathered.append(_combined(group.pieces, separator))
        group = _Group(rows)
        if looked_up:
            group.takes(piece)
        else:
            gathered.append(piece)
    if group.pieces:
        gathered.append(_combined(group.pieces, separator))
    return gathered


class _Group:
    """Neighbours that share a look-up, as long as their combinations are few and small."""

    def __init__(self, rows: int) -> None:
        self.pieces: list[Any] = []
        self._rows = rows
        self._few = 0
        self._combinations = 1
        self._bytes = 0.0  # of one combination

    def takes(self, piece: Any) -> bool:
        """Adds the piece, if it may come in. A first column always may: it takes no more than it does by itself."""
        few = isinstance(piece, Few)
        combinations = self._combinations * (len(piece.values) if few else 1)
        size = self._bytes + (piece.values.nbytes / max(1, len(piece.values)) if few else len(piece.encode()))
        if self._few + few > 1 and (
            self._few + few > _MEMBERS
            or combinations * _SHARE > self._rows
            or combinations * size > _COMBINED
        ):
            return False
        self.pieces.append(piece)
        self._few, self._combinations, self._bytes = self._few + few, combinations, size
        return True


def _combined(group: list[Any], separator: str) -> Any:
    """Fixed texts and columns of few values as one piece."""
    few = [piece for piece in group if isinstance(piece, Few)]
    if not few:
        return separator.join(group)
    if len(group) == 1:
        return group[0]
    lengths = [len(piece.values) for piece in few]
    choices = iter(np.unravel_index(np.arange(math.prod(lengths)), lengths))
    texts = [
        piece.values.take(pa.array(next(choices))) if isinstance(piece, Few) else piece for piece in group
    ]
    places = few[0].places
    for piece in few[1:]:
        places = places * np.int32(len(piece.values)) + piece.places
    return Few(pc.binary_join_element_wise(*texts, separator), places)

"""The newest row of each key over any number of files, under a memory limit: DuckDB sorts places on disk.

Only keys, order and the place of each row (its number in the reading) go through DuckDB. What comes back are the
places to keep, ascending, so that a second reading of the same rows can be cut down to them while it streams, with all
types as they are in the files.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from lading.errors import DataRefused
from lading.ports import Newest
from lading.sources.files_types import is_binary, is_moment
from lading.sources.files_values import Refuse, micros, text

_PLACES = 65_536


def can_order(kind: Any) -> bool:
    """Whether DuckDB orders values of the type exactly as they are."""
    is_ = pa.types
    return bool(
        is_.is_integer(kind)
        or is_.is_floating(kind)
        or is_.is_decimal128(kind)
        or is_.is_string(kind)
        or is_.is_time(kind)
        or is_moment(kind)
    )


def ranked(
    keys: list[Any], by: list[Any], order: Any, start: int, refuse: Refuse
) -> tuple[pa.RecordBatch, Any]:
    """What `kept` wants of a batch whose first row has the place ``start``, and which rows lack a key.

    A key with a NULL in it equals no other, so such rows are kept without being ranked. ``by``: the texts of the
    rule's column, if it has one, which part the ranks; NULLs there are equal.
    """
    lone = pc.is_null(keys[0])
    for key in keys[1:]:
        lone = pc.or_(lone, pc.is_null(key))
    places = pa.array(np.arange(start, start + len(order), dtype=np.int64))
    parting = [*(_comparable(key, refuse) for key in keys), *by]
    columns = [*parting, _ordered(order), places]
    names = [*(f"k{i}" for i in range(len(parting))), "o", "p"]
    return pa.RecordBatch.from_arrays(columns, names=names).filter(pc.invert(lone)), lone


@contextmanager
def kept(rule: Newest, batches: Iterator[pa.RecordBatch], memory: int) -> Iterator[Places]:
    """Reads all ``batches`` of `ranked`; yields the places of the rows to keep. ``memory`` is DuckDB's limit, in bytes.

    Raises whatever reading the batches raises; DataRefused where memory and disk do not suffice.
    """
    import duckdb

    keys = ", ".join(f"k{i}" for i in range(len(rule.key) + (rule.by is not None)))
    statement = f"""
        select p from (
            select p, row_number() over (partition by {keys} order by o desc nulls last, p desc) as rank from rows
        ) where rank = 1 order by p"""
    failure: list[BaseException] = []
    with tempfile.TemporaryDirectory(prefix="lading-newest-") as folder, duckdb.connect() as connection:
        connection.execute("set enable_progress_bar = false")
        settings = {"memory_limit": f"{memory}B", "temp_directory": folder, "threads": 2}
        for name, value in settings.items():
            connection.execute(f"set {name} = '{value}'")
        first = next(batches, None)
        if first is None:
            yield Places(iter(()))
            return
        reader = pa.RecordBatchReader.from_batches(first.schema, _watched(first, batches, failure))
        # As a capsule: a reader itself DuckDB would have Arrow scan, ahead and in threads that outlive the connection.
        connection.register("rows", reader.__arrow_c_stream__())
        try:
            found = connection.execute(statement).to_arrow_reader(_PLACES)
            yield Places(batch.column(0).to_numpy() for batch in found)
        except duckdb.Error as error:
            if failure:
                raise failure[0] from None
            raise DataRefused(
                "Keeping the newest row of each key needs more memory or temporary disk than there is.",
                hint="Raise the connection's `newest_memory`, or give the temporary folder more space.",
            ) from error


class Places:
    """Ascending places, asked for run by run."""

    def __init__(self, batches: Iterator[np.ndarray]) -> None:
        self._batches = batches
        self._held = np.empty(0, np.int64)

    def among(self, start: int, count: int) -> Any:
        """A mask: which of the ``count`` rows from ``start`` on are kept. ``start`` only rises."""
        taken = []
        end = start + count
        while True:
            cut = int(np.searchsorted(self._held, end))
            taken.append(self._held[:cut])
            self._held = self._held[cut:]
            if len(self._held):
                break
            more = next(self._batches, None)
            if more is None:
                break
            self._held = more
        mask = np.zeros(count, bool)
        mask[np.concatenate(taken) - start] = True
        return pa.array(mask)


def _watched(
    first: pa.RecordBatch, rest: Iterator[pa.RecordBatch], failure: list[BaseException]
) -> Iterator[pa.RecordBatch]:
    """DuckDB turns an error of its input into one of its own, with no more than the message."""
    yield first
    try:
        yield from rest
    except BaseException as error:
        failure.append(error)
        raise


def _comparable(key: Any, refuse: Refuse) -> Any:
    """Equal exactly where the values are equal."""
    if is_moment(key.type):
        return micros(key)
    kind = key.type
    if pa.types.is_integer(kind) or pa.types.is_string(kind) or pa.types.is_boolean(kind) or is_binary(kind):
        return key
    return key.cast(pa.binary()) if pa.types.is_fixed_size_binary(kind) else text(key, refuse)


def _ordered(order: Any) -> Any:
    if is_moment(order.type):
        return micros(order)
    return order.view(pa.int64()) if pa.types.is_time(order.type) else order

"""Cutting a batch by tenant and partition, with Arrow kernels and without a loop over rows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from lading.errors import DataRefused, InvalidProject, counted
from lading.ports import LOGICAL


@dataclass(frozen=True, slots=True)
class Key:
    """Where a row goes. ``partition`` has one value per partition column: text, None for NULL, a shard's number."""

    tenant: str
    partition: tuple[str | int | None, ...] = ()


Cut = tuple[Key, int, int]  # whose rows lie where: the first, and the one behind the last


@dataclass(frozen=True, slots=True)
class PartitionColumn:
    """``shards``: not the column's value but its rest modulo this many."""

    name: str
    column: str
    shards: int | None = None

    def values(self, batch: pa.RecordBatch) -> pa.Array:
        values = batch.column(self.column)
        if self.shards is None:
            return texts(values)
        if not pa.types.is_integer(values.type):
            raise InvalidProject(
                f"layout.partition_by: {self.column} is {values.type}, and shards need an integer."
            )
        wide = values.cast(pa.uint64() if pa.types.is_uint64(values.type) else pa.int64())
        shards = pa.scalar(self.shards, wide.type)
        rest = pc.subtract(wide, pc.multiply(pc.divide(wide, shards), shards)).cast(pa.int64())
        # Arrow's division truncates towards zero: a negative rest belongs to the shard that counts from above.
        return pc.if_else(pc.less(rest, 0), pc.add(rest, self.shards), rest)


def texts(values: pa.Array) -> pa.Array:
    """The values as text, one text per value."""
    return values if pa.types.is_string(values.type) else values.cast(pa.string())


def names_tenants(field: pa.Field) -> bool:
    """Whether values of the column have one text, which sources compare (`lading.ports.Member`) and rows go by.

    Text, whole numbers, booleans and dates do. So does what arrives as text where the text is the value (UUIDs, enums).
    Of numbers with a fraction, moments, bytes and what is made of several values, each system writes its own texts.
    """
    kind, logical = field.type, (field.metadata or {}).get(LOGICAL, b"").decode()
    if pa.types.is_string(kind):
        return logical in ("", "uuid", "enum")
    if pa.types.is_decimal(kind):
        return bool(kind.scale == 0)
    return bool(pa.types.is_integer(kind) or pa.types.is_boolean(kind) or pa.types.is_date32(kind))


@dataclass(frozen=True, slots=True)
class Cutter:
    """Cuts batches by key. Without a tenant column every row belongs to ``only``."""

    tenant_column: str | None
    partitions: Sequence[PartitionColumn]
    only: str = "default"

    def cut(self, batch: pa.RecordBatch) -> Iterator[tuple[Key, pa.RecordBatch]]:
        """The batch's rows by key, as `arrange` has them."""
        ordered, cuts = self.arrange(batch)
        for key, begin, end in cuts:
            yield key, ordered.slice(begin, end - begin)

    def arrange(self, batch: pa.RecordBatch) -> tuple[pa.RecordBatch, list[Cut]]:
        """The batch with each key's rows together, in their order within the key, and where they lie; keys in the order
        of their texts.

        Raises DataRefused for a NULL tenant.
        """
        columns = []
        if self.tenant_column is not None:
            tenants = texts(batch.column(self.tenant_column))
            if tenants.null_count:
                raise DataRefused(
                    f"Column {self.tenant_column}: {counted(tenants.null_count, 'row has', 'rows have')} no tenant "
                    "(NULL).",
                    hint="Every row must belong to a tenant: mend the rows, or leave them out in a reviewed query.",
                )
            columns.append(tenants)
        columns.extend(partition.values(batch) for partition in self.partitions)
        if not columns:
            return batch, [(Key(self.only), 0, batch.num_rows)]
        ordered, groups = _groups(columns, batch)
        cuts = []
        for values, begin, end in groups:
            tenant = values[0] if self.tenant_column is not None else self.only
            key = Key(str(tenant), tuple(values[len(values) - len(self.partitions) :]))
            cuts.append((key, begin, end))
        return ordered, cuts


def _groups(
    columns: Sequence[pa.Array], batch: pa.RecordBatch
) -> tuple[pa.RecordBatch, list[tuple[tuple[str | int | None, ...], int, int]]]:
    encoded = [pc.dictionary_encode(column, null_encoding="encode") for column in columns]
    whole = _together(encoded)
    if len(whole.dictionary) == 1:
        return batch, [(tuple(column.dictionary[0].as_py() for column in encoded), 0, batch.num_rows)]
    order = pc.array_sort_indices(whole.indices)  # stable
    ends = pc.run_end_encode(whole.indices.take(order)).run_ends.to_pylist()
    begins = [0, *ends][: len(ends)]
    values = zip(*(_at(column, order.take(pa.array(begins, pa.int64()))) for column in encoded), strict=True)
    groups = list(zip(values, begins, ends, strict=True))
    return batch.take(order), sorted(groups, key=lambda group: in_order(group[0]))


def _together(encoded: Sequence[pa.Array]) -> pa.Array:
    """One dictionary-encoded column whose indices are equal where all of the columns' are."""
    whole = encoded[0]
    for column in encoded[1:]:
        # Each index is below the number of rows: a product of two fits, and its index is as small again.
        wide = pc.multiply_checked(whole.indices.cast(pa.int64()), len(column.dictionary))
        whole = pc.dictionary_encode(pc.add_checked(wide, column.indices.cast(pa.int64())))
    return whole


def _at(encoded: pa.Array, rows: pa.Array) -> list[str | int | None]:
    choices = encoded.dictionary.to_pylist()
    return [choices[index] for index in encoded.indices.take(rows).to_numpy().tolist()]


def in_order(values: Sequence[str | int | None]) -> list[tuple[bool, int, str]]:
    """A sort key for values of partitions: NULL first, then shards by number and texts by their characters."""
    return [(v is not None, v if isinstance(v, int) else 0, v if isinstance(v, str) else "") for v in values]

"""Masks: the column stays, its values no longer tell who it is about.

::

    transforms:
      - mask:
          email: hmac_sha256
          phone: mask_except_last_4
          ip_address: truncate_last_octet
          name: {constant: "redacted"}
          ssn: null
          born: date_to_month

``hmac_sha256``
    HMAC-SHA-256 (RFC 2104, FIPS 180-4) under the tenant's key, as 64 lower-case hex digits. The HMAC key is the
    tenant's 32 bytes *written as 64 lower-case hex digits in ASCII*, so that ``openssl dgst -sha256 -hmac <hex>``
    computes the same. The key's file holds these bytes as ``key`` in base64, of which ``base64 -d | xxd -p -c64`` makes
    ``<hex>``. What is hashed is the canonical text of the value (see `lading.transforms.canonical`). All columns of a
    tenant share the key, so that masked columns can still be joined; no two tenants share one.
``hash_sha256``
    SHA-256 of the same text without a key: whoever guesses a value can confirm it. It warns.
``mask_except_last_4``
    Text: every character (Unicode code point) but the last four becomes ``*``; four or fewer become ``*`` all.
``truncate_last_octet``
    IP addresses as text: see `lading.transforms.addresses`.
``null``, ``{constant: value}``
    Every row alike; the column keeps its type.
``date_to_month``
    Dates and timestamps: the first day of the month, and its first instant in the column's time zone.

NULL stays NULL under every mask but ``constant``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from lading.documents import nearest
from lading.errors import InvalidProject
from lading.ports import PolicyAction
from lading.transforms.addresses import truncate_last_octet
from lading.transforms.canonical import canonical, check_canonical, holds_uuid
from lading.transforms.columns import is_text, literal, plain, position, repeats, value_type, without_origin

Key = Callable[[], bytes]


@dataclass(frozen=True, slots=True)
class Mask:
    """What is done to which column."""

    actions: Mapping[str, str]
    constants: Mapping[str, Any]

    @classmethod
    def parse(cls, value: object) -> Mask:
        """``{column: action}``. Raises ValueError, which names an unknown action and its nearest."""
        if not isinstance(value, Mapping) or not value:
            raise ValueError("mask takes a mapping of columns to actions")
        actions: dict[str, str] = {}
        constants: dict[str, Any] = {}
        for column, action in value.items():
            if not isinstance(column, str):
                raise ValueError(f"mask: the column {column!r} must be text")
            if (
                isinstance(action, Mapping)
                and list(action) == ["constant"]
                and action["constant"] is not None
            ):
                actions[column], constants[column] = "constant", action["constant"]
            elif action is None or action in ACTIONS:
                actions[column] = str(action) if action else "null"
            else:
                near = nearest(action, ACTIONS) if isinstance(action, str) else ""
                raise ValueError(
                    f'mask: {column}: there is no action "{action}"'
                    + (near or f"; there are {', '.join(ACTIONS)} and {{constant: value}}")
                )
        return cls(actions, constants)

    def bind(self, schema: pa.Schema) -> pa.Schema:
        for column, action in self.actions.items():
            index = position(schema, column, "mask")
            field = schema.field(index)
            try:
                schema = schema.set(index, self._field(field, action))
            except ValueError as error:
                raise InvalidProject(
                    f"mask: column {column!r} of type {field.type} cannot be treated by {action}: {error}"
                ) from error
        return schema

    def apply(self, batch: pa.RecordBatch, key: Key) -> pa.RecordBatch:
        columns, fields = list(batch.columns), list(batch.schema)
        for column, action in self.actions.items():
            index = position(batch.schema, column, "mask")
            fields[index] = self._field(batch.schema.field(index), action)
            columns[index] = self._masked(
                batch.schema.field(index), batch.column(index), action, fields[index], key
            )
        return pa.RecordBatch.from_arrays(columns, schema=pa.schema(fields, batch.schema.metadata))

    def policy(self) -> tuple[PolicyAction, ...]:
        return tuple(PolicyAction(column, action) for column, action in self.actions.items())

    def warnings(self) -> tuple[str, ...]:
        """What whoever runs the export should know: one line per column."""
        return tuple(
            f"mask: {column}: hash_sha256 has no key, so that whoever guesses a value can confirm it; "
            "prefer hmac_sha256"
            for column, action in self.actions.items()
            if action == "hash_sha256"
        )

    def _field(self, field: pa.Field, action: str) -> pa.Field:
        """The masked field. Raises ValueError, with the reason, for a type that the action cannot treat."""
        type_ = value_type(field.type)
        if action == "null":
            return field.with_nullable(True)
        if action == "constant":
            literal(self.constants[field.name], type_)
            return without_origin(field, type_)
        if action == "date_to_month":
            if not (pa.types.is_date(type_) or pa.types.is_timestamp(type_)):
                raise ValueError("it treats dates and timestamps")
            return field.with_type(type_)
        if action in ("hmac_sha256", "hash_sha256"):
            check_canonical(field)
        elif not is_text(type_):
            raise ValueError("it treats text; declare the field a string in the contract")
        return without_origin(field, pa.string())

    def _masked(self, field: pa.Field, array: pa.Array, action: str, after: pa.Field, key: Key) -> pa.Array:
        rows = len(array)
        if action == "constant":
            value = literal(self.constants[field.name], after.type)
            return pa.repeat(value.cast(after.type), rows)
        if action == "null" or rows == 0 or array.null_count == rows:
            return pa.nulls(rows, after.type)
        if action == "date_to_month":
            return pc.floor_temporal(plain(array), unit="month")
        if action == "mask_except_last_4":
            return mask_except_last_4(array)
        if action == "truncate_last_octet":
            return truncate_last_octet(array, field.name)
        return digest(array, key().hex() if action == "hmac_sha256" else None, holds_uuid(field))


ACTIONS = ("hmac_sha256", "hash_sha256", "mask_except_last_4", "truncate_last_octet", "date_to_month", "null")


def mask_except_last_4(array: pa.Array) -> pa.Array:
    text = plain(array)
    length = pc.utf8_length(text)
    long = pc.greater(length, 4)
    stars = pc.binary_repeat(pa.scalar("*"), pc.if_else(long, pc.subtract(length, 4), length))
    tail = pc.if_else(long, pc.utf8_slice_codeunits(text, start=-4), pa.scalar("", text.type))
    return pc.binary_join_element_wise(stars, tail.cast(pa.string()), "")


def digest(array: pa.Array, key: str | None, uuid: bool = False) -> pa.Array:
    """Hex text: HMAC-SHA-256 under the key's ASCII bytes, or SHA-256 where there is none."""
    if pa.types.is_dictionary(array.type) and len(array.dictionary) <= len(array):
        return digest(array.dictionary, key, uuid).take(array.indices)
    import polars as pl
    import polars_hash  # noqa: F401  (registers the expressions)

    texts = canonical(array, uuid)
    if repeats(texts):
        return digest(texts.dictionary_encode(), key)
    values = pl.from_arrow(texts)
    assert isinstance(values, pl.Series)
    hashes: Any = pl.col("value").chash  # type: ignore[attr-defined]
    hashed = hashes.sha2_256() if key is None else hashes.hmac_sha256(key=key)
    digests = values.alias("value").to_frame().select(hashed).to_series()
    return digests.to_arrow(compat_level=pl.CompatLevel.oldest()).cast(pa.string())

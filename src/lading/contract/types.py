"""Whether a source's Arrow type carries what a contract promises, without loss.

Decided by type, never by value: a type that could hold a value that the promise cannot is refused.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

import pyarrow as pa

from lading.contract.model import ContractField

# Metadata of a source's fields, as its adapter writes them: bytes, and documented with the protocols of adapters.
_NATIVE, _LOGICAL, _REFUSED = b"lading.native", b"lading.logical", b"lading.refused"


@dataclass(frozen=True, slots=True)
class Fit:
    """``as_is``: delivered as it arrives. ``as_text``: the source must read the column as text (`Query.as_text`)."""

    verdict: Literal["as_is", "as_text", "refused"]
    reason: str = ""


AS_IS, AS_TEXT = Fit("as_is"), Fit("as_text")


def _no(reason: str) -> Fit:
    return Fit("refused", reason)


def fit(field: ContractField, source: pa.Field, *, as_text: bool = False) -> Fit:
    """How the source's column keeps the promise. A NULL in a required field is for a check to find.

    Where the answer is `AS_TEXT`, describe the source again with the column among those read as text, and ask again
    with ``as_text``: what then is no text is refused.
    """
    if pa.types.is_null(source.type):
        if field.logical_type == "string" and not as_text:
            return AS_TEXT
        why = (source.metadata or {}).get(_REFUSED, b"its type cannot be carried").decode("utf-8", "replace")
        return _no(f'the column "{source.name}" cannot be delivered: {why}')
    judge = _Judge(field, source)
    found = judge.verdict()
    if as_text and found is AS_TEXT:
        return _no(
            f'the contract promises text for "{field.name}", and the source cannot give {judge.native} as text'
        )
    return found


# --- physical types ------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Physical:
    """A type of SQL. ``bits``: of integers and floats. ``precision``: digits, fractional digits of seconds, or
    characters."""

    kind: Literal["text", "integer", "decimal", "float", "boolean", "date", "timestamp", "time"]
    bits: int = 0
    precision: int | None = None
    scale: int = 0
    zoned: bool = False


_PHYSICAL = re.compile(
    r"([a-z][a-z0-9 _]*?)\s*(?:\(\s*(\d{1,4})\s*(?:,\s*(\d{1,4})\s*)?\))?(\s+with(?:out)? time zone)?"
)
_INTEGERS = {
    "tinyint": 8, "smallint": 16, "int2": 16, "smallserial": 16, "integer": 32, "int": 32, "int4": 32, "serial": 32,
    "int32": 32, "int16": 16, "bigint": 64, "int8": 64, "bigserial": 64, "int64": 64, "long": 64,
}  # fmt: skip
_FLOATS = {"real": 32, "float4": 32, "float32": 32, "double precision": 64, "double": 64, "float8": 64, "float64": 64,
           "float": 64}  # fmt: skip
_TEXTS = ("text", "varchar", "character varying", "char", "character", "bpchar", "citext", "string")


def parse_physical(text: str | None) -> Physical | None:
    """A contract's ``physicalType`` as PostgreSQL and the SQL standard write it; None for any other."""
    match = _PHYSICAL.fullmatch((text or "").strip().lower())
    if not match:
        return None
    name, first, second, zone = match.groups()
    precision = int(first) if first else None
    if name in _INTEGERS:
        return Physical("integer", bits=_INTEGERS[name])
    if name in _FLOATS:
        bits = 32 if name == "float" and precision and precision <= 24 else _FLOATS[name]
        return Physical("float", bits=bits)
    if name in ("numeric", "decimal"):
        return Physical("decimal", precision=precision, scale=int(second or 0))
    if name in _TEXTS:
        return Physical("text", precision=precision)
    if name in ("boolean", "bool"):
        return Physical("boolean")
    if name == "date":
        return Physical("date")
    if name in ("timestamp", "timestamptz"):
        return Physical(
            "timestamp",
            precision=precision,
            zoned=name.endswith("tz") or (zone or "").endswith("with time zone"),
        )
    if name in ("time", "timetz"):
        return Physical("time", precision=precision)
    return None


_LOGICAL_OF = {"text": "string", "integer": "integer", "decimal": "number", "float": "number", "boolean": "boolean",
               "date": "date", "timestamp": "timestamp", "time": "time"}  # fmt: skip


# --- judging -------------------------------------------------------------------------------------------------------


class _Judge:
    def __init__(self, field: ContractField, source: pa.Field) -> None:
        metadata = source.metadata or {}
        self.field = field
        self.type = _storage(source.type)
        self.holds = metadata.get(_LOGICAL, b"").decode() or _extension(source.type)
        self.native = metadata.get(_NATIVE, b"").decode() or str(source.type)
        self.physical = parse_physical(field.physical_type)
        self.text = _is_text(self.type)
        # Digits before and after the point that the source's type can hold, for whole and decimal numbers.
        self.digits = _digits(self.type)

    def verdict(self) -> Fit:
        logical = self.field.logical_type or (_LOGICAL_OF[self.physical.kind] if self.physical else None)
        if logical is None:
            return AS_IS
        found: Fit = getattr(self, f"_{logical}")()
        if found is AS_IS and logical != "string" and self.physical is not None:
            return self._physical(self.physical)
        return found

    def _mismatch(self, promised: str) -> Fit:
        return _no(f'the contract promises {promised} for "{self.field.name}", the source has {self.native}')

    def _string(self) -> Fit:
        wanted = self.field.options.get("format")
        if self.holds == "uuid" and not self.text:
            return AS_IS if wanted == "uuid" else AS_TEXT
        if pa.types.is_binary(self.type) or pa.types.is_large_binary(self.type):
            return AS_IS if wanted in ("binary", "byte") else AS_TEXT
        return AS_IS if self.text else AS_TEXT

    def _boolean(self) -> Fit:
        return AS_IS if pa.types.is_boolean(self.type) else self._mismatch("a boolean")

    def _date(self) -> Fit:
        return AS_IS if pa.types.is_date(self.type) else self._mismatch("a date")

    def _time(self) -> Fit:
        fits = pa.types.is_time(self.type) or (self.text and self.holds in ("time", "timetz"))
        return AS_IS if fits else self._mismatch("a time of day")

    def _timestamp(self) -> Fit:
        if not pa.types.is_timestamp(self.type):
            return self._mismatch("a timestamp")
        zoned = self.field.options.get("timezone")
        if isinstance(zoned, bool) and zoned != (self.type.tz is not None):
            return self._mismatch(f"a timestamp {'with' if zoned else 'without'} time zone")
        return AS_IS

    def _integer(self) -> Fit:
        whole = pa.types.is_integer(self.type) or (pa.types.is_decimal(self.type) and self.type.scale <= 0)
        if not whole:
            return self._mismatch("an integer")
        wanted = str(self.field.options.get("format", ""))
        # An unsigned format is half promised by the type, half by a check that no value is negative.
        bits = int(wanted[1:]) if wanted[1:].isdigit() else 0
        if bits and not self._within(bits, unsigned=wanted.startswith("u")):
            return self._mismatch(f"an integer of {bits} bits ({wanted})")
        return AS_IS

    def _within(self, bits: int, *, unsigned: bool) -> bool:
        greatest = 2**bits - 1 if unsigned else 2 ** (bits - 1) - 1
        if pa.types.is_integer(self.type):
            signed = pa.types.is_signed_integer(self.type)
            return bool(2 ** (self.type.bit_width - signed) - 1 <= greatest)
        return bool(10 ** (self.type.precision - self.type.scale) - 1 <= greatest)

    def _number(self) -> Fit:
        unlimited = self.text and self.holds == "decimal"
        if self.digits is None and not pa.types.is_floating(self.type) and not unlimited:
            return self._mismatch("a number")
        wanted = self.field.options.get("format")
        return self._float(32 if wanted == "f32" else 64) if wanted in ("f32", "f64") else AS_IS

    def _float(self, bits: int) -> Fit:
        """Every value of the source must be one of the promised floating-point type (2^24 or 2^53 whole numbers)."""
        if pa.types.is_floating(self.type):
            fits = self.type.bit_width <= bits
        else:
            fits = pa.types.is_integer(self.type) and self.type.bit_width <= bits // 2
        if fits:
            return AS_IS
        return _no(
            f'"{self.field.name}" could be rounded: {bits} bits of floating point do not hold every {self.native}'
        )

    def _object(self) -> Fit:
        if pa.types.is_struct(self.type):
            return self._members()
        fits = pa.types.is_map(self.type) or self.holds == "json"
        return AS_IS if fits else self._mismatch("an object")

    def _members(self) -> Fit:
        for inner in self.field.properties:
            index = self.type.get_field_index(inner.column)
            if index < 0:
                return _no(
                    f'the contract promises "{inner.name}" inside "{self.field.name}", the source has no such member'
                )
            found = self._inside(inner, self.type.field(index))
            if found is not AS_IS:
                return found
        return AS_IS

    def _array(self) -> Fit:
        if _is_list(self.type):
            if self.field.items is None:
                return AS_IS
            return self._inside(self.field.items, self.type.value_field)
        return AS_IS if self.text and self.holds in ("json", "array") else self._mismatch("an array")

    def _inside(self, inner: ContractField, source: pa.Field) -> Fit:
        found = fit(inner, source)
        if found.verdict == "as_text":
            return _no(f'the contract promises text inside "{self.field.name}", the source has {self.native}')
        return found if found.verdict == "as_is" else _no(f'inside "{self.field.name}": {found.reason}')

    def _map(self) -> Fit:
        fits = pa.types.is_map(self.type) or self.holds == "json"
        return AS_IS if fits else self._mismatch("a map")

    def _vector(self) -> Fit:
        numbers = _is_list(self.type) and (
            pa.types.is_floating(self.type.value_type) or pa.types.is_integer(self.type.value_type)
        )
        return AS_IS if numbers or self.holds in ("vector", "json", "array") else self._mismatch("a vector")

    def _physical(self, promised: Physical) -> Fit:
        """The promised physical type must hold all that the source's can; the logical type fits already."""
        written = self.field.physical_type or ""
        if promised.kind == "integer" and not self._fits_integer(promised.bits):
            return self._mismatch(written)
        if promised.kind == "float":
            return self._float(promised.bits)
        if promised.kind == "decimal" and promised.precision is not None:
            return self._decimal(promised.precision, promised.scale, written)
        if promised.kind == "timestamp" and pa.types.is_timestamp(self.type):
            if promised.zoned != (self.type.tz is not None):
                return self._mismatch(written)
            if promised.precision is not None and self._fraction() > promised.precision:
                return _no(
                    f'"{self.field.name}" would be rounded: {self.native} is finer than the promised {written}'
                )
        return AS_IS

    def _fits_integer(self, bits: int) -> bool:
        whole = pa.types.is_integer(self.type) or (pa.types.is_decimal(self.type) and self.type.scale <= 0)
        return whole and self._within(bits, unsigned=False)

    def _decimal(self, precision: int, scale: int, written: str) -> Fit:
        if self.digits is None:
            return _no(
                f'"{self.field.name}" could be rounded: {self.native} has no limit, {written} is promised'
            )
        before, after = self.digits
        if after > scale:
            return _no(
                f'"{self.field.name}" would be rounded: {self.native} has {after} decimal places, {written} has {scale}'
            )
        if before > precision - scale:
            return _no(
                f'"{self.field.name}" could overflow: {self.native} has {before} digits before the point, '
                f"{written} has {precision - scale}"
            )
        return AS_IS

    def _fraction(self) -> int:
        """Fractional digits of seconds: as the source names its type, else those of Arrow's unit."""
        native = parse_physical(self.native)
        if native and native.kind == "timestamp" and native.precision is not None:
            return native.precision
        return {"s": 0, "ms": 3, "us": 6, "ns": 9}[self.type.unit]


def _storage(type_: pa.DataType) -> pa.DataType:
    if isinstance(type_, pa.BaseExtensionType):
        return _storage(type_.storage_type)
    return _storage(type_.value_type) if pa.types.is_dictionary(type_) else type_


def _extension(type_: pa.DataType) -> str:
    name = type_.extension_name if isinstance(type_, pa.BaseExtensionType) else ""
    return {"arrow.uuid": "uuid", "arrow.json": "json"}.get(name, "")


def _is_text(type_: pa.DataType) -> bool:
    return bool(
        pa.types.is_string(type_) or pa.types.is_large_string(type_) or pa.types.is_string_view(type_)
    )


def _is_list(type_: pa.DataType) -> bool:
    return bool(
        pa.types.is_list(type_) or pa.types.is_large_list(type_) or pa.types.is_fixed_size_list(type_)
    )


def _digits(type_: pa.DataType) -> tuple[int, int] | None:
    """Decimal digits before and after the point; None for what is no exact number."""
    if pa.types.is_integer(type_):
        return len(str(2 ** (type_.bit_width - pa.types.is_signed_integer(type_)))), 0
    if pa.types.is_decimal(type_):
        scale = max(type_.scale, 0)
        return type_.precision - type_.scale, scale
    return None

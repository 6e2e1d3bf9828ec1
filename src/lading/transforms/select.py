"""Which columns are delivered, in which order, under which names.

::

    transforms:
      - select: [carrier, flight_id]      # only these, in this order
      - exclude: [password_hash]
      - rename: {tailnum: tail_number}
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import pyarrow as pa

from lading.errors import InvalidProject
from lading.ports import PolicyAction
from lading.transforms.columns import column_names, position


@dataclass(frozen=True, slots=True)
class Select:
    """Keeps the named columns only, in the order given."""

    columns: tuple[str, ...]

    @classmethod
    def parse(cls, value: object) -> Select:
        """``[a, b]``. Raises ValueError."""
        return cls(column_names(value, "select"))

    def bind(self, schema: pa.Schema) -> pa.Schema:
        return pa.schema([schema.field(position(schema, c, "select")) for c in self.columns], schema.metadata)

    def apply(self, batch: pa.RecordBatch, key: Callable[[], bytes]) -> pa.RecordBatch:
        return batch.select(list(self.columns))

    def policy(self) -> tuple[PolicyAction, ...]:
        return tuple(PolicyAction(column, "selected") for column in self.columns)


@dataclass(frozen=True, slots=True)
class Exclude:
    """Leaves the named columns out."""

    columns: tuple[str, ...]

    @classmethod
    def parse(cls, value: object) -> Exclude:
        """``[a, b]``. Raises ValueError."""
        return cls(column_names(value, "exclude"))

    def bind(self, schema: pa.Schema) -> pa.Schema:
        for column in self.columns:
            position(schema, column, "exclude")
        kept = [field for field in schema if field.name not in self.columns]
        if not kept:
            raise InvalidProject("exclude leaves no column to deliver")
        return pa.schema(kept, schema.metadata)

    def apply(self, batch: pa.RecordBatch, key: Callable[[], bytes]) -> pa.RecordBatch:
        return batch.drop_columns(list(self.columns))

    def policy(self) -> tuple[PolicyAction, ...]:
        return tuple(PolicyAction(column, "excluded") for column in self.columns)


@dataclass(frozen=True, slots=True)
class Rename:
    """Gives columns other names; all at once, so that two may change places."""

    names: Mapping[str, str]

    @classmethod
    def parse(cls, value: object) -> Rename:
        """``{old: new}``. Raises ValueError."""
        if not isinstance(value, Mapping) or not value:
            raise ValueError("rename takes a mapping of old names to new ones")
        for old, new in value.items():
            if not isinstance(old, str) or not isinstance(new, str) or not new:
                raise ValueError(f"rename: {old!r} and its new name must be text that is not empty")
        return cls(dict(value))

    def bind(self, schema: pa.Schema) -> pa.Schema:
        for old in self.names:
            position(schema, old, "rename")
        renamed = self._renamed(schema)
        seen: dict[str, str] = {}
        for name in renamed.names:
            # many readers fold case, so that "ID" and "id" would be one column to them
            if name.casefold() in seen:
                other = seen[name.casefold()]
                alike = (
                    f"called {name!r}"
                    if other == name
                    else f"{other!r} and {name!r}, that differ in case only"
                )
                raise InvalidProject(
                    f"rename leaves two columns {alike}",
                    hint="Give one of them another name, or exclude it before.",
                )
            seen[name.casefold()] = name
        return renamed

    def apply(self, batch: pa.RecordBatch, key: Callable[[], bytes]) -> pa.RecordBatch:
        return pa.RecordBatch.from_arrays(batch.columns, schema=self._renamed(batch.schema))

    def policy(self) -> tuple[PolicyAction, ...]:
        return tuple(PolicyAction(new, f"renamed from {old}") for old, new in self.names.items())

    def _renamed(self, schema: pa.Schema) -> pa.Schema:
        fields = [field.with_name(self.names.get(field.name, field.name)) for field in schema]
        return pa.schema(fields, schema.metadata)

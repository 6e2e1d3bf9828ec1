"""Only rows whose person consented.

::

    transforms:
      - consent: {column: marketing_consent, equals: true}
"""

from __future__ import annotations

from collections.abc import Callable

import pyarrow as pa
import pyarrow.compute as pc
from pydantic import BaseModel, ConfigDict, Field, StrictBool, StrictInt, StrictStr

from lading.errors import InvalidProject
from lading.ports import PolicyAction
from lading.transforms.columns import declared, literal, plain, position


class Consent(BaseModel):
    """Keeps the rows whose column equals a value; the others, NULL among them, are filtered."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    column: StrictStr = Field(description="the column that says whether there is consent")
    equals: StrictBool | StrictInt | StrictStr = Field(
        default=True, description="what it holds where there is; NULL is no consent, whatever stands here"
    )

    @classmethod
    def parse(cls, value: object) -> Consent:
        """``{column: c, equals: true}``. Raises ValueError."""
        return declared(cls, value, "consent")

    def bind(self, schema: pa.Schema) -> pa.Schema:
        type_ = schema.field(position(schema, self.column, "consent")).type
        try:
            literal(self.equals, type_)
        except ValueError as error:
            raise InvalidProject(
                f"consent: {error}", hint=f"Set equals to the value of {self.column!r} that means consent."
            ) from error
        return schema

    def apply(self, batch: pa.RecordBatch, key: Callable[[], bytes]) -> pa.RecordBatch:
        column = plain(batch.column(self.column))
        given = pc.equal(column, literal(self.equals, column.type))
        return batch.filter(given, null_selection_behavior="drop")

    def policy(self) -> tuple[PolicyAction, ...]:
        value = str(self.equals).lower() if isinstance(self.equals, bool) else str(self.equals)
        return (PolicyAction(self.column, f"consent: only rows where it equals {value}"),)

# D17: consent flag check
from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lading.errors import InvalidProject
from lading.ports import PolicyAction
from lading.transforms.consent import Consent


def kept(values: Any, equals: bool | int | str = True, type_: pa.DataType | None = None) -> list[object]:
    batch = pa.record_batch({"ok": pa.array(values, type_), "row": pa.array(range(len(values)), pa.int64())})
    consent = Consent.parse({"column": "ok", "equals": equals})
    assert consent.bind(batch.schema) == batch.schema
    after = consent.apply(batch, bytes)
    assert after.schema == batch.schema
    return after["row"].to_pylist()


@given(st.lists(st.none() | st.booleans()), st.booleans())
def test_only_rows_with_the_value_are_kept_and_null_is_no_consent(
    values: list[bool | None], equals: bool
) -> None:
    assert kept(values, equals, pa.bool_()) == [i for i, value in enumerate(values) if value is equals]


@pytest.mark.parametrize("type_", [pa.string(), pa.large_string(), pa.dictionary(pa.int8(), pa.string())])
def test_consent_may_be_a_text(type_: pa.DataType) -> None:
    array = pa.array(["yes", None, "no", "YES", "yes"]).cast(type_)
    batch = pa.record_batch({"ok": array}).slice(1)
    consent = Consent(column="ok", equals="yes")
    consent.bind(batch.schema)
    assert consent.apply(batch, bytes)["ok"].to_pylist() == ["yes"]


def test_consent_may_be_a_number() -> None:
    assert kept([1, 0, None, 1], 1) == [0, 3]


def test_the_default_is_true_and_the_policy_says_so() -> None:
    consent = Consent.parse({"column": "marketing_consent"})
    assert consent.policy() == (PolicyAction("marketing_consent", "consent: only rows where it equals true"),)


@pytest.mark.parametrize(
    ("type_", "equals"), [(pa.string(), True), (pa.bool_(), "true"), (pa.bool_(), 1), (pa.int64(), True)]
)
def test_a_value_that_the_column_cannot_hold_is_refused(type_: pa.DataType, equals: Any) -> None:
    with pytest.raises(InvalidProject, match="does not fit"):
        Consent(column="ok", equals=equals).bind(pa.schema([("ok", type_)]))


def test_mistakes_name_the_nearest_setting_and_column() -> None:
    with pytest.raises(ValueError, match='did you mean "equals"'):
        Consent.parse({"column": "ok", "equal": True})
    with pytest.raises(InvalidProject, match='did you mean "consent"'):
        Consent(column="consnt").bind(pa.schema([("consent", pa.bool_())]))
    for value in (None, "ok", {}, {"column": 1}, {"column": "ok", "equals": None}):
        with pytest.raises(ValueError):
            Consent.parse(value)

# D17: excluded fields, data minimisation
from __future__ import annotations

import pyarrow as pa
import pytest

from lading.errors import InvalidProject
from lading.ports import LOGICAL, PolicyAction, Transform
from lading.transforms.select import Exclude, Rename, Select

BATCH = pa.record_batch(
    [pa.array([1, 2, 3]), pa.array(["a", None, "c"]), pa.array(["x", "y", "z"])],
    schema=pa.schema(
        [
            pa.field("id", pa.int64(), nullable=False),
            pa.field("doc", pa.string(), metadata={LOGICAL: b"json"}),
            pa.field("password_hash", pa.string()),
        ],
        metadata={b"k": b"v"},
    ),
)


def no_key() -> bytes:
    raise AssertionError("no key is needed")


def run(transform: Transform, batch: pa.RecordBatch = BATCH) -> pa.RecordBatch:
    """Applied to the whole, a slice and nothing: the schema is always the one that was bound."""
    bound = transform.bind(batch.schema)
    for part in (batch, batch.slice(1, 1), batch.slice(0, 0)):
        after = transform.apply(part, no_key)
        after.validate(full=True)
        assert after.schema.equals(bound, check_metadata=True)
        assert after.num_rows == part.num_rows
    return transform.apply(batch, no_key)


def test_select_keeps_the_named_columns_in_the_order_given() -> None:
    after = run(Select.parse(["doc", "id"]))
    assert after.to_pydict() == {"doc": ["a", None, "c"], "id": [1, 2, 3]}


def test_exclude_leaves_columns_out_and_says_so() -> None:
    exclude = Exclude.parse(["password_hash"])
    assert run(exclude).schema.names == ["id", "doc"]
    assert exclude.policy() == (PolicyAction("password_hash", "excluded"),)


def test_rename_lets_columns_change_places() -> None:
    rename = Rename.parse({"id": "doc", "doc": "id"})
    assert run(rename).to_pydict() == {
        "doc": [1, 2, 3],
        "id": ["a", None, "c"],
        "password_hash": ["x", "y", "z"],
    }
    assert PolicyAction("doc", "renamed from id") in rename.policy()


@pytest.mark.parametrize(
    ("new", "alike"),
    [
        ("doc", "two columns called 'doc'"),
        ("DOC", "'DOC' and 'doc', that differ in case only"),
        ("Doc", "'Doc' and 'doc', that differ in case only"),
    ],
)
def test_rename_that_leaves_names_equal_but_for_case_is_refused(new: str, alike: str) -> None:
    with pytest.raises(InvalidProject, match=alike):
        Rename.parse({"id": new}).bind(BATCH.schema)


@pytest.mark.parametrize(
    "transform", [Select(("pasword_hash",)), Exclude(("pasword_hash",)), Rename({"pasword_hash": "p"})]
)
def test_an_unknown_column_is_refused_with_the_nearest(transform: Transform) -> None:
    with pytest.raises(InvalidProject, match='did you mean "password_hash"'):
        transform.bind(BATCH.schema)


def test_excluding_everything_is_refused() -> None:
    with pytest.raises(InvalidProject, match="no column"):
        Exclude.parse(["id", "doc", "password_hash"]).bind(BATCH.schema)


@pytest.mark.parametrize("value", [None, "id", [], [1], ["a", "a"], {"a": "b"}, [None]])
def test_select_and_exclude_take_lists_of_different_names(value: object) -> None:
    for parse in (Select.parse, Exclude.parse):
        with pytest.raises(ValueError):
            parse(value)


@pytest.mark.parametrize("value", [None, ["a"], {}, {"a": ""}, {"a": 1}, {1: "a"}])
def test_rename_takes_a_mapping_of_names(value: object) -> None:
    with pytest.raises(ValueError):
        Rename.parse(value)

from __future__ import annotations

import json
from contextlib import suppress
from datetime import date
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lading.documents import load, parse
from lading.errors import InvalidProject


def reason(text: str | bytes) -> str:
    with pytest.raises(InvalidProject) as caught:
        parse(text if isinstance(text, bytes) else text.encode(), "a.yaml")
    assert caught.value.exit_code == 2
    return str(caught.value)


# M10
@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a: 1\nb: [1, 2\n", "a.yaml:3: is not valid YAML: expected ',' or ']', but got '<stream end>'"),
        ("a: 1\na: 2\n", 'a.yaml:2: the key "a" stands here twice; the first is on line 1'),
        ("1: x\n'1': y\n", 'a.yaml:2: the key "1" stands here twice; the first is on line 1'),
        ("a: 1\n---\nb: 2\n", "a.yaml:2: holds several documents; one file is one document"),
        (
            "a: !!python/object:os.system x\n",
            "a.yaml:1: the tag !!python/object:os.system is not allowed: only plain data is",
        ),
        ("a: !mine {b: 1}\n", "a.yaml:1: the tag !mine is not allowed: only plain data is"),
        ("!mine a: 1\n", "a.yaml:1: the tag !mine is not allowed: only plain data is"),
        ("a: !!timestamp 2013-01-01\n", "a.yaml:1: the tag !!timestamp is not allowed: only plain data is"),
        ("x: &x {a: 1}\ny:\n  <<: *x\n", "a.yaml:3: merge keys (<<) are not allowed: write the keys out"),
        ("a: &a [1, *a]\n", "a.yaml:1: the alias *a stands inside what it refers to"),
        ("a: *b\n", "a.yaml:1: the alias *b refers to nothing"),
        ("x: &x [1]\n? *x\n: 1\n", "a.yaml:2: a key must be plain text"),
        ("a: !!int x\n", "a.yaml:1: the tag !!int is not allowed: only plain data is"),
        ("? [a, b]\n: 1\n", "a.yaml:1: a key must be plain text"),
        ("a: .inf\n", "a.yaml:1: .inf is not a finite number; put it in quotes if it is text"),
        ("a: 1e999\n", "a.yaml:1: 1e999 is not a finite number; put it in quotes if it is text"),
        ("a: " + "9" * 5000, "a.yaml:1: this number has too many digits; put it in quotes if it is text"),
        (b"a: 1\nb: \xff\n", "a.yaml:2: is not UTF-8"),
        ("a: 1\nb: \x00\n", "a.yaml:2: holds a character that YAML does not allow: U+0000"),
        ("a: " + "[" * 100_000, "a.yaml:1: is nested more than 60 levels deep"),
        ('a: "\\ud800"', "a.yaml:1: holds half of a surrogate pair"),
        (b" " * 5_000_001, "a.yaml: is larger than 5 MB"),
    ],
)
def test_what_is_not_plain_data_is_refused_with_its_line(text: str | bytes, expected: str) -> None:
    assert reason(text) == expected


# M10
def test_aliases_that_expand_without_measure_are_refused() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 12)]
    assert reason("\n".join(lines)) == (
        "a.yaml:6: holds more than 200000 values or 60 levels once aliases are expanded"
    )


def test_aliases_are_copies() -> None:
    data = parse(b"x: &x {a: [1]}\ny: *x\n", "a").data
    data["y"]["a"].append(2)
    assert data["x"] == {"a": [1]}


# M10
@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("NO", "NO"),
        ("yes", "yes"),
        ("on", "on"),
        ("true", True),
        ("~", None),
        ("", None),
        ("2013-01-01", "2013-01-01"),
        ("2013-01-01T00:00:00Z", "2013-01-01T00:00:00Z"),
        ("0o17", 15),
        ("017", 17),
        ("0x1F", 31),
        ("1_000", "1_000"),
        ("12:30:45", "12:30:45"),
        ("1.5", 1.5),
        ("1e3", 1000.0),
        ("'1'", "1"),
        ("!!str 1", "1"),
        ("!!int 1", 1),
        ("! 1", "1"),
        ('"<<"', "<<"),
        ("=", "="),
    ],
)
def test_scalars_follow_yaml_1_2(text: str, value: object) -> None:
    found = parse(f"%YAML 1.1\n---\na: {text}\n".encode(), "a").data["a"]
    assert (found, type(found)) == (value, type(value))


def test_keys_are_text_as_written() -> None:
    assert parse(b"1: a\nno: b\n2013-01-01: c\n'<<': d\n", "a").data == {
        "1": "a",
        "no": "b",
        "2013-01-01": "c",
        "<<": "d",
    }


def test_an_anchored_key_can_be_referred_to() -> None:
    assert parse(b"&k a: 1\nb: *k\nc: &v d\n*v : 2\n", "a").data == {"a": 1, "b": "a", "c": "d", "d": 2}


def test_an_empty_file_is_no_data_and_a_byte_order_mark_is_none_either() -> None:
    assert parse(b"", "a").data is None
    assert parse(b"# nothing\n", "a").data is None
    assert parse(b"\xef\xbb\xbfa: 1\n", "a").data == {"a": 1}


def test_every_path_has_its_line_and_an_unknown_one_that_of_its_nearest_ancestor() -> None:
    document = parse(b"# top\na:\n  b:\n    - x\n    - {c: 1,\n       d: 2}\ne: 1\n", "a")
    assert document.line("a") == 2
    assert document.line("a", "b") == 3
    assert document.line("a", "b", 0) == 4
    assert document.line("a", "b", 1, "d") == 6
    assert document.line("a", "b", 1, "nothing", "below") == 5
    assert document.line("e", "x") == 7
    assert document.line() == 2


def test_a_file_is_named_as_seen_from_the_project(tmp_path: Path) -> None:
    (tmp_path / "exports").mkdir()
    (tmp_path / "exports" / "a.yaml").write_text("a: 1\n")
    assert load(tmp_path / "exports" / "a.yaml", tmp_path).path == "exports/a.yaml"
    for path, expected in (
        ("b.yaml", "b.yaml: there is no such file"),
        ("exports", "exports: is not a file"),
    ):
        with pytest.raises(InvalidProject) as caught:
            load(tmp_path / path, tmp_path)
        assert str(caught.value) == expected


keys = st.text(
    st.characters(exclude_categories=("C",)), max_size=80
)  # YAML: at most 1024 characters, escaped
plain = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=("C",)))
    | st.dates().map(date.isoformat),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(keys, inner),
    max_leaves=20,
)


@given(plain)
def test_json_reads_as_itself(value: object) -> None:
    assert parse(json.dumps(value, indent=1).encode(), "a").data == value


@given(st.text(max_size=60))
def test_any_text_is_data_or_a_problem_with_a_line(text: str) -> None:
    with suppress(InvalidProject):
        parse(text.encode("utf-8", "replace"), "a")

# D17, correction 3: masks
from __future__ import annotations

import hashlib
import hmac
import ipaddress
import json
import shutil
import subprocess
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime, time
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lading.errors import DataRefused, InvalidProject
from lading.keys.file import FileKeyring
from lading.ports import LOGICAL, NATIVE, PolicyAction
from lading.transforms.mask import Mask

KEY = bytes(range(32))
TEXTS = [pa.string(), pa.large_string(), pa.string_view(), pa.dictionary(pa.int16(), pa.string())]


def expected(value: str | bytes | None) -> str | None:
    if value is None:
        return None
    raw = value.encode() if isinstance(value, str) else value
    return hmac.new(KEY.hex().encode("ascii"), raw, hashlib.sha256).hexdigest()


def mask(array: pa.Array, action: object, metadata: dict[bytes, bytes] | None = None) -> pa.Array:
    """Masked, whole and in two slices, which must agree with each other and with the bound schema."""
    schema = pa.schema([pa.field("c", array.type, metadata=metadata)])
    declared = Mask.parse({"c": action})
    batch = pa.record_batch([array], schema=schema)
    bound = declared.bind(schema)
    whole, cut = declared.apply(batch, lambda: KEY), len(array) // 3
    parts = [declared.apply(part, lambda: KEY) for part in (batch.slice(0, cut), batch.slice(cut))]
    for after in (whole, *parts):
        after.validate(full=True)
        assert after.schema.equals(bound, check_metadata=True)
    assert pa.Table.from_batches(parts).to_pydict() == whole.to_pydict()
    return whole["c"]


texts = st.text(st.characters(exclude_categories=["Cs"]))


@pytest.mark.parametrize("type_", TEXTS, ids=str)
@given(values=st.lists(st.none() | texts | st.sampled_from(["", "a@b.c", "😀"])))
def test_hmac_of_any_text_is_what_pythons_hmac_says(type_: pa.DataType, values: list[str | None]) -> None:
    masked = mask(pa.array(values, pa.string()).cast(type_), "hmac_sha256")
    assert masked.type == pa.string()
    assert masked.to_pylist() == [expected(value) for value in values]


@pytest.mark.parametrize("type_", [pa.binary(), pa.large_binary(), pa.binary_view()], ids=str)
@given(values=st.lists(st.none() | st.binary()))
def test_hmac_of_any_bytes_is_what_pythons_hmac_says(type_: pa.DataType, values: list[bytes | None]) -> None:
    assert mask(pa.array(values, type_), "hmac_sha256").to_pylist() == [expected(value) for value in values]


@given(st.lists(st.none() | st.decimals(-(10**10), 10**10, allow_nan=False, places=9)))
def test_decimals_are_hashed_in_plain_notation(values: list[Decimal | None]) -> None:
    plain = [None if v is None else f"{v:.9f}".replace("-0.000000000", "0.000000000") for v in values]
    for type_ in (pa.decimal128(38, 9), pa.decimal256(60, 9)):
        assert mask(pa.array(values, type_), "hmac_sha256").to_pylist() == [expected(p) for p in plain]


ONE = uuid.UUID("6ba7b810-9dad-11d1-80b4-00c04fd430c8")
CANONICAL: list[tuple[Any, pa.DataType, str]] = [
    (-42, pa.int64(), "-42"),
    (2**64 - 1, pa.uint64(), "18446744073709551615"),
    (Decimal("-1.5"), pa.decimal128(15, 2), "-1.50"),
    (Decimal("0.00000001"), pa.decimal128(20, 8), "0.00000001"),
    (Decimal("7"), pa.decimal128(5, 0), "7"),
    (True, pa.bool_(), "true"),
    (date(2024, 3, 7), pa.date32(), "2024-03-07"),
    (date(2024, 3, 7), pa.date64(), "2024-03-07"),
    (time(1, 2, 3, 40), pa.time64("us"), "01:02:03.000040"),
    (datetime(2024, 3, 7, 1, 2, 3, 40), pa.timestamp("us"), "2024-03-07T01:02:03.000040"),
    (datetime(2024, 3, 7, 1, 2, 3), pa.timestamp("s"), "2024-03-07T01:02:03"),
    (datetime(2024, 3, 7, 1, tzinfo=UTC), pa.timestamp("ms", "UTC"), "2024-03-07T01:00:00.000Z"),
    (
        datetime(2024, 3, 7, 1, tzinfo=UTC),
        pa.timestamp("us", "America/New_York"),
        "2024-03-07T01:00:00.000000Z",
    ),
    (ONE.bytes, pa.uuid(), str(ONE)),
]


@pytest.mark.parametrize(("value", "type_", "text"), CANONICAL, ids=lambda v: str(v))
def test_other_types_are_hashed_as_their_documented_text(value: Any, type_: pa.DataType, text: str) -> None:
    array = pa.array([None, value, None, value], type_).slice(1)
    assert mask(array, "hmac_sha256").to_pylist() == [expected(text), None, expected(text)]


def test_one_uuid_has_one_hash_however_it_arrives() -> None:
    logical = {LOGICAL: b"uuid", NATIVE: b"uuid"}
    arrivals = [
        pa.array([str(ONE)]),
        pa.array([str(ONE).upper()]),
        pa.array([ONE.bytes], pa.binary(16)),
    ]
    assert {mask(array, "hmac_sha256", logical).to_pylist()[0] for array in arrivals} == {expected(str(ONE))}


def test_the_hash_can_be_computed_again_with_openssl() -> None:
    command = ["openssl", "dgst", "-sha256", "-hmac", KEY.hex(), "-r"]
    told = subprocess.run(command, input=b"ann@example.com", capture_output=True, check=True).stdout.split()[
        0
    ]
    assert mask(pa.array(["ann@example.com"]), "hmac_sha256").to_pylist() == [told.decode()]


@pytest.mark.skipif(shutil.which("xxd") is None, reason="needs xxd")
def test_the_hex_that_openssl_takes_is_made_of_the_key_s_file(tmp_path: Path) -> None:
    key = FileKeyring(tmp_path / "keys").tenant_key("UA")
    (file,) = (tmp_path / "keys").glob("*.json")
    held = json.loads(file.read_text())["key"]
    made = subprocess.run(
        "base64 -d | xxd -p -c64", shell=True, input=held.encode(), capture_output=True, check=True
    )
    assert made.stdout.decode().strip() == key.hex()


def test_tenants_share_no_hash_and_columns_of_one_tenant_can_be_joined() -> None:
    declared = Mask.parse({"a": "hmac_sha256", "b": "hmac_sha256"})
    batch = pa.record_batch({"a": ["x"], "b": pa.array(["x"], pa.large_string())})
    one, other = (declared.apply(batch, lambda k=k: k).to_pydict() for k in (KEY, KEY[::-1]))  # type: ignore[misc]
    assert one["a"] == one["b"]
    assert one["a"] != other["a"]


def test_a_dictionary_larger_than_its_slice_gives_the_same_hashes() -> None:
    values = [f"v{i}" for i in range(100)]
    array = pa.array(values).dictionary_encode().slice(7, 3)
    assert mask(array, "hmac_sha256").to_pylist() == [expected(v) for v in values[7:10]]


@pytest.mark.parametrize("type_", [pa.string(), pa.string_view(), pa.binary()], ids=str)
def test_values_that_repeat_have_the_hashes_of_those_that_do_not(type_: pa.DataType) -> None:
    few = [None if i % 7 == 0 else f"value {i % 5}" for i in range(6000)]
    many = [f"value {i}" for i in range(6000)]
    for values in (few, many, few[:3000] + many[:3000], many[:3000] + few[:3000]):
        masked = mask(pa.array(values, pa.string()).cast(type_), "hmac_sha256")
        assert masked.to_pylist() == [expected(value) for value in values]


def test_bare_hash_warns_that_it_can_be_guessed() -> None:
    declared = Mask.parse({"email": "hash_sha256", "phone": "hmac_sha256"})
    assert [warning.split(":")[1] for warning in declared.warnings()] == [" email"]
    assert mask(pa.array(["é", None]), "hash_sha256").to_pylist() == [
        hashlib.sha256("é".encode()).hexdigest(),
        None,
    ]


@pytest.mark.parametrize("type_", TEXTS, ids=str)
@given(values=st.lists(st.none() | texts))
def test_all_but_the_last_four_characters_are_stars(type_: pa.DataType, values: list[str | None]) -> None:
    def masked(value: str) -> str:
        return "*" * len(value) if len(value) <= 4 else "*" * (len(value) - 4) + value[-4:]

    after = mask(pa.array(values, pa.string()).cast(type_), "mask_except_last_4")
    assert after.to_pylist() == [None if v is None else masked(v) for v in values]


def truncated(text: str) -> str:
    address = ipaddress.ip_address(text.split("/")[0].split("%")[0])
    if isinstance(address, ipaddress.IPv4Address):
        return str(ipaddress.IPv4Address(int(address) >> 8 << 8))
    if address.ipv4_mapped:
        return f"::ffff:{truncated(str(address.ipv4_mapped))}"
    return str(ipaddress.IPv6Address(int(address) >> 80 << 80))


sparse = st.lists(st.sampled_from([0, 0, 1, 0xFF]) | st.integers(0, 0xFFFF), min_size=8, max_size=8)
sixes = st.one_of(
    sparse.map(lambda g: ipaddress.IPv6Address(b"".join(x.to_bytes(2, "big") for x in g))),
    st.integers(0, 2**32 - 1).map(lambda n: ipaddress.IPv6Address((0xFFFF << 32) + n)),
)
spellings: list[Callable[[ipaddress.IPv6Address], str]] = [
    str,
    lambda a: a.exploded,
    lambda a: str(a).upper(),
    lambda a: f"{a}/64",
    lambda a: f"{a}%eth0",
    lambda a: f"{a}%eth0/128",
    lambda a: f"{a.exploded[:30]}{ipaddress.IPv4Address(int(a) & 0xFFFFFFFF)}",
]
addresses = st.one_of(
    st.ip_addresses(v=4).map(str),
    st.builds("{}/{}".format, st.ip_addresses(v=4), st.integers(0, 32)),
    st.builds(lambda address, spell: spell(address), sixes, st.sampled_from(spellings)),
)


@given(st.lists(st.none() | addresses, max_size=30))
def test_addresses_lose_their_last_octet_or_all_but_48_bits(values: list[str | None]) -> None:
    after = mask(pa.array(values, pa.string()), "truncate_last_octet").to_pylist()
    assert after == [None if v is None else truncated(v) for v in values]


@pytest.mark.parametrize("type_", TEXTS, ids=str)
@pytest.mark.parametrize(
    ("text", "after"),
    [
        ("203.0.113.77", "203.0.113.0"),
        ("10.1.2.3/8", "10.1.2.0"),
        ("::ffff:203.0.113.77", "::ffff:203.0.113.0"),
        ("::FFFF:CB00:714D", "::ffff:203.0.113.0"),
        ("2001:DB8:0:1::5", "2001:db8::"),
        ("2001:db8:00ff:1::5/64", "2001:db8:ff::"),
        ("0:0:1:2:3:4:5:6", "0:0:1::"),
        ("fe80::1%eth0", "fe80::"),
        ("::1", "::"),
        ("::", "::"),
    ],
)
def test_addresses_as_they_are_written(type_: pa.DataType, text: str, after: str) -> None:
    assert mask(pa.array([text, None]).cast(type_), "truncate_last_octet").to_pylist() == [after, None]


STRANGERS = [
    *(
        "",
        "localhost",
        "1.2.3",
        "01.2.3.4",
        "1.2.3.256",
        "1.2.3.4.5",
        "1.2.3.4/33",
        "1.2.3.4%eth0",
        "１.2.3.4",
    ),
    *(
        " 1.2.3.4",
        "1.2.3.4\n",
        "1.2.3.4 ann@example.com",
        ":::",
        "1::2::3",
        "1:2:3:4:5:6:7",
        "1:2:3:4:5:6:7:8:9",
    ),
    *(
        "1:2:3:4:5:6:7:8::",
        "12345::",
        "::1/129",
        "::1.2.3",
        "1:2:3:4:5:6:7:1.2.3.4",
        "::g",
        ":1",
        "1:",
        "::1%",
    ),
]


@pytest.mark.parametrize("text", STRANGERS)
def test_text_that_is_no_address_is_refused_with_column_and_count(text: str) -> None:
    with pytest.raises(DataRefused, match=r"'c' holds 2 value") as refusal:
        mask(pa.array([text, None, "1.2.3.4", "::1", text]).slice(0, 5), "truncate_last_octet")
    assert "ann@" not in str(refusal.value)


def test_dates_and_times_become_the_first_of_their_month() -> None:
    days = pa.array([date(2024, 2, 29), None, date(1969, 12, 31)])
    assert mask(days, "date_to_month").to_pylist() == [date(2024, 2, 1), None, date(1969, 12, 1)]
    assert mask(days.cast(pa.date64()), "date_to_month").type == pa.date64()
    times = pa.array([datetime(2024, 2, 29, 23, 59, 59, tzinfo=UTC), None], pa.timestamp("us", "UTC"))
    after = mask(times, "date_to_month", {NATIVE: b"timestamptz"})
    assert after.type == times.type
    assert after.to_pylist() == [datetime(2024, 2, 1, tzinfo=UTC), None]


CONSTANTS: list[tuple[pa.DataType, Any, Any]] = [
    (pa.string(), "redacted", "redacted"),
    (pa.large_string(), "", ""),
    (pa.string_view(), "x", "x"),
    (pa.dictionary(pa.int8(), pa.string()), "redacted", "redacted"),
    (pa.int32(), 0, 0),
    (pa.bool_(), False, False),
    (pa.decimal128(10, 2), 1.5, Decimal("1.50")),
    (pa.float32(), 1, 1.0),
    (pa.date32(), "2000-01-01", date(2000, 1, 1)),
    (pa.timestamp("us", "UTC"), "2000-01-01", datetime(2000, 1, 1, tzinfo=UTC)),
]


@pytest.mark.parametrize(("type_", "value", "after"), CONSTANTS, ids=str)
def test_a_constant_stands_in_every_row(type_: pa.DataType, value: object, after: object) -> None:
    assert mask(pa.nulls(3, type_), {"constant": value}).to_pylist() == [after] * 3


@pytest.mark.parametrize(
    "type_", [pa.string(), pa.int64(), pa.uuid(), pa.list_(pa.int8()), TEXTS[3]], ids=str
)
@pytest.mark.parametrize("action", [None, "null"])
def test_null_keeps_the_type_and_nothing_else(type_: pa.DataType, action: object) -> None:
    schema = pa.schema([pa.field("c", type_, nullable=False)])
    declared = Mask.parse({"c": action})
    assert declared.bind(schema).field("c").nullable
    array = pa.nulls(3, type_)
    masked = mask(array, action)
    assert masked.type == type_
    assert masked.null_count == 3 or masked.to_pylist() == [None] * 3


ACTIONS = ["hmac_sha256", "hash_sha256", "mask_except_last_4", "truncate_last_octet", None, {"constant": "x"}]


@pytest.mark.parametrize("type_", TEXTS, ids=str)
@pytest.mark.parametrize("action", ACTIONS, ids=str)
def test_empty_and_all_null_columns_are_masked_without_a_key(type_: pa.DataType, action: object) -> None:
    def no_key() -> bytes:
        raise AssertionError("there is nothing to hash")

    declared = Mask.parse({"c": action})
    for array in (pa.nulls(0, type_), pa.nulls(5, type_)):
        batch = pa.record_batch({"c": array})
        after = declared.apply(batch, no_key)
        assert after.num_rows == len(array)
        assert after.schema == declared.bind(batch.schema)


@given(st.lists(st.text("abcdefghij@.", min_size=6), min_size=1))
def test_no_masked_text_can_be_read(values: list[str]) -> None:
    for action in ("hmac_sha256", "hash_sha256", "mask_except_last_4", None, {"constant": "#"}):
        for before, after in zip(values, mask(pa.array(values), action).to_pylist(), strict=True):
            assert before not in str(after)


def test_masked_columns_carry_nothing_of_their_origin() -> None:
    field = pa.field("c", pa.string(), metadata={LOGICAL: b"json", NATIVE: b"jsonb", b"own": b"1"})
    for action in ("hmac_sha256", "mask_except_last_4", {"constant": "x"}):
        assert Mask.parse({"c": action}).bind(pa.schema([field])).field("c").metadata == {b"own": b"1"}


REFUSED: list[tuple[pa.DataType, object, str]] = [
    (pa.float64(), "hmac_sha256", "floating point"),
    (pa.list_(pa.string()), "hmac_sha256", "no canonical text"),
    (pa.int64(), "mask_except_last_4", "treats text"),
    (pa.binary(), "truncate_last_octet", "treats text"),
    (pa.string(), "date_to_month", "treats dates"),
    (pa.time64("us"), "date_to_month", "treats dates"),
    (pa.int8(), {"constant": "x"}, "does not fit"),
    (pa.int8(), {"constant": 1000}, "outside"),
    (pa.int8(), {"constant": 1.5}, "more digits"),
    (pa.date32(), {"constant": "soon"}, "ISO 8601"),
    (pa.binary(), {"constant": "x"}, "does not fit"),
]


@pytest.mark.parametrize(("type_", "action", "why"), REFUSED, ids=str)
def test_a_type_that_cannot_be_treated_is_refused_with_column_and_reason(
    type_: pa.DataType, action: object, why: str
) -> None:
    with pytest.raises(InvalidProject, match=why) as refusal:
        Mask.parse({"born": action}).bind(pa.schema([("born", type_)]))
    assert "'born'" in str(refusal.value)


def test_mistakes_name_the_nearest_action_and_column() -> None:
    with pytest.raises(ValueError, match='did you mean "hmac_sha256"'):
        Mask.parse({"email": "hmac_sha265"})
    with pytest.raises(InvalidProject, match='did you mean "email"'):
        Mask.parse({"emial": None}).bind(pa.schema([("email", pa.string())]))
    for value in (
        None,
        {},
        [],
        "email",
        {"a": 1},
        {"a": {}},
        {"a": {"constant": None}},
        {1: None},
        {"a": ["x"]},
    ):
        with pytest.raises(ValueError):
            Mask.parse(value)


def test_the_policy_lists_what_was_done_without_the_constant() -> None:
    declared = Mask.parse({"email": "hmac_sha256", "name": {"constant": "Jane"}, "ssn": None})
    assert declared.policy() == (
        PolicyAction("email", "hmac_sha256"),
        PolicyAction("name", "constant"),
        PolicyAction("ssn", "null"),
    )


def test_the_key_is_never_shown() -> None:
    declared = Mask.parse({"c": "hmac_sha256"})
    with pytest.raises(Exception) as failure:
        declared.apply(pa.record_batch({"c": pa.array([[1]])}), lambda: KEY)
    assert KEY.hex() not in str(failure.value)
    assert KEY.hex() not in repr(declared)


def test_many_threads_mask_at_once() -> None:
    values = [f"user{i}@example.com" for i in range(5_000)]
    batch = pa.record_batch({"c": values, "ip": ["2001:db8::1"] * len(values)})
    declared = Mask.parse({"c": "hmac_sha256", "ip": "truncate_last_octet"})
    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(lambda _: declared.apply(batch, lambda: KEY), range(32)))
    assert all(result.equals(results[0]) for result in results)
    assert results[0]["c"][17].as_py() == expected(values[17])

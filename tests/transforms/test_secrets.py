"""Secrets never leave: whatever a detector finds, the quick tests before it let through."""

# X13
from __future__ import annotations

import random
import string

import pyarrow as pa
import pytest
from detect_secrets.plugins.keyword import DENYLIST
from hypothesis import given, settings
from hypothesis import strategies as st

from lading.policy import names_secret
from lading.transforms.checks_secrets import MANY, NoSecrets, _detectors, likely, secret_in, texts_of

PATTERNS = sorted({p.pattern: p for each in _detectors() for p in each.denylist}.items())
TEXTS = st.text(string.ascii_letters + string.digits + " -_./:@=+,'\"", max_size=60)
EXAMPLES = {
    "AWS Access Key": "AKIA" + "Q3EGRZ5XYV7TNM2B",
    "GitHub Token": "ghp_" + "a1B2" * 9,
    "Slack Token": "xoxb-" + "123456789012-123456789012-" + "a1b2c3d4e5f6",
    "Stripe Access Key": "sk_live_" + "a1B2c3D4" * 3,
    "Basic Auth Credentials": "postgresql://me:hunter22@db.example.com/x",
    "Private Key": "-----BEGIN RSA PRIVATE KEY-----",
    "SendGrid API Key": "SG." + "a1B2c3D4e5" * 2 + "aB." + "a1B2c3D4e5" * 4 + "abc",
    "Discord Bot Token": "M" + "a1B2" * 6 + ".a1B2c3." + "a1B2c3D4e" * 3,
    "Telegram Bot Token": "123456789:" + "a1B2c" * 7,
    "JSON Web Token": "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk",
}


@settings(deadline=None, max_examples=300)
@given(st.data())
def test_whatever_a_detector_finds_in_a_value_is_found_in_a_column(data: st.DataObject) -> None:
    _, pattern = data.draw(st.sampled_from(PATTERNS))
    found = data.draw(st.from_regex(pattern, alphabet=string.printable + "٠١٢٣"))  # digits to Python
    value = data.draw(TEXTS) + found + data.draw(TEXTS)
    kind = secret_in(value)
    if kind is None or len(value) < 12:  # a detector may look closer than its expression
        return
    before, after = data.draw(st.lists(TEXTS, max_size=3)), data.draw(st.lists(TEXTS | st.none(), max_size=3))
    for column in (pa.array([*before, value, *after]), pa.array([*before, value, *after], pa.large_string())):
        assert value in list(likely(column))
        assert value in list(likely(column.slice(len(before))))


@pytest.mark.parametrize("kind", EXAMPLES)
def test_a_secret_is_found_wherever_text_stands(kind: str) -> None:
    value = EXAMPLES[kind]
    assert secret_in(f"see {value} there") == kind
    texts = pa.array(["harmless", None, f"see {value} there"])
    for column in (
        texts,
        texts.dictionary_encode(),
        texts.cast(pa.large_string()),
        pa.array([["harmless"], None, [f"see {value} there"]]),
        pa.array([{"a": 1, "b": None}, None, {"a": 2, "b": [value + " "]}]),
        pa.array([None, [("key", value)]], pa.map_(pa.string(), pa.string())),
        texts.cast(pa.string_view()),
        pa.array([["harmless"], [value + " "]], pa.list_(pa.string_view())),
    ):
        check = NoSecrets("body")
        check.bind(pa.schema([pa.field("body", column.type)]))
        check.observe(pa.record_batch([column], ["body"]))
        result = check.result()
        assert (result.ok, result.violations, result.on_violation) == (False, 1, "fail")
        assert f"1 looks like a secret ({kind})" in result.detail
        assert value not in f"{result} {check!r}"


def test_ids_hashes_words_and_addresses_are_no_secrets() -> None:
    made = random.Random(7)
    values = [
        *(f"{made.getrandbits(256):064x}" for _ in range(200)),
        *(str(made.getrandbits(128)) for _ in range(200)),
        "https://example.com/a?b=c@d", "ada@example.com", "APARTMENTS1 ACME", "en-us1",
        "550e8400-e29b-41d4-a716-446655440000",
        "JFK-LAX", "the secret of the key is the token", "10.0.0.1", "sk-learn is a library", "BEGIN PUBLIC KEY",
    ]  # fmt: skip
    check = NoSecrets("x")
    check.observe(pa.record_batch([pa.array(values)], ["x"]))
    assert check.result().ok, check.result()


def test_as_many_as_matter_are_counted() -> None:
    check = NoSecrets("x")
    for _ in range(3):
        check.observe(pa.record_batch([pa.array([EXAMPLES["GitHub Token"]] * 600)], ["x"]))
    assert check.result().violations == MANY
    assert check.result().detail.startswith("1,000 or more look like secrets (GitHub Token)")


def test_what_holds_no_text_holds_no_secrets() -> None:
    for column in (
        pa.array([1, 2]),
        pa.array([b"ghp_"]),
        pa.array([[1.5]]),
        pa.nulls(3),
        pa.array([], pa.string()),
    ):
        assert sum(1 for texts in texts_of(column) for _ in likely(texts)) == 0


# --- names


@pytest.mark.parametrize("word", DENYLIST)
def test_columns_that_the_detector_s_keywords_name_are_known(word: str) -> None:
    for name in (word.replace("_?", ""), word.replace("_?", "_")):
        assert names_secret(name)
        assert names_secret(f"user_{name}")
        assert names_secret(f"{name}_hash".upper())


@pytest.mark.parametrize(
    ("name", "secret"),
    [
        ("apiKey", True), ("passwordHash", True), ("refresh_token", True), ("access-tokens", True), ("SECRET", True),
        ("secretary", False), ("keyword", False), ("customer_key", False), ("token_count", False), ("tokenized", False),
        ("accesstoken", True), ("clientsecret", True), ("DBPassword", True), ("APIToken", True), ("password2", True),
        ("access_token_v2", True), ("PassWord", True), ("pass", True), ("ｐａｓｓｗｏｒｄ", True),
        ("pass\u200bword", True),
        ("monkey", False), ("passenger", False), ("compass", False),
    ],
)  # fmt: skip
def test_a_column_s_name_is_read_word_by_word(name: str, secret: bool) -> None:
    assert names_secret(name) is secret

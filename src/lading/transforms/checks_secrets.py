"""The promise that no value is a provider's key, a token or a password in a URL: implied for every delivered text.

What a secret looks like is judged by detect-secrets (Yelp), detector by detector, on the single value. Looking at every
value that way would cost more than all the rest of a run, so an expression comes before it that fits whatever a
detector finds: over a column's bytes as a whole, and where it fits somewhere, over each value.
`tests/transforms/test_secrets.py` holds it against the detectors' own expressions.

Detectors of high entropy, of addresses, and those whose expressions fit ordinary words are left out: ids and hashes are
what data is full of.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from functools import cache
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from lading.ports import CheckResult
from lading.transforms.checks_rows import RowCheck
from lading.transforms.columns import plain, repeats

DETECTORS = (
    "aws", "azure_storage_key", "basic_auth", "discord", "github_token", "gitlab_token", "jwt", "mailchimp", "npm",
    "openai", "private_key", "pypi_token", "sendgrid", "slack", "square_oauth", "stripe", "telegram_token", "twilio",
)  # fmt: skip
SHORTEST = 12
"""Bytes: shorter values are no secrets that anybody could use."""
MANY = 1_000
"""So many are counted: who has more has no use for the number."""

# RE2, which runs it as a finite automaton: one look at each byte. A count of repeats follows something rare, or takes
# in whatever may begin it: with more states than RE2 keeps it would take a hundred times as long.
_LIKELY = "|".join(
    (
        r"(?:A3T|ABIA|ACCA|AKIA|ASIA)[0-9A-Z]{16}", "(?i:aws).{0,20}(?i:key|pw|pass|token)", "AccountKey=",
        r"://\S+:\S+@", r"[\p{Nd}A-Za-z_\-]{24}\.[\p{Nd}A-Za-z_\-]{6}\.", "gh[pousr]_",
        r"gl[a-z]{2,5}-[0-9A-Za-z_\-]{20}", "GR1348941", "eyJ", "-us[0-9]",
        "_authToken", "T3BlbkFJ", "PRIVATE KEY", "PuTTY-User-Key-File-2", "pypi-Ag", r"SG\.", "(?i:xox[abopsr]-)",
        r"(?i:hooks\.slack\.com)", "sq0csp-", "k_live_", r"\p{Nd}{8,10}:[0-9A-Za-z_\-]{35}", "(?:AC|SK)[0-9a-z]{32}",
    )
)  # fmt: skip


class NoSecrets(RowCheck):
    """Of a column of text, or one that has text within."""

    guards = True
    kind = "no_secrets"
    broken = ("looks like a secret", "look like secrets")

    def __init__(self, column: str) -> None:
        super().__init__(column, "fail")
        self._kinds: set[str] = set()

    def prepare(self, type_: pa.DataType) -> None:
        """What holds no text has no secrets."""

    def count(self, array: pa.Array) -> int:
        found = 0
        for texts in texts_of(array):
            for value in likely(texts):
                kind = secret_in(value) if self.found() + found < MANY else None
                if kind is not None:
                    self._kinds.add(kind)
                    found += 1
        return found

    def result(self) -> CheckResult:
        told = super().result()
        if told.ok:
            return told
        kinds = f" ({', '.join(sorted(self._kinds))})" if self._kinds else ""
        more = " or more" if told.violations >= MANY else ""
        detail = (
            f"{told.violations:,}{more} {self.broken[told.violations > 1]}{kinds}: exclude the column, mask it, or "
            "name it under not_secret if they are none"
        )
        return CheckResult(told.name, False, told.on_violation, told.violations, detail)


def texts_of(array: pa.Array) -> Iterator[pa.Array]:
    """The arrays of text in an array, at whatever depth."""
    array = plain(array)
    kind = array.type
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        yield array
    elif pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
        yield from texts_of(array.flatten())
    elif pa.types.is_map(kind):
        yield from texts_of(array.keys)
        yield from texts_of(array.items)
    elif pa.types.is_struct(kind):
        for child in array.flatten():
            yield from texts_of(child)


def likely(texts: pa.Array) -> Iterator[str]:
    """Values that a detector may find something in: all that one would, and a few more; many of one perhaps once."""
    if not len(texts) or texts.null_count == len(texts):
        return
    longest = pc.max(pc.binary_length(texts)).as_py()
    if longest < SHORTEST or not pc.match_substring_regex(_whole(texts), _LIKELY)[0].as_py():
        return
    if repeats(texts):
        texts = texts.unique()
    for value in texts.filter(pc.match_substring_regex(texts, _LIKELY)):
        text: str = value.as_py()
        if len(text) >= SHORTEST:
            yield text


def _whole(texts: pa.Array) -> pa.Array:
    """All bytes of an array as one value; nothing is copied."""
    _, offsets, data = texts.buffers()
    wide = pa.types.is_large_string(texts.type)
    ends = pa.Array.from_buffers(
        pa.int64() if wide else pa.int32(), len(texts) + 1, [None, offsets], offset=texts.offset
    )
    first, last = ends[0].as_py(), ends[-1].as_py()
    both = pa.array([first, last], pa.int64()).buffers()[1]
    return pa.Array.from_buffers(pa.large_string(), 1, [None, both, data])


@cache
def _detectors() -> tuple[Any, ...]:
    from detect_secrets.plugins.base import RegexBasedDetector

    found = []
    for name in DETECTORS:
        module = importlib.import_module(f"detect_secrets.plugins.{name}")
        found += [
            each()
            for each in vars(module).values()
            if isinstance(each, type)
            and issubclass(each, RegexBasedDetector)
            and each is not RegexBasedDetector
        ]
    return tuple(found)


def secret_in(text: str) -> str | None:
    """What kind of secret a text holds; None where it holds none."""
    for detector in _detectors():
        if next(iter(detector.analyze_string(text)), None) is not None:
            return str(detector.secret_type)
    return None

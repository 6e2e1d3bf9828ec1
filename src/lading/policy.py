"""What may leave, and under which protection: decided from a contract and an export, before a byte is read.

Classifications are ordered: public, internal, confidential, restricted, and what is above. One that is missing, or that
is none of these words, counts as Restricted. Personal data is what a contract calls so, by a classification or a tag.

``restricted``
    A column that is Restricted or above leaves only under a key of the recipient's own, or masked so that nothing of
    its values is left to whoever has no key: by ``hmac_sha256``, ``null`` or a constant.
``secrets``
    A column of text that is called like a password, a key or a token does not leave as it is: excluded, or masked so
    that nothing is left. Whatever else it is called, a value that looks like one stops the run
    (`lading.transforms.checks_secrets`).
``personal``
    Personal data that no mask covers leaves only with an approval. ``hash_sha256`` is no mask here: whoever guesses a
    value can confirm it.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

Rule = Literal["restricted", "secrets", "personal", "protected"]

_LEVELS = {"public": 0, "internal": 1, "confidential": 2, "personal": 2, "pii": 2}
RESTRICTED = 3
PERSONAL = frozenset({"personal", "pii"})
"""Classifications and tags of personal data, beside longer ones that begin with them: ``personal-data``."""
EMPTYING = frozenset({"hmac_sha256", "null", "constant"})
_CONFIRMABLE = "hash_sha256"
_SECRET = re.compile(
    "(api|auth|service|account|db|database|priv|private|client|access|secret|encryption|signing)_?keys?(_|$)"
    "|(db|database|key)_?pass|password|passwd|passphrase|pwd|secret(?!ar)|credential|contrasena"
    "|(^|_)pass(_|$)|tokens?(_?v?[0-9]+)?$"
)
_PERSONAL = re.compile(f"({'|'.join(sorted(PERSONAL))})([^a-z]|$)")


def level(classification: str | None) -> int:
    """Where a classification stands; `RESTRICTED` is the highest that matters."""
    return _LEVELS.get((classification or "").strip().lower(), RESTRICTED)


def names_secret(column: str) -> bool:
    """Whether a column is called like a password, a key or a token: ``apiKey``, ``clientsecret``, ``DBPassword``."""
    return _SECRET.search(_words(column)) is not None or _SECRET.search(_plain(column).lower()) is not None


def names_personal(words: Iterable[str]) -> bool:
    """Whether one of a field's classification and tags says that it is about a person: ``pii``, ``pii:email``,
    ``PersonalData``."""
    return any(_PERSONAL.match(_words(word)) or _PERSONAL.match(_plain(word).lower()) for word in words)


def _words(text: str) -> str:
    """Lower-case words with ``_`` between them, however they are told apart."""
    apart = re.sub("([a-z0-9])([A-Z])|([A-Z])(?=[A-Z][a-z])", r"\1\3_\2", _plain(text))
    return re.sub(r"[\W_]+", "_", apart).strip("_").lower()


def _plain(text: str) -> str:
    """Without accents, compatibility forms and what does not show."""
    apart = unicodedata.normalize("NFKD", text)
    return "".join(c for c in apart if unicodedata.category(c) not in ("Mn", "Cf"))


@dataclass(frozen=True, slots=True)
class Exposure:
    """A column as recipients get it: ``masks`` are what was done to its values on the way."""

    column: str
    classification: str | None
    personal: bool
    masks: frozenset[str] = frozenset()
    text: bool = False  # it may hold some
    names: frozenset[str] = frozenset()  # by which recipients, the source and what is inside call it

    @property
    def restricted(self) -> bool:
        return level(self.classification) >= RESTRICTED and not self.masks & EMPTYING

    @property
    def secret(self) -> bool:
        called = any(map(names_secret, {self.column, *self.names}))
        return self.text and called and not self.masks & EMPTYING

    @property
    def bare(self) -> bool:
        return self.personal and not self.masks - {_CONFIRMABLE}


@dataclass(frozen=True, slots=True)
class Decision:
    """One rule, applied: why ``columns``, or everything, may leave. It stands in the manifest."""

    rule: Rule
    columns: tuple[str, ...]
    basis: str

    def record(self) -> dict[str, Any]:
        return {"rule": self.rule, "columns": list(self.columns), "basis": self.basis}


@dataclass(frozen=True, slots=True)
class Judgement:
    """``refused``: Restricted columns without a key of the recipient's own. ``secret``: columns that are called like
    secrets. ``unapproved``: personal ones that need an approval of the export, whose hash then is their basis."""

    decisions: tuple[Decision, ...]
    refused: tuple[Exposure, ...]
    secret: tuple[str, ...]
    unapproved: tuple[str, ...]


def judge(exposures: Sequence[Exposure], own_key: bool, not_secret: Collection[str] = ()) -> Judgement:
    """``own_key``: the files are encrypted under a key of the recipient's own. ``not_secret``: columns that the export
    says are none, by the contract's names."""
    restricted = [each for each in exposures if each.restricted]
    bare = tuple(each.column for each in exposures if each.bare)
    decisions: list[Decision] = []
    if restricted and own_key:
        columns = tuple(each.column for each in restricted)
        decisions.append(Decision("restricted", columns, "encrypted under a key of the recipient's own"))
    if declared := tuple(each.column for each in exposures if each.column in not_secret):
        decisions.append(Decision("secrets", declared, "declared to hold no secrets"))
    secret = tuple(each.column for each in exposures if each.secret and each.column not in not_secret)
    return Judgement(tuple(decisions), () if own_key else tuple(restricted), secret, bare)


def told(exposure: Exposure) -> str:
    """For messages: why a column counts as Restricted."""
    if not exposure.classification:
        return f"{exposure.column} (not classified, so treated as Restricted)"
    if level(exposure.classification) >= RESTRICTED and exposure.classification.lower() != "restricted":
        return f"{exposure.column} (classified {exposure.classification}, so treated as Restricted)"
    return f"{exposure.column} (classified {exposure.classification})"

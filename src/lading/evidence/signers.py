"""Whose signatures count: public keys, and from when until when each may have signed.

They stand in OpenSSH's own file of allowed signers (``ALLOWED SIGNERS`` in ssh-keygen(1)), so that
`ssh-keygen -Y verify` goes by the same one::

    nyc-flights namespaces="lading-manifest",valid-after="20260101000000Z" ssh-ed25519 AAAA… 0001

A plain public key, as in a ``.pub`` file, may have signed at any time.
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from lading.errors import InvalidProject, Problem
from lading.evidence.sshsig import KIND, MANIFESTS, PublicKey
from lading.export.identity import instant

# A word ends at a blank outside of quotes.
_WORD = re.compile(r'(?:"[^"]*"|[^\s"])+')
_OPTION = re.compile(r'([a-z-]+)(?:="([^"]*)")?(?:,|$)')
_KEY_KIND = re.compile(r"(ssh|ecdsa|sk)-[a-z0-9@.-]+")
_TIMES = {8: "%Y%m%d", 12: "%Y%m%d%H%M", 14: "%Y%m%d%H%M%S"}


@dataclass(frozen=True, slots=True)
class AllowedSigner:
    """A key that may have signed manifests, ``since`` included, ``until`` not."""

    key: PublicKey
    since: datetime | None = None
    until: datetime | None = None
    comment: str = ""

    def line(self, principal: str) -> str:
        """Its line in a file of allowed signers."""
        options = [f'namespaces="{MANIFESTS}"']
        for option, at in (("valid-after", self.since), ("valid-before", self.until)):
            if at is not None:
                options.append(f'{option}="{at.astimezone(UTC):%Y%m%d%H%M%SZ}"')
        return f"{principal} {','.join(options)} {self.key.line} {self.comment}".rstrip()

    def record(self) -> dict[str, str | None]:
        return {
            "key": self.key.fingerprint,
            "public": self.key.line,
            "since": instant(self.since) if self.since else None,
            "until": instant(self.until) if self.until else None,
            "comment": self.comment,
        }


def read_signers(text: str, file: str) -> tuple[AllowedSigner, ...]:
    """The signers of manifests in a file of allowed signers, or of public keys. Keys for other things are passed over.

    Raises InvalidProject for what is no such file, and for one without any.
    """
    found: list[AllowedSigner] = []
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        try:
            found.extend(_signer(line))
        except ValueError as error:
            raise InvalidProject(problems=[Problem(file, number, str(error))]) from error
    if not found:
        raise InvalidProject(
            problems=[Problem(file, 0, f"holds no {KIND} key for the namespace {MANIFESTS}")]
        )
    return tuple(found)


def _signer(line: str) -> Iterator[AllowedSigner]:
    words = _WORD.findall(line)
    at = next((index for index, word in enumerate(words[:3]) if _KEY_KIND.fullmatch(word)), None)
    if at is None or len(words) < at + 2:
        raise ValueError(f"is no public key: {KIND} AAAA…, or a line of allowed signers, which ends in one")
    options = _options(words[1]) if at == 2 else {}
    namespaces = options.pop("namespaces", "*").split(",")
    if words[at] != KIND or not any(fnmatch.fnmatchcase(MANIFESTS, each) for each in namespaces):
        return
    since, until = options.pop("valid-after", None), options.pop("valid-before", None)
    if options:
        raise ValueError(f"{min(options)} is not understood here")
    yield AllowedSigner(
        PublicKey.parse(words[at + 1]),
        None if since is None else _time(since),
        None if until is None else _time(until),
        " ".join(words[at + 2 :]),
    )


def _options(text: str) -> dict[str, str]:
    if not re.fullmatch(f"(?:{_OPTION.pattern})+", text) or text.endswith(","):
        raise ValueError(f"{text} is no list of options")
    return dict(_OPTION.findall(text))


def _time(text: str) -> datetime:
    """OpenSSH reads a time without Z in the zone of whoever reads, so it says nothing here."""
    try:
        return datetime.strptime(text.removesuffix("Z"), _TIMES[len(text) - 1]).replace(tzinfo=UTC)
    except (ValueError, KeyError) as error:
        raise ValueError(f'"{text}" is no time in UTC: write 20260131Z or 20260131235959Z') from error


def objection(signers: Sequence[AllowedSigner], key: PublicKey, at: datetime) -> str | None:
    """Why a signature by ``key`` over what was made ``at`` does not count; None if it does."""
    known = [signer for signer in signers if signer.key == key]
    if not known:
        return f"is by {key.fingerprint}, which is none of the trusted keys"
    for signer in known:
        if (signer.since is None or at >= signer.since) and (signer.until is None or at < signer.until):
            return None
    return f"is by {key.fingerprint}, which may not have signed at {instant(at)}"

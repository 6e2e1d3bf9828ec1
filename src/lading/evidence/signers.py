"""Whose signatures count: public keys, and from when until when each may have signed.

They stand in OpenSSH's own file of allowed signers (``ALLOWED SIGNERS`` in ssh-keygen(1)), so that
`ssh-keygen -Y verify` goes by the same one::

    nyc-flights namespaces="lading-manifest,lading-checkpoint",valid-after="20260101000000Z" ssh-ed25519 AAAA… 0001

A plain public key, as in a ``.pub`` file, may have signed at any time.
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from lading.errors import InvalidProject, Problem
from lading.evidence.sshsig import CHECKPOINTS, KIND, MANIFESTS, PublicKey
from lading.export.identity import instant

# A word ends at a blank outside of quotes.
_WORD = re.compile(r'(?:"[^"]*"|[^ \t"])+')
_OPTION = re.compile(r'([a-z-]+)(?:="([^"]*)")?(?:,|$)')
_KEY_KIND = re.compile(r"(ssh|ecdsa|sk)-[a-z0-9@.-]+")
_ENCODED = "AAAA"  # how every key begins: with the length of its kind
_NAMES = re.compile(r"[^!\[\]]+")  # with * and ?, which mean the same here as in OpenSSH
_TIMES = {8: "%Y%m%d", 12: "%Y%m%d%H%M", 14: "%Y%m%d%H%M%S"}


@dataclass(frozen=True, slots=True)
class AllowedSigner:
    """A key that may have signed for the projects called ``principals`` in these ``namespaces``, ``since`` included,
    ``until`` not."""

    key: PublicKey
    since: datetime | None = None
    until: datetime | None = None
    comment: str = ""
    principals: str = "*"
    namespaces: str = f"{MANIFESTS},{CHECKPOINTS}"

    def line(self) -> str:
        """Its line in a file of allowed signers."""
        options = [f'namespaces="{self.namespaces}"']
        for option, at in (("valid-after", self.since), ("valid-before", self.until)):
            if at is not None:
                options.append(f'{option}="{at.astimezone(UTC):%Y%m%d%H%M%SZ}"')
        return f"{self.principals} {','.join(options)} {self.key.line} {self.comment}".rstrip()

    def record(self) -> dict[str, str | None]:
        return {
            "key": self.key.fingerprint,
            "principals": self.principals,
            "public": self.key.line,
            "since": instant(self.since) if self.since else None,
            "until": instant(self.until) if self.until else None,
            "comment": self.comment,
        }


def read_signers(text: str, file: str) -> tuple[AllowedSigner, ...]:
    """The signers of manifests and checkpoints in a file of allowed signers, or of public keys. Keys for other things
    are passed over.

    Raises InvalidProject for what is no such file, and for what only OpenSSH understands.
    """
    found: list[AllowedSigner] = []
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip() or line.lstrip(" \t").startswith("#"):
            continue
        try:
            found.extend(_signer(line.strip(" \t\r")))
        except ValueError as error:
            raise InvalidProject(problems=[Problem(file, number, str(error))]) from error
    return tuple(found)


def _signer(line: str) -> Iterator[AllowedSigner]:
    words = _WORD.findall(line)
    # A principal may look like the kind of a key, and no key follows it then.
    kinds = (at for at, word in enumerate(words[:3]) if _KEY_KIND.fullmatch(word))
    at = next((at for at in kinds if words[at + 1 : at + 2] and words[at + 1].startswith(_ENCODED)), None)
    if at is None or not line.isprintable():
        raise ValueError(f"is no public key: {KIND} AAAA…, or a line of allowed signers, which ends in one")
    options = _options(words[1]) if at == 2 else {}
    principals = words[0].strip('"') if at else "*"
    namespaces = options.pop("namespaces", "*")
    for names in (principals, namespaces):
        if not _NAMES.fullmatch(names):
            raise ValueError(f"{names} is not understood here: write names, with * and ? where they vary")
    if words[at] != KIND or not any(_among(ours, namespaces) for ours in (MANIFESTS, CHECKPOINTS)):
        return
    since, until = options.pop("valid-after", None), options.pop("valid-before", None)
    if options:
        raise ValueError(f"{min(options)} is not understood here")
    yield AllowedSigner(
        PublicKey.parse(words[at + 1]),
        None if since is None else _time(since),
        None if until is None else _time(until),
        " ".join(words[at + 2 :]),
        principals,
        namespaces,
    )


def _among(name: str, patterns: str) -> bool:
    return any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns.split(","))


def _options(text: str) -> dict[str, str]:
    if not re.fullmatch(f"(?:{_OPTION.pattern})+", text) or text.endswith(","):
        raise ValueError(f"{text} is no list of options")
    found = _OPTION.findall(text)
    if len({name for name, _ in found}) < len(found):
        raise ValueError(f"{text} names an option twice")
    return dict(found)


def _time(text: str) -> datetime:
    """OpenSSH reads a time without Z in the zone of whoever reads, so it says nothing here."""
    try:
        return datetime.strptime(text.removesuffix("Z"), _TIMES[len(text) - 1]).replace(tzinfo=UTC)
    except (ValueError, KeyError) as error:
        raise ValueError(f'"{text}" is no time in UTC: write 20260131Z or 20260131235959Z') from error


def objection(
    signers: Sequence[AllowedSigner],
    key: PublicKey,
    project: str,
    at: datetime,
    namespace: str = MANIFESTS,
) -> str | None:
    """Why a signature by ``key`` over a manifest of ``project``, made ``at``, does not count; None if it does.

    ``namespace``: what else was signed.
    """
    known = [signer for signer in signers if signer.key == key]
    if not known:
        return f"is by {key.fingerprint}, which is none of the trusted keys"
    ours = [signer for signer in known if _among(project, signer.principals)]
    if not ours:
        return f"is by {key.fingerprint}, which may not sign for the project {project}"
    ours = [signer for signer in ours if _among(namespace, signer.namespaces)]
    if not ours:
        return f"is by {key.fingerprint}, which may not sign in the namespace {namespace}"
    for signer in ours:
        if (signer.since is None or at >= signer.since) and (signer.until is None or at < signer.until):
            return None
    return f"is by {key.fingerprint}, which may not have signed at {instant(at)}"

"""Checks audit packages. One file that needs Python 3.8 or newer and nothing else: no package, no network.

    python verify.py [FOLDER ...] [--key FILE] [--last NUMBER:SHA256]... [--identity FILE]

FOLDER is a package, or holds packages at any depth; without one, it is the folder that this file stands in. Several
packages of one chain are put in order. --key names a file of public keys, as OpenSSH writes them (allowed signers, or a
.pub file): every package must then be signed by one of them. --last says what the newest package of a chain is: its
number and the SHA-256 of its _checkpoint.json, as the sender tells them by another way; where there are several chains,
--last is given once for each. --identity names a private key of age, by which the tool age, to be found on the PATH,
opens records that are encrypted.

Exit 0 where all that was checked holds, 1 where something does not, 2 for wrong arguments. What could not be checked is
said. docs/audit-package.md of Lading is the specification. A verifier that comes with what it verifies proves little by
itself: take this file from the repository, where you do not trust who delivered it.
"""

from __future__ import annotations

import argparse
import base64
import fnmatch
import hashlib
import json
import os
import re
import shutil
import struct
import subprocess
import sys
import tempfile
import threading
import zlib
from array import array
from contextlib import contextmanager, suppress
from datetime import datetime, timezone
from typing import Any, Callable, Generator, Iterator, List, Tuple

VERSION = 1
RECORDS = "records.jsonl.gz"
ENCRYPTED = RECORDS + ".age"
CHECKPOINT = "_checkpoint.json"
MANIFEST = "_manifest.json"
MARKER = "_SUCCESS"
EVIDENCE = "_evidence/"
CHECKPOINTS, MANIFESTS, APPROVALS = "lading-checkpoint", "lading-manifest", "lading-approval"
ZEROS = "0" * 64

LONGEST = 1 << 26  # bytes of a record's line, and of any other file: what is longer is no part of a package

_BLOCK = 1 << 20
_PLACES = 1 << 16  # at which records are out of order, of one file, before it is only said to be so
_MOST = 20  # problems of one kind that are told of one file
# Python's own, where somebody imported verify.py.
_COMPILED = re.compile(r"__pycache__/verify\.[A-Za-z0-9.-]+\.pyc")
_DEEPEST = 100  # levels of a document; Lading's own have a dozen
_GREATEST = 2**53 - 1  # the greatest whole number that a document holds
_LINK = "is a link: what it shows may change"
_LINE = re.compile(rb'\{"n":([1-9][0-9]{0,18}),"previous":"([0-9a-f]{64})","record":\{.*\}\}', re.DOTALL)
_FIELDS = {
    "checkpoint_version", "project", "environment", "export", "tenant", "number", "previous", "run_id", "revision",
    "kind", "supersedes", "replaced", "interval", "records", "manifests", "sealed_at", "chained_at", "key",
}  # fmt: skip
_REPLACED_FIELDS = {"number", "previous", "sha256", "run_id"}
_RECORDS_FIELDS = {"name", "bytes", "sha256", "count", "first", "last", "seed", "head"}


def seed(run_id: str) -> str:
    """What the first record names as the one before it: it binds the records to their run."""
    return hashlib.sha256(b"lading-audit-package:" + run_id.encode()).hexdigest()


class WrongArguments(Exception):
    """What was asked cannot be judged: exit 2."""


class Findings:
    """``problems``: what does not hold. ``unchecked``: what could not be judged. ``facts``: what holds, for people."""

    def __init__(self) -> None:
        self.problems: list[tuple[str, str]] = []
        self.unchecked: list[str] = []
        self.facts: list[str] = []
        self.read = True  # whether all records were looked at

    def problem(self, where: str, what: str) -> None:
        if (where, what) not in self.problems:
            self.problems.append((where, what))

    def not_checked(self, what: str) -> None:
        if what not in self.unchecked:
            self.unchecked.append(what)


# --- Ed25519 (RFC 8032, section 5.1), verification alone -----------------------------------------------------------

_P = 2**255 - 19
_L = 2**252 + 27742317777372353535851937790883648493
_D = -121665 * pow(121666, _P - 2, _P) % _P
_ROOT = pow(2, (_P - 1) // 4, _P)
_G_Y = 4 * pow(5, _P - 2, _P) % _P


def _x_of(y: int, sign: int) -> int | None:
    if y >= _P:
        return None
    square = (y * y - 1) * pow(_D * y * y + 1, _P - 2, _P) % _P
    if square == 0:
        return None if sign else 0
    x = pow(square, (_P + 3) // 8, _P)
    if (x * x - square) % _P:
        x = x * _ROOT % _P
    if (x * x - square) % _P:
        return None
    return _P - x if (x & 1) != sign else x


def _add(p: tuple[int, int, int, int], q: tuple[int, int, int, int]) -> tuple[int, int, int, int]:
    a, b = (p[1] - p[0]) * (q[1] - q[0]) % _P, (p[1] + p[0]) * (q[1] + q[0]) % _P
    c, d = 2 * p[3] * q[3] * _D % _P, 2 * p[2] * q[2] % _P
    e, f, g, h = b - a, d - c, d + c, b + a
    return e * f % _P, g * h % _P, f * g % _P, e * h % _P


def _times(factor: int, point: tuple[int, int, int, int]) -> tuple[int, int, int, int]:
    total = (0, 1, 1, 0)
    while factor:
        if factor & 1:
            total = _add(total, point)
        point = _add(point, point)
        factor >>= 1
    return total


def ed25519(key: bytes, message: bytes, signature: bytes) -> bool:
    """Whether ``signature`` (64 bytes) over ``message`` is by ``key`` (32 bytes)."""
    if len(key) != 32 or len(signature) != 64:
        return False
    encoded = int.from_bytes(key, "little")
    y, s = encoded & ((1 << 255) - 1), int.from_bytes(signature[32:], "little")
    x = _x_of(y, encoded >> 255)
    if x is None or s >= _L:
        return False
    digest = hashlib.sha512(signature[:32] + key + message).digest()
    minus = (_P - x, y, 1, (_P - x) * y % _P)
    g_x = _x_of(_G_Y, 0) or 0
    base = (g_x, _G_Y, 1, g_x * _G_Y % _P)
    found = _add(_times(s, base), _times(int.from_bytes(digest, "little") % _L, minus))
    inverse = pow(found[2], _P - 2, _P)
    left, up = found[0] * inverse % _P, found[1] * inverse % _P
    return (up | (left & 1) << 255).to_bytes(32, "little") == signature[:32]


# --- SSHSIG (PROTOCOL.sshsig of OpenSSH) -----------------------------------------------------------------------------

_BEGIN, _END = b"-----BEGIN SSH SIGNATURE-----\n", b"\n-----END SSH SIGNATURE-----\n"
_ED25519 = b"ssh-ed25519"


def _string(data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + data


def _strings(blob: bytes) -> list[bytes]:
    found, at = [], 0
    while at < len(blob):
        (length,) = struct.unpack(">I", blob[at : at + 4].ljust(4, b"\xff"))
        if at + 4 + length > len(blob):
            raise ValueError("is not an SSH signature")
        found.append(blob[at + 4 : at + 4 + length])
        at += 4 + length
    return found


def fingerprint(blob: bytes) -> str:
    return "SHA256:" + base64.b64encode(hashlib.sha256(blob).digest()).decode().rstrip("=")


class Signature:
    """What a file of a signature says. ``key``: the public key's blob. Raises ValueError for what is none."""

    def __init__(self, file: bytes, namespace: str) -> None:
        if not file.startswith(_BEGIN) or not file.endswith(_END) or len(file) < len(_BEGIN) + len(_END):
            raise ValueError("is not an SSH signature")
        text = file[len(_BEGIN) : -len(_END)]
        blob = base64.b64decode(text.replace(b"\n", b""), validate=True)
        body = base64.b64encode(blob)
        if blob[:10] != b"SSHSIG\0\0\0\1" or text != b"\n".join(
            body[at : at + 70] for at in range(0, len(body), 70)
        ):
            raise ValueError("is not an SSH signature")
        words = _strings(blob[10:])
        if len(words) != 5 or words[2] or words[3] not in (b"sha512", b"sha256"):
            raise ValueError("is not an SSH signature")
        self.key, purpose, _, self.hash, self.signature = words
        if purpose != namespace.encode():
            raise ValueError(
                f"is a signature for {purpose.decode('ascii', 'replace')!r}, not for {namespace}"
            )
        self.namespace = namespace

    @property
    def checkable(self) -> bool:
        """Whether it is by an Ed25519 key: no other kind is checked here."""
        return _strings(self.key)[:1] == [_ED25519]

    def holds(self, data: bytes) -> bool:
        key, signature = _strings(self.key), _strings(self.signature)
        if len(key) != 2 or len(signature) != 2 or signature[0] != _ED25519:
            return False
        digest = hashlib.new(self.hash.decode(), data).digest()
        message = b"SSHSIG" + b"".join(map(_string, (self.namespace.encode(), b"", self.hash, digest)))
        return ed25519(key[1], message, signature[1])


# --- whose keys are trusted --------------------------------------------------------------------------------------

_WORD = re.compile(r'(?:"[^"]*"|[^ \t"])+')
_OPTION = re.compile(r'([a-z-]+)="([^"]*)"(?:,|$)')


class Signer:
    """A line of allowed signers, or of a .pub file, which may have signed anything at any time."""

    def __init__(self, line: str) -> None:
        words = _WORD.findall(line)
        kinds = [n for n, w in enumerate(words[:3]) if words[n + 1 : n + 2] and words[n + 1][:4] == "AAAA"]
        if not kinds:
            raise ValueError("is no public key")
        at = kinds[0]
        self.key = base64.b64decode(words[at + 1], validate=True)
        self.principals = words[0].strip('"') if at else "*"
        options = dict(_OPTION.findall(words[1])) if at == 2 else {}
        if at == 2 and ",".join(f'{name}="{value}"' for name, value in options.items()) != words[1]:
            raise ValueError(f"{words[1]} is not understood here")
        self.namespaces = options.pop("namespaces", "*")
        self.since, self.until = options.pop("valid-after", None), options.pop("valid-before", None)
        for text in (self.principals, self.namespaces):
            if "!" in text or "[" in text:
                raise ValueError(f"{text} is not understood here")
        if options:
            raise ValueError(f"{min(options)} is not understood here")
        for time in (self.since, self.until):
            if time is not None and not re.fullmatch(r"[0-9]{8}([0-9]{4}([0-9]{2})?)?Z", time):
                raise ValueError(f"{time} is no time in UTC")

    def objection(self, principal: str, namespace: str, at: str) -> str | None:
        """Why it may not have signed for ``principal`` at the time ``at`` (RFC 3339); None if it may."""
        if not any(fnmatch.fnmatchcase(principal, each) for each in self.principals.split(",")):
            return f"may not sign for {principal}"
        if not any(fnmatch.fnmatchcase(namespace, each) for each in self.namespaces.split(",")):
            return f"may not sign in the namespace {namespace}"
        moment = re.sub(r"[^0-9]", "", at)[:14]
        if self.since is not None and moment < self.since.rstrip("Z").ljust(14, "0"):
            return f"may not have signed at {at}"
        if self.until is not None and moment >= self.until.rstrip("Z").ljust(14, "0"):
            return f"may not have signed at {at}"
        return None


def read_signers(text: str) -> list[Signer]:
    """Raises ValueError, with the line's number."""
    found = []
    for number, line in enumerate(text.splitlines(), 1):
        if line.strip() and not line.lstrip().startswith("#"):
            try:
                found.append(Signer(line.strip()))
            except ValueError as error:
                raise ValueError(f"line {number} {error}") from error
    return found


def distrust(signers: list[Signer], key: bytes, principal: str, namespace: str, at: str) -> str | None:
    """Why a signature by ``key`` does not count; None if it does."""
    reasons = [s.objection(principal, namespace, at) for s in signers if s.key == key]
    if not reasons:
        return f"is by {fingerprint(key)}, which is none of the trusted keys"
    if None in reasons:
        return None
    return f"is by {fingerprint(key)}, which {reasons[0]}"


# --- records -----------------------------------------------------------------------------------------------------


def _inflated(read: Callable[[int], bytes]) -> Iterator[bytes]:
    """The plain bytes of one whole gzip member, which must be all there is. Raises ValueError."""
    stream = zlib.decompressobj(31)
    while not stream.eof:
        data = stream.unconsumed_tail or read(_BLOCK)
        if not data:
            raise ValueError("is cut off: its gzip stream does not end")
        try:
            plain = stream.decompress(data, _BLOCK)
        except zlib.error as error:
            raise ValueError("is damaged: it is no whole gzip stream") from error
        if plain:
            yield plain
    if stream.unused_data or read(1):
        rest = stream.unused_data + read(2)
        what = "a second gzip member" if rest[:2] == b"\x1f\x8b" else "other bytes"
        raise ValueError(f"has {what} behind the end of its gzip stream")


def lines_of(read: Callable[[int], bytes]) -> Generator[bytes, None, None]:
    """The lines of a gzip file, whose ``read`` this is, without their ends. Raises ValueError where it is damaged, or
    has a line of more than LONGEST bytes: a few of gzip's may stand for more than any memory holds."""
    held: list[bytes] = []
    size = 0
    for plain in _inflated(read):
        first, *rest = plain.split(b"\n")
        held.append(first)
        size += len(first)
        if size > LONGEST:
            raise ValueError(f"has a line of more than {LONGEST} bytes, which no record has")
        if rest:
            yield b"".join(held)
            yield from rest[:-1]
            held, size = [rest[-1]], len(rest[-1])
    if b"".join(held):
        raise ValueError("is cut off: its last line has no end")


class Age:
    """The standard tool, which opens what was encrypted for the private key in the file ``identity``."""

    def __init__(self, identity: str) -> None:
        """Raises ValueError where one of the two is not there."""
        program = shutil.which("age")
        # Windows looks into the working directory first, which may be that of a package.
        if program is None or os.path.dirname(os.path.abspath(program)) == os.getcwd():
            raise ValueError("the tool age is not on the PATH, which opens encrypted records")
        if not os.path.isfile(identity):
            raise ValueError(f"{identity} is no file of a private key")
        self._command = [program, "--decrypt", "--identity", identity]

    @contextmanager
    def opened(self, read: Callable[[int], bytes]) -> Iterator[Callable[[int], bytes]]:
        """What ``read`` gives, in the clear. Raises ValueError where it does not open to its end."""
        ended = False
        failures: list[OSError] = []
        with tempfile.TemporaryFile() as said, subprocess.Popen(
            self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=said
        ) as process:  # fmt: skip
            assert process.stdin is not None
            assert process.stdout is not None
            into, out = process.stdin, process.stdout

            def feed() -> None:
                try:
                    for block in iter(lambda: read(_BLOCK), b""):
                        try:
                            into.write(block)
                        except OSError:
                            break  # age wants no more, and says why
                except OSError as error:
                    failures.append(error)
                finally:
                    with suppress(OSError):
                        into.close()

            def clear(amount: int) -> bytes:
                nonlocal ended
                data = out.read(amount)
                ended = ended or not data
                return data

            feeding = threading.Thread(target=feed)
            feeding.start()
            try:
                yield clear
            finally:
                if not ended:
                    process.kill()
                code = process.wait()
                feeding.join()
                if failures:
                    raise failures[0]
                if ended and code:
                    said.seek(0)
                    first = said.read(_BLOCK).decode("utf-8", "replace").partition("\n")[0]
                    raise ValueError("cannot be opened: " + (first or f"age ended with exit code {code}"))


class Chain:
    """Walks along the lines of records. ``head``: the SHA-256 of the last line, or the seed where there is none. Where
    the seed is not known, the first line tells it."""

    def __init__(self, seed: str | None) -> None:
        self.count, self.last, self.head = 0, 0, seed or ""
        self.wrong: list[str] = []
        # From the first number on that was not the next one: runs of numbers that follow each other, as they come.
        self._lows, self._highs = array("Q"), array("Q")
        self._from, self._torn = 0, False

    def line(self, line: bytes) -> None:
        self.count += 1
        if not self.head:
            self.head = line.partition(b'"previous":"')[2][:64].decode("ascii", "replace")
        if not self._lows and self.last + 1 == self.count:
            # What nearly every line is: the next one, which follows the one before.
            begin = b'{"n":%d,"previous":"%s","record":{' % (self.count, self.head.encode())
            if line.startswith(begin) and line.endswith(b"}}"):
                self.last, self.head = self.count, hashlib.sha256(line).hexdigest()
                return
        match = _LINE.fullmatch(line)
        if match is None:
            self._tell(f"line {self.count} is no record")
            self.last += 1
        else:
            number, previous = int(match.group(1)), match.group(2).decode()
            if number == self.last + 1:
                if previous != self.head:
                    before = (
                        f"record {number - 1} is not the one that record {number} follows: it was changed"
                    )
                    self._tell(before if number > 1 else "record 1 is not the first record of this run")
            elif not self._lows:
                self._from = self.last
            if self._lows or number != self.last + 1:
                self._place(number)
            self.last = number
        self.head = hashlib.sha256(line).hexdigest()

    def _place(self, number: int) -> None:
        if self._highs and number == self._highs[-1] + 1:
            self._highs[-1] = number
        elif len(self._lows) < _PLACES:
            self._lows.append(number)
            self._highs.append(number)
        else:
            self._torn = True

    def _tell(self, what: str) -> None:
        if len(self.wrong) < _MOST:
            self.wrong.append(what)

    def judge(self, count: int, head: str) -> list[str]:
        """What does not hold, where ``count`` records were sealed, and ``head`` was the last one's hash."""
        told = list(self.wrong)
        if self._torn:
            told.append(f"its records are out of order in more than {_PLACES} places")
        elif self._lows:
            told += self._disorder(count)
        elif self.count < count:
            told.append(f"ends after record {self.count}: records {self.count + 1} to {count} were cut off")
        elif self.count > count:
            told.append(f"has {self.count} records where {count} were sealed: the others were added")
        elif self.head != head and count:
            told.append(f"its last record, {count}, is not the one that was sealed: it was changed")
        return told

    def _disorder(self, count: int) -> list[str]:
        there = [(low, self._highs[at]) for at, low in enumerate(self._lows)]
        once, more = _layers([(1, self._from), *there] if self._from else there)
        backwards, before = [], self._from
        for low, high in there:
            if low < before and not any(a <= low <= b for a, b in more[:_MOST]):
                backwards.append(f"record {low} stands behind record {before}: records were re-ordered")
            if len(backwards) == _MOST:
                break
            before = high
        missing = _gaps(once, count)
        added = [(max(a, count + 1), b) for a, b in once if b > count]
        told = [f"record {_told(missing)} is missing"] if missing else []
        told += [f"record {_told(more)} stands there more than once"] if more else []
        told += [f"record {_told(added)} was not sealed: it was added"] if added else []
        return told + backwards


# Which numbers are there is counted in runs: how many there are to be, anybody can write.
_Runs = List[Tuple[int, int]]


def _layers(runs: _Runs) -> tuple[_Runs, _Runs]:
    """What lies in any of these runs, and what lies in more than one of them."""
    ends = sorted([(low, 1) for low, _ in runs] + [(high + 1, -1) for _, high in runs])
    once: _Runs = []
    more: _Runs = []
    depth = 0
    for number, (at, step) in enumerate(ends[:-1]):
        until = ends[number + 1][0]
        depth += step
        for least, layer in ((1, once), (2, more)):
            if depth >= least and until > at:
                if layer and layer[-1][1] == at - 1:
                    layer[-1] = (layer[-1][0], until - 1)
                else:
                    layer.append((at, until - 1))
    return once, more


def _gaps(there: _Runs, last: int) -> _Runs:
    """What is missing from 1 to ``last``."""
    gaps, at = [], 1
    for low, high in there:
        if at < low and at <= last:
            gaps.append((at, min(low - 1, last)))
        at = high + 1
    return [*gaps, (at, last)] if at <= last else gaps


def _told(runs: _Runs) -> str:
    """1, 3-5."""
    told = [str(a) if a == b else f"{a}-{b}" for a, b in runs[:_MOST]]
    return ", ".join(told) + (", ..." if len(runs) > _MOST else "")


# --- one package ---------------------------------------------------------------------------------------------------


def document(data: bytes) -> Any:
    """A JSON object, whose keys stand there once. Raises ValueError."""

    def pairs(found: Any) -> Any:
        if len(dict(found)) != len(found):
            raise ValueError("a key stands there twice")
        return dict(found)

    try:
        made = json.loads(data.decode("utf-8"), object_pairs_hook=pairs)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
    if not isinstance(made, dict):
        raise ValueError("no object")
    require_plain(made)
    return made


def require_plain(made: Any) -> None:
    """Raises ValueError for what has no canonical form (RFC 8785): half of a surrogate pair, an integer beyond
    2^53 - 1, NaN. So too for what is nested deeper than any document of Lading, which would end whoever walks it."""
    level = [made]
    for _ in range(_DEEPEST):
        below: list[Any] = []
        for value in level:
            if isinstance(value, dict):
                below.extend(value)
                below.extend(value.values())
            elif isinstance(value, list):
                below.extend(value)
            elif isinstance(value, str):
                value.encode()
            elif isinstance(value, float) and not abs(value) < float("inf"):
                raise ValueError("a number is none")
            elif isinstance(value, int) and abs(value) > _GREATEST:
                raise ValueError("a number is too great")
        level = below
        if not level:
            return
    raise ValueError("nested too deeply")


def checkpoint_of(data: bytes) -> Any:
    """A checkpoint's document. Raises ValueError for what is none, or of another version."""
    made = document(data)
    if made.get("checkpoint_version") != VERSION:
        raise ValueError("is of a version that this verifier does not know")
    records = made.get("records")
    replaced = made.get("replaced")
    if not isinstance(replaced, list) or not all(
        isinstance(each, dict) and each.keys() == _REPLACED_FIELDS for each in replaced
    ):
        raise ValueError("has other fields than a checkpoint")
    numbers = [made.get("number"), made.get("revision"), *(each["number"] for each in replaced)]
    texts = [
        made.get(name) for name in ("project", "environment", "export", "tenant", "run_id", "kind", "key")
    ]
    if made.keys() != _FIELDS or not isinstance(records, dict) or records.keys() != _RECORDS_FIELDS:
        raise ValueError("has other fields than a checkpoint")
    numbers += [records["bytes"], records["count"]]
    texts += [made["sealed_at"], made["chained_at"], records["name"]]
    hashes = [made["previous"], records["sha256"], records["head"], *made["manifests"]]
    hashes += [each[name] for each in replaced for name in ("previous", "sha256")]
    if (
        not all(type(n) is int and n >= 0 for n in numbers)
        or not all(
            isinstance(t, str) for t in (*texts, *hashes, *made["supersedes"], *made["interval"].values())
        )
        or not all(re.fullmatch("[0-9a-f]{64}", h) for h in hashes)
        or made["number"] < 1
        or any(
            not 1 <= r["number"] < made["number"] or r["run_id"] not in made["supersedes"] for r in replaced
        )
        or made["interval"].keys() != {"start", "end"}
    ):
        raise ValueError("has values that no checkpoint has")
    # By a seed that is known, whoever guesses encrypted records could see from the head that they guessed right.
    seeds = {RECORDS: seed(made["run_id"]), ENCRYPTED: None}
    if records["name"] not in seeds or records["seed"] != seeds[records["name"]]:
        raise ValueError("tells of other records than those of its run")
    return made


class Package:
    """What stands in one folder. ``checkpoint`` is None where there is none to go by."""

    def __init__(
        self, folder: str, signers: list[Signer] | None, findings: Findings, age: Age | None = None
    ) -> None:
        self.folder, self._signers, self._findings, self._age = folder, signers, findings, age
        self.checkpoint: Any = None
        self.sha256 = ""
        self.signed = False
        self.read = True  # whether its records were looked at

    def _path(self, name: str) -> str:
        return os.path.join(self.folder, *name.split("/"))

    def _get(self, name: str) -> bytes | None:
        """None for what is no file of a package's. Whoever opens a pipe waits for it, so it is looked at before."""
        try:
            if not os.path.isfile(self._path(name)) or os.path.getsize(self._path(name)) > LONGEST:
                return None
            with open(self._path(name), "rb") as file:
                return file.read(LONGEST)
        except (OSError, ValueError):  # a name with a NUL in it
            return None

    def _wrong(self, name: str, what: str) -> None:
        self._findings.problem(os.path.join(self.folder, name), what)

    def check(self) -> None:
        data = self._get(CHECKPOINT)
        if data is None:
            self._wrong(CHECKPOINT, "is missing: nothing says what the package held")
            return
        self.sha256 = hashlib.sha256(data).hexdigest()
        try:
            self.checkpoint = checkpoint_of(data)
        except (ValueError, TypeError, AttributeError) as error:
            self._wrong(CHECKPOINT, f"is no checkpoint, or was changed: {error}")
            self._sealed(CHECKPOINT, data, CHECKPOINTS)
            return
        told = self.checkpoint
        self.signed = self._signature(CHECKPOINT, data, CHECKPOINTS, told["key"], told["chained_at"])
        manifest = self._manifest()
        self._records()
        if manifest is not None:
            try:
                self._files(manifest)
                self._evidence(manifest)
            except (ValueError, KeyError, TypeError, AttributeError):
                self._wrong(MANIFEST, "is damaged: not a manifest")

    def _sealed(self, name: str, data: bytes, namespace: str) -> Signature | None:
        """The signature beside ``name``, if it holds, whosever it is."""
        file = self._get(name + ".sig")
        if file is None:
            self._wrong(name + ".sig", "is missing")
            return None
        try:
            signature = Signature(file, namespace)
            if not signature.checkable:
                raise ValueError("is not by an Ed25519 key")
            if not signature.holds(data):
                raise ValueError(f"does not hold: it or {name} was changed")
        except ValueError as error:
            self._wrong(name + ".sig", str(error) or "is not an SSH signature")
            return None
        return signature

    def _signature(self, name: str, data: bytes, namespace: str, key: object, at: str) -> bool:
        """Whether the signature beside ``name`` is by ``key`` and, where keys are trusted, by one of them."""
        signature = self._sealed(name, data, namespace)
        if signature is None:
            return False
        if fingerprint(signature.key) != key:
            self._wrong(name + ".sig", f"is by {fingerprint(signature.key)}, which {name} does not name")
            return False
        if self._signers is None:
            self._findings.not_checked(
                f"signatures by {key} are consistent; whose key that is was not checked: give --key"
            )
            return True
        why = distrust(self._signers, signature.key, self.checkpoint["project"], namespace, at)
        if why is not None:
            self._wrong(name + ".sig", why)
        return why is None

    def _manifest(self) -> Any:
        told, data = self.checkpoint, self._get(MANIFEST)
        if data is None:
            self._wrong(MANIFEST, "is missing")
            return None
        if hashlib.sha256(data).hexdigest() not in told["manifests"]:
            self._wrong(
                MANIFEST, "is not the one that the checkpoint was made over: one of the two was changed"
            )
        try:
            manifest = document(data)
            names = [e["name"] for e in (*manifest["files"], *manifest["sidecars"])]
            if not all(isinstance(n, str) and ".." not in n.split("/") and n[:1] != "/" for n in names):
                raise ValueError("a name leads out of the package")
            key = (manifest["signature"] or {}).get("key")
            at = str(manifest["export_timestamp"])
            success = {
                "status": "SUCCESS",
                "timestamp": at,
                "manifest": MANIFEST,
                "manifest_sha256": hashlib.sha256(data).hexdigest(),
                "row_count": manifest["rows"]["written"],
            }
        except (ValueError, KeyError, TypeError, AttributeError):
            self._wrong(MANIFEST, "is damaged: not a manifest")
            return None
        for name in ("project", "environment", "export", "tenant", "run_id", "revision", "kind", "interval"):
            if manifest.get(name) != told[name]:
                self._wrong(CHECKPOINT, f"is of another package: {MANIFEST} has another {name}")
        self._signature(MANIFEST, data, MANIFESTS, key, at)
        if self._get(MARKER) != json.dumps(success, sort_keys=True, separators=(",", ":")).encode():
            self._wrong(MARKER, f"is missing, or does not match {MANIFEST}")
        return manifest

    def _records(self) -> None:
        told = self.checkpoint["records"]
        name = told["name"]
        if (told["first"], told["last"]) != ((1, told["count"]) if told["count"] else (None, None)):
            self._wrong(CHECKPOINT, "its numbers of records do not agree")
        chain, sha, size = Chain(told["seed"]), hashlib.sha256(), [0]
        try:
            if not os.path.isfile(self._path(name)):
                raise OSError("is no file")
            with open(self._path(name), "rb") as file:

                def read(amount: int) -> bytes:
                    data = file.read(amount)
                    sha.update(data)
                    size[0] += len(data)
                    return data

                walked = self._walk(name, read, chain)
                while read(_BLOCK):
                    pass
        except OSError:
            self._wrong(name, "is missing")
            return
        if walked:
            for what in chain.judge(told["count"], told["head"]):
                self._wrong(name, what)
        if size[0] != told["bytes"] or sha.hexdigest() != told["sha256"]:
            self._wrong(name, "is not the file that was sealed: its size or SHA-256 differs")

    def _walk(self, name: str, read: Callable[[int], bytes], chain: Chain) -> bool:
        """Whether there is a chain to judge."""
        try:
            if name == RECORDS:
                for line in lines_of(read):
                    chain.line(line)
            elif self._age is None:
                self._findings.not_checked(
                    f"records that are encrypted ({ENCRYPTED}): give your private key of age by --identity"
                )
                self.read = False
                return False
            else:
                with self._age.opened(read) as clear:
                    for line in lines_of(clear):
                        chain.line(line)
        except ValueError as error:
            self._wrong(name, str(error))
        return chain.count > 0 or name == RECORDS

    def _files(self, manifest: Any) -> None:
        listed: dict[str, Any] = {}
        for entry in (*manifest["files"], *manifest["sidecars"]):
            if entry["name"] in listed:
                self._wrong(MANIFEST, f"lists {entry['name']} twice")
            listed[entry["name"]] = entry
        records = self.checkpoint["records"]
        if [entry["name"] for entry in manifest["files"]] != [records["name"]]:
            self._wrong(MANIFEST, f"lists other files than {records['name']}")
        for name, entry in listed.items():
            if name == records["name"]:
                if entry["sha256"] != records["sha256"]:
                    self._wrong(MANIFEST, f"tells of another {name} than the checkpoint")
                continue
            data = self._get(name)
            if data is None:
                self._wrong(name, "is missing")
            elif len(data) != entry["bytes"] or hashlib.sha256(data).hexdigest() != entry["sha256"]:
                self._wrong(name, "was changed: its size or SHA-256 is not the manifest's")
        known = {*listed, MANIFEST, MANIFEST + ".sig", CHECKPOINT, CHECKPOINT + ".sig", MARKER}
        for name in self._standing():
            if name not in known and not _COMPILED.fullmatch(name):
                self._wrong(name, "was added: the manifest does not list it")

    def _standing(self) -> list[str]:
        found = []
        for folder, folders, names in os.walk(self.folder):
            links = [name for name in folders if os.path.islink(os.path.join(folder, name))]
            for name in (*names, *links):
                path = os.path.relpath(os.path.join(folder, name), self.folder).replace(os.sep, "/")
                found.append(path)
                if os.path.islink(os.path.join(folder, name)):
                    self._wrong(path, _LINK)
        return sorted(found)

    # --- evidence

    def _evidence(self, manifest: Any) -> None:
        for name, sha in (
            ("definition.json", manifest.get("definition_sha256")),
            ("contract.yaml", (manifest.get("contract") or {}).get("sha256")),
        ):
            data = self._get(EVIDENCE + name)
            if data is None:
                self._wrong(EVIDENCE + name, "is missing")
            elif hashlib.sha256(data).hexdigest() != sha:
                self._wrong(EVIDENCE + name, "is not the one that the manifest names")
        for approval in manifest.get("approvals") or ():
            self._approval(str(approval["sha256"]))

    def _approval(self, sha: str) -> None:
        """Whether the document is there, and at least two people have signed it: the one who asked, and another."""
        name = f"{EVIDENCE}approvals/{sha[:16]}.json"
        data = self._get(name)
        if data is None or hashlib.sha256(data).hexdigest() != sha:
            self._wrong(name, "is missing, or not the approval that the manifest names")
            return
        try:
            people = read_signers((self._get(EVIDENCE + "approvers") or b"").decode())
            asked = str(document(data)["requested_by"])
        except (ValueError, KeyError) as error:
            self._wrong(EVIDENCE + "approvers", f"cannot be read: {error}")
            return
        valid: dict[bytes, set[str]] = {}
        unknown = 0
        folder = self._path(EVIDENCE + "approvals")
        for each in sorted(os.listdir(folder)):
            if not each.startswith(sha[:16] + ".") or not each.endswith(".sig"):
                continue
            try:
                signature = Signature(self._get(f"{EVIDENCE}approvals/{each}") or b"", APPROVALS)
            except ValueError as error:
                self._wrong(f"{EVIDENCE}approvals/{each}", str(error))
                continue
            if not signature.checkable:
                unknown += 1
                self._findings.not_checked(
                    f"{each} is by a kind of key that is not checked here: use ssh-keygen"
                )
            elif not signature.holds(data):
                self._wrong(f"{EVIDENCE}approvals/{each}", "does not hold")
            else:
                valid[signature.key] = {p.principals for p in people if p.key == signature.key}
        # One key under two names is one person.
        theirs = [names for names in valid.values() if asked in names]
        others = [names for names in valid.values() if names and asked not in names]
        if not any(one.isdisjoint(other) for one in theirs for other in others) and not unknown:
            self._wrong(name, "is not signed by who asked for it and by another person")


# --- chains of packages --------------------------------------------------------------------------------------------


def check_chains(packages: list[Package], last: Any, findings: Findings) -> None:
    """``last``: the newest package of each chain, (number, SHA-256); None where nobody says. Raises WrongArguments
    where there are more chains than that."""
    chains: dict[tuple[str, ...], list[Package]] = {}
    for package in packages:
        if package.checkpoint is not None:
            told = package.checkpoint
            key = tuple(told[name] for name in ("project", "environment", "export", "tenant"))
            chains.setdefault(key, []).append(package)
    named = {
        "/".join(key): sorted(found, key=lambda p: (p.checkpoint["number"], p.folder))
        for key, found in sorted(chains.items())
    }
    for name, found in named.items():
        _check_chain(name, found, findings)
    if last is None or len(set(last)) >= len(named):
        _check_ends(named, last, findings)
        return
    wrong = f"is given once for each chain, and there are {len(named)}: {', '.join(named)}"
    if not findings.problems:
        raise WrongArguments(f"--last {wrong}")
    findings.problem("--last", wrong)


def _check_ends(chains: dict[str, list[Package]], last: Any, findings: Findings) -> None:
    """Whether each chain ends as one of ``last`` says, and whether one of them names a chain that is not there."""
    places = {name: [(p.checkpoint["number"], p.sha256) for p in found] for name, found in chains.items()}
    ends = {name: found[-1] for name, found in places.items()}
    if last is None:
        for name, (number, sha) in ends.items():
            findings.not_checked(
                f"{name}: whether package {number} is the last one cannot be told from packages; ask the sender for "
                "the newest number and hash (`lading packages`), and give them to the verify.py in a package by "
                f"--last, once for each chain. Here it is {number}:{sha}"
            )
        return
    unmet = [each for each in dict.fromkeys(last) if each not in ends.values()]
    wrong = {name: number for name, (number, sha) in ends.items() if (number, sha) not in last}
    for name, number in wrong.items():
        passed = [each for each in unmet if each in places[name]]
        if passed:
            findings.problem(
                name,
                f"goes on to package {number}, and the last one that the sender names is {passed[0][0]}: ask for the "
                "newest number again",
            )
        elif len(unmet) > 1:
            findings.problem(
                name,
                f"ends with package {number}, which is none of the last ones that the sender names: packages were "
                "removed or changed",
            )
        elif number < unmet[0][0]:
            findings.problem(
                name, f"ends with package {number}, and the last one is {unmet[0][0]}: packages were removed"
            )
        else:
            findings.problem(name, f"package {unmet[0][0]} is not the last one that the sender names")
    if len(unmet) > len(wrong):
        told = " or ".join(f"{number}:{sha}" for number, sha in unmet)
        findings.problem("--last", f"no chain ends with {told}: packages were removed, or not given")


def _check_chain(name: str, packages: list[Package], findings: Findings) -> None:
    replaced = {
        each["number"]: (each, p.checkpoint["number"]) for p in packages for each in p.checkpoint["replaced"]
    }
    first, at, where = packages[0].checkpoint["number"], 0, ""
    hashes = [ZEROS]  # of what has the number ``at``: several where the chain is forked
    for package in packages:
        number, previous = package.checkpoint["number"], package.checkpoint["previous"]
        if number == at:
            what = (
                "stands there twice"
                if package.sha256 == hashes[0]
                else "is there in two versions: the chain is forked"
            )
            findings.problem(name, f"package {number} {what} ({where} and {package.folder})")
            hashes.append(package.sha256)
            continue
        while at + 1 < number and at + 1 in replaced and replaced[at + 1][0]["previous"] in hashes:
            there, by = replaced[at + 1]
            at, where, hashes = at + 1, f"which package {by} replaced", [there["sha256"]]
            findings.facts.append(
                f"{name}: package {at} was replaced by package {by} before it was published everywhere"
            )
        if number != at + 1 and package is packages[0]:
            findings.not_checked(f"{name}: packages 1 to {number - 1} were not given")
        elif number != at + 1:
            findings.problem(name, f"package {_told([(at + 1, number - 1)])} is missing")
        elif previous not in hashes and number == 1:
            findings.problem(name, "package 1 follows another, which no first package does")
        elif previous not in hashes:
            findings.problem(
                name,
                f"package {number} ({package.folder}) does not follow package {at} ({where}): one of them was changed "
                "or comes from elsewhere",
            )
        at, where, hashes = number, package.folder, [package.sha256]
    runs = {(p.checkpoint["run_id"], p.checkpoint["number"]) for p in packages}
    if len({run for run, _ in runs}) != len(runs):
        findings.problem(name, "one run stands in the chain under several numbers")
    _tell_gaps(name, packages, findings)
    counts = sum(p.checkpoint["records"]["count"] for p in packages)
    unread = sum(not p.read for p in packages)
    told = f", those of {unread} not read" if unread else ""
    findings.facts.append(f"{name}: packages {first} to {at}, {counts} records{told}")


def _tell_gaps(name: str, packages: list[Package], findings: Findings) -> None:
    """Time that no package is about. Where tenants come and go that may be as it should be."""
    until = ""
    for start, end in sorted(
        (p.checkpoint["interval"]["start"], p.checkpoint["interval"]["end"]) for p in packages
    ):
        if until and start > until:
            findings.facts.append(f"{name}: no package is about the time from {until} to {start}")
        until = max(until, end)


def folders_of(paths: list[str], findings: Findings) -> list[str]:
    """Those that hold a checkpoint, or a manifest of a package without one. Links below ``paths`` are told and not
    followed; a path itself may be one."""
    found: list[str] = []
    for path in paths:
        inside = []
        for folder, folders, names in os.walk(path):
            for name in sorted((*folders, *names)):
                if os.path.islink(os.path.join(folder, name)):
                    findings.problem(os.path.join(folder, name), _LINK)
            if not {CHECKPOINT, RECORDS, ENCRYPTED, MANIFEST}.isdisjoint(names):
                inside.append(folder)
        if not inside:
            findings.problem(path, "holds no audit package")
        found += [folder for folder in inside if folder not in found]
    return sorted(found)


def verify(
    paths: list[str],
    signers: list[Signer] | None = None,
    last: list[tuple[int, str]] | None = None,
    age: Age | None = None,
) -> Findings:
    """Raises WrongArguments where ``last`` names too few packages."""
    findings = Findings()
    packages = [Package(folder, signers, findings, age) for folder in folders_of(paths, findings)]
    for package in packages:
        package.check()
    findings.read = all(package.read for package in packages)
    check_chains(packages, last, findings)
    return findings


def _last(text: str) -> tuple[int, str]:
    match = re.fullmatch(r"([1-9][0-9]*):([0-9a-f]{64})", text)
    if match is None:
        raise argparse.ArgumentTypeError("is no NUMBER:SHA256")
    return int(match.group(1)), match.group(2)


def _printable(text: str) -> str:
    """In one line, and without what a terminal would obey: names are whatever somebody called a file."""
    told = (c if c.isprintable() and c.isascii() else c.encode("unicode_escape").decode() for c in text)
    return "".join(told)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Checks audit packages.")
    here = os.path.dirname(os.path.abspath(__file__))
    parser.add_argument("folders", nargs="*", metavar="FOLDER", help="packages, or folders that hold some")
    parser.add_argument(
        "--key", metavar="FILE", help="public keys that may have signed, as OpenSSH writes them"
    )
    parser.add_argument(
        "--last",
        metavar="NUMBER:SHA256",
        type=_last,
        action="append",
        help="the newest package of a chain, by the sender; once for each chain",
    )
    parser.add_argument(
        "--identity",
        metavar="FILE",
        help="your private key of age, for encrypted records; the tool age opens them",
    )
    asked = parser.parse_args(arguments)
    signers = age = None
    if asked.key is not None:
        try:
            with open(asked.key, encoding="utf-8") as file:
                signers = read_signers(file.read())
        except (OSError, ValueError) as error:
            parser.error(f"{asked.key}: {error}")
        if not signers:
            parser.error(f"{asked.key} holds no key")
    if asked.identity is not None:
        try:
            age = Age(asked.identity)
        except ValueError as error:
            parser.error(f"--identity: {error}")
    for folder in asked.folders:
        if not os.path.isdir(folder):
            parser.error(f"there is no folder {folder}")
    try:
        findings = verify(asked.folders or [here], signers, asked.last, age)
    except WrongArguments as error:
        parser.error(_printable(str(error)))
    for where, what in findings.problems:
        print(_printable(f"problem: {where}: {what}"))
    for unchecked in findings.unchecked:
        print(_printable(f"not checked: {unchecked}"))
    for fact in findings.facts:
        print(_printable(f"checked: {fact}"))
    now = datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
    trusted = "by a trusted key" if signers is not None else "consistently; by whom was not checked"
    count = len(findings.problems)
    held = "all holds" if findings.read else "all that was read holds"
    print(f"{now} " + (f"{count} problem{'s' * (count != 1)}" if count else f"{held}, signed {trusted}"))
    return 1 if findings.problems else 0


if __name__ == "__main__":
    sys.exit(main())

"""ZIP archives of stored members (PKWARE's APPNOTE 6.3.10): all that is no content, as a function of the members alone.

Each member has the time 1980-01-01, the mode 0644, no extra field but ZIP64's, and its size and CRC-32 in front of its
bytes, so equal members make equal archives on every machine, and every reader of ZIP files can open them. Nothing is
compressed: how well is a matter of a library's version, and data files come compressed.

`parse` therefore needs to trust nothing that an archive says of itself: what its members' names, sizes and CRC-32s do
not give, to the byte, is refused.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

_LOCAL = struct.Struct("<4s5H3I2H")
_CENTRAL = struct.Struct("<4s6H3I5H2I")
_END = struct.Struct("<4s4H2IH")
_END64 = struct.Struct("<4sQ2H2I4Q")
_LOCATOR = struct.Struct("<4sIQI")

_DATE = 1 << 5 | 1  # the first day of 1980
_UNIX, _MODE = 3 << 8, 0o100644 << 16
_MAX16, _MAX32 = 0xFFFF, 0xFFFFFFFF
_GREATEST_DIRECTORY = 1 << 28  # what is read into memory on an archive's own word; some 2,000,000 members
_SAFE = re.compile(r"[A-Za-z0-9._=+%~-]+(/[A-Za-z0-9._=+%~-]+)*", re.ASCII)

ReadAt = Callable[[int, int], bytes]
"""(offset, size) -> bytes, fewer only at the end."""


@dataclass(frozen=True, slots=True)
class Member:
    name: str
    size: int
    crc: int


@dataclass(frozen=True, slots=True)
class Placed:
    """A member, and where its bytes begin."""

    member: Member
    offset: int


def objections(names: Iterable[str]) -> Iterator[str]:
    """What keeps these names from being a file each, inside of the folder that one unpacks to, on every system."""
    seen: dict[str, str] = {}
    for name in names:
        if not _SAFE.fullmatch(name) or any(part.endswith(".") for part in name.split("/")):
            yield f"{name!r} is no safe name: it may lead elsewhere when it is unpacked"
        other = seen.get(name.lower())
        if other == name:
            yield f"{name} is in it twice"
        elif other is not None:
            yield f"{other} and {name} are one file where case does not count, as on Windows"
        seen[name.lower()] = name
    for name in seen.values():
        above = name.lower()
        while above := above.rpartition("/")[0]:
            if above in seen:
                yield f"{seen[above]} is a file, and the folder of {name}"


def header(member: Member) -> bytes:
    """What stands before a member's bytes."""
    name = member.name.encode("ascii")
    large = member.size >= _MAX32
    size = _MAX32 if large else member.size
    extra = struct.pack("<2H2Q", 1, 16, member.size, member.size) if large else b""
    return (
        _LOCAL.pack(
            b"PK\3\4", 45 if large else 20, 0, 0, 0, _DATE, member.crc, size, size, len(name), len(extra)
        )
        + name
        + extra
    )


def placed(members: Iterable[Member]) -> Iterator[Placed]:
    """Where each member's bytes begin, in an archive of these in this order."""
    at = 0
    for member in members:
        at += len(header(member))
        yield Placed(member, at)
        at += member.size


def trailer(members: Sequence[Member]) -> Iterator[bytes]:
    """What stands behind the last member: the directory and its end."""
    at = size = 0
    for member in members:
        entry = _entry(member, at)
        yield entry
        at += len(header(member)) + member.size
        size += len(entry)
    yield _end(len(members), at, size)


def _entry(member: Member, offset: int) -> bytes:
    name, more = member.name.encode("ascii"), b""
    size = member.size
    if member.size >= _MAX32:
        more, size = struct.pack("<2Q", member.size, member.size), _MAX32
    if offset >= _MAX32:
        more, offset = more + struct.pack("<Q", offset), _MAX32
    extra = struct.pack("<2H", 1, len(more)) + more if more else b""
    version = 45 if more else 20
    fixed = _CENTRAL.pack(
        b"PK\1\2",
        _UNIX | version,
        version,
        0,
        0,
        0,
        _DATE,
        member.crc,
        size,
        size,
        len(name),
        len(extra),
        0,
        0,
        0,
        _MODE,
        offset,
    )
    return fixed + name + extra


def _end(count: int, offset: int, size: int) -> bytes:
    large = b""
    if count >= _MAX16 or offset >= _MAX32 or size >= _MAX32:
        large = _END64.pack(b"PK\6\6", 44, _UNIX | 45, 45, 0, 0, count, count, size, offset)
        large += _LOCATOR.pack(b"PK\6\7", 0, offset + size, 1)
    few = min(count, _MAX16)
    return large + _END.pack(b"PK\5\6", 0, 0, few, few, min(size, _MAX32), min(offset, _MAX32), 0)


def parse(read: ReadAt, total: int) -> list[Placed]:
    """The members of an archive of ``total`` bytes. Raises ValueError for one that was not made here, to the byte."""
    count, size, offset, end = _read_end(read, total)
    if offset + size + len(end) != total:
        raise ValueError("holds bytes that belong to none of its members, or was cut")
    if size > _GREATEST_DIRECTORY:
        raise ValueError("has a directory larger than any that is read")
    directory = read(offset, size)
    members = list(_entries(directory))
    if len(members) != count:
        raise ValueError(f"says that it has {count} members, and lists {len(members)}")
    if why := next(objections(member.name for member in members), None):
        raise ValueError(why)
    if b"".join(trailer(members)) != directory + end:
        raise ValueError("holds bytes that belong to none of its members, or its directory was changed")
    found = list(placed(members))
    for each in found:
        told = header(each.member)
        if read(each.offset - len(told), len(told)) != told:
            raise ValueError(
                f"says two things of {each.member.name}: in its directory, and where that begins"
            )
    return found


def _read_end(read: ReadAt, total: int) -> tuple[int, int, int, bytes]:
    """Count of members, size and offset of the directory, and what stands behind it."""
    end = read(max(0, total - _END.size), _END.size)
    if len(end) != _END.size or end[:4] != b"PK\5\6":
        raise ValueError("does not end as a ZIP file does: it was cut, or bytes were added")
    _, _, _, _, count, size, offset, _ = _END.unpack(end)
    ahead = _END64.size + _LOCATOR.size
    before = read(max(0, total - len(end) - ahead), ahead)
    if len(before) == ahead and before[:4] == b"PK\6\6" and before[_END64.size :][:4] == b"PK\6\7":
        *_, count, size, offset = _END64.unpack(before[: _END64.size])
        return count, size, offset, before + end
    return count, size, offset, end


def _entries(directory: bytes) -> Iterator[Member]:
    at = 0
    while at < len(directory):
        fixed = directory[at : at + _CENTRAL.size]
        if len(fixed) != _CENTRAL.size or fixed[:4] != b"PK\1\2":
            raise ValueError("has a directory that cannot be read")
        _, _, _, flags, method, _, _, crc, _, size, name_length, extra_length, comment, *_ = _CENTRAL.unpack(
            fixed
        )
        if flags or method:
            raise ValueError("has members that are compressed or encrypted, which no bundle has")
        begin = at + _CENTRAL.size
        extra = directory[begin + name_length : begin + name_length + extra_length]
        if size == _MAX32 and len(extra) >= 12:
            (size,) = struct.unpack_from("<Q", extra, 4)
        try:
            name = directory[begin : begin + name_length].decode("ascii")
        except UnicodeDecodeError:
            raise ValueError("has a member whose name is no plain text") from None
        yield Member(name, size, crc)
        at = begin + name_length + extra_length + comment

"""Names and paths of what is delivered: pure functions of who a run is. Nothing comes from the clock or from the data.

A folder belongs to one attempt of one run. Names are relative to the store, parts joined by ``/``.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Literal, NamedTuple
from urllib.parse import quote

Preset = Literal["lake", "dated", "svc002", "custom"]

NULL_PARTITION = "__HIVE_DEFAULT_PARTITION__"
_EMPTY = "%65mpty"  # "e" is never encoded otherwise, so no text gives this
_DEVICES = re.compile(r"(con|prn|aux|nul|com[0-9]|lpt[0-9])(\.|$)", re.IGNORECASE)
_HEX = re.compile(r"[0-9a-f]{8,64}")

# --- one segment of a path -----------------------------------------------------------------------------------------


def segment(text: str, limit: int = 200) -> str:
    """One segment of a path, made from data: never empty, hidden, special on any system, or longer than ``limit`` + 3.

    Percent-encoding of UTF-8 (RFC 3986, section 2.1) of everything but letters, digits and ``-._~``; also of a leading
    ``_`` or ``.``, a trailing ``.``, and the first letter of a Windows device name. Two different texts never give the
    same segment: what is longer than ``limit`` is cut and ends in ``-`` and the SHA-256 of the text, and is then longer
    than anything uncut. Case is kept, so ``a`` and ``A`` are one folder where the file system ignores case.
    """
    if not text:
        return _EMPTY
    data = text.encode("utf-8", "surrogatepass")
    encoded = quote(data, safe="")
    if encoded[0] in "_." or _DEVICES.match(encoded):
        encoded = f"%{ord(encoded[0]):02X}{encoded[1:]}"
    if encoded[-1] == ".":
        encoded = f"{encoded[:-1]}%2E"
    if len(encoded) <= limit:
        return encoded
    head = re.sub(r"%[0-9A-F]?$", "", encoded[: limit + 3 - 65])
    return f"{head}-{hashlib.sha256(data).hexdigest()}"


class PartitionColumn(NamedTuple):
    """A column whose values make folders; ``shards``: not the value itself but one of so many shards of it."""

    column: str
    shards: int | None = None


def partition_text(value: object) -> str | None:
    """A partition column's value as text; None for NULL. Different values of one type give different texts.

    Raises TypeError for types that have no exact and short text, floating point above all.
    """
    match value:
        case None | str():
            return value
        case bool():
            return "true" if value else "false"
        case int():
            return str(value)
        case Decimal() if value.is_finite():
            return format(value, "f")
        case datetime():
            return (value.astimezone(UTC) if value.tzinfo else value).isoformat().replace("+00:00", "Z")
        case date():
            return value.isoformat()
    raise TypeError(f"a column of {type(value).__name__} cannot make partitions")


def _partition_value(value: object, shards: int | None, limit: int) -> str:
    if shards is not None:
        if not isinstance(value, int) or not 0 <= value < shards:
            raise ValueError(f"{value!r} is no shard of {shards}")
        return f"{value:0{len(str(shards - 1))}}"
    text = partition_text(value)
    return NULL_PARTITION if text is None else segment(text, limit)


# --- names of a run ------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Names:
    """Who a run's attempt is, as far as names tell."""

    env: str
    dataset: str  # the project's name
    entity: str  # the contract's name
    tenant: str
    major: int  # of the contract
    start: datetime  # of the interval, aware
    run_id: str  # lower-case hex digits
    attempt: int

    def __post_init__(self) -> None:
        if not _HEX.fullmatch(self.run_id):
            raise ValueError("a run id is at least eight lower-case hex digits")
        if self.start.tzinfo is None or self.attempt < 1 or self.major < 0:
            raise ValueError("names need an aware start, an attempt from 1 and a major from 0")

    def variables(self) -> dict[str, str]:
        """What layouts may use, already safe as parts of a path."""
        start = self.start.astimezone(UTC)
        yyyy, mm, dd = f"{start.year:04}", f"{start.month:02}", f"{start.day:02}"
        return {
            "env": segment(self.env),
            "dataset": segment(self.dataset),
            "entity": segment(self.entity),
            "tenant": segment(self.tenant),
            "major": str(self.major),
            "yyyy": yyyy,
            "MM": mm,
            "dd": dd,
            "HH": f"{start.hour:02}",
            "yyyymmdd": yyyy + mm + dd,
            "HHMMSS": f"{start.hour:02}{start.minute:02}{start.second:02}",
            "run": self.run_id[:8],
            "attempt": str(self.attempt),
        }


class FileType(NamedTuple):
    """A format as file names tell it (`ports.Format`)."""

    name: str  # parquet
    codec: str  # snappy; "" where there is none
    suffix: str  # parquet, csv.gz


RUN_VARIABLES = frozenset(
    Names("e", "d", "c", "t", 1, datetime(2000, 1, 1, tzinfo=UTC), "0" * 8, 1).variables()
)

_LAKE = "{env}/{dataset}/{entity}/tenant={tenant}/{yyyy}/{MM}/{dd}/{HHMMSS}_{run}-a{attempt}"
_DATED = "{env}/{dataset}/{entity}/{yyyy}/{MM}/{dd}/{HHMMSS}_{run}-a{attempt}"
# Of the start it has only the hour, so that it takes the whole id: two runs could be given the same eight digits.
_SVC002 = "{tenant}/v{major}/{yyyy}-{MM}-{dd}/hour={HH}/{run_id}-a{attempt}"
_LAKE_FILE = "{entity}_{yyyymmdd}_{HHMMSS}_{run}_{file}"
_BUNDLE = "{entity}_{yyyymmdd}_{HHMMSS}_{run}"
_SVC002_FILE = "export.{entity}.{yyyymmdd}"

_VARIABLE = re.compile(r"\{([^{}]*)\}")
_LITERAL = re.compile(r"[A-Za-z0-9._=+-]*", re.ASCII)


def _fill(template: str, values: Mapping[str, str]) -> str:
    # Not str.format: a column may be named "a.b" or "a[0]", which that would take apart.
    return _VARIABLE.sub(lambda match: values[match[1]], template)


def _of_export(template: str, env: str, dataset: str, entity: str, major: int) -> str:
    """What all runs of an export share, filled in; the rest of the variables stays."""
    fixed = {
        "env": segment(env),
        "dataset": segment(dataset),
        "entity": segment(entity),
        "major": str(major),
    }
    return _VARIABLE.sub(lambda match: fixed.get(match[1], match[0]), template)


# --- layouts -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Layout:
    """Where an export's files go. ``tenanted``: the export has tenants, so that `dated` gives each a folder."""

    preset: Preset = "lake"
    path: str = ""  # custom: the run's folder, then the partitions' folders
    name: str = ""  # custom: a file's name, without its ending
    partition_by: tuple[PartitionColumn, ...] = ()
    tenanted: bool = False
    only_file: str = ""  # the name of the one data file, of what is delivered in one
    _folder: str = field(init=False, repr=False)
    _inside: tuple[str, ...] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        """Raises ValueError for a path or name that cannot hold runs apart."""
        check_partition_by(self.partition_by)
        segments: tuple[str, ...] = ()
        if self.preset == "custom":
            folder, segments = split_path(self.path or _LAKE, self.partition_by)
            check_file_name(self.name or _LAKE_FILE)
        elif self.preset == "svc002":
            folder = _SVC002
        else:
            folder = _DATED if self.preset == "dated" else _LAKE
            if self.preset == "dated" and self.tenanted:
                folder = folder.replace("{entity}/", "{entity}/tenant={tenant}/")
        object.__setattr__(self, "_folder", folder)
        object.__setattr__(self, "_inside", segments)

    def folder(self, names: Names) -> str:
        """The attempt's folder, with its trailing slash: everything of the attempt lies in it and nothing else does."""
        return _fill(self._folder, self._folder_variables(names)) + "/"

    def attempts(self, names: Names) -> tuple[str, re.Pattern[str]]:
        """How the folders of all attempts of this run begin, and what they match."""
        before, _, after = self._folder.partition("{attempt}")
        variables = self._folder_variables(names)
        begin, end = _fill(before, variables), _fill(after, variables)
        return begin, re.compile(rf"{re.escape(begin)}(\d+){re.escape(end)}/")

    def _folder_variables(self, names: Names) -> dict[str, str]:
        """A preset's folder may hold the whole id too; in paths of one's own ``{run_id}`` may be a column."""
        return names.variables() | {"run_id": names.run_id}

    def partition_folder(self, values: Sequence[object]) -> str:
        """``origin=EWR/shard=07/`` inside the run's folder; "" without partitions. Of a column with shards, the value
        is the shard's number. Raises TypeError or ValueError for a value that cannot make a folder."""
        if len(values) != len(self.partition_by):
            raise ValueError(f"{len(self.partition_by)} partition values are needed, not {len(values)}")
        if self._inside:
            made = {key: _partition_value(value, column.shards, 200)
                    for (key, column), value in zip(self._keys(), values, strict=True)}  # fmt: skip
            return "".join(_fill(part, made) + "/" for part in self._inside)
        folder = ""
        for (key, column), value in zip(self._keys(), values, strict=True):
            left = segment(key, 100)
            folder += f"{left}={_partition_value(value, column.shards, min(200, 250 - len(left)))}/"
        return folder

    def _keys(self) -> list[tuple[str, PartitionColumn]]:
        return [("shard" if column.shards else column.column, column) for column in self.partition_by]

    def data_file(self, names: Names, lane: int, sequence: int, lanes: int, file_type: FileType) -> str:
        """The ``sequence``-th file (from 1) of one lane (from 0) of ``lanes``, inside the run's or partition's folder.

        One lane numbers ``001``; several number ``002-001``, the lane first, so that names sort in the order of lanes.
        `svc002` leaves the first file's number out.
        """
        if self.only_file:
            if (lane, sequence, lanes) != (0, 1, 1):
                raise ValueError(f"{self.only_file} is the only file of its run")
            return self.only_file
        number = f"{sequence:03}"
        if lanes > 1:
            number = f"{lane + 1:0{max(3, len(str(lanes)))}}-{number}"
        variables = names.variables() | {"file": number}
        if self.preset == "svc002":
            rest = "" if (lane, sequence) == (0, 1) else f".{number}"
            return f"{_fill(_SVC002_FILE, variables)}{rest}.{file_type.suffix}"
        suffix = file_type.suffix
        if self.preset == "dated":
            suffix = f"{file_type.name}.{file_type.codec}" if file_type.codec else file_type.name
        return f"{_fill(self.name or _LAKE_FILE, variables)}.{suffix}"

    def bundle(self, names: Names) -> str:
        """The name of an archive that holds all of a run, inside the run's folder."""
        return _fill(_SVC002_FILE if self.preset == "svc002" else _BUNDLE, names.variables()) + ".zip"

    # Control objects, relative to the attempt's folder; `file` is a data file's name relative to it.

    def template(self, *, env: str, dataset: str, entity: str, major: int) -> str:
        """The attempt's folder of any run of one export, the variables of its runs still in it: ``{tenant}``."""
        return _of_export(self._folder, env, dataset, entity, major)

    @property
    def _documents_names(self) -> bool:
        return self.preset in ("dated", "svc002")

    def success(self) -> str:
        return "SUCCESS" if self._documents_names else "_SUCCESS"

    def failure(self, names: Names) -> str:
        return "FAILURE" if self._documents_names else f"_FAILURE_a{names.attempt}"

    def manifest(self, names: Names) -> str:
        if self._documents_names:
            return _fill("manifest_{yyyymmdd}_{HHMMSS}.json", names.variables())
        return "_manifest.json"

    def sums(self) -> str:
        return "SHA256SUMS" if self._documents_names else "_SHA256SUMS"

    def metadata(self, file: str) -> str:
        return f"{file}.metadata.json" if self._documents_names else f"_metadata/{file}.json"

    def checksum(self, file: str) -> str | None:
        """The file's own checksum beside it; None where the checksums of all in `sums` are enough."""
        return f"{file}.sha256" if self._documents_names else None

    def record(self, names: Names) -> str | None:
        """The delivery record of SVC-002, section 3."""
        return f"{_fill(_SVC002_FILE, names.variables())}.json" if self.preset == "svc002" else None

    def deprecation(self) -> str:
        """What recipients are told of a contract's version that will end."""
        return "DEPRECATED.json" if self._documents_names else "_DEPRECATED.json"

    def pointer(self, names: Names, export: str) -> str:
        """The object that names the newest complete delivery of one export to one tenant, relative to the store."""
        return _fill(self._pointer(export), names.variables())

    def pointer_template(self, export: str, *, env: str, dataset: str, entity: str, major: int) -> str:
        """The same of any tenant, which stays in it as ``{tenant}``."""
        return _of_export(self._pointer(export), env, dataset, entity, major)

    def _pointer(self, export: str) -> str:
        path = "{env}/{dataset}/{entity}/tenant={tenant}"
        if self.preset == "svc002":
            path = "{tenant}/v{major}"
        elif self.preset == "dated" and not self.tenanted:
            path = "{env}/{dataset}/{entity}"
        return f"{path}/{segment(export)}/latest.json"

    @property
    def shares_pointer(self) -> bool:
        """Whether exports of equal names in two projects or environments have the same pointer at one store."""
        return self.preset == "svc002"


def may_meet(one: str, other: str) -> bool:
    """Whether nothing but variables of runs tells two templates of folders apart."""
    return not any(
        a != b and "{" not in a + b for a, b in zip(one.split("/"), other.split("/"), strict=False)
    )


# --- what an export may ask for ------------------------------------------------------------------------------------


def check_partition_by(columns: Sequence[PartitionColumn]) -> None:
    """Raises ValueError for columns that would make the same folders."""
    keys = ["shard" if column.shards else column.column for column in columns]
    for key in keys:
        if keys.count(key) > 1:
            raise ValueError(f'partition_by names "{key}" twice')


def split_path(path: str, partition_by: Sequence[PartitionColumn]) -> tuple[str, tuple[str, ...]]:
    """A custom path as the attempt's folder and the segments of partitions inside it.

    Raises ValueError where two attempts, runs or tenants could meet, or the path could leave its place.
    """
    keys = {"shard" if column.shards else column.column for column in partition_by}
    segments = path.rstrip("/").split("/")
    run: list[str] = []
    inside: list[str] = []
    for part in segments:
        names = _check_segment(part, RUN_VARIABLES | keys)
        (inside if inside or (set(names) & (keys - RUN_VARIABLES)) else run).append(part)
    names = [name for part in run for name in _VARIABLE.findall(part)]
    if names.count("attempt") > 1:  # the folders of a run's attempts are told by what stands before it
        raise ValueError("must hold {attempt} once")
    held = set(names)
    for name in ("tenant", "run", "attempt"):
        if name not in held:
            raise ValueError(
                f"must hold {{tenant}}, {{run}} and {{attempt}} before any partition: {{{name}}} is missing"
            )
    # A run's id alone is eight hex digits here: over many intervals two runs could be given the same.
    if "HHMMSS" not in held or not ("yyyymmdd" in held or {"yyyy", "MM", "dd"} <= held):
        raise ValueError(
            "must hold the run's whole start before any partition, its day ({yyyymmdd}, or {yyyy}, {MM} and {dd}) "
            "and its time ({HHMMSS}): {run} is eight digits here, too few to tell all runs apart"
        )
    used = [name for part in inside for name in _VARIABLE.findall(part)]
    if inside and sorted(used) != sorted(keys):
        raise ValueError("must hold every column of partition_by once, after the run, and nothing else there")
    return "/".join(run), tuple(inside)


def check_file_name(name: str) -> None:
    """Raises ValueError where two files of a run could meet."""
    names = _check_segment(name, (RUN_VARIABLES - {"tenant"}) | {"file"})
    if "file" not in names:
        raise ValueError("must hold {file}, the file's number")


def _check_segment(part: str, known: frozenset[str] | set[str]) -> list[str]:
    names = _VARIABLE.findall(part)
    literal = _VARIABLE.sub("", part)
    unknown = [name for name in names if name not in known]
    if unknown:
        raise ValueError(
            f"does not know {{{unknown[0]}}}; it may hold {', '.join(f'{{{n}}}' for n in sorted(known))}"
        )
    if (
        not part
        or not _LITERAL.fullmatch(literal)
        or part[0] in "._"
        or part[-1] == "."
        or _DEVICES.match(part)
    ):
        raise ValueError(
            "may hold letters, digits and . _ = + - beside its variables; no part of it may be empty, "
            'begin with "." or "_", or end with "."'
        )
    if len(names) > 1 and not set(names) <= RUN_VARIABLES - {"tenant"} | {"file"}:
        raise ValueError("must give {tenant}, and each column, a folder of its own")
    return names

"""Files in any store as a source: Parquet, CSV and JSON lines, by name or glob.

Nothing is rounded or guessed: `lading.sources.files_types` says how types arrive, `lading.sources.files_csv` and
`lading.sources.files_jsonl` what becomes of text. A reading is of exactly the objects that were there when it was
opened: one that changes meanwhile fails it, and equal names, sizes and versions give equal rows again.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from itertools import islice
from typing import Literal, Self

import pyarrow as pa
from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from lading.errors import InvalidProject, SchemaMismatch
from lading.ports import Bound, Dataset, Query, Store, Types
from lading.sources import files_names as names
from lading.sources.files_csv import CsvFiles, Dialect
from lading.sources.files_jsonl import JsonlFiles
from lading.sources.files_parquet import ParquetFiles
from lading.sources.files_reading import Files, FilesReading
from lading.sources.files_records import Kind
from lading.sources.files_types import named

_FORMATS: Mapping[str, str] = {"parquet": "parquet", "csv": "csv", "jsonl": "jsonl", "ndjson": "jsonl"}
_CODECS = ("gz", "zst")
_LISTED = 100_000


class FilesOptions(BaseModel):
    """Files in a store: Parquet, CSV, JSON lines.

    In a folder, links to folders are not followed; a reading that may miss rows behind one is refused.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: Literal["parquet", "csv", "jsonl"] | None = Field(
        None,
        description="Default: by the name's ending: .parquet, .csv, .jsonl, .ndjson; text also with .gz or .zst",
    )
    columns: dict[str, str] = Field(
        {},
        description="Types of columns of CSV and JSON lines: bool, int8 to int64, uint8 to uint64, float32, float64, "
        "decimal(15,2), string, date, time, timestamp, timestamptz, uuid, json. Floats are the nearest to what is "
        "written, and a whole number that they cannot hold is refused. CSV columns without one are text. JSON "
        "lines: all columns, or none, to take the types from all lines of the first file",
    )
    delimiter: str = Field(",", description="CSV: between fields: one ASCII character")
    header: bool = Field(
        True,
        description="CSV: whether the first line names the columns; if not, `columns` names them all in order",
    )
    quote: str = Field(
        '"', description="CSV: around text: one ASCII character, or empty where quotes mean nothing"
    )
    escape: str = Field(
        "double",
        description="CSV: how a quote inside quotes is written: `double` (RFC 4180), or the one ASCII character that "
        "stands before it, such as a backslash",
    )
    null_marker: str = Field(
        "", description="CSV: what stands for NULL where it is not quoted; by default an empty field"
    )
    immutable: bool = Field(
        False,
        description="The files are complete when they are there, and none comes late: everything up to now has arrived",
    )
    part_size: int = Field(
        64 * 1024 * 1024,
        ge=1024,
        description="Bytes, not compressed, of Parquet row groups that make one part, the unit of reading and retry",
    )
    newest_memory: int = Field(
        256 * 1024 * 1024,
        ge=32 * 1024 * 1024,
        description="Bytes of memory for keeping the newest row of each key; beyond it, temporary files are used",
    )

    @field_validator("columns")
    @classmethod
    def _types(cls, value: dict[str, str]) -> dict[str, str]:
        for name, kind in value.items():
            try:
                named(kind)
            except ValueError as error:
                raise ValueError(f"column {name}: {error}") from None
        if len({name.casefold() for name in value}) < len(value):
            raise ValueError("two columns have the same name but for case")
        return value

    @field_validator("delimiter", "quote", "escape")
    @classmethod
    def _one_character(cls, value: str) -> str:
        if value not in ("", "double") and (len(value) != 1 or not value.isascii() or value in "\r\n\0"):
            raise ValueError(f"{value!r} is not one ASCII character that ends no line")
        return value

    @model_validator(mode="after")
    def _can_be_told_apart(self) -> Self:
        if self.delimiter in ("", "double") or self.quote == "double" or not self.escape:
            raise ValueError("delimiter, quote and escape are one character each; only quote may be empty")
        if len({self.delimiter, self.quote, self.escape}) < 3:
            raise ValueError(
                "delimiter, quote and escape must differ; for doubled quotes write `escape: double`"
            )
        if any(mark and mark in self.null_marker for mark in (self.delimiter, self.quote, self.escape)):
            raise ValueError("null_marker must hold no delimiter, quote or escape character")
        if not self.header and not self.columns:
            raise ValueError("without a header, `columns` must name all columns and their types, in order")
        return self


class FilesSource:
    """Fulfils `lading.ports.Source`. Thread-safe."""

    def __init__(self, options: FilesOptions, store: Store) -> None:
        self._options, self._store = options, store
        self._types = {name: named(kind) for name, kind in options.columns.items()}

    def describe(self, dataset: Dataset, types: Types, as_text: frozenset[str] = frozenset()) -> pa.Schema:
        glob = names.pattern(dataset)
        return Files(self._store, self._kind(glob), glob).schema(types, as_text)

    def unique_keys(self, dataset: Dataset) -> frozenset[frozenset[str]]:
        """None: files prove nothing of the kind."""
        names.pattern(dataset)
        return frozenset()

    def bound(self, dataset: Dataset | None = None) -> Bound:
        now = datetime.now(UTC)
        if self._options.immutable:
            return Bound(now, now)
        return Bound(now, None, "files have no transaction clock")

    @contextmanager
    def open(self, query: Query) -> Iterator[FilesReading]:
        glob = names.pattern(query.dataset)
        files = Files(self._store, self._kind(glob), glob, query.ranges)
        layout = self._options.model_dump(exclude={"immutable", "newest_memory"})
        yield FilesReading(files, query, layout, self._options.part_size, self._options.newest_memory)

    def test(self) -> str:
        with names.explained(self._store):
            infos = list(islice(self._store.list(), _LISTED + 1))
        more = "more than " if len(infos) > _LISTED else ""
        infos = infos[:_LISTED]
        return f"{more}{len(infos)} objects, {more}{sum(i.size for i in infos)} bytes in {self._store.url}"

    def _kind(self, glob: str) -> Kind:
        """By the names of what matches. Raises SchemaMismatch where they tell nothing, or several things."""
        kinds = {self._ending(info.name) for info in names.matching(self._store, glob)}
        if len(kinds) > 1:
            said = " and ".join(
                sorted(".".join(filter(None, kind)) or "names that tell nothing" for kind in kinds)
            )
            raise SchemaMismatch(f"{glob} matches files of several formats: {said}.", hint="Narrow the glob.")
        format_, codec = kinds.pop()
        if format_ == "parquet" and not codec:
            if self._types:
                raise InvalidProject(
                    "`columns` declares types for CSV and JSON lines; Parquet files have their own.",
                    hint="Leave `columns` out of the connection in lading.yaml, or read these files by another one.",
                )
            return ParquetFiles()
        if format_ == "jsonl":
            return JsonlFiles(self._types, codec)
        if format_ == "csv":
            o = self._options
            return CsvFiles(
                Dialect(o.delimiter, o.header, o.quote, o.escape, o.null_marker, self._types), codec
            )
        raise SchemaMismatch(
            f"The names that {glob} matches do not tell their format.",
            hint="Set the connection's `format`, or narrow the glob: flights/*.parquet",
        )

    def _ending(self, name: str) -> tuple[str, str]:
        stem, _, last = name.lower().rpartition(".")
        codec = last if last in _CODECS else ""
        ending = stem.rpartition(".")[2] if codec else last
        return self._options.format or _FORMATS.get(ending, ""), codec

"""CSV files: UTF-8, RFC 4180 and its dialects, read strictly.

Columns are text unless a type is declared: nothing is guessed. Arrow's parser lets the file's end close a quote, and
drops quotes inside a field; so quotes are looked at before it, and such files are refused. Empty lines are skipped, but
in a file of one column, where they are rows.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv as pc_csv

from lading.errors import DataRefused, SchemaMismatch
from lading.ports import Download, ObjectInfo, Range
from lading.sources.files_records import Group, Look, Tally, Wanted, plain_bytes, records
from lading.sources.files_types import Column

_HEADER = 64 * 1024
_BOM = b"\xef\xbb\xbf"
_LINE_FEED, _RETURN = 10, 13


@dataclass(frozen=True, slots=True)
class Dialect:
    delimiter: str
    header: bool
    quote: str  # empty: none
    escape: str  # "double", or the character
    null_marker: str
    types: Mapping[str, Any]  # column -> Arrow type; all columns in order where there is no header


@dataclass(frozen=True)
class CsvFiles:
    """Fulfils `lading.sources.files_records.Kind`. ``codec``: gz, zst or nothing."""

    dialect: Dialect
    codec: str

    alike = True

    def look(self, file: Download, info: ObjectInfo, ranges: Sequence[Range]) -> Look:
        groups = (Group(0, info.size),) if info.size or self.codec else ()
        names = list(self.dialect.types)
        if self.dialect.header:
            blocks = records(plain_bytes(file, info, self.codec), self._ends, _HEADER)
            header = next((found for block in blocks if (found := self._headed(block)[0])), b"")
            if not header:
                raise DataRefused(
                    "has no row and not even a header.",
                    hint="A file that was cut off, or is not yet written, looks so. Remove it if it holds nothing.",
                )
            names = self._names(header)
            unknown = [name for name in self.dialect.types if name not in names]
            if unknown:
                raise SchemaMismatch(f'has no column "{unknown[0]}", for which `columns` declares a type.')
        return Look(tuple(map(self._column, names)), groups)

    def read(
        self, file: Download, wanted: Wanted, groups: Sequence[int], tally: Tally
    ) -> Iterator[pa.RecordBatch]:
        names, rows, first = list(self.dialect.types), 0, True
        for block in records(plain_bytes(file, wanted.file, self.codec), self._ends):
            data = block
            if first and self.dialect.header:
                header, data = self._headed(block)
                if not header:
                    continue
                names = self._names(header)
            elif first:
                data = block.removeprefix(_BOM)
            first = False
            self._check_quotes(data)
            if data and not self._is_ended(data):
                data += (
                    b"\n"  # without a line end Arrow takes an empty field behind a quoted one for quoted too
                )
            if data:
                batch = self._parse(data, names, [column.name for column in wanted.columns], rows)
                rows += batch.num_rows
                yield batch

    def _is_ended(self, data: bytes) -> bool:
        """Whether the last record ends with a line feed."""
        escape = self.dialect.escape.encode()
        if data.endswith(escape) and len(data) in self._quotes(np.frombuffer(data, np.uint8))[1]:
            raise DataRefused(
                "ends with an escape character that escapes nothing.", hint="A file that was cut off ends so."
            )
        return data[-1] == _LINE_FEED and (data[-2:-1] != escape or self._ends(data) == len(data))

    def _column(self, name: str) -> Column:
        kind = self.dialect.types.get(name)
        return Column(name, pa.binary(), "text in CSV", parsed=kind or pa.string(), declared=kind is not None)

    def _headed(self, block: bytes) -> tuple[bytes, bytes]:
        """The line that names the columns, which empty lines may come before, and what follows it."""
        data = block.removeprefix(_BOM).lstrip(b"\r\n")
        buffer = np.frombuffer(data, np.uint8)
        ends = self._line_ends(buffer)
        end = int(ends[0]) + 1 if len(ends) else len(data)
        return data[:end].rstrip(b"\r\n"), data[end:]

    def _names(self, header: bytes) -> list[str]:
        self._check_quotes(header)
        if not _is_utf8(header):
            raise SchemaMismatch("has a header that is not UTF-8.", hint="Convert the file to UTF-8.")
        # Not by `open_csv`: it reads ahead in a thread of Arrow's, which may let go of these bytes when Python is gone.
        table = pc_csv.read_csv(
            pa.BufferReader(header + b"\n"),
            read_options=pc_csv.ReadOptions(block_size=len(header) + 2, use_threads=False),
            parse_options=self._parsing(),
        )
        names: list[str] = table.schema.names
        if "" in names:
            raise SchemaMismatch(f"has no name for column {names.index('') + 1} in its header.")
        return names

    def _parse(self, data: bytes, names: list[str], wanted: list[str], before: int) -> pa.RecordBatch:
        bad: list[tuple[int, int]] = []

        def skip(row: Any) -> str:
            bad.append((before + row.number, row.actual_columns))
            return "skip"

        if data.startswith(_BOM):
            data = _BOM + data  # Arrow takes the first one off, and this is a value's
        table = pc_csv.read_csv(
            pa.BufferReader(data),
            read_options=pc_csv.ReadOptions(block_size=len(data) + 1, column_names=names, use_threads=False),
            parse_options=self._parsing(skip, alone=len(names) == 1),
            convert_options=pc_csv.ConvertOptions(
                column_types=dict.fromkeys(names, pa.binary()),
                include_columns=wanted,
                null_values=[self.dialect.null_marker],
                strings_can_be_null=True,
                quoted_strings_can_be_null=False,
            ),
        ).combine_chunks()
        if bad:
            raise DataRefused(
                f"has {len(bad)} or more rows that do not have {len(names)} fields; row {bad[0][0]} has {bad[0][1]}.",
                hint="Are `delimiter`, `quote` and `escape` those of the file?",
            )
        columns = [table.column(name).combine_chunks() for name in wanted]
        return pa.RecordBatch.from_arrays(columns, names=wanted)

    def _parsing(self, skip: Any = None, *, alone: bool = False) -> Any:
        dialect = self.dialect
        return pc_csv.ParseOptions(
            delimiter=dialect.delimiter,
            quote_char=dialect.quote or False,
            double_quote=dialect.escape == "double",
            escape_char=False if dialect.escape == "double" else dialect.escape,
            newlines_in_values=True,
            ignore_empty_lines=not alone,
            invalid_row_handler=skip,
        )

    def _quotes(self, buffer: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Where quotes stand that open or close, and where characters stand that are escaped."""
        escaped = np.empty(0, np.int64)
        if self.dialect.escape != "double":
            marks = np.flatnonzero(buffer == ord(self.dialect.escape))
            if len(marks):
                # In a run of escape characters every second one is escaped itself, the first never.
                starts = np.concatenate([[True], np.diff(marks) > 1])
                order = np.arange(len(marks))
                since = order - np.maximum.accumulate(np.where(starts, order, 0))
                escaped = marks[since % 2 == 0] + 1
        if not self.dialect.quote:
            return np.empty(0, np.int64), escaped
        quotes = np.flatnonzero(buffer == ord(self.dialect.quote))
        return np.setdiff1d(quotes, escaped, assume_unique=True), escaped

    def _line_ends(self, buffer: np.ndarray) -> np.ndarray:
        """The last bytes of records, of which one begins the buffer: line feeds, and returns without one."""
        quotes, escaped = self._quotes(buffer)
        ends = buffer == _LINE_FEED
        ends[:-1] |= (buffer[:-1] == _RETURN) & ~ends[1:]  # the last may yet be followed by one
        ends[escaped[escaped < len(ends)]] = False
        lines = np.flatnonzero(ends)
        return lines[np.searchsorted(quotes, lines) % 2 == 0] if len(quotes) else lines

    def _ends(self, data: bytes) -> int:
        ends = self._line_ends(np.frombuffer(data, np.uint8))
        return int(ends[-1]) + 1 if len(ends) else 0

    def _check_quotes(self, data: bytes) -> None:
        """Quotes open after a delimiter or a line's beginning, and close before a delimiter or a line's end."""
        buffer = np.frombuffer(data, np.uint8)
        quotes, _ = self._quotes(buffer)
        if not len(quotes):
            return
        if len(quotes) % 2:
            raise DataRefused(
                "has a quote that is not closed, or one in a field that does not begin with it.",
                hint="A file that was cut off ends so; where quotes mean nothing, set `quote` to nothing.",
            )
        around = [ord(self.dialect.delimiter), _LINE_FEED, _RETURN]
        around += [ord(self.dialect.quote)] if self.dialect.escape == "double" else []
        fence = np.full(1, _LINE_FEED, np.uint8)
        padded = np.concatenate([fence, buffer, fence])
        astray = ~np.isin(padded[quotes[0::2]], around) | ~np.isin(padded[quotes[1::2] + 2], around)
        if astray.any():
            raise DataRefused(
                f"has {int(astray.sum())} or more quotes in the middle of a field.",
                hint="Are `delimiter`, `quote` and `escape` those of the file?",
            )


def _is_utf8(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True

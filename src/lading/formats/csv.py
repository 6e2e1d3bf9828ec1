"""CSV after RFC 4180, with dialects: UTF-8, a header, one row a line.

NULL and the empty string differ: by default NULL is an empty field and the empty string is ``""``, as PostgreSQL's
``COPY … (FORMAT csv)`` and DuckDB (``allow_quoted_nulls = false``) read it. With a ``null_marker``, NULL is the bare
marker, and a text that equals the marker is quoted.

Fields hold what `lading.formats.text` lists; lists, structs and maps hold JSON text. Only text is ever quoted, and only
where it must be.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from functools import partial
from typing import Any, Literal, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pc_csv
from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from lading.errors import DataRefused, IntegrityError, SchemaMismatch, counted
from lading.formats import text
from lading.formats.compression import SUFFIXES, Compression, decompressed
from lading.formats.joining import each
from lading.formats.json_text import Rules, encode, unified, written_type
from lading.formats.lines import LineWriter
from lading.formats.parsing import parse
from lading.formats.written import check, is_binary, is_uuid, logical, marked, plain, plain_type, refuse
from lading.ports import Download, Sink, Types, Writer

_FORMULA = "^[=+\\-@\t\r]"
_READ = 8 << 20  # bytes read back at once
_MOST = (1 << 31) - (1 << 20)  # bytes of a row that is read back: Arrow counts them in 32 bits
_MARK = "\ufeff".encode()
_LIKE_A_VALUE = re.compile(
    r"[+-]?P?T?[+-]?[0-9.].*|true|false|[+-]?(nan|inf|infinity)", re.IGNORECASE | re.DOTALL
)
# Three percent smaller than the level below, for half as much time again. JSON's names, which come again in every line,
# make it three times the time there, for one percent.
_GZIP_LEVEL = 3


class CsvOptions(BaseModel):
    """Comma-separated values."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    compression: Compression = Field(
        default="none", description="none, gzip or zstd, over the file as a whole"
    )
    delimiter: str = Field(default=",", description="between fields: one ASCII character")
    header: bool = Field(default=True, description="whether the first line names the columns")
    quote: str = Field(
        default='"',
        description="around text that needs it: one ASCII character, or empty for none, which refuses such text",
    )
    escape: str = Field(
        default="double",
        description="how a quote inside quotes is written: `double` (RFC 4180), or the one ASCII character to put "
        "before it, such as a backslash",
    )
    null_marker: str = Field(default="", description="what stands for NULL, never quoted")
    line_ending: Literal["lf", "crlf"] = Field(default="lf", description="lf, or crlf as RFC 4180 has it")
    formula_guard: bool = Field(
        default=False,
        description="put ' before text that begins with = + - @, a tab or a carriage return, so that spreadsheets do "
        "not run it. It changes the text; the manifest says so",
    )
    bom: bool = Field(default=False, description="begin with a byte order mark, which makes Excel read UTF-8")

    @field_validator("delimiter", "quote", "escape")
    @classmethod
    def _one_character(cls, value: str, info: Any) -> str:
        if (value == "" and info.field_name == "quote") or (
            value == "double" and info.field_name == "escape"
        ):
            return value
        if len(value) != 1 or not value.isascii() or value.isalnum() or value in "\r\n\0":
            raise ValueError(
                f"{info.field_name} must be one ASCII character that is no letter, digit or line end"
            )
        if value in "+-.:/=":
            raise ValueError(
                f"{info.field_name} must not be {value!r}, which numbers, times and base64 are made of"
            )
        return value

    @model_validator(mode="after")
    def _can_be_told_apart(self) -> Self:
        if self.delimiter == self.quote or self.delimiter == self.escape:
            raise ValueError("delimiter, quote and escape must differ")
        if self.escape == self.quote:
            raise ValueError("escape equals quote: write `escape: double`")
        if self.null_marker and _LIKE_A_VALUE.fullmatch(self.null_marker):
            raise ValueError(f"null_marker {self.null_marker!r} looks like a value; use \\N or NULL")
        if any(
            character in self.null_marker
            for character in (self.delimiter, self.quote, self.escape)
            if character
        ):
            raise ValueError("null_marker must hold no delimiter, quote or escape character")
        if self.null_marker.strip() != self.null_marker or not self.null_marker.isprintable():
            raise ValueError("null_marker must be printable, and not begin or end with white space")
        return self


class CsvFormat:
    """Writes and reads CSV."""

    name = "csv"

    def __init__(self, options: CsvOptions | None = None) -> None:
        self.options = options or CsvOptions()
        self.codec = SUFFIXES[self.options.compression]
        self.suffix = f"csv.{self.codec}" if self.codec else "csv"

    def schema(self, schema: Any, types: Types) -> Any:
        check(schema)
        if len(schema) == 1 and schema[0].nullable and not self.options.null_marker:
            raise SchemaMismatch(
                f"column {schema[0].name!r} stands alone: a NULL would be an empty line, which readers skip",
                hint="Give the format a null_marker, such as \\N.",
            )
        return pa.schema([_written(field) for field in schema])

    def open(self, sink: Sink, schema: Any, types: Types, memory: int, limit: int | None = None) -> Writer:
        written = self.schema(schema, types)
        options = self.options
        end = "\r\n" if options.line_ending == "crlf" else "\n"
        head = _MARK.decode() if options.bom else ""
        if options.header:
            names = self._text(pa.array(schema.names, pa.string()), "the header", begins_file=True)
            head += options.delimiter.join(names.to_pylist()) + end

        def pieces(columns: list[Any]) -> list[Any]:
            fields = [
                each(
                    column, partial(self._fields, field=field, begins_file=number == 0 and not options.header)
                )
                for number, (column, field) in enumerate(zip(columns, schema, strict=True))
            ]
            # As the separator a delimiter costs half of what it costs as a further piece.
            fields[-1] = each(fields[-1], lambda last: pc.binary_join_element_wise(last, end, ""))
            return fields

        return LineWriter(
            sink,
            schema,
            options.compression,
            memory,
            pieces,
            written,
            separator=options.delimiter,
            head=head.encode(),
            limit=limit,
            gzip_level=_GZIP_LEVEL,
        )

    def notices(self) -> tuple[str, ...]:
        if not self.options.formula_guard:
            return ()
        return (
            "text that begins with = + - @, a tab or a carriage return has ' put before it (formula guard)",
        )

    def scan(self, file: Download, schema: Any) -> Iterator[Any]:
        """Raises IntegrityError for what is not CSV of these columns and types. A row is below 2 GiB."""
        source = io.BufferedReader(decompressed(file, self.options.compression), 1 << 16)
        if self.options.bom and source.read(len(_MARK)) != _MARK:
            raise IntegrityError("the file does not begin with a byte order mark")
        try:
            headed = self.options.header
            for rows in self._whole_rows(source):
                batches = self._parsed(rows, schema, headed=headed)
                headed = False
                for batch in batches:
                    columns = [
                        parse(array, f.type, f.name) for array, f in zip(batch.columns, schema, strict=True)
                    ]
                    yield pa.RecordBatch.from_arrays(columns, schema=schema)
        except pa.ArrowInvalid as error:
            what = re.sub(r"Row #\d+: ", "", str(error))  # counted from where a block begins
            raise IntegrityError(f"not CSV of {len(schema)} columns: {what}") from error
        if headed:
            raise IntegrityError(f"not CSV of {len(schema)} columns: the file is empty")

    def _parsed(self, rows: bytes, schema: Any, *, headed: bool) -> Any:
        """Batches of fields as text. Not by `open_csv`, which reads in a thread of Arrow's: a scan that ends early
        leaves it behind, and it aborts the process where it needs Python and Python is ending."""
        options = self.options
        names = self._guarded(pa.array(schema.names, pa.string())).to_pylist()
        if not headed and rows.startswith(_MARK):
            rows = _MARK + rows  # Arrow takes the first one off, and this is a value's
        table = pc_csv.read_csv(
            pa.BufferReader(rows),
            read_options=pc_csv.ReadOptions(
                block_size=len(rows) + 1, column_names=None if headed else names, use_threads=False
            ),
            parse_options=pc_csv.ParseOptions(
                delimiter=options.delimiter,
                quote_char=options.quote or False,
                double_quote=options.escape == "double",
                escape_char=False if options.escape == "double" else options.escape,
                newlines_in_values=bool(options.quote),
                ignore_empty_lines=False,
            ),
            convert_options=pc_csv.ConvertOptions(
                column_types=dict.fromkeys(names, pa.string()),
                null_values=[options.null_marker],
                strings_can_be_null=True,
                quoted_strings_can_be_null=False,
            ),
        )
        if table.column_names != names:
            raise IntegrityError(f"the columns are {', '.join(table.column_names)}, not {', '.join(names)}")
        return table.to_batches()

    def _whole_rows(self, source: Any) -> Iterator[bytes]:
        held = b""
        while more := source.read(max(_READ, len(held))):
            held += more
            end = self._last_end(held)
            if end:
                yield held[:end]
                held = held[end:]
            if len(held) > _MOST:
                raise IntegrityError("a row is larger than 2 GiB")
        if held:
            yield held

    def _last_end(self, data: bytes) -> int:
        """Where the last row ends that ends in ``data``, which begins with a row; 0 where none does."""
        quote, escape = self.options.quote.encode(), self.options.escape
        if quote and escape != "double":
            mark = escape.encode()
            data = data.replace(mark + mark, b"\0\0").replace(mark + quote, b"\0\0")
        at = data.rfind(b"\n")
        inside = at >= 0 and quote != b"" and data.count(quote, 0, at) % 2 == 1
        while inside:
            before = data.rfind(b"\n", 0, at)
            inside = before >= 0 and (data.count(quote, before, at) % 2 == 0)
            at = before
        return at + 1

    def _fields(self, array: Any, field: Any, *, begins_file: bool) -> Any:
        """One column as fields, quoted where they must be. ``begins_file``: one of them is the file's first."""
        array, meaning = plain(array), logical(field)
        kind = array.type
        if pa.types.is_nested(kind):
            encoded = encode(array, field, Rules("exact", nan="string"), field.name)
            values = pc.if_else(array.is_valid(), encoded.values, pa.scalar(None, pa.string()))
        elif pa.types.is_null(kind):
            values = array.cast(pa.string())
        elif is_binary(kind):
            values = text.uuids(array) if is_uuid(kind, meaning) else text.base64(array)
        else:
            values = text.render(array, field.name)
        if pa.types.is_nested(kind) or pa.types.is_string(kind):
            values = self._text(values, f"column {field.name!r}", begins_file=begins_file)
        elif is_binary(kind):
            values = self._quoted(values, self._clashes(values), f"column {field.name!r}")
        return pc.fill_null(values, self.options.null_marker) if values.null_count else values

    def _text(self, values: Any, where: str, *, begins_file: bool) -> Any:
        options = self.options
        values = self._guarded(values)
        special = (
            options.delimiter
            + "\r\n"
            + options.quote
            + ("" if options.escape == "double" else options.escape)
        )
        mask = text.positions(values, special.encode())
        clashes = self._clashes(values)
        if clashes is not None:
            mask = clashes if mask is None else mask | clashes
        if begins_file:  # bare, U+FEFF would be taken for the file's byte order mark
            marks = pc.fill_null(pc.starts_with(values, _MARK.decode()), False)
            if pc.any(marks).as_py():
                bare = np.asarray(marks.to_numpy(zero_copy_only=False))
                mask = bare if mask is None else mask | bare
        return self._quoted(values, mask, where)

    def _guarded(self, values: Any) -> Any:
        if not self.options.formula_guard:
            return values
        begins = pc.match_substring_regex(values, _FORMULA)
        return pc.if_else(begins, pc.binary_join_element_wise("'", values, ""), values)

    def _clashes(self, values: Any) -> np.ndarray | None:
        """Which texts would be taken for NULL."""
        if self.options.null_marker:
            equal = pc.equal(values, self.options.null_marker)
        else:
            equal = pc.equal(pc.binary_length(values), 0)
        if not pc.any(equal).as_py():
            return None
        return np.asarray(pc.fill_null(equal, False).to_numpy(zero_copy_only=False))

    def _quoted(self, values: Any, mask: np.ndarray | None, where: str) -> Any:
        if mask is None:
            return values
        quote, escape = self.options.quote, self.options.escape
        if not quote:
            raise DataRefused(
                f"{where}: at least {counted(int(mask.sum()), 'value needs', 'values need')} quotes, and the format's "
                "`quote` is empty",
                hint="Set `quote`, or another `delimiter` or `null_marker`.",
            )
        chosen = pa.array(mask)
        rows = values.filter(chosen)
        if escape == "double":
            rows = pc.replace_substring(rows, quote, quote * 2)
        else:
            rows = pc.replace_substring(pc.replace_substring(rows, escape, escape * 2), quote, escape + quote)
        return pc.replace_with_mask(values, chosen, pc.binary_join_element_wise(quote, rows, quote, ""))


def _written(field: Any) -> Any:
    kind, meaning = plain_type(field.type), logical(field)
    if pa.types.is_nested(kind) and not pa.types.is_union(kind):
        written_type(field, Rules())
        return marked(field, pa.string(), "json")
    if is_binary(kind):
        return marked(field, pa.string(), "uuid" if is_uuid(kind, meaning) else "base64")
    if pa.types.is_duration(kind) or kind == pa.month_day_nano_interval():
        return marked(field, pa.string(), "interval")
    if isinstance(kind, pa.BaseExtensionType) or pa.types.is_union(kind):
        raise refuse(field.name, kind, "CSV", "declare the column a string in the contract, or leave it out")
    return marked(field, unified(kind))

"""How rows become bytes: one file per format, each with its options model and a class that is a `lading.ports.Format`.

=================  ==================================================================================================
module             gives
=================  ==================================================================================================
``parquet``        `ParquetFormat(ParquetOptions())`: Apache Parquet, format version 2.6
``jsonl``          `JsonlFormat(JsonlOptions())`: JSON lines, one object a line, RFC 8259
``csv``            `CsvFormat(CsvOptions())`: RFC 4180, with dialects
``arrow``          `ArrowFormat(ArrowOptions())`: the Arrow IPC file format
=================  ==================================================================================================

What they share: `written` (which type a recipient finds for which type of the source), `text` (values as plain text),
`json_text` (values as JSON text), `lines` (writers of text files), `groups` (writers of columnar files), `compression`
(streams), `statistics` (minimum, maximum and NULLs per column).

Equal rows in equal order give equal bytes, however they were cut into batches, as long as ``memory`` does not force a
row group to end early. Everything runs in Arrow and NumPy kernels over whole columns, outside the GIL.
"""

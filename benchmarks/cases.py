"""What is measured: the cases, and the tools that do each."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.projects import GOVERNED, MASKED


def nothing() -> dict[str, float]:
    return {}


@dataclass(frozen=True)
class Tool:
    """Something that does a case, as one command."""

    name: str
    command: Sequence[str]
    prepare: Callable[[], object] = nothing
    check: Callable[[], Mapping[str, float]] = nothing  # raises Broken; what it tells goes with the sample
    folder: Path | None = None  # what it writes; made empty before each run, and taken away after it
    environ: Mapping[str, str] = field(default_factory=dict)
    repeat: int = 1  # runs in each round
    tells: bool = False  # whether it prints JSON of what it measured itself


@dataclass(frozen=True)
class Case:
    name: str
    title: str
    tools: Sequence[Tool]
    copies: bool = True  # whether its time grows with the rows


@dataclass(frozen=True)
class Copy:
    """One table, from here to there."""

    name: str
    title: str
    source: str  # postgres or parquet
    format: str
    compression: str
    peers: tuple[str, ...]
    export: Mapping[str, Any] = field(default_factory=dict)
    table: str = "lineitem"
    condition: str = "true"
    rewrite: str = ""


TENANTS = 1000
GOVERNED_ROWS = "length(l_shipmode) = 64 and length(l_comment) = 64 and day(l_shipdate) = 1"
POSTGRES = ("DuckDB", "ClickHouse", "Polars", "ADBC", "connectorx", "dlt", "rivet", "Sling", "COPY")
SNAPPY, ZSTD = {"type": "parquet", "compression": "snappy"}, {"type": "parquet", "compression": "zstd"}
GZIPPED = {"type": "csv", "compression": "gzip"}

COPIES = (
    Copy("postgres-parquet", "PostgreSQL → snappy Parquet", "postgres", "parquet", "snappy", POSTGRES),
    Copy("postgres-parquet-orders", "the same, `orders`", "postgres", "parquet", "snappy", ("DuckDB", "COPY"),
         table="orders"),
    Copy("postgres-parquet-customer", "the same, `customer`", "postgres", "parquet", "snappy", ("DuckDB", "COPY"),
         table="customer"),
    Copy("postgres-governed", "PostgreSQL → snappy Parquet, three masks, four checks", "postgres", "parquet", "snappy",
         ("DuckDB",), GOVERNED, condition=GOVERNED_ROWS, rewrite="format parquet, compression snappy"),
    Copy("postgres-csv-gz", "PostgreSQL → CSV.gz", "postgres", "csv", "gzip", ("DuckDB",), {"format": GZIPPED}),
    Copy("parquet-csv-gz", "Parquet → CSV.gz", "parquet", "csv", "gzip", ("ClickHouse", "DuckDB", "Polars"),
         {"format": GZIPPED}),
    Copy("parquet-jsonl", "Parquet → JSONL", "parquet", "jsonl", "none", ("ClickHouse", "DuckDB", "Polars"),
         {"format": {"type": "jsonl"}}),
    Copy("parquet-jsonl-gz", "Parquet → JSONL.gz", "parquet", "jsonl", "gzip", ("ClickHouse", "DuckDB", "Polars"),
         {"format": {"type": "jsonl", "compression": "gzip"}}),
    Copy("parquet-masked", "Parquet → zstd Parquet, one mask", "parquet", "parquet", "zstd",
         ("DuckDB", "ClickHouse", "Polars"), {"format": ZSTD, **MASKED}, condition="length(l_shipmode) = 64"),
)  # fmt: skip

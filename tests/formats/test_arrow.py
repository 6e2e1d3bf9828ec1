from __future__ import annotations

import io
from typing import Any

import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given, settings

from lading.errors import IntegrityError
from lading.formats.arrow import ArrowFormat, ArrowOptions
from lading.testing.format import SCHEMA, FormatSuite, batch_of, differences, rows, sample, write


class TestArrow(FormatSuite):
    @pytest.fixture(params=["none", "zstd", "lz4"])
    def format(self, request: pytest.FixtureRequest) -> ArrowFormat:
        return ArrowFormat(ArrowOptions(compression=request.param))


@settings(max_examples=30, deadline=None)
@given(values=rows(finite=False))
def test_every_value_arrives_as_it_was(values: list[dict[str, Any]]) -> None:
    batch = batch_of(values)
    data, _ = write(ArrowFormat(), [batch], "exact")
    table = pa.ipc.open_file(io.BytesIO(data)).read_all()
    for name in SCHEMA.names:
        found = table[name].combine_chunks()
        found = found.storage if isinstance(found.type, pa.BaseExtensionType) else found
        assert not list(differences(found.to_pylist(), batch.column(name).to_pylist())), name


def test_polars_reads_a_portable_file() -> None:
    data, _ = write(ArrowFormat(), [sample(20).select(["id", "price", "moment", "uuid", "numbers"])])
    frame = pl.read_ipc(io.BytesIO(data))
    assert frame["id"].to_list() == list(range(20))
    assert frame["uuid"][1] == "00000000-0000-0000-0000-000000000001"


def test_the_source_s_type_names_do_not_travel() -> None:
    schema = pa.schema([pa.field("a", pa.int64(), metadata={b"lading.native": b"secret_domain"})])
    data, _ = write(ArrowFormat(), [pa.RecordBatch.from_arrays([pa.array([1])], schema=schema)])
    assert b"secret_domain" not in data


def test_what_is_no_arrow_file_is_an_integrity_error() -> None:
    format = ArrowFormat()
    data, _ = write(format, [sample(10)])
    with pytest.raises(IntegrityError):
        list(format.scan(io.BytesIO(data[:-9]), format.schema(SCHEMA, "portable")))
    with pytest.raises(IntegrityError, match="columns"):
        list(format.scan(io.BytesIO(data), pa.schema([("id", pa.string())])))

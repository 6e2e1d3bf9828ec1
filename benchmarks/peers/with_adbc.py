"""ADBC and pyarrow: `fetch_record_batch`, numerics cast from the text that the driver gives, `ParquetWriter`."""

import json
import os

import adbc_driver_postgresql.dbapi as adbc
import pyarrow as pa
import pyarrow.parquet as pq


def plain(batch: pa.RecordBatch, schema: pa.Schema) -> pa.RecordBatch:
    columns = [
        column.storage.cast(field.type) if isinstance(column.type, pa.BaseExtensionType) else column
        for column, field in zip(batch.columns, schema, strict=True)
    ]
    return pa.record_batch(columns, schema=schema)


def main(job: dict[str, str]) -> None:
    with adbc.connect(job["conninfo"]) as connection, connection.cursor() as cursor:
        cursor.execute(f"select * from {job['table']}")
        reader = cursor.fetch_record_batch()
        money = pa.decimal128(15, 2)  # as TPC-H has all its numerics
        schema = pa.schema(
            (f.name, money if isinstance(f.type, pa.BaseExtensionType) else f.type) for f in reader.schema
        )
        with pq.ParquetWriter(f"{job['output']}/{job['file']}", schema, compression="snappy") as writer:
            for batch in reader:
                writer.write_batch(plain(batch, schema))


if __name__ == "__main__":
    main(json.loads(os.environ["BENCH_JOB"]))

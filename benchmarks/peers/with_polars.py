"""Polars: `read_database_uri` by connectorx in two partitions, `write_parquet`; from Parquet, `scan` and `sink`."""

import json
import os

import polars as pl


def main(job: dict[str, str]) -> None:
    target = f"{job['output']}/{job['file']}"
    if "conninfo" in job:
        frame = pl.read_database_uri(
            f"select * from {job['table']}",
            job["url"],
            partition_on=job["key"],
            partition_num=2,
            engine="connectorx",
        )
        frame.write_parquet(target, compression="snappy")
        return
    rows, compression = pl.scan_parquet(job["parquet"]), job["compression"]
    if job["format"] == "parquet":
        rows.sink_parquet(target, compression="zstd" if compression == "zstd" else "snappy")
    elif job["format"] == "jsonl":
        rows.sink_ndjson(target, compression="gzip" if compression == "gzip" else "uncompressed")
    else:
        rows.sink_csv(target, compression="gzip" if compression == "gzip" else "uncompressed")


if __name__ == "__main__":
    main(json.loads(os.environ["BENCH_JOB"]))

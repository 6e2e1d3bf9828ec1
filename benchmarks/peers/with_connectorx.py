"""connectorx: `read_sql` to Arrow in two partitions of the key, then pyarrow's `write_table`."""

import json
import os

import connectorx
import pyarrow.parquet as pq


def main(job: dict[str, str]) -> None:
    table = connectorx.read_sql(
        job["url"],
        f"select * from {job['table']}",
        return_type="arrow",
        partition_on=job["key"],
        partition_num=2,
    )
    pq.write_table(table, f"{job['output']}/{job['file']}", compression="snappy")


if __name__ == "__main__":
    main(json.loads(os.environ["BENCH_JOB"]))

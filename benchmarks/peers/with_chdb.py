"""ClickHouse (chdb): `INSERT INTO FUNCTION file(…) SELECT … FROM postgresql(…)` or `file(…)`, with two threads."""

import json
import os

import chdb

FORMATS = {"parquet": "Parquet", "csv": "CSVWithNames", "jsonl": "JSONEachRow"}


def main(job: dict[str, str]) -> None:
    source = f"file('{job.get('parquet')}', Parquet)"
    if "conninfo" in job:
        where = f"{job['host']}:{job['port']}"
        source = f"postgresql('{where}', '{job['dbname']}', '{job['table']}', '{job['user']}', '{job['password']}')"
    settings = "max_threads = 2"
    if job["format"] == "parquet":
        settings += f", output_format_parquet_compression_method = '{job['compression']}'"
    target = f"file('{job['output']}/{job['file']}', {FORMATS[job['format']]})"
    chdb.query(f"insert into function {target} select * from {source} settings {settings}")


if __name__ == "__main__":
    main(json.loads(os.environ["BENCH_JOB"]))

"""Sling: `sling run` from the table to a Parquet file; SLING may name the program."""

import json
import os


def main(job: dict[str, str]) -> None:
    url = job["url"]
    if "sslmode=" not in url:  # its driver would insist on TLS, and knows no `prefer`
        url += "?sslmode=disable"
    environ = {**os.environ, "BENCH": url, "SLING_DISABLE_TELEMETRY": "TRUE"}
    words = ["run", "--src-conn", "BENCH", "--src-stream", f"public.{job['table']}"]
    words += ["--tgt-object", f"file://{job['output']}/{job['file']}"]
    words += ["--tgt-options", "{format: parquet, compression: snappy}"]
    os.execve(job["program"], [job["program"], *words], environ)


if __name__ == "__main__":
    main(json.loads(os.environ["BENCH_JOB"]))

"""rivet: `rivet run` in chunks of the key, two at a time, with its fast profile; RIVET may name the program."""

import json
import os
import tempfile
from pathlib import Path


def main(job: dict[str, str]) -> None:
    export = {
        "name": job["table"],
        "table": f"public.{job['table']}",
        "mode": "chunked",
        "chunk_column": job["key"],
        "chunk_count": 16,
        "parallel": 2,
        "format": "parquet",
        "compression": "snappy",
        "destination": {"type": "local", "path": job["output"]},
    }
    source = {"type": "postgres", "url": job["url"], "tuning": {"profile": "fast"}}
    os.chdir(tempfile.mkdtemp(dir=Path(job["output"]).parent))  # where it keeps its state
    Path("rivet.yaml").write_text(json.dumps({"source": source, "exports": [export]}), encoding="utf-8")
    os.execv(job["program"], [job["program"], "run", "-c", "rivet.yaml"])


if __name__ == "__main__":
    main(json.loads(os.environ["BENCH_JOB"]))

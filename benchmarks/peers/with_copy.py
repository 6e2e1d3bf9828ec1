"""The limit: `COPY (…) TO '/dev/null' (FORMAT binary)`, half of the table's pages on each of two connections.

The server itself throws the rows away, so that this is its own work and nobody else's.
"""

import json
import os
from concurrent.futures import ThreadPoolExecutor

import psycopg


def main(job: dict[str, str]) -> None:
    def copy(condition: str) -> None:
        with psycopg.connect(job["conninfo"]) as connection:
            query = f"select * from {job['table']} where {condition}"
            connection.execute(f"copy ({query}) to '/dev/null' (format binary)")

    with psycopg.connect(job["conninfo"]) as connection:
        found = connection.execute("select pg_relation_size(%s) / 8192 / 2", [job["table"]]).fetchone()
    assert found is not None
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(copy, [f"ctid < '({found[0]},0)'", f"ctid >= '({found[0]},0)'"]))


if __name__ == "__main__":
    main(json.loads(os.environ["BENCH_JOB"]))

"""dlt: `sql_table` with the connectorx backend, its fastest, to the `filesystem` destination as Parquet."""

import json
import os
import tempfile


def main(job: dict[str, str]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        os.environ.update(RUNTIME__DLTHUB_TELEMETRY="false", DLT_DATA_DIR=folder)
        import dlt
        import sqlalchemy
        from dlt.sources.sql_database import sql_table

        query = {name: job[name] for name in ("host", "port")}  # a socket's folder can be told only so
        where = sqlalchemy.URL.create(
            "postgresql+psycopg", job["user"], job["password"] or None, database=job["dbname"], query=query
        )
        rows = sql_table(
            credentials=sqlalchemy.create_engine(where),
            table=job["table"],
            backend="connectorx",
            backend_kwargs={"conn": job["url"], "return_type": "arrow"},
            reflection_level="full_with_precision",
        )
        pipeline = dlt.pipeline(
            pipeline_name="bench",
            pipelines_dir=folder,
            destination=dlt.destinations.filesystem(bucket_url=f"file://{job['output']}"),
            dataset_name="bench",
        )
        pipeline.run(rows, loader_file_format="parquet", write_disposition="append")


if __name__ == "__main__":
    main(json.loads(os.environ["BENCH_JOB"]))

"""Whole projects in a folder, run in this process or in real ones, and looked at as a recipient would."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg
import pyarrow as pa
import pytest

from lading import Project, files, verify
from lading.proof import Report
from lading.run import Result

# What a child process does: the run, each event's name as one line, then one line of JSON with what came of it. A line
# "Name:3" in `die` or `stop` kills or stops the process itself at the third event of that name.
CHILD = """
import json, os, signal, sys, threading, lading
from collections import Counter
seen, plan, lock = Counter(), json.loads(sys.argv[1]), threading.Lock()
def tell(event):
    name = type(event).__name__
    with lock:
        seen[name] += 1
        print(name, flush=True)
        if f"{name}:{seen[name]}" == plan.get("die"):
            os.kill(os.getpid(), signal.SIGKILL)
        if f"{name}:{seen[name]}" == plan.get("stop"):
            os.kill(os.getpid(), signal.SIGSTOP)
try:
    results = lading.Project.load(plan["root"]).run(plan["export"], on_event=tell)
    told = [[r.tenant, str(r.interval), r.status, r.rows, r.error] for r in results]
except lading.LadingError as error:
    told = {"error": type(error).__name__, "message": str(error), "exit_code": error.exit_code}
print("RESULTS " + json.dumps(told), flush=True)
"""


@dataclass
class Place:
    """A project in a folder. Contracts and exports are written as JSON, which YAML 1.2 includes."""

    root: Path
    url: str
    environ: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.environ = {"DB": self.url}
        self.settings()

    @property
    def lake(self) -> Path:
        return self.root / "lake"

    # --- what the project is

    def settings(self, **changes: Any) -> None:
        self._write(
            "lading.yaml",
            {
                "name": "shop",
                "environment": "test",
                "connections": {"ops": {"type": "postgres", "url": "${DB}"}},
                "stores": {
                    "lake": {"url": "file://./lake", "durable": False},
                    "journal": {"url": "file://./journal", "durable": False},
                },
                "keys": {"url": "file://./keys"},
                **changes,
            },
        )

    def contract(self, name: str, fields: Mapping[str, Any], key: Sequence[str] = ()) -> None:
        """``fields``: name -> logical type, or a mapping of ODCS properties."""
        properties = []
        for column, given in fields.items():
            more = {"logicalType": given} if isinstance(given, str) else dict(given)
            mark = {"primaryKey": True, "primaryKeyPosition": 1} if column in key else {}
            properties.append({"name": column, "classification": "public", **mark, **more})
        self._write(
            f"contracts/{name}.v1.odcs.yaml",
            {
                "apiVersion": "v3.1.0",
                "kind": "DataContract",
                "id": f"id-{name}",
                "name": name,
                "version": "1.0.0",
                "status": "active",
                "schema": [
                    {"name": name, "logicalType": "object", "physicalType": "table", "properties": properties}
                ],
            },
        )

    def export(self, name: str, contract: str, **sections: Any) -> None:
        self._write(
            f"exports/{name}.yaml",
            {
                "name": name,
                "contract": f"{contract}@1",
                "source": {"connection": "ops", "table": f"public.{contract}"},
                "destination": "lake",
                "mode": "full_refresh",
                **sections,
            },
        )

    def _write(self, name: str, content: Mapping[str, Any]) -> None:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(content, indent=2, ensure_ascii=False), encoding="utf-8")

    def sql(self, *statements: str) -> None:
        with psycopg.connect(self.url, autocommit=True) as connection:
            for statement in statements:
                connection.execute(statement)

    def answer(self, query: str) -> list[tuple[Any, ...]]:
        with psycopg.connect(self.url, autocommit=True) as connection:
            return connection.execute(query).fetchall()

    # --- what is done with it

    def load(self) -> Project:
        return Project.load(self.root, environ=self.environ)

    def run(self, export: str, **asked: Any) -> list[Result]:
        return self.load().run(export, **asked)

    def start(self, export: str, **plan: str) -> subprocess.Popen[str]:
        """A process that runs an export; ``die`` and ``stop`` say at which event it kills or stops itself."""
        return self.python(CHILD, json.dumps({"root": str(self.root), "export": export, **plan}))

    def python(self, code: str, *arguments: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(code), *arguments],
            env={**os.environ, **self.environ},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    # --- what a recipient sees

    def markers(self) -> list[Path]:
        return sorted(path for name in ("_SUCCESS", "SUCCESS") for path in self.lake.rglob(name))

    def manifests(self) -> list[dict[str, Any]]:
        found = [path.parent / json.loads(path.read_text())["manifest"] for path in self.markers()]
        return [json.loads(path.read_text()) for path in found]

    def read(self, query: str, under: str = "") -> pa.Table:
        """DuckDB's answer over ``delivered``: the current Parquet files of all deliveries."""
        import duckdb

        names = files(str(self.lake / under))
        with duckdb.connect() as connection:
            connection.execute("set timezone = 'UTC'")
            connection.from_parquet(names).create_view("delivered")
            return connection.sql(query).to_arrow_table()

    def verify(self, *, deep: bool = False) -> Report:
        return verify(str(self.lake), deep=deep)

    def assert_whole(self, runs: int) -> None:
        """As many runs, each with one marker, and nothing beside them."""
        report = self.verify()
        assert report.problems == []
        assert report.notes == []
        assert len(self.markers()) == runs
        assert len({manifest["run_id"] for manifest in self.manifests()}) == runs


@pytest.fixture
def new_place(tmp_path: Path) -> Callable[[str], Place]:
    """Makes a project of the given name over a database's URL."""

    def make(url: str, name: str = "project") -> Place:
        (tmp_path / name).mkdir()
        return Place(tmp_path / name, url)

    return make


@pytest.fixture
def place(postgres: Any, new_place: Callable[..., Place]) -> Place:
    """A project over an empty database."""
    return new_place(postgres.database())


ORDERS = {"id": "integer", "customer": "string", "made_at": "timestamp", "amount": "number", "note": "string"}
MONTHLY = {"column": "made_at", "clock": "event", "late": "ignore", "every": "1 month",
           "start": "2024-01-01", "end": "2024-04-01"}  # fmt: skip


@pytest.fixture
def sell() -> Callable[..., Place]:
    """Fills a project with orders of some customers in three months, delivered monthly to each customer."""

    def make(place: Place, rows: int, customers: int, **changes: Any) -> Place:
        place.sql(
            "create table orders (id bigint primary key, customer text not null, made_at timestamptz not null, "
            "amount numeric(12,2), note text)",
            f"insert into orders select i, 'c' || i % {customers}, "
            "timestamptz '2024-01-01 00:00Z' + (i % 90) * interval '1 day', (i % 100000) / 100.0, md5(i::text) "
            f"from generate_series(1, {rows}) i",
            "analyze orders",
        )
        place.contract("orders", ORDERS, key=["id"])
        sections = {"mode": "append", "window": MONTHLY, "tenants": {"column": "customer", "discover": True}}
        place.export("orders_drop", "orders", **{**sections, **changes})
        return place

    return make

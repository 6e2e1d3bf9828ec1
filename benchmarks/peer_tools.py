"""The peers: which are there, in what versions, and how each is called."""

from __future__ import annotations

import ast
import json
import os
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from psycopg.conninfo import conninfo_to_dict

SCRIPTS = Path(__file__).parent / "peers"

# name -> its script, and the packages without which it cannot run
PACKAGES = {
    "DuckDB": ("with_duckdb.py", ("duckdb", "duckdb-extension-postgres-scanner")),
    "ClickHouse": ("with_chdb.py", ("chdb",)),
    "Polars": ("with_polars.py", ("polars", "connectorx")),
    "ADBC": ("with_adbc.py", ("adbc-driver-postgresql", "pyarrow")),
    "connectorx": ("with_connectorx.py", ("connectorx", "pyarrow")),
    "dlt": ("with_dlt.py", ("dlt", "connectorx", "sqlalchemy", "psycopg")),
    "COPY": ("with_copy.py", ("psycopg",)),
}
# name -> its script, and the program, which the variable of the same name in capitals may name too
PROGRAMS = {"rivet": "with_rivet.py", "Sling": "with_sling.py"}

_VERSIONS = """
import importlib.metadata as m, json, sys
def version(name):
    try: return m.version(name)
    except m.PackageNotFoundError: return None
print(json.dumps({name: version(name) for name in sys.argv[1:]}))
"""


@dataclass(frozen=True)
class Peers:
    python: str  # of the environment they are installed in
    versions: Mapping[str, str]
    absent: Mapping[str, str]  # and why
    programs: Mapping[str, str]

    def command(self, name: str) -> list[str]:
        return [self.python, str(SCRIPTS / (PROGRAMS.get(name) or PACKAGES[name][0]))]

    def environ(self, name: str, job: Mapping[str, str]) -> dict[str, str]:
        """The job, which may hold a password, goes by a variable."""
        return {"BENCH_JOB": json.dumps({**job, "program": self.programs.get(name, "")})}


def find(python: str, url: str) -> Peers:
    """Looks for every peer: packages in the environment of ``python``, programs on the PATH; for a database's URL."""
    packages = sorted({package for _, needed in PACKAGES.values() for package in needed})
    answer = subprocess.run([python, "-c", _VERSIONS, *packages], check=True, capture_output=True, text=True)
    installed: dict[str, str | None] = json.loads(answer.stdout)
    versions, absent, programs = {}, {}, {}
    for name, (_, needed) in PACKAGES.items():
        missing = [package for package in needed if installed[package] is None]
        if missing:
            absent[name] = f"{', '.join(missing)} not installed beside the peers"
        else:
            versions[name] = ", ".join(f"{package} {installed[package]}" for package in needed)
    for name in PROGRAMS:
        variable = name.upper()
        program = shutil.which(os.environ.get(variable) or name.lower())
        if program is None:
            absent[name] = f"no program `{name.lower()}` on the PATH, and {variable} names none"
        elif address(url)["host"].startswith("/"):
            absent[name] = "it does not speak by a socket in a folder: give BENCH_POSTGRES with a host"
        else:
            programs[name] = program
            told = subprocess.run([program, "--version"], check=False, capture_output=True, text=True)
            versions[name] = told.stdout.strip().splitlines()[-1] if told.stdout.strip() else "unknown"
    return Peers(python, versions, absent, programs)


def how_called() -> dict[str, str]:
    """What each script says of itself."""
    scripts = {**{name: script for name, (script, _) in PACKAGES.items()}, **PROGRAMS}
    return {
        name: " ".join((ast.get_docstring(ast.parse((SCRIPTS / script).read_text("utf-8"))) or "").split())
        for name, script in scripts.items()
    }


def address(url: str) -> dict[str, str]:
    """A database in the ways that the peers want it told; a socket's folder is percent-encoded in the URL."""
    known = {key: str(value) for key, value in conninfo_to_dict(url).items()}
    host, port = known.get("host", "localhost"), known.get("port", "5432")
    user, password, database = (
        known.get("user", "postgres"),
        known.get("password", ""),
        known.get("dbname", "postgres"),
    )
    login = quote(user, "") + (f":{quote(password, '')}" if password else "")
    encrypted = f"?sslmode={known['sslmode']}" if "sslmode" in known else ""
    return {
        "conninfo": url, "url": f"postgresql://{login}@{quote(host, '')}:{port}/{quote(database, '')}{encrypted}",
        "host": host, "port": port, "user": user, "password": password, "dbname": database,
    }  # fmt: skip

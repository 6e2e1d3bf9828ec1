"""Real servers of object stores on the loopback, which check signatures and conditions as a provider does.

`tools/bucket_servers.py` installs VersityGW and Azurite. A server is looked for on the PATH and in the folder that
LADING_TEST_SERVERS names (see `servers`); where it is not found, its tests skip and say so.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import hmac
import json
import os
import secrets
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import formatdate
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import boto3
import pytest
from servers import FOLDER

BUCKET = "lake"
REGION = "us-east-1"
ACCESS_KEY = "LADINGTESTKEY"
SECRET = "the-s3cret-of-the-server"
ACCOUNT = "ladingtest"
ACCOUNT_KEY = base64.b64encode(SECRET.encode() * 2).decode()
MASTER_KEY = "lading-key"  # of MinIO's own key management


@dataclass
class BucketServer:
    """A server with an empty bucket. The settings are those of a store in lading.yaml, but for its url."""

    name: str
    scheme: str
    settings: Mapping[str, Any]
    wrong_secret: Mapping[str, Any]
    secrets: Sequence[str]  # what no message may hold
    read_only: Mapping[str, Any] = field(
        default_factory=dict
    )  # of somebody who may read and list, but not write
    log: Path = Path()  # of the requests with their headers, where the server keeps one

    def store(self, path: str, settings: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """A whole store section."""
        return {
            "url": f"{self.scheme}://{BUCKET}/{path}",
            **(self.settings if settings is None else settings),
        }


def program(name: str) -> str:
    """The path of a server's program; skips the test where there is none."""
    places = os.pathsep.join(
        [os.environ.get("PATH", ""), str(FOLDER / "bin"), str(FOLDER / "azurite/node_modules/.bin")]
    )
    found = shutil.which(name, path=places)
    if found is None:
        pytest.skip(f"no {name} on the PATH or in {FOLDER}, so buckets on it cannot be tried")
    return found


@contextlib.contextmanager
def versitygw(folder: Path) -> Iterator[BucketServer]:
    """S3 over a folder, with an account beside the root's that a policy allows to read."""
    with _versitygw(folder) as endpoint:
        client = s3_client(endpoint)
        client.create_bucket(Bucket=BUCKET)
        reader = {"access_key_id": "LADINGREADER", "secret_access_key": "another-s3cret-of-the-reader"}
        add_account(endpoint, reader)
        allowed = {"Effect": "Allow", "Principal": {"AWS": [reader["access_key_id"]]}}
        objects = {**allowed, "Action": ["s3:GetObject"], "Resource": [f"arn:aws:s3:::{BUCKET}/*"]}
        bucket = {**allowed, "Action": ["s3:ListBucket"], "Resource": [f"arn:aws:s3:::{BUCKET}"]}
        policy = json.dumps({"Version": "2012-10-17", "Statement": [objects, bucket]})
        client.put_bucket_policy(Bucket=BUCKET, Policy=policy)
        yield _s3("versitygw", endpoint, reader)


def add_account(endpoint: str, account: Mapping[str, str]) -> None:
    """An account of VersityGW that may do nothing until a bucket's policy says so."""
    admin = [program("versitygw"), "admin", "--access", ACCESS_KEY, "--secret", SECRET]
    keys = ["--access", account["access_key_id"], "--secret", account["secret_access_key"]]
    create = [*admin, "--endpoint-url", endpoint, "create-user", *keys, "--role", "user"]
    subprocess.run(create, check=True, stdout=subprocess.DEVNULL)


@contextlib.contextmanager
def versitygw_with_tls(folder: Path, certificate: Path, key: Path, authority: str) -> Iterator[BucketServer]:
    with _versitygw(folder, "--cert", str(certificate), "--key", str(key)) as endpoint:
        s3_client(endpoint, verify=authority).create_bucket(Bucket=BUCKET)
        yield _s3("versitygw", endpoint, {})


@contextlib.contextmanager
def _versitygw(folder: Path, *options: str) -> Iterator[str]:
    command = program("versitygw")
    (folder / "data").mkdir(parents=True)
    (folder / "accounts").mkdir()
    keys = {"ROOT_ACCESS_KEY_ID": ACCESS_KEY, "ROOT_SECRET_ACCESS_KEY": SECRET}

    def start(port: int) -> list[str]:
        where = ["--port", f"127.0.0.1:{port}", "--iam-dir", str(folder / "accounts")]
        return [command, "--quiet", *where, *options, "posix", str(folder / "data")]

    scheme = "https" if options else "http"
    with _running(start, keys, folder) as port:
        yield f"{scheme}://127.0.0.1:{port}"


@contextlib.contextmanager
def minio(folder: Path) -> Iterator[BucketServer]:
    """S3 with a key management of its own. It takes minutes to build, so `.ci/run` does not."""
    command = program("minio")
    keys = {
        "MINIO_ROOT_USER": ACCESS_KEY,
        "MINIO_ROOT_PASSWORD": SECRET,
        "MINIO_KMS_SECRET_KEY": f"{MASTER_KEY}:{base64.b64encode(secrets.token_bytes(32)).decode()}",
        "MINIO_BROWSER": "off",
    }

    def start(port: int) -> list[str]:
        return [command, "server", "--quiet", "--address", f"127.0.0.1:{port}", str(folder / "data")]

    with _running(start, keys, folder) as port:
        endpoint = f"http://127.0.0.1:{port}"
        _until(lambda: urllib.request.urlopen(f"{endpoint}/minio/health/ready").status == 200)
        s3_client(endpoint).create_bucket(Bucket=BUCKET)
        yield _s3("minio", endpoint, {})


@contextlib.contextmanager
def azurite(folder: Path) -> Iterator[BucketServer]:
    """Azure Blob Storage over a folder."""
    command = program("azurite-blob")
    log = folder / "requests.log"

    def start(port: int) -> list[str]:
        where = ["--blobHost", "127.0.0.1", "--blobPort", str(port), "--location", str(folder / "data")]
        return [
            command,
            *where,
            "--silent",
            "--disableTelemetry",
            "--skipApiVersionCheck",
            "--debug",
            str(log),
        ]

    with _running(start, {"AZURITE_ACCOUNTS": f"{ACCOUNT}:{ACCOUNT_KEY}"}, folder) as port:
        endpoint = f"http://127.0.0.1:{port}/{ACCOUNT}"
        _make_container(endpoint)
        base = {"endpoint": endpoint, "account": ACCOUNT, "allow_http": True}
        wrong = base64.b64encode(b"this is another key of an account").decode()
        reader = shared_access("rl")
        yield BucketServer(
            name="azurite",
            scheme="az",
            settings={**base, "account_key": ACCOUNT_KEY},
            wrong_secret={**base, "account_key": wrong},
            read_only={**base, "sas_token": reader},
            log=log,
            secrets=(ACCOUNT_KEY, wrong, reader.rpartition("sig=")[2]),
        )


def s3_client(endpoint: str, **options: Any) -> Any:
    """The provider's own library, as a second opinion on what stands in the bucket."""
    return boto3.client(
        "s3",
        endpoint_url=endpoint,
        region_name=REGION,
        aws_access_key_id=ACCESS_KEY,
        aws_secret_access_key=SECRET,
        **options,
    )


def shared_access(permissions: str, key: str = ACCOUNT_KEY) -> str:
    """A shared access signature of the account for an hour ("Create an account SAS", Azure Storage documentation)."""
    version, ends = "2019-12-12", (datetime.now(UTC) + timedelta(hours=1)).strftime("%Y-%m-%dT%H:%M:%SZ")
    signed = "\n".join([ACCOUNT, permissions, "b", "sco", "", ends, "", "", version, ""])
    query = {"sv": version, "ss": "b", "srt": "sco", "sp": permissions, "se": ends}
    return urlencode({**query, "sig": _signature(signed, key)})


def _s3(name: str, endpoint: str, reader: Mapping[str, str]) -> BucketServer:
    base = {"endpoint": endpoint, "region": REGION, "allow_http": endpoint.startswith("http:")}
    wrong = "not-the-s3cret-of-the-server"
    return BucketServer(
        name=name,
        scheme="s3",
        settings={**base, "access_key_id": ACCESS_KEY, "secret_access_key": SECRET},
        wrong_secret={**base, "access_key_id": ACCESS_KEY, "secret_access_key": wrong},
        read_only={**base, **reader},
        secrets=[SECRET, wrong, reader.get("secret_access_key", SECRET)],
    )


def _make_container(endpoint: str) -> None:
    """Creates the container by a request signed with the account's key ("Authorize with Shared Key")."""
    date = formatdate(usegmt=True)
    headers = f"x-ms-date:{date}\nx-ms-version:2021-08-06\n"
    resource = f"/{ACCOUNT}/{ACCOUNT}/{BUCKET}\nrestype:container"
    signed = "PUT" + "\n" * 12 + headers + resource
    request = urllib.request.Request(
        f"{endpoint}/{BUCKET}?restype=container",
        method="PUT",
        headers={
            "x-ms-date": date,
            "x-ms-version": "2021-08-06",
            "Authorization": f"SharedKey {ACCOUNT}:{_signature(signed, ACCOUNT_KEY)}",
        },
    )
    urllib.request.urlopen(request).close()


def _signature(text: str, key: str) -> str:
    return base64.b64encode(hmac.digest(base64.b64decode(key), text.encode(), hashlib.sha256)).decode()


@contextlib.contextmanager
def _running(start: Callable[[int], list[str]], keys: Mapping[str, str], folder: Path) -> Iterator[int]:
    """A server on a free port of the loopback until the block ends. Its secrets come by the environment."""
    folder.mkdir(parents=True, exist_ok=True)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port: int = taken.getsockname()[1]
    output = folder / "output"
    environ = {"PATH": os.environ.get("PATH", ""), "HOME": str(folder), **keys}
    with output.open("wb") as sink:
        process = subprocess.Popen(start(port), env=environ, stdout=sink, stderr=sink, cwd=folder)

    def answers() -> bool:
        if process.poll() is not None:
            pytest.fail(f"the server ended by itself: {output.read_text()[-2000:]}")
        socket.create_connection(("127.0.0.1", port), 1).close()
        return True

    try:
        _until(answers)
        yield port
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _until(done: Callable[[], bool]) -> None:
    """Returns when ``done`` does; while a server starts it may as well fail to connect."""
    for _ in range(600):
        with contextlib.suppress(OSError, urllib.error.URLError):
            if done():
                return
        time.sleep(0.1)
    pytest.fail("the server does not answer")

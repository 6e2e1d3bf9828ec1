# D1, D12, D13
"""Buckets of servers that check every signature and condition. Which there are is told in `bucket_servers`."""

from __future__ import annotations

import itertools
import secrets
import time
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Any
from urllib.error import HTTPError

import pytest
from bucket_servers import (
    ACCESS_KEY,
    BUCKET,
    MASTER_KEY,
    BucketServer,
    s3_client,
    shared_access,
    versitygw_with_tls,
)
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from lading.errors import StoreDenied
from lading.stores.object import ObjectStore
from lading.stores.object_options import ObjectOptions
from lading.stores.probe import probe
from lading.testing.store import StoreSuite

ORDINAL = itertools.count()
PART = 5 * 1024 * 1024


def opened(
    server: BucketServer, settings: Mapping[str, Any] | None = None, path: str = "", **more: Any
) -> ObjectStore:
    section = server.store(path or f"some%20prefix/{next(ORDINAL)}", settings)
    return ObjectStore(ObjectOptions(**section, **more))


class TestServers(StoreSuite):
    @pytest.fixture
    def store(self, server: BucketServer) -> ObjectStore:
        return opened(server)


def test_a_link_is_for_one_object_and_for_its_time(server: BucketServer) -> None:  # S3
    store = opened(server, path=f"links/{next(ORDINAL)}")
    store.put("a.zip", b"1")
    store.put("b.zip", b"2")
    short, long = store.link("a.zip", 1), store.link("a.zip", 600)
    time.sleep(2.5)
    with urllib.request.urlopen(long) as answer:
        assert answer.read() == b"1"
    for wrong in (short, long.replace("a.zip", "b.zip"), long.partition("?")[0]):
        with pytest.raises(HTTPError, match=r"40[0-9]"):
            urllib.request.urlopen(wrong)


def test_a_probe_finds_nothing_missing(server: BucketServer) -> None:
    assert [finding for finding in probe(opened(server)) if not finding.ok] == []


def in_every_way(store: ObjectStore) -> dict[str, Callable[[], object]]:
    def upload(size: int) -> None:
        writing = store.write("a")
        try:
            writing.write(bytes(size))
            writing.finish()
        finally:
            writing.abort()

    return {
        "put": lambda: store.put("a", b"1"),
        "create": lambda: store.put("a", b"1", create=True),
        "small upload": lambda: upload(1),
        "large upload": lambda: upload(2 * PART + 1),
        "probe": lambda: store.probe_write("a"),
        "copy": lambda: store.copy("stands", "a"),
        "delete": lambda: store.delete("stands"),
        "swap": lambda: store.swap("stands", b"1", b"2"),
        "get": lambda: store.get("stands"),
        "read": lambda: store.read("stands").read(),
        "list": lambda: list(store.list()),
    }


def refusals(server: BucketServer, acts: Mapping[str, Callable[[], object]]) -> dict[str, str]:
    """What each call is answered; refused with StoreDenied, or "" where it was allowed."""
    told: dict[str, StoreDenied] = {}
    for what, act in acts.items():
        try:
            act()
        except StoreDenied as error:
            told[what] = error
    shown = "".join(f"{error!r} {error} {error.hint} {error.__cause__!r}" for error in told.values())
    assert not [secret for secret in server.secrets if secret in shown]
    assert {error.exit_code for error in told.values()} == {5}
    return {what: str(told.get(what, "")) for what in acts}


def test_a_wrong_secret_is_refused_in_every_call_and_never_told(server: BucketServer) -> None:
    path = f"wrong/{next(ORDINAL)}"
    right = opened(server, path=path)
    right.put("stands", b"1")
    told = refusals(server, in_every_way(opened(server, server.wrong_secret, path, part_size=PART)))
    assert all("403" in text or "Signature" in text for text in told.values()), told
    assert [info.name for info in right.list()] == ["stands"]
    assert right.get("stands") == b"1"


def test_who_may_only_read_reads_and_is_refused_everything_else(server_with_a_reader: BucketServer) -> None:
    path = f"read/{next(ORDINAL)}"
    right = opened(server_with_a_reader, path=path)
    right.put("stands", b"1")
    acts = in_every_way(opened(server_with_a_reader, server_with_a_reader.read_only, path, part_size=PART))
    if server_with_a_reader.scheme == "az":
        del acts[
            "delete"
        ]  # obstore deletes by batches, for which Azurite takes no shared access, allowed or not
    told = refusals(server_with_a_reader, acts)
    assert [what for what, text in told.items() if not text] == ["get", "read", "list"]
    assert all("403" in text for text in told.values() if text), told
    assert [info.name for info in right.list()] == ["stands"]
    assert right.get("stands") == b"1"


def test_a_bucket_that_is_not_there_is_refused_with_advice(server: BucketServer) -> None:
    section = {**server.store("x"), "url": f"{server.scheme}://nobody-has-this/x"}
    store = ObjectStore(ObjectOptions(**section))
    for act in (
        lambda: store.put("a", b"1"),
        lambda: store.put("a", b"1", create=True),
        lambda: [*store.list()],
    ):
        with pytest.raises(StoreDenied, match="Create the bucket first"):
            act()


def test_an_upload_that_was_given_up_leaves_no_parts_to_pay_for(s3_server: BucketServer) -> None:
    upload = opened(s3_server, part_size=PART).write("a")
    for _ in range(4):
        upload.write(bytes(PART))
    upload.abort()
    opened(s3_server).probe_write("a")
    assert "Uploads" not in s3_client(s3_server.settings["endpoint"]).list_multipart_uploads(Bucket=BUCKET)


def test_every_object_is_under_the_key_of_the_server(minio: BucketServer) -> None:
    sse = {"type": "sse-kms", "key": MASTER_KEY}
    store = opened(minio, path="kms", server_side_encryption=sse, part_size=PART)
    store.put("stands", b"1")
    for what, act in in_every_way(store).items():
        if what not in ("create", "delete"):
            act()
    store.put("manifest", b"1", create=True)
    assert store.swap("pointer", None, b"1")
    client = s3_client(minio.settings["endpoint"])
    for name in ("a", "stands", "manifest", "pointer"):
        head = client.head_object(Bucket=BUCKET, Key=f"kms/{name}")
        assert head["ServerSideEncryption"] == "aws:kms"
        assert head["SSEKMSKeyId"].endswith(MASTER_KEY)


def test_a_key_that_is_not_there_is_a_refusal(minio: BucketServer) -> None:
    store = opened(minio, server_side_encryption={"type": "sse-kms", "key": "nobody-has-this"})
    for act in (lambda: store.put("a", b"1"), lambda: store.probe_write("a")):
        with pytest.raises(StoreDenied, match="Check the encryption key"):
            act()


def test_azure_gets_the_encryption_scope_with_every_write_and_no_read(azurite: BucketServer) -> None:
    base = {name: value for name, value in azurite.settings.items() if name != "account_key"}
    section = {**base, "sas_token": shared_access("rwdlac")}
    scope = {"type": "scope", "key": f"scope-{secrets.token_hex(4)}"}
    path = f"scope/{next(ORDINAL)}"
    store = opened(azurite, section, path, server_side_encryption=scope, part_size=PART)
    acts = in_every_way(store)
    store.put("stands", b"1")
    for what in ("put", "small upload", "large upload", "swap", "get", "read", "list"):
        acts[what]()
    asked = [
        line for line in azurite.log.read_text().splitlines() if "RequestMethod=" in line and path in line
    ]
    scoped = {line.partition("RequestMethod=")[2].split()[0] for line in asked if scope["key"] in line}
    plain = {line.partition("RequestMethod=")[2].split()[0] for line in asked if scope["key"] not in line}
    assert scoped == {"PUT"}
    assert plain == {"GET", "HEAD"}


def test_azure_takes_a_signature_of_shared_access(azurite: BucketServer) -> None:
    base = {name: value for name, value in azurite.settings.items() if name != "account_key"}
    store = opened(azurite, {**base, "sas_token": shared_access("rwdlac")})
    # obstore deletes by batches, for which Azurite takes no shared access of an account.
    assert [finding.what for finding in probe(store) if not finding.ok] == ["delete"]
    forged = opened(azurite, {**base, "sas_token": shared_access("rwdlac", "bm90IHRoZSBrZXk=")})
    with pytest.raises(StoreDenied, match="403") as caught:
        forged.put("a", b"1")
    assert "sig=" not in str(caught.value)
    assert ACCESS_KEY not in str(caught.value)


@dataclass(frozen=True)
class Certificates:
    """Files of an authority that nobody knows, and of a server of the loopback that it vouches for."""

    authority: Path
    server: Path
    key: Path


@pytest.fixture
def certificates(tmp_path: Path) -> Certificates:
    keys = [ec.generate_private_key(ec.SECP256R1()) for _ in range(2)]
    names = [x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]) for name in ("authority", "server")]
    now = datetime.now(UTC)
    where = x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))])
    paths = [tmp_path / "authority.pem", tmp_path / "server.pem"]
    for key, name, path in zip(keys, names, paths, strict=True):
        made = (
            x509.CertificateBuilder(names[0], name, key.public_key(), x509.random_serial_number())
            .not_valid_before(now - timedelta(days=1))
            .not_valid_after(now + timedelta(days=1))
            .add_extension(where, critical=False)
            .add_extension(x509.BasicConstraints(ca=key is keys[0], path_length=None), critical=True)
            .sign(keys[0], hashes.SHA256())
        )
        path.write_bytes(made.public_bytes(Encoding.PEM))
    private = keys[1].private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (tmp_path / "key.pem").write_bytes(private)
    return Certificates(*paths, tmp_path / "key.pem")


def test_a_server_is_trusted_by_its_authority_alone(certificates: Certificates, tmp_path: Path) -> None:
    ca_file = str(certificates.authority)
    with versitygw_with_tls(tmp_path / "server", certificates.server, certificates.key, ca_file) as server:
        trusted = opened(server, ca_file=ca_file)
        trusted.put("a", b"1", create=True)
        assert trusted.get("a") == b"1"
        with pytest.raises(StoreDenied, match="ca_file"):
            opened(server).put("a", b"1")

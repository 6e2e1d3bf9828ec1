# D1, D12, D13
from __future__ import annotations

import contextlib
import itertools
import logging
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import boto3
import pytest
from moto.s3.responses import S3Response
from moto.server import ThreadedMotoServer
from pydantic import ValidationError

from lading.errors import (
    InvalidProject,
    ObjectExists,
    ObjectNotFound,
    StoreDenied,
    StoreFull,
    StoreUnavailable,
)
from lading.recipient import verify
from lading.stores.object import ObjectStore
from lading.stores.object_options import ObjectOptions
from lading.stores.probe import probe
from lading.testing.store import StoreSuite

SECRET = "v3ry-s3cret-k3y"
SIGNED = {
    "region": "us-east-1",
    "access_key_id": "AKIAEXAMPLE",
    "secret_access_key": SECRET,
    "allow_http": True,
}
ORDINAL = itertools.count()
PART = 5 * 1024 * 1024


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    """moto's address. It looks at a put's condition and then writes; S3 does both at once, and so does it here."""
    writing = threading.Lock()
    put = S3Response.put_object

    def put_at_once(response: S3Response) -> Any:
        with writing:
            return put(response)

    logging.getLogger("werkzeug").setLevel(logging.CRITICAL)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(S3Response, "put_object", put_at_once)
        yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture(scope="module")
def s3(endpoint: str) -> Any:
    client = boto3.client(
        "s3",
        endpoint_url=endpoint,
        region_name="us-east-1",
        aws_access_key_id="AKIAEXAMPLE",
        aws_secret_access_key=SECRET,
    )
    client.create_bucket(Bucket="lake")
    return client


def options(endpoint: str, **settings: Any) -> ObjectOptions:
    settings.setdefault("url", f"s3://lake/some%20prefix/{next(ORDINAL)}")
    return ObjectOptions(**{"endpoint": endpoint, **SIGNED, **settings})


class TestObjectStore(StoreSuite):
    """S3, as moto serves it: conditional puts are honoured, signatures are not checked."""

    @pytest.fixture
    def store(self, endpoint: str, s3: Any) -> ObjectStore:
        return ObjectStore(options(endpoint))

    def test_no_swap_is_lost_among_many(self, store: ObjectStore) -> None:
        """moto may answer a read with 500 while it is swapping the object: such a read is made again."""
        read = store.get

        def again(name: str) -> bytes:
            for _ in range(9):
                with contextlib.suppress(StoreUnavailable):
                    return read(name)
            return read(name)

        store.get = again  # type: ignore[method-assign]
        super().test_no_swap_is_lost_among_many(store)


def test_a_probe_finds_nothing_missing(endpoint: str, s3: Any) -> None:
    assert [finding for finding in probe(ObjectStore(options(endpoint))) if not finding.ok] == []


def test_every_object_carries_the_kms_key(endpoint: str, s3: Any) -> None:
    sse = {"type": "sse-kms", "key": "arn:aws:kms:us-east-1:123456789012:key/abc", "bucket_key": True}
    store = ObjectStore(options(endpoint, url="s3://lake/kms", server_side_encryption=sse, part_size=PART))
    store.put("manifest", b"1", create=True)
    store.put("marker", b"1")
    small = store.write("small")
    small.write(b"1")
    small.finish()
    large = store.write("large")
    large.write(bytes(2 * PART + 1))
    large.finish()
    store.copy("large", "copied")
    assert store.swap("pointer", None, b"1")
    assert store.swap("pointer", b"1", b"2")
    names = [info.name for info in store.list()]
    assert names == ["copied", "large", "manifest", "marker", "pointer", "small"]
    for name in names:
        head = s3.head_object(Bucket="lake", Key=f"kms/{name}")
        assert head["ServerSideEncryption"] == "aws:kms"
        assert head["SSEKMSKeyId"] == sse["key"]


def test_an_aborted_large_upload_leaves_no_parts_to_pay_for(endpoint: str, s3: Any) -> None:
    store = ObjectStore(options(endpoint, part_size=PART))
    upload = store.write("a")
    for _ in range(4):
        upload.write(bytes(PART))
    upload.abort()
    assert "Uploads" not in s3.list_multipart_uploads(Bucket="lake")
    assert list(store.list()) == []


def test_a_missing_bucket_is_refused_and_says_so(endpoint: str, s3: Any) -> None:
    store = ObjectStore(options(endpoint, url="s3://nobody-has-this/x"))
    for act in (
        lambda: store.put("a", b"1"),
        lambda: store.put("a", b"1", create=True),
        lambda: store.get("a"),
        lambda: store.delete("a"),
        lambda: [*store.list()],
    ):
        with pytest.raises(StoreDenied, match=r"NoSuchBucket.*Create the bucket"):
            act()
    with pytest.raises(StoreDenied, match=r"cannot list s3://nobody-has-this/x: "):
        [*store.list()]


@pytest.mark.slow
def test_a_listing_of_many_pages_is_whole_and_lazy(endpoint: str, s3: Any) -> None:
    prefix = f"many{next(ORDINAL)}"
    for i in range(1100):
        s3.put_object(Bucket="lake", Key=f"{prefix}/runs/{i:04}", Body=b"1")
    store = ObjectStore(options(endpoint, url=f"s3://lake/{prefix}"))
    assert [info.name for info in store.list("runs/")] == [f"runs/{i:04}" for i in range(1100)]
    assert [info.name for info in store.list("runs/105")] == [f"runs/105{i}" for i in range(10)]


def test_an_object_replaced_while_it_is_read_is_not_mixed(endpoint: str, s3: Any) -> None:
    store = ObjectStore(options(endpoint))
    store.put("a", b"1" * 3_000_000)
    file = store.read("a")
    assert file.read(10) == b"1" * 10
    store.put("a", b"2" * 3_000_000)
    with pytest.raises(StoreUnavailable, match="changed meanwhile"):
        file.read()


def test_an_assumed_role_signs_the_requests(endpoint: str, s3: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_STS", endpoint)
    role = {"role_arn": "arn:aws:iam::123456789012:role/exporter", "external_id": "their-id"}
    store = ObjectStore(options(endpoint, **role))
    store.put("a", b"1")
    assert store.get("a") == b"1"


def test_a_profile_signs_the_requests(
    endpoint: str, s3: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "config").write_text("[profile lake]\nregion = us-east-1\n")
    (tmp_path / "credentials").write_text(
        f"[lake]\naws_access_key_id = A\naws_secret_access_key = {SECRET}\n"
    )
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    settings: dict[str, Any] = {"url": "s3://lake/profile", "endpoint": endpoint, "allow_http": True}
    store = ObjectStore(ObjectOptions(profile="lake", **settings))
    store.put("a", b"1")
    assert store.get("a") == b"1"
    with pytest.raises(InvalidProject, match="nobody"):
        ObjectStore(ObjectOptions(profile="nobody", **settings))


def test_a_role_that_cannot_be_assumed_is_a_refusal(endpoint: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_STS", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    store = ObjectStore(options(endpoint, role_arn="arn:aws:iam::123456789012:role/exporter"))
    with pytest.raises(StoreDenied) as caught:
        store.put("a", b"1")
    assert SECRET not in str(caught.value)


# --- a service that answers as it is told, and keeps what it was asked ----------------------------------------------


class Service:
    """An HTTP server on the loopback. ``answer`` is (status, body); ``requests`` are (method, path, headers)."""

    def __init__(self) -> None:
        self.answer: tuple[int, str] | None = None
        self.requests: list[tuple[str, str, dict[str, str]]] = []
        service = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def handle_any(self) -> None:
                self.rfile.read(int(self.headers.get("content-length") or 0))
                headers = {name.lower(): value for name, value in self.headers.items()}
                service.requests.append((self.command, self.path, headers))
                status, text = service.answer or (200, started(self.path) if self.command == "POST" else "")
                body = b"" if self.command == "HEAD" else text.encode()
                self.send_response(status)
                self.send_header("ETag", '"e"')
                self.send_header("x-goog-generation", "5")
                self.send_header("Last-Modified", "Wed, 21 Oct 2015 07:28:00 GMT")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = handle_any

            def log_message(self, format: str, *args: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def started(path: str) -> str:
    kind = "InitiateMultipartUploadResult" if "uploads" in path else "CompleteMultipartUploadResult"
    return f'<{kind}><Bucket>b</Bucket><Key>k</Key><UploadId>u</UploadId><ETag>"e"</ETag></{kind}>'


@pytest.fixture
def service() -> Iterator[Service]:
    service = Service()
    yield service
    service.close()


def write_in_every_way(store: ObjectStore) -> None:
    store.put("a", b"1")
    store.put("a", b"1", create=True)
    for size in (1, 2 * PART + 1):
        upload = store.write("a")
        upload.write(bytes(size))
        upload.finish()
    store.copy("a", "b")


@pytest.mark.parametrize(
    ("settings", "header", "value"),
    [
        (
            {
                "url": "gs://lake/x",
                "service_account_key": '{"gcs_base_url": "%s", "disable_oauth": true, "client_email": "", '
                '"private_key": "", "private_key_id": ""}',
                "server_side_encryption": {
                    "type": "cmek",
                    "key": "projects/p/locations/l/keyRings/r/cryptoKeys/k",
                },
            },
            "x-goog-encryption-kms-key-name",
            "projects/p/locations/l/keyRings/r/cryptoKeys/k",
        ),
        (
            {
                "url": "az://lake/x",
                "account": "acc",
                "sas_token": f"sv=2023&sig={SECRET}",
                "server_side_encryption": {"type": "scope", "key": "tenant-a"},
            },
            "x-ms-encryption-scope",
            "tenant-a",
        ),
    ],
)
def test_google_and_azure_get_their_key_with_every_write_and_no_read(
    service: Service, settings: dict[str, Any], header: str, value: str
) -> None:
    if "service_account_key" in settings:
        settings["service_account_key"] = settings["service_account_key"] % service.url
    store = ObjectStore(ObjectOptions(endpoint=service.url, allow_http=True, part_size=PART, **settings))
    write_in_every_way(store)
    assert len(service.requests) >= 7
    assert all(headers.get(header) == value for _, _, headers in service.requests)
    service.requests.clear()
    store.get("a")
    store.read("a")
    assert len(service.requests) == 2
    assert all(header not in headers for _, _, headers in service.requests)


@pytest.mark.parametrize(
    ("status", "code", "expected"),
    [
        (503, "SlowDown", StoreUnavailable),
        (500, "InternalError", StoreUnavailable),
        (429, "TooManyRequests", StoreUnavailable),
        (400, "RequestTimeout", StoreUnavailable),
        (409, "ConditionalRequestConflict", StoreUnavailable),
        (409, "OperationAborted", StoreUnavailable),
        (409, "BlobAlreadyExists", ObjectExists),
        (412, "PreconditionFailed", ObjectExists),
        (403, "AccessDenied", StoreDenied),
        (403, "QuotaExceeded", StoreFull),
        (507, "InsufficientStorage", StoreFull),
        (401, "ExpiredToken", StoreDenied),
        (400, "InvalidArgument", StoreDenied),
        (400, "KMS.DisabledException", StoreDenied),
        (404, "NoSuchKey", ObjectNotFound),
        (404, "NoSuchBucket", StoreDenied),
        (404, "kms:KeyNotFound", StoreDenied),
        (501, "NotImplemented", StoreDenied),
        (301, "PermanentRedirect", StoreDenied),
    ],
)
def test_an_answer_becomes_the_right_error(
    service: Service, status: int, code: str, expected: type[Exception]
) -> None:
    store = ObjectStore(options(service.url))
    service.answer = (
        status,
        f"<Error><Code>{code}</Code><Message>says why</Message><Key>{SECRET}</Key></Error>",
    )
    with pytest.raises(expected) as caught:
        store.put("a", b"1", create=True)
    assert type(caught.value) is expected
    assert "a in s3://lake" in str(caught.value)
    assert SECRET not in str(caught.value)
    assert caught.value.__cause__ is None
    assert len(service.requests) == 1


def test_a_busy_service_gets_each_part_again(service: Service) -> None:
    store = ObjectStore(options(service.url, part_attempts=2))
    service.answer = 503, ""
    upload = store.write("a")
    upload.write(b"1")
    with pytest.raises(StoreUnavailable):
        upload.finish()
    assert len(service.requests) == 2


def test_a_large_upload_that_fails_says_so_to_its_writer(service: Service) -> None:
    store = ObjectStore(options(service.url, part_attempts=1, part_size=PART))
    service.answer = 403, "<Error><Code>AccessDenied</Code></Error>"
    upload = store.write("a")
    with pytest.raises(StoreDenied, match="AccessDenied"):
        for _ in range(50):
            upload.write(bytes(PART))
    upload.abort()


def test_s3_names_the_key_wherever_an_object_begins(service: Service) -> None:
    sse = {"type": "sse-kms", "key": "abc", "bucket_key": True}
    write_in_every_way(ObjectStore(options(service.url, part_size=PART, server_side_encryption=sse)))
    beginnings = [headers for _, path, headers in service.requests if "uploadId=" not in path]
    assert len(beginnings) == 5
    for headers in beginnings:
        assert headers["x-amz-server-side-encryption"] == "aws:kms"
        assert headers["x-amz-server-side-encryption-aws-kms-key-id"] == "abc"
        assert headers["x-amz-server-side-encryption-bucket-key-enabled"] == "true"


def test_a_service_out_of_reach_is_unavailable() -> None:
    service = Service()
    service.close()
    with pytest.raises(StoreUnavailable, match="the connection failed"):
        ObjectStore(options(service.url)).get("a")


def test_http_needs_to_be_allowed(service: Service) -> None:
    with pytest.raises((StoreDenied, InvalidProject), match=r"allow_http|settings"):
        ObjectStore(options(service.url, allow_http=False)).put("a", b"1")
    assert service.requests == []


def test_no_credentials_is_a_refusal_with_advice(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_METADATA_ENDPOINT", service.url)
    service.answer = 403, ""
    plain = ObjectOptions(url="s3://lake", endpoint=service.url, allow_http=True)
    with pytest.raises(StoreDenied, match="no credentials were found"):
        ObjectStore(plain).put("a", b"1")


def test_no_secret_shows() -> None:
    held = ObjectOptions(url="s3://lake/x", **SIGNED)
    assert SECRET not in repr(held)
    assert SECRET not in ObjectStore(held).url
    assert SECRET not in held.model_dump_json()


@pytest.mark.parametrize(
    "settings",
    [
        {"url": "s3://key:secret@lake/x"},
        {"url": "s3://key:sec/ret@lake/x"},
        {"url": "https://acc.blob.core.windows.net/lake?sig=x"},
        {"url": "ftp://lake"},
        {"url": "lake"},
        {"url": "gs://lake", "role_arn": "x"},
        {"url": "s3://lake", "account": "x"},
        {"url": "s3://lake", "access_key_id": "x"},
        {"url": "s3://lake", "external_id": "x"},
        {"url": "s3://lake", "server_side_encryption": {"type": "cmek", "key": "x"}},
        {"url": "s3://lake", "server_side_encryption": {"type": "sse-s3", "key": "x"}},
        {"url": "s3://lake", "server_side_encryption": {"type": "sse-s3", "bucket_key": True}},
        {"url": "gs://lake", "server_side_encryption": {"type": "cmek"}},
        {"url": "az://lake", "account_key": "x", "server_side_encryption": {"type": "scope", "key": "x"}},
        {"url": "s3://lake", "unknown": 1},
    ],
)
def test_settings_that_cannot_mean_what_they_say_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        ObjectOptions(**settings)


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("s3://lake", ("lake", "", None, None)),
        ("s3://lake/a%20b/c/", ("lake", "a b/c", None, None)),
        ("az://lake/x", ("lake", "x", "acc", None)),
        (
            "https://me.blob.core.windows.net/lake/x/y",
            ("lake", "x/y", "me", "https://me.blob.core.windows.net"),
        ),
        (
            "abfss://lake@me.dfs.core.windows.net/x",
            ("lake", "x", "me", "https://me.blob.core.windows.net"),
        ),
    ],
)
def test_a_url_is_taken_apart(url: str, expected: tuple[str | None, ...]) -> None:
    account = {"account": "acc"} if url.startswith("az") else {}
    place = ObjectOptions(url=url, **account).place  # type: ignore[arg-type]
    assert (place.bucket, place.prefix, place.account, place.endpoint) == expected


@pytest.mark.parametrize(("said", "set_to"), [("true", None), ("false", True), ("", True)])
def test_http_may_be_allowed_by_the_environment_where_the_settings_are_silent(
    service: Service, monkeypatch: pytest.MonkeyPatch, said: str, set_to: bool | None
) -> None:
    monkeypatch.setenv("AWS_ALLOW_HTTP", said)
    settings = {name: value for name, value in SIGNED.items() if name != "allow_http"}
    given = {} if set_to is None else {"allow_http": set_to}
    ObjectStore(ObjectOptions(url="s3://lake/x", endpoint=service.url, **settings, **given)).put("a", b"1")
    assert len(service.requests) == 1


@pytest.mark.parametrize("endpoint_by", ["AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3"])
@pytest.mark.parametrize("region_by", ["AWS_REGION", "AWS_DEFAULT_REGION"])
def test_who_verifies_a_url_names_endpoint_and_region_by_the_environment(
    endpoint: str, s3: Any, monkeypatch: pytest.MonkeyPatch, endpoint_by: str, region_by: str
) -> None:
    for name, value in (
        (endpoint_by, endpoint),
        (region_by, "us-east-1"),
        ("AWS_ACCESS_KEY_ID", SIGNED["access_key_id"]),
        ("AWS_SECRET_ACCESS_KEY", SECRET),
        ("AWS_ALLOW_HTTP", "true"),
    ):
        monkeypatch.setenv(name, str(value))
    s3.put_object(Bucket="lake", Key="received/a/_SUCCESS", Body=b"{}")
    (problem,) = verify("s3://lake/received").problems
    assert (problem.object, problem.problem) == ("a/_SUCCESS", "a success marker without a manifest")


@pytest.mark.parametrize("region_by", ["AWS_REGION", "AWS_DEFAULT_REGION"])
def test_requests_are_signed_for_the_region_of_the_environment(
    service: Service, monkeypatch: pytest.MonkeyPatch, region_by: str
) -> None:
    monkeypatch.delenv("AWS_REGION", raising=False)
    monkeypatch.setenv(region_by, "eu-north-1")
    settings = {name: value for name, value in SIGNED.items() if name != "region"}
    ObjectStore(ObjectOptions(url="s3://lake/x", endpoint=service.url, **settings)).put("a", b"1")  # type: ignore[arg-type]
    ((_, _, headers),) = service.requests
    assert "/eu-north-1/s3/aws4_request" in headers["authorization"]


def test_settings_that_forbid_http_are_not_overruled_by_the_environment(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ALLOW_HTTP", "true")
    with pytest.raises((StoreDenied, InvalidProject), match=r"allow_http|settings"):
        ObjectStore(options(service.url, allow_http=False)).put("a", b"1")
    assert service.requests == []

"""AWS KMS wraps data keys: moto keeps the keys, and every refusal of the service is told as one."""

# S10, D12
from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from kms import ACCOUNT, REGION, aws_kms, client, make_key
from pydantic import ValidationError

from lading.errors import KeysUnavailable, Refused
from lading.keys.aws import AwsKms, AwsOptions, context
from lading.keys.remote import ATTEMPTS, Naming, RemoteWrapper
from lading.ports import WrappedKey
from lading.testing.keys import KeysSuite
from lading.testing.wrapper import KEY, Open, Unwrap, WrapperSuite

TEMPLATE = "alias/lading-{tenant}"


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    with aws_kms() as address:
        yield address


@pytest.fixture(scope="module")
def kms(endpoint: str) -> Any:
    made = client(endpoint)
    for tenant in (*KeysSuite.TENANTS, "new"):
        make_key(made, naming().of(tenant))
    return made


def naming(own: dict[str, str] | None = None, template: str | None = TEMPLATE) -> Naming:
    return Naming(template, own or {}, longest=AwsKms.longest)


def wrapper(endpoint: str, names: Naming | None = None, **options: Any) -> RemoteWrapper:
    service = AwsKms(AwsOptions(endpoint=endpoint, allow_http=True, **options))
    return RemoteWrapper(service, names or naming(), sleep=lambda _: None)


@pytest.mark.slow
class TestAwsKms(WrapperSuite):
    @pytest.fixture
    def open_wrapper(self, endpoint: str, kms: Any) -> Open:
        return lambda: wrapper(endpoint)

    @pytest.fixture
    def unwrap(self, endpoint: str) -> Unwrap:
        return wrapper(endpoint).unwrap


def test_every_name_of_an_alias_is_one_that_aws_takes_and_is_nobody_elses() -> None:
    names = [naming().of(tenant) for tenant in KeysSuite.TENANTS]
    assert len(set(names)) == len(names)
    for name in names:
        AwsKms.check_key(name)
        assert len(name) <= 256
    assert naming().of("acme-corp") == "alias/lading-acme-corp"
    assert naming().of("a_b") == "alias/lading-a_5fb"


def test_what_is_recorded_is_the_key_and_not_its_alias(endpoint: str, kms: Any) -> None:
    arn = make_key(kms, "alias/lading-moves")
    first = wrapper(endpoint).wrap("moves", KEY)
    assert first.key_id == arn == wrapper(endpoint).key_id("moves")
    assert arn.startswith(f"arn:aws:kms:{REGION}:{ACCOUNT}:key/")
    other = make_key(kms, "alias/lading-moves")
    second = wrapper(endpoint).wrap("moves", KEY)
    assert second.key_id == other != arn
    assert wrapper(endpoint).unwrap("moves", first) == wrapper(endpoint).unwrap("moves", second) == KEY


def test_a_recipient_opens_it_with_the_context_and_without_lading(endpoint: str, kms: Any) -> None:
    wrapped = wrapper(endpoint).wrap("a/b", KEY)
    told = {"tenant": "a%2Fb", "purpose": "lading-data-key"}
    assert context("a/b") == told
    assert kms.decrypt(CiphertextBlob=wrapped.data, EncryptionContext=told)["Plaintext"] == KEY
    for other in ({}, {**told, "tenant": "UA"}, {"tenant": "a%2Fb"}):
        with pytest.raises(kms.exceptions.InvalidCiphertextException):
            kms.decrypt(CiphertextBlob=wrapped.data, EncryptionContext=other)


def test_a_tenants_own_key_goes_before_the_template(endpoint: str, kms: Any) -> None:
    own = kms.create_key()["KeyMetadata"]["Arn"]
    ours = wrapper(endpoint, naming({"UA": own}))
    assert ours.wrap("UA", KEY).key_id == own
    assert ours.wrap("ua", KEY).key_id != own
    with pytest.raises(Refused, match="'AA' has no key"):
        wrapper(endpoint, naming({"UA": own}, None)).wrap("AA", KEY)
    with pytest.raises(Refused, match="is the key of tenant 'UA'"):
        wrapper(endpoint, naming({"UA": "alias/lading-AA"})).wrap("AA", KEY)


def test_two_tenants_never_share_a_key_whatever_its_aliases(endpoint: str, kms: Any) -> None:
    arn = make_key(kms, "alias/lading-one")
    kms.create_alias(AliasName="alias/lading-two", TargetKeyId=arn)
    ours = wrapper(endpoint)
    ours.wrap("one", KEY)
    with pytest.raises(Refused, match="'one' and 'two' have one key"):
        ours.wrap("two", KEY)
    # Nor does one open what is the other's where nobody looked.
    with pytest.raises(Refused, match="was not, or was changed"):
        ours.unwrap("two", wrapper(endpoint).wrap("one", KEY))


@pytest.mark.parametrize(
    ("act", "code"),
    [("disable_key", "DisabledException"), ("schedule_key_deletion", "KMSInvalidStateException")],
)
def test_a_key_that_is_off_wraps_and_opens_nothing(endpoint: str, kms: Any, act: str, code: str) -> None:
    arn = make_key(kms, f"alias/lading-{act.replace('_', '-')}")
    tenant = act.replace("_", "-")
    ours = wrapper(endpoint)
    wrapped = ours.wrap(tenant, KEY)
    getattr(kms, act)(KeyId=arn.rpartition("/")[2])
    for call in (
        lambda: ours.wrap(tenant, KEY),
        lambda: ours.unwrap(tenant, wrapped),
        lambda: ours.key_id(tenant),
    ):
        with pytest.raises(Refused, match=code) as caught:
            call()
        assert caught.value.hint


def test_a_key_that_is_not_there_is_refused_with_its_name(endpoint: str) -> None:
    with pytest.raises(Refused, match="alias/lading-nobody") as caught:
        wrapper(endpoint).key_id("nobody")
    assert "NotFoundException" in str(caught.value)


@pytest.mark.parametrize(
    "key", ["alias/lading-UA", "https://evil.example/keys/x", "arn:aws:kms:x:1:key/1", ""]
)
def test_what_a_manifest_calls_a_key_and_is_none_is_never_asked_for(endpoint: str, key: str) -> None:
    with pytest.raises(Refused, match="is no key"):
        wrapper(endpoint).unwrap("UA", WrappedKey(key, b"x"))


def test_without_credentials_or_region_it_says_so(endpoint: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_DEFAULT_REGION")
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nowhere")
    with pytest.raises(Refused, match="region"):
        wrapper(endpoint).key_id("UA")
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nowhere")
    with pytest.raises(Refused, match="credentials"):
        wrapper(endpoint, region=REGION).key_id("UA")


@pytest.mark.parametrize(
    ("status", "code", "told"),
    [
        (400, "ThrottlingException", KeysUnavailable),
        (500, "KMSInternalException", KeysUnavailable),
        (503, "", KeysUnavailable),
        (400, "AccessDeniedException", Refused),
        (400, "ExpiredTokenException", Refused),
        (400, "InvalidKeyUsageException", Refused),
    ],
)
def test_what_passes_is_asked_again_and_what_is_refused_is_not(
    endpoint: str, status: int, code: str, told: type[Exception]
) -> None:
    asked = []

    class Answer(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked.append(self.headers["X-Amz-Target"])
            self.rfile.read(int(self.headers["Content-Length"]))
            body = f'{{"__type": "{code}", "message": "as the test would have it"}}'.encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args: Any) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Answer) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        with pytest.raises(told) as caught:
            wrapper(f"http://127.0.0.1:{server.server_port}").wrap("UA", KEY)
        server.shutdown()
        thread.join()
    assert code in str(caught.value)
    assert KEY.hex() not in str(caught.value)
    assert len(asked) == (ATTEMPTS if told is KeysUnavailable else 1)


def test_a_service_that_is_not_there_is_asked_again_and_then_given_up(endpoint: str) -> None:
    with pytest.raises(KeysUnavailable, match="cannot be reached"):
        wrapper("http://127.0.0.1:9").wrap("UA", KEY)


@pytest.mark.parametrize(
    ("key", "told"),
    [
        ("alias/lading", "must hold {tenant} once"),
        ("alias/{tenant}-{tenant}", "must hold {tenant} once"),
        ("lading-{tenant}", "is no name of a key"),
        ("arn:aws:kms:eu-central-1:123456789012:key/{tenant}", "is no name of a key"),
    ],
)
def test_a_key_for_all_tenants_and_a_name_that_is_none_are_refused(key: str, told: str) -> None:
    with pytest.raises(ValidationError) as caught:
        AwsOptions(key=key)
    assert told in str(caught.value)
    with pytest.raises(ValidationError, match="must be https"):
        AwsOptions(endpoint="http://kms.example")
    AwsOptions(key="arn:aws:kms:eu-central-1:123456789012:alias/lading-{tenant}")

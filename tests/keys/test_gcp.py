"""Google Cloud KMS wraps data keys, as fake-cloud-kms plays it."""

# S10, D12
from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from key_servers import google_kms
from pydantic import ValidationError

from lading.errors import KeysUnavailable, Refused
from lading.keys.gcp import GcpOptions, GoogleKms, crc32c
from lading.keys.remote import Naming, RemoteWrapper
from lading.ports import WrappedKey
from lading.testing.keys import KeysSuite
from lading.testing.wrapper import KEY, Open, Unwrap, WrapperSuite

RING = "projects/ours/locations/europe-west3/keyRings/lading"
TEMPLATE = f"{RING}/cryptoKeys/x-{{tenant}}"


class _Answers(GoogleKms):
    """fake-cloud-kms answers INTERNAL where Google says INVALID_ARGUMENT: for what is no ciphertext of the key's."""

    def _call(self, what: str, key: str, request: Mapping[str, Any]) -> Any:
        try:
            return super()._call(what, key, request)
        except KeysUnavailable as error:
            if what != "decrypt" or not str(error).count("INTERNAL"):
                raise
            raise Refused("was not, or was changed") from error


@pytest.fixture(scope="module")
def emulator() -> Iterator[str]:
    pytest.importorskip("google.cloud.kms_v1", reason="the extra gcp is not installed")
    with google_kms() as address:
        client(address).create_key_ring(
            parent=RING.partition("/keyRings/")[0], key_ring_id="lading", key_ring={}
        )
        for tenant in (*KeysSuite.TENANTS, "new"):
            make_key(address, naming().of(tenant))
        yield address


def client(emulator: str) -> Any:
    return GoogleKms(GcpOptions(emulator=emulator))._connected()


def make_key(emulator: str, name: str) -> str:
    key = {"purpose": "ENCRYPT_DECRYPT"}
    client(emulator).create_crypto_key(parent=RING, crypto_key_id=name.rpartition("/")[2], crypto_key=key)
    return name


def naming(own: Mapping[str, str] | None = None) -> Naming:
    return Naming(TEMPLATE, own or {}, longest=GoogleKms.longest)


def wrapper(emulator: str, own: Mapping[str, str] | None = None) -> RemoteWrapper:
    return RemoteWrapper(_Answers(GcpOptions(emulator=emulator)), naming(own), sleep=lambda _: None)


class TestGoogleKms(WrapperSuite):
    @pytest.fixture
    def open_wrapper(self, emulator: str) -> Open:
        return lambda: wrapper(emulator)

    @pytest.fixture
    def unwrap(self, emulator: str) -> Unwrap:
        return wrapper(emulator).unwrap


def test_every_name_is_one_that_google_takes() -> None:
    names = [naming().of(tenant) for tenant in KeysSuite.TENANTS]
    assert len(set(names)) == len(names)
    for name in names:
        GoogleKms.check_key(name)


def test_after_a_rotation_the_new_version_wraps_and_the_old_one_opens(emulator: str) -> None:
    name = make_key(emulator, naming().of("rotated"))
    first = wrapper(emulator).wrap("rotated", KEY)
    google = client(emulator)
    made = google.create_crypto_key_version(parent=name, crypto_key_version={})
    google.update_crypto_key_primary_version(name=name, crypto_key_version_id=made.name.rpartition("/")[2])
    second = wrapper(emulator).wrap("rotated", KEY)
    assert (first.key_id, second.key_id) == tuple(f"{name}/cryptoKeyVersions/{n}" for n in (1, 2))
    assert wrapper(emulator).key_id("rotated") == second.key_id
    assert wrapper(emulator).unwrap("rotated", first) == wrapper(emulator).unwrap("rotated", second) == KEY


def test_a_recipient_opens_it_without_lading(emulator: str) -> None:
    name = make_key(emulator, naming().of("a/c"))
    wrapped = wrapper(emulator).wrap("a/c", KEY)
    told = {
        "name": name,
        "ciphertext": wrapped.data,
        "additional_authenticated_data": b"lading-data-key:a%2Fc",
    }
    assert client(emulator).decrypt(request=told).plaintext == KEY


def test_under_one_key_no_tenant_opens_what_is_wrapped_for_another(emulator: str) -> None:
    own = make_key(emulator, f"{RING}/cryptoKeys/theirs")
    wrapped = wrapper(emulator, {"a": own}).wrap("a", KEY)
    with pytest.raises(Refused):
        wrapper(emulator).unwrap("b", wrapped)
    assert wrapper(emulator).unwrap("a", wrapped) == KEY


def test_a_key_that_is_not_there_is_refused_with_its_name(emulator: str) -> None:
    with pytest.raises(Refused, match="cryptoKeys/x-nobody: NOT_FOUND") as caught:
        wrapper(emulator).key_id("nobody")
    assert "Make the key" in str(caught.value)


def test_a_service_that_is_not_there_is_given_up() -> None:
    pytest.importorskip("google.cloud.kms_v1", reason="the extra gcp is not installed")
    with pytest.raises(KeysUnavailable, match="UNAVAILABLE"):
        wrapper("127.0.0.1:9").wrap("UA", KEY)


def test_without_credentials_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("google.cloud.kms_v1", reason="the extra gcp is not installed")
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", "/nowhere.json")
    with pytest.raises(Refused, match="no credentials"):
        RemoteWrapper(GoogleKms(GcpOptions()), naming()).key_id("UA")


@pytest.mark.parametrize(
    "name", ["x", f"{RING}/cryptoKeys/x-UA", f"{RING}/cryptoKeys/../x/cryptoKeyVersions/1", ""]
)
def test_what_a_manifest_calls_a_key_and_is_none_is_never_asked_for(name: str) -> None:
    pytest.importorskip("google.cloud.kms_v1", reason="the extra gcp is not installed")
    with pytest.raises(Refused, match="is no version of a key"):
        wrapper("127.0.0.1:9").unwrap("UA", WrappedKey(name, b"x"))


def test_a_checksum_is_that_of_the_standard() -> None:
    assert crc32c(b"123456789") == 0xE3069283
    assert crc32c(bytes(32)) == 0x8A9136AA  # RFC 3720, B.4


@pytest.mark.parametrize(
    "options", [{"key": f"{RING}/cryptoKeys/x"}, {"key": "x-{tenant}"}, {"emulator": "kms.example:443"}]
)
def test_a_key_for_all_tenants_and_an_emulator_elsewhere_are_refused(options: dict[str, str]) -> None:
    with pytest.raises(ValidationError):
        GcpOptions(**options)

"""Azure Key Vault wraps data keys, as lowkey-vault plays it."""

# S10, D12
from __future__ import annotations

from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from key_servers import asked, key_vault
from pydantic import ValidationError

from lading.errors import KeysUnavailable, Refused
from lading.keys.azure import AzureKeyVault, AzureOptions
from lading.keys.https import Answer, Https
from lading.keys.remote import Naming, RemoteWrapper
from lading.ports import WrappedKey
from lading.testing.keys import KeysSuite
from lading.testing.wrapper import KEY, Open, Unwrap, WrapperSuite

Vault = tuple[str, Path]
OPERATIONS = ["wrapKey", "unwrapKey", "encrypt", "decrypt"]


class _Answers:
    """lowkey-vault answers 500 where Key Vault refuses: 400 what is no ciphertext of the key's, 403 a disabled key."""

    def __init__(self, https: Https) -> None:
        self._https = https

    def ask(self, method: str, url: str, *rest: Any) -> Answer:
        try:
            return self._https.ask(method, url, *rest)
        except KeysUnavailable as error:
            if "answers 500" not in str(error):
                raise
            return Answer(400 if "/unwrapkey" in url else 403, {})


@pytest.fixture(scope="module")
def vault(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Vault]:
    pytest.importorskip("azure.identity", reason="the extra azure is not installed")
    with key_vault(tmp_path_factory.mktemp("azure")) as made:
        yield made


@pytest.fixture(scope="module")
def keys(vault: Vault) -> Vault:
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda tenant: make_key(vault, naming().of(tenant)), (*KeysSuite.TENANTS, "new")))
    return vault


def naming(own: Mapping[str, str] | None = None) -> Naming:
    return Naming("lading-{tenant}", own or {}, longest=AzureKeyVault.longest, folds_case=True)


def said(vault: Vault, method: str, url: str, body: Mapping[str, Any]) -> Any:
    return asked(method, f"{url}?api-version=7.4", {"Authorization": "Bearer x"}, body, authority=vault[1])


def make_key(vault: Vault, name: str) -> str:
    """A new key, or a new version of it; returns its identifier."""
    body = {"kty": "RSA", "key_size": 2048, "key_ops": OPERATIONS}
    kid: str = said(vault, "POST", f"{vault[0]}/keys/{name}/create", body)["key"]["kid"]
    return kid


def wrapper(vault: Vault, own: Mapping[str, str] | None = None) -> RemoteWrapper:
    address, authority = vault
    service: Any = AzureKeyVault(AzureOptions(vault=address, ca_file=str(authority)))
    service._https = _Answers(service._https)
    return RemoteWrapper(service, naming(own), sleep=lambda _: None)


@pytest.mark.slow
class TestAzureKeyVault(WrapperSuite):
    @pytest.fixture
    def open_wrapper(self, keys: Vault) -> Open:
        return lambda: wrapper(keys)

    @pytest.fixture
    def unwrap(self, keys: Vault) -> Unwrap:
        return wrapper(keys).unwrap


def test_every_name_is_one_that_azure_takes_in_any_case_and_is_nobody_elses() -> None:
    names = [naming().of(tenant) for tenant in KeysSuite.TENANTS]
    assert len({name.lower() for name in names}) == len(names)
    for name in names:
        AzureKeyVault.check_key(name)
    assert naming().of("acme-Co") == "lading-acme-2d-43o"


def test_after_a_rotation_the_new_version_wraps_and_the_old_one_opens(vault: Vault) -> None:
    old = make_key(vault, "lading-rotated")
    first = wrapper(vault).wrap("rotated", KEY)
    new = make_key(vault, "lading-rotated")
    second = wrapper(vault).wrap("rotated", KEY)
    assert (first.key_id, second.key_id) == (old, new)
    assert wrapper(vault).key_id("rotated") == new
    assert wrapper(vault).unwrap("rotated", first) == wrapper(vault).unwrap("rotated", second) == KEY


def test_under_one_key_no_tenant_opens_what_is_wrapped_for_another(vault: Vault) -> None:
    make_key(vault, "theirs")
    own = f"{vault[0]}/keys/theirs"
    wrapped = wrapper(vault, {"a": own}).wrap("a", KEY)
    with pytest.raises(Refused, match="for this tenant was not"):
        wrapper(vault).unwrap("b", wrapped)
    with pytest.raises(Refused, match="'a' and 'b' have one key"):
        (ours := wrapper(vault, {"a": own, "b": "theirs"})).wrap("a", KEY), ours.wrap("b", KEY)


def test_a_disabled_key_wraps_and_opens_nothing_and_another_opens_again(vault: Vault) -> None:
    kid = make_key(vault, "lading-off")
    wrapped = wrapper(vault).wrap("off", KEY)
    said(vault, "PATCH", kid, {"attributes": {"enabled": False}})
    for call in (lambda: wrapper(vault).wrap("off", KEY), lambda: wrapper(vault).unwrap("off", wrapped)):
        with pytest.raises(Refused):
            call()
    said(vault, "PATCH", kid, {"attributes": {"enabled": True}})
    assert wrapper(vault).unwrap("off", wrapped) == KEY


def test_a_key_that_is_not_there_is_refused_and_not_made(vault: Vault) -> None:
    for _ in range(2):
        with pytest.raises(Refused, match=r"/keys/lading-nobody: 404") as caught:
            wrapper(vault).key_id("nobody")
        assert "Make the key" in str(caught.value)


@pytest.mark.parametrize(
    "kid",
    [
        "https://evil.example/keys/lading-a/0",
        "https://localhost.evil.example/keys/lading-a/0",
        "http://localhost/keys/lading-a/0",
        "https://localhost:1@evil.example/keys/a/0",
        "lading-a",
        "",
    ],
)
def test_the_token_goes_nowhere_that_a_manifest_says(kid: str, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("azure.identity", reason="the extra azure is not installed")
    monkeypatch.setattr(AzureKeyVault, "_token", lambda _: pytest.fail("the token was taken"))
    for ours in ("https://localhost:8443", "https://ours.vault.azure.net", "https://vault.example"):
        with pytest.raises(Refused, match="is no key"):
            AzureKeyVault(AzureOptions(vault=ours)).unwrap("a", WrappedKey(kid, b"x"))


def test_a_certificate_that_is_not_trusted_is_refused(vault: Vault) -> None:
    service = AzureKeyVault(AzureOptions(vault=vault[0]))
    with pytest.raises(Refused, match="is not trusted"):
        RemoteWrapper(service, naming()).key_id("a")


def test_without_credentials_it_says_so(vault: Vault, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AZURE_TOKEN_CREDENTIALS", "EnvironmentCredential")
    with pytest.raises(Refused, match="no credentials"):
        wrapper(vault).key_id("a")


def test_a_wrapped_key_of_another_length_is_refused(vault: Vault) -> None:
    make_key(vault, "lading-short")
    wrapped = wrapper(vault).wrap("short", KEY[:16])
    with pytest.raises(Refused, match="has 16 bytes"):
        wrapper(vault).unwrap("short", wrapped)
    with pytest.raises(Refused):
        wrapper(vault).unwrap("short", replace(wrapped, data=b""))


@pytest.mark.parametrize(
    "options",
    [
        {"vault": "http://ours.vault.azure.net"},
        {"vault": "https://user:secret@ours.vault.azure.net"},
        {"vault": "https://ours.vault.azure.net", "key": "lading"},
        {"vault": "https://ours.vault.azure.net", "key": "lading_{tenant}"},
    ],
)
def test_what_would_send_credentials_in_the_clear_or_share_a_key_is_refused(options: dict[str, str]) -> None:
    with pytest.raises(ValidationError) as caught:
        AzureOptions(**options)
    assert "secret" not in str(caught.value).partition("[type")[0]

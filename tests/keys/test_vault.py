"""Vault Transit wraps data keys: a real server of OpenBao or Vault, and what is refused before one is asked."""

# S10, D12
from __future__ import annotations

import base64
import threading
from collections.abc import Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from key_servers import ROOT, transit, vault
from pydantic import ValidationError

from lading.errors import KeysUnavailable, Refused
from lading.keys.remote import ATTEMPTS, Naming, RemoteWrapper
from lading.keys.vault import VaultOptions, VaultTransit
from lading.ports import WrappedKey
from lading.testing.keys import KeysSuite
from lading.testing.wrapper import KEY, Open, Unwrap, WrapperSuite


@pytest.fixture(autouse=True)
def token(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VAULT_TOKEN", ROOT)


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with transit() as address:
        for tenant in (*KeysSuite.TENANTS, "new"):
            vault(address, "POST", f"transit/keys/{naming().of(tenant)}", {})
        yield address


def naming(own: Mapping[str, str] | None = None) -> Naming:
    return Naming("lading-{tenant}", own or {}, longest=VaultTransit.longest)


def wrapper(server: str, own: Mapping[str, str] | None = None, **options: Any) -> RemoteWrapper:
    service = VaultTransit(VaultOptions(url=server, allow_http=True, **options))
    return RemoteWrapper(service, naming(own), sleep=lambda _: None)


class TestVaultTransit(WrapperSuite):
    @pytest.fixture
    def open_wrapper(self, server: str) -> Open:
        return lambda: wrapper(server)

    @pytest.fixture
    def unwrap(self, server: str) -> Unwrap:
        return wrapper(server).unwrap


def test_every_name_is_one_that_transit_takes() -> None:
    names = [naming().of(tenant) for tenant in KeysSuite.TENANTS]
    assert len(set(names)) == len(names)
    for name in names:
        VaultTransit.check_key(name)
    assert naming().of("tenant-") == "lading-tenant_2d"


@pytest.mark.parametrize("derived", [False, True])
def test_after_a_rotation_the_new_version_wraps_and_the_old_one_opens(server: str, derived: bool) -> None:
    tenant = f"rotated{derived}"
    vault(server, "POST", f"transit/keys/lading-{tenant}", {"derived": derived})
    first = wrapper(server).wrap(tenant, KEY)
    vault(server, "POST", f"transit/keys/lading-{tenant}/rotate", {})
    second = wrapper(server).wrap(tenant, KEY)
    assert (first.key_id, second.key_id) == tuple(f"transit/keys/lading-{tenant}/{n}" for n in (1, 2))
    assert wrapper(server).key_id(tenant) == second.key_id
    assert wrapper(server).unwrap(tenant, first) == wrapper(server).unwrap(tenant, second) == KEY


def test_a_recipient_opens_it_without_lading(server: str) -> None:
    vault(server, "POST", "transit/keys/lading-a_2fb", {})
    wrapped = wrapper(server).wrap("a/b", KEY)
    told = {
        "ciphertext": f"vault:v1:{base64.b64encode(wrapped.data).decode()}",
        "associated_data": base64.b64encode(b"lading-data-key:a%2Fb").decode(),
    }
    opened = vault(server, "POST", "transit/decrypt/lading-a_2fb", told)
    assert base64.b64decode(opened["data"]["plaintext"]) == KEY


def test_under_one_key_no_tenant_opens_what_is_wrapped_for_another(server: str) -> None:
    vault(server, "POST", "transit/keys/theirs", {})
    wrapped = wrapper(server, {"a": "theirs"}).wrap("a", KEY)
    with pytest.raises(Refused, match="for this tenant was not"):
        wrapper(server).unwrap("b", wrapped)
    assert wrapper(server).unwrap("a", wrapped) == KEY


def test_a_key_that_is_not_there_is_refused_and_never_made(server: str) -> None:
    for _ in range(2):
        with pytest.raises(Refused, match="refuses keys with lading-nobody: 404") as caught:
            wrapper(server).wrap("nobody", KEY)
        assert "Make the key" in str(caught.value)


def test_once_a_key_is_destroyed_nobody_opens_what_it_wrapped(server: str) -> None:
    vault(server, "POST", "transit/keys/lading-gone", {})
    ours = wrapper(server)
    wrapped = ours.wrap("gone", KEY)
    vault(server, "POST", "transit/keys/lading-gone/config", {"deletion_allowed": True})
    vault(server, "DELETE", "transit/keys/lading-gone")
    for call in (
        lambda: ours.wrap("gone", KEY),
        lambda: ours.key_id("gone"),
        lambda: ours.unwrap("gone", wrapped),
    ):
        with pytest.raises(Refused):
            call()


@pytest.mark.parametrize("kind", ["rsa-2048", "ed25519"])
def test_a_key_that_binds_to_no_tenant_is_refused(server: str, kind: str) -> None:
    vault(server, "POST", f"transit/keys/lading-{kind}", {"type": kind})
    with pytest.raises(Refused, match=f"is of type {kind}"):
        wrapper(server).wrap(kind, KEY)


def test_a_token_needs_no_more_than_is_documented(server: str, tmp_path: Path) -> None:
    rules = 'path "transit/encrypt/*" {capabilities = ["update"]}\npath "transit/keys/*" {capabilities = ["read"]}'
    vault(server, "PUT", "sys/policies/acl/lading", {"policy": rules})
    made = vault(server, "POST", "auth/token/create", {"policies": ["lading"], "no_default_policy": True})
    file = tmp_path / "token"
    file.write_text(made["auth"]["client_token"] + "\n")
    ours = wrapper(server, token_file=str(file))
    wrapped = ours.wrap("UA", KEY)
    with pytest.raises(Refused, match=r"403.*permission denied") as caught:
        ours.unwrap("UA", wrapped)
    assert made["auth"]["client_token"] not in str(caught.value)
    file.write_text("no-such-token")
    with pytest.raises(Refused, match="403") as caught:
        ours.wrap("UA", KEY)
    assert "no-such-token" not in str(caught.value)


@pytest.mark.parametrize("held", ["", " \n", "two words", "a\r\nX-Other: b"])
def test_without_a_token_nothing_is_asked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, held: str) -> None:
    monkeypatch.setenv("VAULT_TOKEN", held)
    with pytest.raises(Refused, match="no token of Vault in the variable VAULT_TOKEN"):
        wrapper("http://127.0.0.1:9").key_id("UA")
    (tmp_path / "token").write_text(held)
    with pytest.raises(Refused, match="no token of Vault in"):
        wrapper("http://127.0.0.1:9", token_file=str(tmp_path / "token")).key_id("UA")
    with pytest.raises(Refused, match="cannot be read"):
        wrapper("http://127.0.0.1:9", token_file=str(tmp_path / "none")).key_id("UA")


@pytest.mark.parametrize(
    "name", ["transit/keys/../sys/1", "other/keys/a/1", "transit/keys/a", "transit/keys/a/b", ""]
)
def test_what_a_manifest_calls_a_key_and_is_none_is_never_asked_for(name: str) -> None:
    with pytest.raises(Refused, match="is no key"):
        wrapper("http://127.0.0.1:9").unwrap("UA", WrappedKey(name, b"x"))


@pytest.mark.parametrize(
    ("status", "headers", "told", "times"),
    [
        (429, {"Retry-After": "1"}, KeysUnavailable, ATTEMPTS),
        (503, {}, KeysUnavailable, ATTEMPTS),
        (307, {"Location": "http://127.0.0.1:9/elsewhere"}, Refused, 1),
        (403, {}, Refused, 1),
        (200, {}, Refused, 1),
    ],
)
def test_what_passes_is_asked_again_and_a_redirect_is_not_followed(
    status: int, headers: dict[str, str], told: type[Exception], times: int
) -> None:
    asked = []

    class Answers(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(status)
            for name, value in {**headers, "Content-Length": "2"}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(b"[]")

        def log_message(self, *args: Any) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Answers) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        with pytest.raises(told) as caught:
            wrapper(f"http://127.0.0.1:{server.server_port}").wrap("UA", KEY)
        server.shutdown()
        thread.join()
    assert len(asked) == times
    assert str(status) in str(caught.value)
    assert ROOT not in str(caught.value)


@pytest.mark.parametrize("verb", ["copy", "rotate", "destroy"])
def test_what_vault_does_itself_is_said_with_its_mount_and_key(verb: str) -> None:
    told = wrapper("http://127.0.0.1:9", mount="eu/transit").elsewhere(verb, "UA")
    assert "lading-UA, of Vault Transit" in told.message
    assert "eu/transit/" in str(told.hint)
    assert "/lading-UA" in str(told.hint)


def test_a_server_that_is_not_there_is_asked_again_and_then_given_up() -> None:
    with pytest.raises(KeysUnavailable, match="cannot be reached"):
        wrapper("http://127.0.0.1:9").wrap("UA", KEY)


@pytest.mark.parametrize(
    "options",
    [
        {"url": "http://vault.example:8200"},
        {"url": "https://root:secret@vault.example:8200"},
        {"url": "vault.example:8200"},
        {"url": "https://vault.example:8200", "key": "lading"},
        {"url": "https://vault.example:8200", "key": "a/{tenant}"},
        {"url": "https://vault.example:8200", "mount": "../sys"},
    ],
)
def test_what_would_send_the_token_in_the_clear_or_share_a_key_is_refused(options: dict[str, str]) -> None:
    with pytest.raises(ValidationError):
        VaultOptions(**options)

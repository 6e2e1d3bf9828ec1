"""Vault Transit, of HashiCorp Vault and of OpenBao: https://openbao.org/api-docs/secret/transit/

A data key is encrypted under the tenant's key with `bound_to(tenant)` as associated data, and, for keys that derive
(``derived=true``), as the context too. What is recorded is ``<mount>/keys/<name>/<version>``, and the bytes of the
ciphertext, which Transit writes ``vault:v<version>:<base64>``. A key that is not there is refused; for a token that may
create, Transit would make it.

The token is the variable ``VAULT_TOKEN``, or stands in a file that an agent renews and that is read anew each time.
"""

from __future__ import annotations

import base64
import binascii
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from lading.errors import Refused
from lading.keys.https import Answer, Https, reached
from lading.keys.remote import bound_to, template_of
from lading.ports import WrappedKey

TOKEN = "VAULT_TOKEN"
LONGEST = 200
_NAME = r"\w(?:[\w.-]*\w)?"
_CIPHERTEXT = re.compile(r"vault:v([0-9]+):([A-Za-z0-9+/]+=*)")
_AUTHENTICATED = ("aes128-gcm96", "aes256-gcm96", "chacha20-poly1305", "xchacha20-poly1305")


class VaultOptions(BaseModel):
    """Vault Transit. A tenant's own key (`kms_key`) is the name of a key in the same mount. The token is the variable
    `VAULT_TOKEN`, and needs `update` on `<mount>/encrypt/…` and `read` on `<mount>/keys/…`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    url: str = Field(description="Where the server is: https://vault.example:8200")
    mount: str = Field(
        default="transit", pattern=r"^\w[\w.-]*(/\w[\w.-]*)*$", description="Where Transit is mounted"
    )
    key: str | None = Field(
        default=None,
        description="Each tenant's key, such as lading-{tenant}; without it each tenant names its own",
    )
    namespace: str | None = Field(default=None, pattern=r"^[\w./-]+$", description="The namespace, if any")
    token_file: str | None = Field(
        default=None, description="A file that holds the token, instead of the variable"
    )
    ca_file: str | None = Field(
        default=None, description="A PEM file of certificate authorities to trust besides the known"
    )
    allow_http: bool = Field(default=False, description="Speak without TLS, to a server on the same machine")
    timeout: float = Field(default=20.0, gt=0, description="Seconds that an answer may take")

    @field_validator("key")
    @classmethod
    def _is_template(cls, value: str | None) -> Any:
        return template_of(value, _NAME, "lading-{tenant}")

    @model_validator(mode="after")
    def _is_reached(self) -> Self:
        reached(self.url, self.allow_http)
        return self


class VaultTransit:
    """`lading.keys.remote.Service`."""

    wrapping = "vault-transit"
    title = "Vault Transit"
    longest, folds_case = LONGEST, False

    def __init__(self, options: VaultOptions) -> None:
        self._options, self._url = options, options.url.rstrip("/")
        mount = options.mount
        self.commands: Mapping[str, str] = {
            "copy": f"Whose token has update on {mount}/decrypt/{{key}} opens what it wrapped: vault policy write.",
            "rotate": f"vault write -f {mount}/keys/{{key}}/rotate",
            "destroy": f"vault write {mount}/keys/{{key}}/config deletion_allowed=true, then vault delete "
            f"{mount}/keys/{{key}}",
        }
        self._https = Https(self.title, timeout=options.timeout, ca_file=options.ca_file)

    @staticmethod
    def check_key(key: str) -> None:
        """Raises ValueError for what names no key."""
        if not re.fullmatch(_NAME, key, re.ASCII):
            raise ValueError("is no name of a key of Vault Transit: letters, digits, _, . and -")

    def wrap(self, key: str, tenant: str, data: bytes) -> WrappedKey:
        self._look_at(key)
        told = self._ask("POST", f"encrypt/{key}", key, {"plaintext": _text(data), **_bound(tenant)})
        found = _CIPHERTEXT.fullmatch(str(told.get("ciphertext")))
        if not found:
            raise Refused(f"Vault Transit answers with no ciphertext for {key}.")
        return WrappedKey(f"{self._options.mount}/keys/{key}/{found[1]}", base64.b64decode(found[2]))

    def unwrap(self, tenant: str, wrapped: WrappedKey) -> bytes:
        found = re.fullmatch(
            f"{re.escape(self._options.mount)}/keys/({_NAME})/([0-9]+)", wrapped.key_id, re.ASCII
        )
        if not found:
            raise Refused(f"{wrapped.key_id!r} is no key of Vault Transit in {self._options.mount}.")
        ciphertext = f"vault:v{found[2]}:{_text(wrapped.data)}"
        told = self._ask(
            "POST", f"decrypt/{found[1]}", found[1], {"ciphertext": ciphertext, **_bound(tenant)}
        )
        try:
            return base64.b64decode(str(told.get("plaintext")), validate=True)
        except binascii.Error as error:
            raise Refused(f"Vault Transit answers with no plaintext for {found[1]}.") from error

    def _look_at(self, key: str) -> None:
        """Refuses a key that is not there, which encrypting might make, and one that cannot bind to a tenant."""
        kind = self._ask("GET", f"keys/{key}", key).get("type")
        if kind not in _AUTHENTICATED:
            raise Refused(
                f"The key {key} of Vault Transit is of type {kind}: what it encrypts is bound to no tenant.",
                hint=f"Make one of type {', '.join(_AUTHENTICATED)}.",
            )

    def _ask(
        self, method: str, path: str, key: str, body: Mapping[str, str] | None = None
    ) -> Mapping[str, Any]:
        headers = {"X-Vault-Token": self._token(), "X-Vault-Request": "true"}
        if self._options.namespace:
            headers["X-Vault-Namespace"] = self._options.namespace
        answer = self._https.ask(method, f"{self._url}/v1/{self._options.mount}/{path}", headers, body)
        data = answer.document.get("data")
        if answer.status != 200 or not isinstance(data, dict):
            raise _refused(path.partition("/")[0], key, answer)
        return data

    def _token(self) -> str:
        file = self._options.token_file
        try:
            token = os.environ.get(TOKEN, "") if file is None else Path(file).read_text("ascii")
        except (OSError, UnicodeDecodeError) as error:
            raise Refused(f"The token of Vault cannot be read from {file}.") from error
        token = token.strip()
        if not re.fullmatch(r"[!-~]+", token):
            raise Refused(
                f"There is no token of Vault in {file or f'the variable {TOKEN}'}.",
                hint=f"Set {TOKEN}, or let keys.wrap.token_file name the file that an agent writes.",
            )
        return token


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")


def _bound(tenant: str) -> dict[str, str]:
    bound = _text(bound_to(tenant))
    return {"associated_data": bound, "context": bound}


def _refused(what: str, key: str, answer: Answer) -> Refused:
    errors = answer.document.get("errors")
    said = " ".join(" ".join(map(str, errors)).split()) if isinstance(errors, list) else ""
    hints = {
        403: "The token is wrong or has ended, or its policy does not allow it.",
        404: f"Make the key: vault write -f MOUNT/keys/{key}.",
    }
    if what == "decrypt" and answer.status == 400:
        return Refused(f"What {key} is said to have wrapped for this tenant was not, or was changed: {said}")
    return Refused(
        f"Vault Transit refuses {what} with {key}: {answer.status}{': ' if said else ''}{said}",
        hint=hints.get(answer.status),
    )

"""RSA keys in Azure Key Vault: https://learn.microsoft.com/rest/api/keyvault/keys/wrap-key/wrap-key

Key Vault knows no authenticated data, so what a key is bound to is wrapped with it: SHA-256 of `bound_to(tenant)`,
and then the data key, 64 bytes together. Opening compares. What is recorded is the key's identifier with its version,
as the service told it; a rotation makes another version the current one, and what was wrapped before opens for as long
as its version is enabled.

By REST, since two calls do not warrant a client library; credentials by azure-identity: a managed or workload identity,
variables, or a developer's own.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
import threading
from collections.abc import Mapping
from typing import Any, Self
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from lading.errors import KeysUnavailable, Refused
from lading.keys.https import Answer, Https, reached
from lading.keys.remote import bound_to, needs, template_of
from lading.ports import WrappedKey

API, ALGORITHM = "api-version=7.4", "RSA-OAEP-256"
LONGEST = 127
_NAME = "[A-Za-z0-9-]{1,127}"
_BOUND = 32


class AzureOptions(BaseModel):
    """RSA keys in Azure Key Vault. A tenant's own key (`kms_key`) is the name of a key in `vault`, or the
    identifier of one in another: https://theirs.vault.azure.net/keys/name. The identity needs `get`, `wrapKey` and,
    to open, `unwrapKey` on keys."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    vault: str = Field(description="Where it is: https://ours.vault.azure.net")
    key: str | None = Field(
        default=None,
        description="Each tenant's key, such as lading-{tenant}; without it each tenant names its own",
    )
    ca_file: str | None = Field(
        default=None, description="A PEM file of certificate authorities to trust besides the known"
    )
    timeout: float = Field(default=20.0, gt=0, description="Seconds that an answer may take")

    @field_validator("key")
    @classmethod
    def _is_template(cls, value: str | None) -> Any:
        return template_of(value, _NAME, "lading-{tenant}")

    @model_validator(mode="after")
    def _is_reached(self) -> Self:
        reached(self.vault, allow_http=False)
        return self


class AzureKeyVault:
    """`lading.keys.remote.Service`."""

    wrapping = "azure-key-vault"
    title = "Azure Key Vault"
    longest, folds_case = LONGEST, True
    commands: Mapping[str, str] = {
        "copy": "Who may unwrapKey with it opens what it wrapped: az role assignment create "
        '--role "Key Vault Crypto Service Encryption User".',
        "rotate": "az keyvault key rotate --name {key}",
        "destroy": "az keyvault key delete --name {key}, and then az keyvault key purge --name {key}",
    }

    def __init__(self, options: AzureOptions) -> None:
        needs("azure.identity", "azure")
        self._options, self._vault = options, options.vault.rstrip("/")
        self._https = Https(self.title, timeout=options.timeout, ca_file=options.ca_file)
        self._credential: Any = None
        self._lock = threading.Lock()

    @staticmethod
    def check_key(key: str) -> None:
        """Raises ValueError for what names no key."""
        if not re.fullmatch(f"(https://[A-Za-z0-9.-]+(:[0-9]+)?/keys/)?{_NAME}", key):
            raise ValueError("is no key of Azure Key Vault: a name, or https://….vault.azure.net/keys/NAME")

    def wrap(self, key: str, tenant: str, data: bytes) -> WrappedKey:
        name = key if "/" in key else f"{self._vault}/keys/{key}"
        found = self._ask("get", name).get("key")
        kid = found.get("kid") if isinstance(found, dict) else None
        if not isinstance(kid, str) or not re.fullmatch(f"{re.escape(name)}/[A-Za-z0-9]+", kid):
            raise Refused(f"Azure Key Vault does not say which version of {name} there is.")
        told = self._ask("wrapkey", kid, _bound(tenant) + data)
        return WrappedKey(kid, _bytes(told, kid))

    def unwrap(self, tenant: str, wrapped: WrappedKey) -> bytes:
        kid = wrapped.key_id
        # The token must reach nobody else, whatever a manifest says.
        if not re.fullmatch(f"https://[^/@]+/keys/{_NAME}/[A-Za-z0-9]+", kid) or not self._is_ours(kid):
            raise Refused(f"{kid!r} is no key of Azure Key Vault where {self._vault} is.")
        plain = _bytes(self._ask("unwrapkey", kid, wrapped.data), kid)
        if not hmac.compare_digest(plain[:_BOUND], _bound(tenant)):
            raise Refused(f"What {kid} is said to have wrapped for this tenant was not, or was changed.")
        return plain[_BOUND:]

    def _is_ours(self, url: str) -> bool:
        """The same vault, or another one in the same cloud."""
        theirs, ours = urlsplit(url).netloc.lower(), urlsplit(self._vault).netloc.lower()
        cloud = ours.partition(".")[2]  # vault.azure.net
        return theirs == ours or (cloud.count(".") > 1 and theirs.partition(".")[2] == cloud)

    def _ask(self, what: str, url: str, data: bytes | None = None) -> Mapping[str, Any]:
        if not self._is_ours(url):
            raise Refused(f"{url} is not in the cloud of {self._vault}.")
        headers = {"Authorization": f"Bearer {self._token()}"}
        if data is None:
            answer = self._https.ask("GET", f"{url}?{API}", headers)
        else:
            value = base64.urlsafe_b64encode(data).rstrip(b"=").decode("ascii")
            body = {"alg": ALGORITHM, "value": value}
            answer = self._https.ask("POST", f"{url}/{what}?{API}", headers, body)
        if answer.status != 200:
            raise _refused(what, url, answer)
        return answer.document

    def _token(self) -> str:
        from azure.core.exceptions import ClientAuthenticationError, ServiceRequestError, ServiceResponseError
        from azure.identity import CredentialUnavailableError, DefaultAzureCredential

        domain = (urlsplit(self._vault).hostname or "").partition(".")[2]
        scope = f"https://{domain or 'vault.azure.net'}/.default"
        with self._lock:  # which renews the token only when it is about to end
            try:
                if self._credential is None:
                    self._credential = DefaultAzureCredential()
                return str(self._credential.get_token(scope).token)
            except (ServiceRequestError, ServiceResponseError) as error:
                raise KeysUnavailable(
                    f"Azure's credentials cannot be had: {type(error).__name__}."
                ) from error
            except (ClientAuthenticationError, CredentialUnavailableError) as error:
                raise Refused(
                    f"There are no credentials for Azure Key Vault: {type(error).__name__}.",
                    hint="Give the process a managed or workload identity, or the variables of azure-identity.",
                ) from error


def _bound(tenant: str) -> bytes:
    return hashlib.sha256(bound_to(tenant)).digest()


def _bytes(told: Mapping[str, Any], kid: str) -> bytes:
    value = told.get("value")
    try:
        return base64.b64decode(str(value) + "=" * (-len(str(value)) % 4), altchars=b"-_", validate=True)
    except binascii.Error as error:
        raise Refused(f"Azure Key Vault answers with no value for {kid}.") from error


def _refused(what: str, url: str, answer: Answer) -> Refused:
    error = answer.document.get("error")
    code, said = (error.get("code", ""), error.get("message", "")) if isinstance(error, dict) else ("", "")
    hints = {
        401: "The token is not one of this vault's directory.",
        403: f"The key may be disabled, or the identity may not {what} with it.",
        404: "Make the key; one that was deleted may be recovered while it is not purged.",
    }
    if what == "unwrapkey" and answer.status == 400:
        return Refused(f"What {url} is said to have wrapped for this tenant was not, or was changed.")
    told = " ".join(filter(None, (str(answer.status), code, said)))
    return Refused(f"Azure Key Vault refuses to {what} with {url}: {told}", hint=hints.get(answer.status))

"""AWS KMS: https://docs.aws.amazon.com/kms/latest/APIReference/API_Encrypt.html

A data key is encrypted (`kms:Encrypt`) under the tenant's key with the encryption context ``tenant`` (its name,
percent-encoded) and ``purpose`` (`PURPOSE`), without which, and under any other key, it does not
open. What is recorded is the ARN of the key, as KMS told it, and never an alias: aliases may move, keys be rotated
within, and what was wrapped before opens as it did.

Credentials come from the SDK's own chain: variables, profiles (also such that assume a role), web identity, container
and instance.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Mapping
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from lading.errors import KeysUnavailable, Refused
from lading.keys.https import reached
from lading.keys.remote import PURPOSE, needs, spelt, template_of
from lading.ports import WrappedKey

LONGEST = 240  # an alias has 256 characters
_ARN = r"arn:aws[a-z-]*:kms:(?P<region>[a-z0-9-]+):[0-9]{12}:"
_ALIAS = r"alias/[A-Za-z0-9/_-]+"
_PASSING = frozenset(
    ("ThrottlingException", "Throttling", "RequestLimitExceeded", "LimitExceededException", "KMSInternalException",
     "DependencyTimeoutException", "KeyUnavailableException", "ServiceUnavailable", "InternalFailure",
     "RequestTimeout", "RequestTimeoutException")
)  # fmt: skip


class AwsOptions(BaseModel):
    """AWS KMS. A tenant's own key (`kms_key`) is an ARN, an alias, or an id."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    key: str | None = Field(
        default=None,
        description="The alias of each tenant's key, or its ARN, such as alias/lading-{tenant}; without it each tenant "
        "names its own",
    )
    region: str | None = Field(
        default=None, description="Where keys are that no ARN names; by default the SDK's own setting"
    )
    profile: str | None = Field(default=None, description="A profile of ~/.aws/config")
    endpoint: str | None = Field(default=None, description="Where KMS answers, if not at its own address")
    allow_http: bool = Field(
        default=False, description="Speak without TLS, to an emulator on the same machine"
    )
    connect_timeout: float = Field(default=5.0, gt=0, description="Seconds")
    timeout: float = Field(default=20.0, gt=0, description="Seconds that an answer may take")

    @field_validator("key")
    @classmethod
    def _is_template(cls, value: str | None) -> Any:
        return template_of(value, f"({_ARN})?{_ALIAS}", "alias/lading-{tenant}")

    @model_validator(mode="after")
    def _is_reached(self) -> Self:
        if self.endpoint is not None:
            reached(self.endpoint, self.allow_http)
        return self


class AwsKms:
    """`lading.keys.remote.Service`."""

    wrapping = "aws-kms"
    title = "AWS KMS"
    longest, folds_case = LONGEST, False
    commands: Mapping[str, str] = {
        "copy": "Who may use it (kms:Decrypt) opens what it wrapped: aws kms create-grant --key-id <id of {key}> "
        "--grantee-principal <the recipient's> --operations Decrypt",
        "rotate": "aws kms enable-key-rotation --key-id <id of {key}>, or let the alias lead to another key.",
        "destroy": "aws kms schedule-key-deletion --key-id <id of {key}>",
    }

    def __init__(self, options: AwsOptions) -> None:
        needs("boto3", "aws")
        self._options = options
        self._clients: dict[str | None, Any] = {}
        self._lock = threading.Lock()

    @staticmethod
    def check_key(key: str) -> None:
        """Raises ValueError for what names no key."""
        if not re.fullmatch(f"({_ARN})?({_ALIAS}|key/[A-Za-z0-9-]+)|[0-9a-f-]{{36}}|mrk-[0-9a-f]{{32}}", key):
            raise ValueError("is no key of AWS KMS: arn:aws:kms:…:key/…, alias/… or a key's id")

    def wrap(self, key: str, tenant: str, data: bytes) -> WrappedKey:
        answer = self._call("encrypt", key, Plaintext=data, EncryptionContext=context(tenant))
        return WrappedKey(answer["KeyId"], answer["CiphertextBlob"])

    def unwrap(self, tenant: str, wrapped: WrappedKey) -> bytes:
        if not wrapped.data:
            raise Refused(f"What {wrapped.key_id} is said to have wrapped is empty.")
        if not re.fullmatch(f"{_ARN}key/[A-Za-z0-9-]+", wrapped.key_id):
            raise Refused(f"{wrapped.key_id!r} is no key of AWS KMS.")
        answer = self._call(
            "decrypt", wrapped.key_id, CiphertextBlob=wrapped.data, EncryptionContext=context(tenant)
        )
        return bytes(answer["Plaintext"])

    def _call(self, operation: str, key: str, **arguments: Any) -> Any:
        from botocore.exceptions import BotoCoreError, ClientError, ConnectionError, HTTPClientError

        try:
            return getattr(self._client(key), operation)(KeyId=key, **arguments)
        except ClientError as error:
            told = error.response.get("Error", {})
            code, status = str(told.get("Code")), error.response["ResponseMetadata"].get("HTTPStatusCode", 0)
            if code in _PASSING or status >= 500:
                raise KeysUnavailable(f"AWS KMS is busy: {code}, at {operation} with {key}.") from error
            raise _refused(operation, key, code, str(told.get("Message", ""))) from error
        except (ConnectionError, HTTPClientError) as error:
            raise KeysUnavailable(f"AWS KMS cannot be reached: {type(error).__name__}, for {key}.") from error
        except BotoCoreError as error:  # no credentials, no region, no such profile
            raise Refused(
                f"AWS KMS cannot be asked about {key}: {error}",
                hint="Give the process credentials of AWS, and keys.wrap a region.",
            ) from error

    def _client(self, key: str) -> Any:
        found = re.match(_ARN, key)
        region = found["region"] if found else self._options.region
        with self._lock:  # sessions are not thread-safe, clients are
            if region not in self._clients:
                self._clients[region] = self._connected(region)
            return self._clients[region]

    def _connected(self, region: str | None) -> Any:
        import boto3
        from botocore.config import Config

        config = Config(
            connect_timeout=self._options.connect_timeout,
            read_timeout=self._options.timeout,
            retries={"total_max_attempts": 1, "mode": "standard"},
            max_pool_connections=32,
        )
        session = boto3.Session(profile_name=self._options.profile, region_name=region)
        return session.client("kms", endpoint_url=self._options.endpoint, config=config)


def context(tenant: str) -> dict[str, str]:
    """The encryption context: what a recipient names beside a wrapped key."""
    return {"tenant": spelt(tenant), "purpose": PURPOSE}


def _refused(operation: str, key: str, code: str, message: str) -> Refused:
    """What the service says is passed on, but for what was wrapped."""
    hints = {
        "DisabledException": "Enable it: aws kms enable-key. Until then nothing that it wrapped opens.",
        "KMSInvalidStateException": "Until its deletion is done: aws kms cancel-key-deletion, then enable-key.",
        "NotFoundException": "Make the key and its alias, in this account and region.",
        "AccessDeniedException": f"The key's policy and the caller's must allow kms:{operation.capitalize()}.",
    }
    if code in ("InvalidCiphertextException", "IncorrectKeyException"):
        return Refused(f"What {key} is said to have wrapped for this tenant was not, or was changed.")
    return Refused(f"AWS KMS refuses to {operation} with {key}: {code}: {message}", hint=hints.get(code))

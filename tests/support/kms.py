"""AWS KMS for tests: moto's, which keeps keys and encrypts, and here looks at their state as AWS does."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import boto3
import pytest
from moto.core.exceptions import JsonRESTError
from moto.kms.models import KmsBackend
from moto.server import ThreadedMotoServer

REGION = "eu-central-1"
ACCOUNT = "123456789012"


def _usable(backend: KmsBackend, key: str) -> None:
    """Raises as `Encrypt` and `Decrypt` of AWS do for a key that is disabled, or pending deletion."""
    state = backend.keys[backend.any_id_to_key_id(key)].key_state
    if state == "PendingDeletion":
        raise JsonRESTError("KMSInvalidStateException", f"{key} is pending deletion.")
    if state != "Enabled":
        raise JsonRESTError("DisabledException", f"{key} is disabled.")


@contextmanager
def aws_kms() -> Iterator[str]:
    """The address of a server, with credentials for it in the environment."""
    logging.getLogger("werkzeug").setLevel(logging.CRITICAL)
    encrypt, decrypt = KmsBackend.encrypt, KmsBackend.decrypt

    def encrypts(self: KmsBackend, key_id: str, *args: Any, **named: Any) -> Any:
        _usable(self, key_id)
        return encrypt(self, key_id, *args, **named)

    def decrypts(self: KmsBackend, ciphertext_blob: bytes, *args: Any, **named: Any) -> Any:
        plain, arn = decrypt(self, ciphertext_blob, *args, **named)
        _usable(self, arn)
        return plain, arn

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(KmsBackend, "encrypt", encrypts)
        patch.setattr(KmsBackend, "decrypt", decrypts)
        patch.setenv("AWS_ACCESS_KEY_ID", "AKIAEXAMPLE")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "v3ry-s3cret-k3y")
        patch.setenv("AWS_DEFAULT_REGION", REGION)
        patch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        yield f"http://{host}:{port}"
    server.stop()


def client(endpoint: str) -> Any:
    return boto3.client("kms", endpoint_url=endpoint, region_name=REGION)


def make_key(kms: Any, alias: str) -> str:
    """A new key, to which the alias leads from now on; returns its ARN."""
    arn: str = kms.create_key()["KeyMetadata"]["Arn"]
    known = {
        each["AliasName"] for page in kms.get_paginator("list_aliases").paginate() for each in page["Aliases"]
    }
    (kms.update_alias if alias in known else kms.create_alias)(AliasName=alias, TargetKeyId=arn)
    return arn

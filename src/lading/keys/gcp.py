"""Google Cloud KMS: https://cloud.google.com/kms/docs/reference/rpc/google.cloud.kms.v1

A data key is encrypted under the primary version of the tenant's key with `bound_to(tenant)` as additional
authenticated data. What is recorded is the name of that version; a rotation makes another one the primary, and what was
wrapped before opens for as long as its version is enabled.

Credentials are the application's default ones: those of the machine, a workload identity, or a file.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, field_validator

from lading.errors import KeysUnavailable, Refused
from lading.keys.remote import bound_to, needs, template_of
from lading.ports import WrappedKey

LONGEST = 63
_PART, _ID = "[A-Za-z0-9_.:-]+", "[A-Za-z0-9_-]{1,63}"
_KEY = f"projects/{_PART}/locations/{_PART}/keyRings/{_ID}/cryptoKeys/{_ID}"


class GcpOptions(BaseModel):
    """Google Cloud KMS. A tenant's own key (`kms_key`) is a resource name: projects/…/cryptoKeys/…"""

    model_config = ConfigDict(extra="forbid", frozen=True)

    key: str | None = Field(
        default=None,
        description="Each tenant's key, such as "
        "projects/ours/locations/europe-west3/keyRings/lading/cryptoKeys/{tenant}; without it each names its own",
    )
    emulator: str | None = Field(
        default=None,
        pattern="^(localhost|127[.]0[.]0[.]1):[0-9]+$",
        description="An emulator on the same machine, host and port, which is sent no credentials",
    )
    timeout: float = Field(default=20.0, gt=0, description="Seconds that an answer may take")

    @field_validator("key")
    @classmethod
    def _is_template(cls, value: str | None) -> Any:
        return template_of(value, _KEY, "projects/…/locations/…/keyRings/…/cryptoKeys/{tenant}")


class GoogleKms:
    """`lading.keys.remote.Service`."""

    wrapping = "google-kms"
    title = "Google Cloud KMS"
    longest, folds_case = LONGEST, False
    commands: Mapping[str, str] = {
        "copy": "Who has roles/cloudkms.cryptoKeyDecrypter on it opens what it wrapped: "
        "gcloud kms keys add-iam-policy-binding {key}",
        "rotate": "gcloud kms keys versions create --primary --key {key}",
        "destroy": "gcloud kms keys versions destroy <each version> --key {key}",
    }

    def __init__(self, options: GcpOptions) -> None:
        needs("google.cloud.kms_v1", "gcp")
        self._options = options
        self._client: Any = None
        self._lock = threading.Lock()

    @staticmethod
    def check_key(key: str) -> None:
        """Raises ValueError for what names no key."""
        if not re.fullmatch(_KEY, key):
            raise ValueError("is no key of Google Cloud KMS: projects/…/locations/…/keyRings/…/cryptoKeys/…")

    def wrap(self, key: str, tenant: str, data: bytes) -> WrappedKey:
        bound = bound_to(tenant)
        request = {
            "name": key,
            "plaintext": data,
            "plaintext_crc32c": crc32c(data),
            "additional_authenticated_data": bound,
            "additional_authenticated_data_crc32c": crc32c(bound),
        }
        told = self._call("encrypt", key, request)
        if not re.fullmatch(f"{re.escape(key)}/cryptoKeyVersions/[0-9]+", told.name):
            raise Refused(f"Google Cloud KMS does not say which version of {key} it used.")
        if not told.verified_plaintext_crc32c or told.ciphertext_crc32c != crc32c(told.ciphertext):
            raise KeysUnavailable(
                f"Google Cloud KMS: what was sent or answered for {key} was damaged on the way."
            )
        return WrappedKey(told.name, told.ciphertext)

    def unwrap(self, tenant: str, wrapped: WrappedKey) -> bytes:
        key, _, version = wrapped.key_id.partition("/cryptoKeyVersions/")
        if not re.fullmatch(_KEY, key) or not re.fullmatch("[0-9]+", version):
            raise Refused(f"{wrapped.key_id!r} is no version of a key of Google Cloud KMS.")
        if not wrapped.data:
            raise Refused(f"What {wrapped.key_id} is said to have wrapped is empty.")
        bound = bound_to(tenant)
        request = {
            "name": key,
            "ciphertext": wrapped.data,
            "ciphertext_crc32c": crc32c(wrapped.data),
            "additional_authenticated_data": bound,
            "additional_authenticated_data_crc32c": crc32c(bound),
        }
        told = self._call("decrypt", key, request)
        if told.plaintext_crc32c != crc32c(told.plaintext):
            raise KeysUnavailable(f"Google Cloud KMS: what was answered for {key} was damaged on the way.")
        return bytes(told.plaintext)

    def _call(self, what: str, key: str, request: Mapping[str, Any]) -> Any:
        from google.api_core import exceptions
        from google.auth.exceptions import GoogleAuthError, TransportError

        try:
            return getattr(self._connected(), what)(
                request=request, retry=None, timeout=self._options.timeout
            )
        except (
            exceptions.ServerError,
            exceptions.TooManyRequests,
            exceptions.Aborted,
            TransportError,
        ) as error:
            raise KeysUnavailable(
                f"Google Cloud KMS cannot be reached, or is busy: {_status(error)}, at {what} with {key}."
            ) from error
        except GoogleAuthError as error:
            raise Refused(
                f"There are no credentials for Google Cloud KMS: {type(error).__name__}.",
                hint="Give the process application default credentials.",
            ) from error
        except exceptions.GoogleAPICallError as error:
            raise _refused(what, key, error) from error

    def _connected(self) -> Any:
        from google.cloud import kms_v1

        with self._lock:
            if self._client is None and self._options.emulator is None:
                self._client = kms_v1.KeyManagementServiceClient()
            elif self._client is None:
                import grpc
                from google.cloud.kms_v1.services.key_management_service import transports

                channel = grpc.insecure_channel(self._options.emulator)
                transport = transports.KeyManagementServiceGrpcTransport(channel=channel)
                self._client = kms_v1.KeyManagementServiceClient(transport=transport)
            return self._client


def crc32c(data: bytes) -> int:
    """CRC-32C (RFC 3720, appendix B.4), of a few bytes."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def _status(error: Any) -> str:
    status = getattr(error, "grpc_status_code", None)
    return status.name if status is not None else type(error).__name__


def _refused(what: str, key: str, error: Any) -> Refused:
    status = _status(error)
    hints = {
        "NOT_FOUND": "Make the key, in this project, location and ring.",
        "PERMISSION_DENIED": f"The caller needs cloudkms.cryptoKeyVersions.useTo{what.capitalize()} on it.",
        "FAILED_PRECONDITION": "A version that is disabled, or whose destruction is scheduled, may be restored.",
    }
    if what == "decrypt" and status == "INVALID_ARGUMENT":
        return Refused(f"What {key} is said to have wrapped for this tenant was not, or was changed.")
    return Refused(
        f"Google Cloud KMS refuses to {what} with {key}: {status}: {error.message}", hint=hints.get(status)
    )

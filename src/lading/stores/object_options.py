"""Where a bucket is and how it is reached: S3, Google Cloud Storage and Azure Blob, through `obstore`.

Credentials that are not given come from the provider's own chain: environment variables, web identity and container
credentials (EKS, ECS), instance metadata (EC2, GCE, Azure IMDS), application default credentials (Google), workload
identity federation and managed identity (Azure). Roles and profiles of AWS need the package boto3.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from datetime import UTC, timedelta
from pathlib import Path
from typing import Any, Literal, Self
from urllib.parse import unquote, urlsplit

from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_validator, model_validator

from lading.errors import InvalidProject

Provider = Literal["s3", "gs", "az"]
SCHEMES: dict[str, Provider] = {
    "s3": "s3",
    "s3a": "s3",
    "gs": "gs",
    "az": "az",
    "azure": "az",
    "adl": "az",
    "abfs": "az",
    "abfss": "az",
    "https": "az",
}
ONLY: dict[str, tuple[Provider, ...]] = {
    "region": ("s3",),
    "access_key_id": ("s3",),
    "secret_access_key": ("s3",),
    "session_token": ("s3",),
    "profile": ("s3",),
    "role_arn": ("s3",),
    "external_id": ("s3",),
    "virtual_hosted": ("s3",),
    "service_account_file": ("gs",),
    "service_account_key": ("gs",),
    "account": ("az",),
    "account_key": ("az",),
    "sas_token": ("az",),
}
ALLOW_HTTP: dict[Provider, str] = {"s3": "AWS", "gs": "GOOGLE", "az": "AZURE"}
ENCRYPTIONS: dict[str, tuple[Provider, str]] = {
    "sse-s3": ("s3", "AES256"),
    "sse-kms": ("s3", "aws:kms"),
    "sse-kms-dsse": ("s3", "aws:kms:dsse"),
    "cmek": ("gs", "x-goog-encryption-kms-key-name"),
    "scope": ("az", "x-ms-encryption-scope"),
}


class ServerSideEncryption(BaseModel):
    """How the provider encrypts every object that is written, markers and manifests included."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    type: Literal["sse-s3", "sse-kms", "sse-kms-dsse", "cmek", "scope"] = Field(
        description="S3: sse-s3, sse-kms, sse-kms-dsse; Google: cmek; Azure: scope (an encryption scope)"
    )
    key: str | None = Field(
        None,
        description="The KMS key's id or ARN (S3, by default the account's own), its resource name (Google), "
        "or the encryption scope's name (Azure)",
    )
    bucket_key: bool | None = Field(
        None, description="S3 with KMS: one data key for the bucket instead of one an object"
    )

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.type in ("cmek", "scope") and not self.key:
            raise ValueError(f"{self.type} needs a key")
        if self.type == "sse-s3" and self.key:
            raise ValueError("sse-s3 takes no key; a key of your own needs sse-kms")
        if self.bucket_key is not None and not self.type.startswith("sse-kms"):
            raise ValueError(f"bucket_key means nothing for {self.type}")
        return self


class ObjectOptions(BaseModel):
    """A bucket or container, or a prefix in one."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    url: str = Field(
        description="s3://bucket/prefix, gs://bucket/prefix, az://container/prefix, "
        "abfss://container@account.dfs.core.windows.net/prefix "
        "or https://account.blob.core.windows.net/container/prefix"
    )
    endpoint: str | None = Field(
        None, description="Where the service answers, if not at the provider's own address"
    )
    region: str | None = Field(None, description="S3: the bucket's region")
    access_key_id: SecretStr | None = Field(
        None, description="S3: a static key; better a role or the provider's chain"
    )
    secret_access_key: SecretStr | None = None
    session_token: SecretStr | None = None
    profile: str | None = Field(None, description="S3: a profile of ~/.aws/config (needs boto3)")
    role_arn: str | None = Field(
        None, description="S3: a role to assume, renewed before it ends (needs boto3)"
    )
    external_id: str | None = Field(None, description="S3: what the role's owner demands to be told")
    virtual_hosted: bool | None = Field(
        None, description="S3: the bucket's name in the host's; the endpoint must hold it"
    )
    service_account_file: str | None = Field(None, description="Google: a service account's JSON file")
    service_account_key: SecretStr | None = Field(None, description="Google: the content of such a file")
    account: str | None = Field(None, description="Azure: the storage account, where the URL does not say it")
    account_key: SecretStr | None = Field(None, description="Azure: the account's shared key")
    sas_token: SecretStr | None = Field(None, description="Azure: a shared access signature")
    anonymous: bool = Field(False, description="Do not sign requests, for what is public")
    server_side_encryption: ServerSideEncryption | None = None
    allow_http: bool = Field(
        False,
        description="Speak without TLS, to a service on the same machine or network. Where it is not set, "
        "AWS_ALLOW_HTTP, AZURE_ALLOW_HTTP or GOOGLE_ALLOW_HTTP of the environment may say true",
    )
    ca_file: str | None = Field(
        None, description="A PEM file of certificate authorities to trust besides the known"
    )
    connect_timeout: float = Field(5.0, gt=0, description="Seconds")
    timeout: float = Field(120.0, gt=0, description="Seconds that one request may take, its body included")
    part_size: int = Field(
        8 * 1024 * 1024,
        ge=5 * 1024 * 1024,
        description="Bytes of a part of an upload; an upload has 10,000 parts at most",
    )
    part_attempts: int = Field(5, ge=1, description="How often one part is sent before its upload fails")

    @field_validator("endpoint")
    @classmethod
    def _without_credentials(cls, endpoint: str | None) -> str | None:
        if endpoint is not None and "@" in urlsplit(endpoint).netloc:
            raise ValueError("must hold no credentials: they have settings of their own")
        return endpoint

    @field_validator("url")
    @classmethod
    def _is_plain(cls, url: str) -> str:
        parts = urlsplit(url)
        if parts.scheme not in SCHEMES or not parts.netloc:
            raise ValueError(
                "a URL such as s3://bucket/prefix, gs://bucket/prefix or az://container/prefix is needed"
            )
        if (
            ":" in parts.netloc  # a password, or one cut off at a slash in it
            or parts.query
            or parts.fragment
            or (parts.username and parts.scheme not in ("abfs", "abfss"))
        ):
            raise ValueError(
                "the URL must hold no credentials, query or fragment; there are settings for these"
            )
        return url

    @model_validator(mode="after")
    def _fits(self) -> Self:
        for name in sorted(self.model_fields_set & ONLY.keys()):
            if getattr(self, name) is not None and self.provider not in ONLY[name]:
                raise ValueError(f"{name} means nothing for {self.url}")
        if (self.access_key_id is None) != (self.secret_access_key is None):
            raise ValueError("access_key_id and secret_access_key belong together")
        if self.external_id and not self.role_arn:
            raise ValueError("external_id is for a role_arn")
        if (sse := self.server_side_encryption) is not None:
            if ENCRYPTIONS[sse.type][0] != self.provider:
                raise ValueError(f"server_side_encryption of type {sse.type} means nothing for {self.url}")
            # Shared Key signs all x-ms- headers, and this one is added after the signature.
            if sse.type == "scope" and self.account_key is not None:
                raise ValueError("an encryption scope needs an identity or a sas_token, not an account_key")
        return self

    @property
    def provider(self) -> Provider:
        return SCHEMES[urlsplit(self.url).scheme]

    @property
    def place(self) -> Place:
        """The URL, taken apart."""
        parts = urlsplit(self.url)
        path = unquote(parts.path).strip("/")
        if parts.scheme == "https":
            account, _, domain = parts.netloc.partition(".")
            container, _, path = path.partition("/")
            return Place(container, path, account, f"https://{account}.{domain}")
        if "@" in parts.netloc:
            container, _, host = parts.netloc.partition("@")
            account, _, domain = host.partition(".")
            return Place(container, path, account, f"https://{account}.blob.{domain.partition('.')[2]}")
        return Place(parts.netloc, path, self.account, None)


@dataclass(frozen=True, slots=True)
class Place:
    bucket: str
    prefix: str
    account: str | None
    endpoint: str | None


@dataclass(frozen=True, slots=True)
class Clients:
    """One bucket, reached in three ways."""

    reads: Any  # sends no header of encryption, which some services refuse on reads
    writes: Any  # asks once: what to do about a failure is decided above
    uploads: Any  # sends a part again, since nobody above could


def connect(options: ObjectOptions) -> Clients:
    """Makes the clients. Nothing is sent yet. Raises InvalidProject for settings that do not work together."""
    from obstore.exceptions import BaseError

    headers = {}
    sse = options.server_side_encryption
    if sse is not None and options.provider != "s3":
        headers = {ENCRYPTIONS[sse.type][1]: sse.key or ""}
    try:
        writes = _client(options, headers, 1)
        uploads = _client(options, headers, options.part_attempts)
        return Clients(_client(options, {}, 1) if headers else writes, writes, uploads)
    except (BaseError, ValueError) as error:
        reason = str(error).partition("\n")[0]
        raise InvalidProject(f"the settings of {options.url} do not work: {reason}") from None


def _client(options: ObjectOptions, headers: dict[str, str], attempts: int) -> Any:
    from obstore import store

    place = options.place
    common: dict[str, Any] = {
        "prefix": place.prefix or None,
        "client_options": _http(options, headers),
        "retry_config": {
            "max_retries": attempts - 1,
            "backoff": {
                "init_backoff": timedelta(seconds=0.5),
                "max_backoff": timedelta(seconds=30),
                "base": 2,
            },
            "retry_timeout": timedelta(minutes=4),
        },
    }
    if options.provider == "s3":
        return store.S3Store(
            place.bucket, config=_s3(options), credential_provider=_aws_identity(options), **common
        )
    if options.provider == "gs":
        return store.GCSStore(place.bucket, config=_gs(options), **common)
    return store.AzureStore(place.bucket, config=_az(options), **common)


def _http(options: ObjectOptions, headers: dict[str, str]) -> dict[str, Any]:
    client: dict[str, Any] = {
        "allow_http": _allows_http(options),
        "connect_timeout": timedelta(seconds=options.connect_timeout),
        "timeout": timedelta(seconds=options.timeout),
    }
    if headers:
        client["default_headers"] = headers
    if options.ca_file is not None:
        try:
            client["root_certificate"] = Path(options.ca_file).read_bytes()
        except OSError as error:
            raise InvalidProject(f"the ca_file of {options.url} cannot be read: {error.strerror}") from error
    return client


def _allows_http(options: ObjectOptions) -> bool:
    """As set; else by the provider's variable, which obstore forgets: who verifies a URL has no settings."""
    if "allow_http" in options.model_fields_set:
        return options.allow_http
    return os.environ.get(f"{ALLOW_HTTP[options.provider]}_ALLOW_HTTP", "").lower() in ("1", "true")


def _s3(options: ObjectOptions) -> Any:
    sse = options.server_side_encryption
    return _given(
        endpoint=options.endpoint,
        region=options.region,
        access_key_id=_reveal(options.access_key_id),
        secret_access_key=_reveal(options.secret_access_key),
        session_token=_reveal(options.session_token),
        virtual_hosted_style_request=options.virtual_hosted,
        skip_signature=options.anonymous or None,
        server_side_encryption=ENCRYPTIONS[sse.type][1] if sse else None,
        sse_kms_key_id=sse.key if sse else None,
        sse_bucket_key_enabled=sse.bucket_key if sse else None,
        disable_bulk_delete=True,  # one object at a time is what all services understand
    )


def _gs(options: ObjectOptions) -> Any:
    return _given(
        base_url=options.endpoint,
        service_account=options.service_account_file,
        service_account_key=_reveal(options.service_account_key),
        skip_signature=options.anonymous or None,
    )


def _az(options: ObjectOptions) -> Any:
    place = options.place
    return _given(
        account_name=place.account or options.account,
        endpoint=options.endpoint or place.endpoint,
        account_key=_reveal(options.account_key),
        sas_key=_reveal(options.sas_token),
        skip_signature=options.anonymous or None,
    )


def _aws_identity(options: ObjectOptions) -> Any:
    """Credentials by a profile or an assumed role; None leaves them to obstore's own chain."""
    if options.profile is None and options.role_arn is None:
        return None
    try:
        import boto3  # type: ignore[import-untyped, import-not-found, unused-ignore]
        from botocore.exceptions import (  # type: ignore[import-untyped, import-not-found, unused-ignore]
            BotoCoreError,
        )
        from obstore.auth.boto3 import Boto3CredentialProvider, StsCredentialProvider
    except ImportError:
        raise InvalidProject(
            f"a role_arn or a profile of {options.url} needs the package boto3", hint="pip install boto3"
        ) from None
    try:
        session = boto3.Session(
            profile_name=options.profile,
            region_name=options.region,
            **_given(
                aws_access_key_id=_reveal(options.access_key_id),
                aws_secret_access_key=_reveal(options.secret_access_key),
                aws_session_token=_reveal(options.session_token),
            ),
        )
        if options.role_arn is None:
            return _Identity(Boto3CredentialProvider(session, ttl=timedelta(minutes=10)))
        external = _given(ExternalId=options.external_id)
        role = StsCredentialProvider(session, RoleArn=options.role_arn, RoleSessionName="lading", **external)
        return _Identity(role)
    except (BotoCoreError, ValueError) as error:
        raise InvalidProject(f"no credentials for {options.url}: {error}") from None


class _Identity:
    """Credentials whose end is in ``datetime.UTC``, which is all that obstore takes; botocore has a zone of its own."""

    def __init__(self, provider: Any) -> None:
        self._provider = provider
        self.config = provider.config

    def __call__(self) -> Any:
        credential = self._provider()
        return {**credential, "expires_at": credential["expires_at"].astimezone(UTC)}


def _given(**settings: Any) -> dict[str, Any]:
    return {name: value for name, value in settings.items() if value is not None}


def _reveal(secret: SecretStr | None) -> str | None:
    return None if secret is None else secret.get_secret_value()

"""What an object store's answer means.

`obstore` tells an answer as text: method, URL, status and body. Of these only the status, the code and the message
reach an error of ours: a URL may carry a signature, and a body the request that was signed. Headers are not among what
it tells, nor does its own retry heed ``Retry-After``, so that a busy store is waited for by backoff alone.
"""

from __future__ import annotations

import re

from lading.errors import (
    LadingError,
    ObjectExists,
    ObjectNotFound,
    StoreDenied,
    StoreFull,
    StoreUnavailable,
)

NO_BUCKET = frozenset({"NoSuchBucket", "ContainerNotFound", "ContainerDisabled", "AccountIsDisabled"})
PASSING = frozenset(
    {
        "ConditionalRequestConflict",  # S3: another request on the name was under way; only a second try tells
        "ContainerBeingDeleted",
        "InternalError",
        "KMS.ThrottlingException",
        "NoSuchUpload",  # a completed upload whose answer was lost, or one that a lifecycle rule has ended
        "OperationAborted",
        "OperationTimedOut",
        "RequestTimeout",
        "ServerBusy",
        "ServiceUnavailable",
        "SlowDown",
        "Throttling",
        "ThrottlingException",
        "TooManyRequests",
        "rateLimitExceeded",
        "userRateLimitExceeded",
    }
)
USED_UP = frozenset({"QuotaExceeded", "QuotaExceededException", "XMinioStorageFull", "InsufficientStorage"})
EXISTS = frozenset(
    {"", "BlobAlreadyExists", "ConditionNotMet", "PreconditionFailed", "TargetConditionNotMet"}
)
PASSING_STATUS = frozenset({408, 425, 429, 500, 502, 503, 504})
# Where a machine's own identity is asked for: EC2, ECS, Google, Azure.
IDENTITY = re.compile(
    r"169\.254\.169\.254|169\.254\.170\.2|metadata\.google\.internal|fd00:ec2::254"
    r"|/latest/api/token|/computeMetadata/v1/|/metadata/identity/oauth2/token"
)
SETTINGS = re.compile(
    r"certificate|scheme is not allowed|builder error|relative URL|invalid URI", re.IGNORECASE
)


def translate(error: Exception, doing: str) -> LadingError:
    """The store's error for what `obstore` raised while ``doing`` (text for people, without secrets)."""
    whole = str(error)
    text = whole.partition("\n\nDebug source")[0]
    status = int(match[1]) if (match := re.search(r"status code: (\d{3})", text)) else 0
    code = _element(text, "Code")
    said = " ".join(filter(None, (str(status or ""), code, _element(text, "Message"))))
    if IDENTITY.search(text) and status not in PASSING_STATUS:
        return StoreDenied(
            f"{doing}: no credentials were found, and this machine has no identity of its own",
            hint="Give the store credentials, a role or a profile, or set the provider's environment variables.",
        )
    if code in NO_BUCKET:
        return StoreDenied(f"{doing}: {said}", hint="Create the bucket first, or correct the url.")
    if code in USED_UP or status == 507:
        return StoreFull(f"{doing}: {said}")
    if code in PASSING or status in PASSING_STATUS or status > 507:
        return StoreUnavailable(f"{doing}: {said}")
    if isinstance(error, FileNotFoundError) and _about_keys(code):
        return StoreDenied(
            f"{doing}: {said}", hint=_advice(code)
        )  # MinIO: 404 for a key that it does not have
    if isinstance(error, FileNotFoundError):
        return ObjectNotFound(f"{doing}: there is no such object")
    kind = type(error).__name__
    if kind == "AlreadyExistsError":
        if code in EXISTS:
            return ObjectExists(f"{doing}: it is there already")
        return StoreUnavailable(f"{doing}: {said}")
    if kind == "PreconditionError":
        return StoreUnavailable(f"{doing}: it was changed meanwhile")
    if kind in ("PermissionDeniedError", "UnauthenticatedError"):
        # Without an answer it was the credentials' provider that failed, in Python; botocore names no secret.
        reason = said or text.partition("credential provider: ")[2] or "the credentials were not accepted"
        return StoreDenied(f"{doing}: {reason[:300]}", hint=_advice(code))
    if status:
        return StoreDenied(
            f"{doing}: {said}", hint="Check region, endpoint and settings." if status < 400 else None
        )
    return _unanswered(kind, whole, doing)


def _unanswered(kind: str, whole: str, doing: str) -> LadingError:
    if kind in ("InvalidPathError", "NotSupportedError", "ValueError", "UnknownConfigurationKeyError"):
        return StoreDenied(f"{doing}: {whole.partition(chr(10))[0]}")
    if SETTINGS.search(whole) or "without LOCATION" in whole:
        return StoreDenied(
            f"{doing}: the connection was refused by its settings",
            hint="Check endpoint, region, certificates (ca_file) and, without TLS, allow_http.",
        )
    why = "it took too long" if re.search(r"kind: Timeout|timed out", whole) else "the connection failed"
    return StoreUnavailable(f"{doing}: {why}")


def _advice(code: str) -> str:
    if code in ("ExpiredToken", "TokenRefreshRequired"):
        return "The credentials have expired; a role or the provider's own chain renews them."
    if _about_keys(code):
        return "Check the encryption key and the permission to use it."
    return "Check the credentials and what they are allowed to do."


def _about_keys(code: str) -> bool:
    return "kms" in code.lower() or "encryption" in code.lower()


def _element(text: str, name: str) -> str:
    match = re.search(rf"<{name}>(.*?)</{name}>", text, re.DOTALL)
    return match[1].strip()[:300] if match else ""

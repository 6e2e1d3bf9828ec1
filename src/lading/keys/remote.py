"""Data keys wrapped by a service that keeps the keys to itself, one key per tenant: what all such services share.

Which key is a tenant's: the one that its file of ``tenants/`` names (``kms_key``), else the template's, in which
``{tenant}`` is the tenant's name. Letters and digits of it stay, and hyphens but at its ends; every other byte is ``_``
and two hex digits. Where a service knows lower-case letters, digits and hyphens only, these letters and digits stay,
and every other byte is ``-`` and two hex digits. The empty name is ``_``. A name too long for the service is ``_h`` and
32 characters of Base32 over its SHA-256. So no two tenants have one key, to which the services' answers are held, too.
"""

from __future__ import annotations

import base64
import hashlib
import random
import re
import secrets
import string
import threading
import time
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from typing import Any, Protocol, TypeVar
from urllib.parse import quote

from lading.errors import InvalidProject, KeysUnavailable, Refused
from lading.keys.identity import KEY_BYTES
from lading.ports import WrappedKey

T = TypeVar("T")

TENANT = "{tenant}"
PURPOSE = "lading-data-key"
ATTEMPTS, FIRST, LONGEST = 5, 0.5, 8.0
REMEMBERED = 60.0  # seconds that a service's answer is believed to hold
_LETTERS = frozenset(string.ascii_letters + string.digits)
_LOWER = frozenset(string.ascii_lowercase + string.digits)


class Service(Protocol):
    """What is asked of a service. Thread-safe, and every call one attempt.

    Raises Refused where it says no (no such key, disabled, denied), and KeysUnavailable where it says nothing.
    """

    wrapping: str  # what the manifest calls it
    title: str  # what people call it
    commands: Mapping[
        str, str
    ]  # what does there what `lading keys copy`, `rotate` and `destroy` do to keys in a folder

    def wrap(self, key: str, tenant: str, data: bytes) -> WrappedKey:
        """Encrypts for the tenant under the service's key of that name; the answer names the key that it was."""
        ...

    def unwrap(self, tenant: str, wrapped: WrappedKey) -> bytes:
        """Raises Refused, too, for what was changed, or wrapped for another tenant or under another key."""
        ...


def needs(package: str, extra: str) -> None:
    """Raises InvalidProject where the package is not installed. Loads nothing."""
    try:
        found = find_spec(package) is not None
    except ModuleNotFoundError:  # of what it lies in
        found = False
    if not found:
        raise InvalidProject(
            f"The package {package} is needed, which is not installed.",
            hint=f"Install Lading with its extra: pip install '.[{extra}]' in the checkout.",
        )


class Naming:
    """The names of tenants' keys."""

    def __init__(
        self, template: str | None, own: Mapping[str, str], *, longest: int, folds_case: bool = False
    ) -> None:
        """``longest``: of what stands behind the template's last slash. ``folds_case``: the service knows lower-case
        letters, digits and hyphens only."""
        self._template, self._own = template, dict(own)
        self._plain, self._escape = (_LOWER, "-") if folds_case else (_LETTERS, "_")
        self._room = longest - len((template or "").rpartition("/")[2].replace(TENANT, ""))

    def of(self, tenant: str) -> str:
        """Raises Refused for a tenant that has no key, or another one's."""
        if tenant in self._own:
            return self._own[tenant]
        if self._template is None:
            raise Refused(
                f"Tenant {tenant!r} has no key: lading.yaml has no keys.wrap.key, and its file none of its own.",
                hint="Put kms_key into its file of tenants/.",
            )
        name = self._template.replace(TENANT, self._spelt(tenant))
        for other, key in self._own.items():
            if key == name:
                raise Refused(
                    f"Tenant {tenant!r} would be given {name}, which is the key of tenant {other!r}.",
                    hint="Name another key in one of their files of tenants/.",
                )
        return name

    def _spelt(self, tenant: str) -> str:
        raw, escape = tenant.encode("utf-8", "surrogatepass"), self._escape
        last = len(raw) - 1
        spelt = "".join(
            chr(byte)
            if chr(byte) in self._plain or (escape == "_" and byte == ord("-") and 0 < at < last)
            else f"{escape}{byte:02x}"
            for at, byte in enumerate(raw)
        )
        if len(spelt) <= self._room:
            return spelt or escape
        digest = hashlib.sha256(raw).digest()[:20]
        return f"{escape}h{base64.b32encode(digest).decode().lower()}"


class RemoteWrapper:
    """Wraps data keys by a service (`ports.Wrapper`), which is asked again where it fails in passing: five times, after
    0.5 to 8 seconds ("full jitter", as `lading.stores.retry`).

    Raises Refused and KeysUnavailable as the service does, and Refused where two tenants turn out to have one key.
    """

    def __init__(
        self, service: Service, naming: Naming, *, sleep: Callable[[float], None] = time.sleep
    ) -> None:
        self.wrapping = service.wrapping
        self._service, self._naming, self._sleep = service, naming, sleep
        self._ids: dict[
            str, tuple[str, float]
        ] = {}  # by tenant: the key that wrapped last, and until when that holds
        self._owners: dict[str, str] = {}
        self._lock = threading.Lock()

    def __repr__(self) -> str:
        return f"RemoteWrapper({self.wrapping!r})"

    def key_id(self, tenant: str) -> str:
        """As `wrap` would have it: only wrapping needs the permission to wrap and no other. At most once a minute."""
        with self._lock:
            known, until = self._ids.get(tenant, ("", 0.0))
        if time.monotonic() < until:
            return known
        return self.wrap(tenant, secrets.token_bytes(KEY_BYTES)).key_id

    def wrap(self, tenant: str, key: bytes) -> WrappedKey:
        name = self._naming.of(tenant)
        try:
            wrapped = self._asked(lambda: self._service.wrap(name, tenant, key))
        except Refused:
            with self._lock:
                self._ids.pop(tenant, None)
            raise
        with self._lock:
            owner = self._owners.get(wrapped.key_id, tenant)
            if owner != tenant and self._ids.get(owner, ("", 0.0))[0] == wrapped.key_id:
                raise Refused(
                    f"Tenants {owner!r} and {tenant!r} have one key, {wrapped.key_id}.",
                    hint="Give each a key of its own, so that neither opens what is the other's.",
                )
            self._owners[wrapped.key_id] = tenant
            self._ids[tenant] = wrapped.key_id, time.monotonic() + REMEMBERED
        return wrapped

    def unwrap(self, tenant: str, wrapped: WrappedKey) -> bytes:
        """The data key, where the service lets us open it."""
        key = self._asked(lambda: self._service.unwrap(tenant, wrapped))
        if len(key) != KEY_BYTES:
            raise Refused(f"What {wrapped.key_id} opened is no data key: it has {len(key)} bytes.")
        return key

    def elsewhere(self, verb: str, tenant: str) -> Refused:
        """Why `lading keys` does not copy, rotate or destroy this key, and what does."""
        name = self._naming.of(tenant)
        return Refused(
            f"The key of tenant {tenant!r} is {name}, of {self._service.title}: Lading cannot {verb} it.",
            hint=self._service.commands[verb].replace("{key}", name),
        )

    def _asked(self, call: Callable[[], T]) -> T:
        for attempt in range(1, ATTEMPTS + 1):
            try:
                return call()
            except KeysUnavailable as error:
                if attempt == ATTEMPTS:
                    raise
                bound = min(LONGEST, FIRST * 2 ** (attempt - 1))
                self._sleep(max(random.uniform(0, bound), min(error.retry_after or 0.0, LONGEST)))
        raise AssertionError


def spelt(tenant: str) -> str:
    """The tenant in what a wrapped key is bound to: percent-encoded (RFC 3986 section 2.1) but for unreserved ones."""
    return quote(tenant.encode("utf-8", "surrogatepass"), safe="")


def bound_to(tenant: str) -> bytes:
    """What a wrapped key is bound to where a service takes bytes: ``lading-data-key:UA``."""
    return f"{PURPOSE}:{spelt(tenant)}".encode("ascii")


def template_of(value: Any, pattern: str, example: str) -> Any:
    """For an option `key`. Raises ValueError for what names one key for all, or none."""
    if value is None:
        return value
    if str(value).count(TENANT) != 1:
        raise ValueError(f"must hold {TENANT} once, so that each tenant has a key of its own: {example}")
    if not re.fullmatch(pattern, str(value).replace(TENANT, "x")):
        raise ValueError(f"is no name of a key there: {example}")
    return value

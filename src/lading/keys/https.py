"""JSON over HTTPS, one attempt a call, for services whose API is two calls.

A redirect is an answer like any other: whoever sends one would be sent the credentials, too.
"""

from __future__ import annotations

import json
import ssl
import threading
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from http.client import HTTPException
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit

from lading.errors import KeysUnavailable, Refused

_MOST = 1 << 20  # bytes of an answer
_PASSING = frozenset((408, 412, 425, 429))


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    document: Mapping[str, Any]  # empty where it was no JSON object


class Https:
    """Thread-safe. ``title`` is the service's, for messages."""

    def __init__(self, title: str, *, timeout: float, ca_file: str | None = None) -> None:
        self._title, self._timeout, self._ca_file = title, timeout, ca_file
        self._opener: urllib.request.OpenerDirector | None = None
        self._lock = threading.Lock()

    def ask(
        self, method: str, url: str, headers: Mapping[str, str], body: Mapping[str, Any] | None = None
    ) -> Answer:
        """Raises KeysUnavailable where no answer comes, or one that says to come again; Refused for a certificate that
        is not trusted."""
        host = urlsplit(url).netloc
        data = None if body is None else json.dumps(body).encode("ascii")
        request = urllib.request.Request(
            url, data, {**headers, "Content-Type": "application/json"}, method=method
        )
        try:
            try:
                with self._open().open(request, timeout=self._timeout) as answer:
                    status, text, after = answer.status, answer.read(_MOST), None
            except HTTPError as error:
                with error:
                    status, text, after = error.code, error.read(_MOST), error.headers.get("Retry-After")
        except (OSError, HTTPException) as error:
            reason = error.reason if isinstance(error, URLError) else error
            if isinstance(reason, ssl.SSLCertVerificationError):
                raise Refused(
                    f"{self._title}: the certificate of {host} is not trusted: {reason.verify_message}",
                    hint="Give keys.wrap a ca_file, where the service has an authority of its own.",
                ) from error
            raise KeysUnavailable(f"{self._title} cannot be reached: {host}: {reason}") from error
        if status in _PASSING or status >= 500:
            wait = float(after) if after and after.isascii() and after.isdigit() else None
            raise KeysUnavailable(f"{self._title} is busy: {host} answers {status}.", retry_after=wait)
        return Answer(status, _document(text))

    def _open(self) -> urllib.request.OpenerDirector:
        with self._lock:
            if self._opener is None:
                try:
                    trust = ssl.create_default_context()
                    if self._ca_file is not None:
                        trust.load_verify_locations(self._ca_file)
                except OSError as error:
                    raise Refused(
                        f"The ca_file {self._ca_file} holds no certificates that can be read."
                    ) from error
                self._opener = urllib.request.build_opener(urllib.request.HTTPSHandler(context=trust), _Stays)
            return self._opener


class _Stays(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *args: Any, **named: Any) -> None:
        return None


def _document(text: bytes) -> Mapping[str, Any]:
    try:
        document = json.loads(text)
    except ValueError:
        return {}
    return document if isinstance(document, dict) else {}


def reached(url: str, allow_http: bool) -> str:
    """For an option that is a service's address. Raises ValueError for what would send credentials in the clear."""
    parts = urlsplit(url)
    if (
        parts.scheme not in ("https", "http")
        or not parts.hostname
        or parts.query
        or parts.fragment
        or parts.username
    ):
        raise ValueError("must be the address of a service: https://…, without credentials")
    if parts.scheme == "http" and not allow_http:
        raise ValueError("must be https://…, or allow_http: true say that nobody listens on the way")
    return url.rstrip("/")

"""PostgreSQL's failures in the words of the one error tree. No message of it carries a value, a password or a URL."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection
from itertools import groupby
from operator import itemgetter

import psycopg

from lading.errors import DataRefused, Failed, LadingError, SchemaMismatch, SourceDenied, SourceUnavailable

_PASSING = re.compile(
    r"starting up|shutting down|too many|recovery mode|not accepting|remaining connection slots|terminating",
    re.I,
)
_GONE = re.compile(
    r"terminating connection|server closed the connection|no connection to the server|could not receive data"
    r"|SSL SYSCALL|connection not open|invalid snapshot identifier|could not import the requested snapshot"
    r"|canceling statement|timeout",
    re.I,
)

# What libpq says before it asks the server, or of the server's certificate: another try ends alike.
_AGREED = re.compile(r"does not support SSL|\binvalid \w+ value: |certificate", re.I)

# PostgreSQL's messages about values, as far as none is in them; the types are a closed list, for a name could be one.
_TYPES = (
    r"(?:smallint|integer|bigint|oid|real|double precision|numeric|money|boolean|date|timestamp(?: with time zone)?"
    r"|time(?: with time zone)?|interval|uuid|jsonb?|xml|inet|cidr|macaddr8?|bytea|bit|point|box|circle|tsquery|tid)"
)
_KNOWN = re.compile(
    rf"division by zero$|invalid input syntax for type {_TYPES}(?=: |$)|(?:{_TYPES}|date/time field value)"
    r" out of range(?=: |$)|numeric field overflow$|invalid value(?= $)|value(?= $)"
    r"|null value cannot be assigned to a field of a composite type$|array value must start with"
)
# "ERROR:  …" in the server's language (libpq: severity, colon, two spaces), as it stands in a message around it.
_SPOKEN = re.compile(r": ([^\s:][^:\n]{0,39}):  ([^\n]*)")
_PIECE = 4  # characters of a secret that are never shown in a row
_TAIL = re.compile(rf" is out of range for type {_TYPES}$")


def refused_connection(
    error: psycopg.Error,
    secrets: Collection[str] = (),
    starting: Callable[[], bool] = lambda: False,
    place: str = "",
) -> LadingError:
    """Why no connection came about, without ``secrets``. Only the server tells a severity; all else is the way to it.

    No SQLSTATE comes with a refused connection; ``starting`` asks a server of any language whether it starts or stops.
    ``place``: where the server was looked for.
    """
    text = str(error)
    spoken = _SPOKEN.findall(text)
    if spoken and not _PASSING.search(text) and not starting():
        reason = spoken[-1][1]
        pooled = "startup parameter" in reason
        return SourceDenied(
            f"PostgreSQL refuses the connection: {redacted(reason, secrets)}.",
            hint="A pooler takes no options: leave them out of the URL, or connect to PostgreSQL itself."
            if pooled
            else "Check user, password, database and pg_hba.conf.",
        )
    if "no password supplied" in text or ("authentication" in text and not spoken):
        return SourceDenied("PostgreSQL asks for a password that the connection's URL does not hold.")
    way = text.rpartition("failed:")[2].strip().splitlines()
    said = redacted(way[0], secrets) if way else "no answer"
    at = f" at {redacted(place, secrets)}" if place else ""
    if _AGREED.search(said):
        return SourceDenied(
            f"PostgreSQL{at} is not to be reached as the connection's URL asks: {said}.",
            hint="Check the URL's sslmode and the certificates that it names.",
        )
    return SourceUnavailable(f"PostgreSQL{at} cannot be reached: {said}.")


def redacted(text: str, secrets: Collection[str]) -> str:
    """The text with ``…`` for all that stands in a secret too, from four characters on; shorter secrets go as a whole.

    A URL that is read otherwise than it was meant makes a host or a port of a piece of the password.
    """
    hidden = [False] * len(text)
    for secret in filter(None, secrets):
        size = min(_PIECE, len(secret))
        pieces = {secret[i : i + size] for i in range(len(secret) - size + 1)}
        for start in range(len(text) - size + 1):
            if text[start : start + size] in pieces:
                hidden[start : start + size] = [True] * size
    runs = groupby(zip(text, hidden, strict=True), key=itemgetter(1))
    return "".join("…" if secret else "".join(letter for letter, _ in run) for secret, run in runs)


def failed_statement(error: psycopg.Error, what: str, *, rows: bool = False) -> LadingError:
    """What a failed statement about ``what`` means, by its SQLSTATE (PostgreSQL, appendix A).

    ``rows``: the statement read rows, so that any message may quote them; without, what is not there is named.
    """
    state, said = error.sqlstate or "", _first_line(error)
    if rows:
        said = without_values(said, state)
    if state == "42501" or state.startswith("28"):
        if error.diag.source_file == "rls.c":  # in any language
            return SourceDenied(
                f"{what}: {said}.",
                hint="A policy would hide rows from this role. Read as a role with BYPASSRLS, or as the owner.",
            )
        return SourceDenied(f"{what}: {said}.", hint="Grant SELECT to the role of the connection.")
    if state == "42601":
        return SchemaMismatch(
            f"{what}: {said}.",
            hint="A query is one SELECT: nothing that changes data, and no second statement.",
        )
    if state.startswith(("42", "3F", "26")):
        return SchemaMismatch(f"{what}: {said}.")
    if state == "55P03":
        return SourceUnavailable(f"{what} is locked: another session is changing it, or waits to.")
    if "statement pooling" in said:
        return SourceDenied(
            f"{what}: the pooler has no transactions ({said}).",
            hint="Read through session or transaction pooling, or from PostgreSQL itself.",
        )
    if state == "57014":
        return SourceUnavailable(f"{what}: a statement was cancelled, or took longer than its timeout.")
    if not state or state.startswith(("08", "57", "53", "58", "40", "25", "72")):
        return SourceUnavailable(f"{what}: PostgreSQL went away or is busy ({state or 'connection lost'}).")
    if state.startswith("22"):
        return DataRefused(f"{what}: {without_values(said, state)} (SQLSTATE {state}).")
    return Failed(f"{what}: {without_values(said, state)} (SQLSTATE {state}).")


def is_passing(text: str) -> bool:
    """Does a message that came without an SQLSTATE speak of a lost or cancelled session?"""
    return bool(_GONE.search(text))


def in_another_language(text: str) -> bool:
    """Does a message that came without an SQLSTATE repeat what a server said, and not in English?"""
    spoken = _SPOKEN.search(text)
    return spoken is not None and spoken.group(1) not in ("ERROR", "FATAL", "PANIC")


def server_said(text: str) -> str:
    """The server's or libpq's own line in a message of DuckDB's, without what may be of a row or of the URL.

    What libpq says of a lost session is said as it matched, and what `without_values` knows as it is there.
    """
    found = re.search(r"(?:ERROR|FATAL):\s*([^\n]*)", text) or re.search(r"from Postgres: ([^\n]*)", text)
    if not found:
        return "DuckDB cannot take what PostgreSQL sent"
    known = _known(found.group(1))
    gone = _GONE.search(found.group(1).partition('"')[0])
    return known or (
        gone.group() if gone else "an error whose message may hold values; the server's log has it"
    )


def without_values(said: str, state: str = "") -> str:
    """A message as far as it holds no value of a row, or else the name of its condition.

    Values are not only quoted last: ``value "1" is out of range for type integer``, ``invalid value "x" for "Month"``;
    a function that raises may put them anywhere. So only messages that are known are passed on, up to the value.
    """
    return _known(said) or _condition(state)


def _known(said: str) -> str:
    head, quote, rest = said.partition('"')
    found = _KNOWN.match(head)
    if not found:
        return ""
    tail = _TAIL.search(rest) if quote and found.group() == "value" else None
    return (
        f"a value{tail.group()}"
        if tail
        else found.group()
        if found.group() != "value"
        else "a value is refused"
    )


def _condition(state: str) -> str:
    """PostgreSQL's name for an SQLSTATE: ``numeric value out of range``."""
    try:
        name = psycopg.errors.lookup(state).__name__
    except KeyError:
        return "an error that the database raises itself"
    return re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name).lower()


def _first_line(error: psycopg.Error) -> str:
    text = error.diag.message_primary or str(error)
    return text.strip().splitlines()[0].rstrip(".") if text.strip() else "no message"

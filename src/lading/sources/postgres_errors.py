"""PostgreSQL's failures in the words of the one error tree. No message of it carries a value, a password or a URL."""

from __future__ import annotations

import re

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


def refused_connection(error: psycopg.Error) -> LadingError:
    """Why no connection came about. Only the server says FATAL; all else is the way to it."""
    text = str(error)
    if "FATAL" in text and not _PASSING.search(text):
        reason = text.rpartition("FATAL:")[2].strip().splitlines()[0]
        return SourceDenied(
            f"PostgreSQL refuses the connection: {reason}.",
            hint="Check user, password, database and pg_hba.conf.",
        )
    if "no password supplied" in text or ("authentication" in text and "FATAL" not in text):
        return SourceDenied("PostgreSQL asks for a password that the connection's URL does not hold.")
    way = text.rpartition("failed:")[2].strip().splitlines()
    return SourceUnavailable(f"PostgreSQL cannot be reached: {way[0] if way else 'no answer'}.")


def failed_statement(error: psycopg.Error, what: str) -> LadingError:
    """What a failed statement about ``what`` means, by its SQLSTATE (PostgreSQL, appendix A)."""
    state, said = error.sqlstate or "", _first_line(error)
    if state == "42501" or state.startswith("28"):
        if "row-level security" in said:
            return SourceDenied(
                f"{what}: {said}.",
                hint="A policy would hide rows from this role. Read as a role with BYPASSRLS, or as the owner.",
            )
        return SourceDenied(f"{what}: {said}.", hint="Grant SELECT to the role of the connection.")
    if state.startswith(("42", "3F", "26")):
        return SchemaMismatch(f"{what}: {said}.")
    if state == "55P03":
        return SourceUnavailable(f"{what} is locked: another session is changing it, or waits to.")
    if state == "57014":
        return SourceUnavailable(f"{what}: a statement was cancelled, or took longer than its timeout.")
    if not state or state.startswith(("08", "57", "53", "58", "40", "25", "72")):
        return SourceUnavailable(f"{what}: PostgreSQL went away or is busy ({state or 'connection lost'}).")
    if state.startswith("22"):
        return DataRefused(f"{what}: {without_values(said)} (SQLSTATE {state}).")
    return Failed(f"{what}: {without_values(said)} (SQLSTATE {state}).")


def is_passing(text: str) -> bool:
    """Does a message that came without an SQLSTATE speak of a lost or cancelled session?"""
    return bool(_GONE.search(text))


def server_said(text: str) -> str:
    """The server's or libpq's own line in a message of DuckDB's, which may hold the statement and the URL too."""
    found = re.search(r"(?:ERROR|FATAL):\s*([^\n]*)", text) or re.search(r"from Postgres: ([^\n]*)", text)
    return without_values(found.group(1)) if found else "DuckDB cannot take what PostgreSQL sent"


def without_values(said: str) -> str:
    """Messages about a value quote it last: ``invalid input syntax for type integer: "x"``."""
    return said.partition(': "')[0]


def _first_line(error: psycopg.Error) -> str:
    text = error.diag.message_primary or str(error)
    return text.strip().splitlines()[0].rstrip(".") if text.strip() else "no message"

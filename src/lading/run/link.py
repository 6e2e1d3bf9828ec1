"""`lading link`: a signed link to a bundle, made when it is asked for and noted before it is given away."""

from __future__ import annotations

import getpass
import json
import os
import socket
import sys
from collections.abc import Callable, Mapping
from contextlib import closing
from datetime import timedelta
from typing import Any

from lading.documents import show_duration
from lading.errors import IntegrityError, InvalidProject, ObjectNotFound, Refused, StoreDenied
from lading.export.identity import instant
from lading.journal.audit import AuditChain
from lading.journal.log import Journal
from lading.ports import Linker, Store
from lading.run.expire import begun_name
from lading.run.record import Recorded, runs

DEFAULT = timedelta(minutes=15)
LONGEST = timedelta(hours=24)


def make_link(
    journal: Journal, recorded: Recorded, open_store: Callable[[str], Store], expires: timedelta
) -> dict[str, Any]:
    """`Project.link` tells what is returned and raised."""
    seconds, bundle = _seconds(expires), _linkable(journal, recorded)
    store = open_store(bundle["name"])
    name = bundle["folder"] + bundle["bundle"]["name"]
    if f"{store.url.rstrip('/')}/{bundle['folder']}" != bundle["url"]:
        raise StoreDenied(
            f"Run {recorded.run['run_id']} was delivered to {bundle['url']}, and the store {bundle['name']!r} is "
            "another place now.",
            hint="Point the store back to make links of what lies there.",
        )
    if not isinstance(store, Linker):
        raise StoreDenied(
            f"{store.url} signs no links: only buckets do.",
            hint="Hand over the file itself, or deliver bundles to s3://, gs:// or az://.",
        )
    if not _stands(store, name, bundle["bundle"]["bytes"]):
        raise IntegrityError(
            f"{bundle['url']}{bundle['bundle']['name']} is not what was delivered there.",
            hint="`lading verify` says more; `lading run --revise` delivers it again.",
        )
    url = store.link(name, seconds)
    told = {
        "run_id": recorded.run["run_id"],
        "export": recorded.attempt.export,
        "tenant": recorded.run["tenant"],
        "object": bundle["url"] + bundle["bundle"]["name"],
        "bytes": bundle["bundle"]["bytes"],
        "sha256": bundle["bundle"]["sha256"],
        "expires": instant(journal.now() + timedelta(seconds=seconds)),
    }
    AuditChain(journal).append("linked", by=_user(), **told)
    return {**told, "url": url}


def _seconds(expires: timedelta) -> int:
    if not timedelta(seconds=1) <= expires <= LONGEST:
        raise InvalidProject(
            f"A link works for a second at least and 24 hours at most, not {show_duration(expires)}.",
            hint="Make it when it is needed, and another one later.",
        )
    return int(expires.total_seconds())


def _linkable(journal: Journal, recorded: Recorded) -> Mapping[str, Any]:
    """A run's bundle at its first destination, as the commit has it. Raises InvalidProject for a run that is none, and
    Refused for one that recipients have not got, or shall not have any more."""
    run_id, summary = recorded.run["run_id"], recorded.summary
    if not summary["published"]:
        raise Refused(
            f"Run {run_id} is {summary['status']}, and only what is published has links.",
            hint="`lading run` publishes what is committed." if summary["status"] == "committed" else None,
        )
    commit = json.loads(journal.prepared(recorded.attempt, recorded.run))
    first: Mapping[str, Any] = commit["destinations"][0]
    if "bundle" not in first:
        raise InvalidProject(
            f"Run {run_id} is a folder of files, and only a bundle has links.",
            hint="Deliver it with channel: bundle.",
        )
    if journal.find(begun_name(recorded.attempt.export, run_id)) is not None:
        raise Refused(
            f"Run {run_id} has expired: newer ones have replaced it.", hint="`lading runs` lists them."
        )
    later = [r.run for r in runs(journal, recorded.attempt.export) if r.summary["published"]]
    for newer in (run["run_id"] for run in reversed(later) if run_id in run["supersedes"]):
        raise Refused(f"Run {run_id} was replaced by {newer}.", hint=f"Link that: lading link {newer}")
    return first


def _stands(store: Store, name: str, size: int) -> bool:
    """Whether an object of that size is there; its bytes are what `verify` is for."""
    try:
        with closing(store.read(name)) as file:
            return file.seek(0, os.SEEK_END) == size
    except ObjectNotFound:
        return False


def _user() -> str:
    """The account that the process runs as, at this machine. Not what the environment calls the caller (``LOGNAME``,
    ``USER``): anybody may set that."""
    if sys.platform == "win32":
        account = getpass.getuser()  # there is no other source in the standard library
    else:
        import pwd

        try:
            account = pwd.getpwuid(os.getuid()).pw_name
        except KeyError:  # a container's user may have no name
            account = str(os.getuid())
    return f"{account}@{socket.gethostname()}"

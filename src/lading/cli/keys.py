"""The keys that wrap data keys: ``keys copy``, ``keys rotate``, ``keys destroy``."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import typer
from typer.exceptions import Abort

from lading.cli.console import emit, out, say
from lading.cli.options import Json
from lading.errors import counted

NOT_DONE = 2

app = typer.Typer(help="Tenants' keys, under which files are encrypted.", rich_markup_mode=None)

Tenant = Annotated[str, typer.Argument(metavar="TENANT", help="Whose keys.", show_default=False)]


@app.command()
def copy(
    context: typer.Context,
    tenant: Tenant,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A new file, for its owner only.")],
    as_json: Json = False,
) -> int:
    """Copy a tenant's keys to a file, for the recipient.

    Whoever has the file opens all that is encrypted for this tenant: hand it over as a secret, by another way than the
    deliveries. It does not hold the key under which columns are masked.
    """
    count = context.obj.project().copy_keys(tenant, file)
    if as_json:
        emit({"tenant": tenant, "keys": count, "file": str(file)})
    else:
        out(f"{counted(count, 'key')} of {tenant} in {file}")
    return 0


@app.command()
def rotate(context: typer.Context, tenant: Tenant, as_json: Json = False) -> int:
    """Make a tenant's next key, which wraps from now on.

    Nothing is rewritten: earlier deliveries open with the keys that they were made under, which stay. Give the
    recipient a new copy before the next delivery.
    """
    made = context.obj.project().rotate_key(tenant)
    if as_json:
        emit({"tenant": tenant, "key_id": made})
    else:
        out(f"{tenant}: {made} wraps from now on")
        say(f"Next: give the recipient a new copy: lading keys copy {shlex.quote(tenant)} FILE")
    return 0


@app.command()
def destroy(
    context: typer.Context,
    tenant: Tenant,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    as_json: Json = False,
) -> int:
    """Destroy a tenant's keys: nobody opens its encrypted deliveries again.

    Copies, backups and what the recipient has are not reached. Nothing more is encrypted for this tenant: a sweep
    that has rows of it is refused for all tenants, until its file in tenants/ says `active: false`. The key under which
    its columns are masked stays.
    """
    if not yes and not _confirmed(tenant):
        say("Nothing was destroyed.")
        return NOT_DONE
    count = context.obj.project().destroy_keys(tenant)
    if as_json:
        emit({"tenant": tenant, "destroyed": count})
    else:
        out(f"{tenant}: {counted(count, 'key')} destroyed")
    return 0


def _confirmed(tenant: str) -> bool:
    say(
        f"Deliveries that are encrypted for {tenant} cannot be opened any more, then.",
        "The next sweep that has rows of it is refused for all tenants, until its file in tenants/ says "
        "`active: false`.",
    )
    try:
        return typer.confirm(f"Destroy all keys of {tenant}, for good?", err=True)
    except Abort:
        raise Abort("Nothing was destroyed. With --yes nobody is asked.") from None

"""The keys that sign manifests: ``signing new``, ``signing list``."""

from __future__ import annotations

import typer

from lading.cli.console import emit, out, say, table
from lading.cli.options import Json

app = typer.Typer(help="The keys that sign manifests.", rich_markup_mode=None, no_args_is_help=False)


@app.command()
def new(context: typer.Context, as_json: Json = False) -> int:
    """Make a signing key, and its line in ops/signers.

    The newest key signs from the next run on; processes that run already go on with the one they have. Earlier keys
    stay in ops/signers, since what they signed is proven by them. Give that file to whoever verifies deliveries, by a
    way that is not the deliveries' own.
    """
    project = context.obj.project()
    made = project.new_signing_key()
    if as_json:
        emit(made.record())
    else:
        out(made.line())
        say(
            f"{made.key.fingerprint} signs from the next run on. Its line is in ops/signers: publish that file."
        )
    return 0


@app.command("list")
def list_(context: typer.Context, as_json: Json = False) -> int:
    """List the keys in ops/signers, and when each may sign."""
    signers = [signer.record() for signer in context.obj.project().signers()]
    if as_json:
        emit(signers)
    else:
        rows = [(each["key"], each["since"], each["until"], each["comment"]) for each in signers]
        out(*(table(("KEY", "SINCE", "UNTIL", "COMMENT"), rows) or ["ops/signers lists no key."]))
    return 0

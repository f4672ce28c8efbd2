"""`cas-run import`: takes the dispatches of a bundle into the store, once they are trusted."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from cas_run import completing
from cas_run.command import command
from cas_run.exits import Exit, as_json
from cas_run.imported import bundle_lines
from cas_run.share import share_done

if TYPE_CHECKING:
    from cas_run.session import Session


@command(
    examples="""
cas-run import svm.bundle                what is in it; imports nothing
cas-run import svm.bundle --trust
""",
)
@click.argument("file", metavar="FILE", shell_complete=completing.files)
@click.option("--trust", is_flag=True, help="Import: you trust whoever made the bundle with running code here.")
def import_(session: Session, file: str, trust: bool) -> int:
    """Take the dispatches of a bundle into the store: they can be shown and redispatched as where they ran.

    All of it is verified before any of it can be seen. Results and code are pickles, which run what they say when
    they are loaded: without --trust it is only told what is there. What the store has already stays as it is. FILE is
    `-` for stdin.
    """
    from cas_engine.bundles.unbundling import TrustNeeded
    from cas_run.backend import import_into

    out = session.terminal.out
    if file == "-" and (sys.stdin is None or sys.stdin.isatty()):
        raise click.UsageError("there is no bundle on a terminal\n  -> name a file, or send one through a pipe")
    needed = ""
    try:
        with share_done(session, "reading") as told:
            found = import_into(session.store_path(), sys.stdin.buffer if file == "-" else file, trust=trust, told=told)
    except TrustNeeded as error:
        found, needed = error.bundle, str(error)
    told_of = {"file": file, **found.to_json()}
    if session.as_json:
        session.answer(as_json("TrustNeeded", needed, Exit.USAGE) | {"bundle": told_of} if needed else told_of)
    elif session.quiet and not needed:
        session.say("\n".join(one.dispatch_id for one in found.dispatches if not one.outer))
    else:
        session.say("\n".join(bundle_lines(found, out, each=session.verbose)))
    if needed:
        err = session.terminal.err
        err.line(err.paint("error: ", "bold red") + needed)
    return Exit.USAGE if needed else Exit.DONE

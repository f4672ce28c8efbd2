"""`cas-run export`: writes dispatches into one file, for another store."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from cas_run import completing
from cas_run.command import command
from cas_run.exits import Exit
from cas_run.phrases import count, size
from cas_run.share import share_done

if TYPE_CHECKING:
    from cas_run.session import Session


@command(
    missing=Exit.STORE,
    examples="""
cas-run export @last svm.bundle
cas-run export 9f3a 07c1 both.bundle
cas-run export @last - | ssh elsewhere cas-run import --trust -
""",
)
@click.argument("dispatch_ids", metavar="ID...", nargs=-1, shell_complete=completing.ids)
@click.argument("file", metavar="FILE", shell_complete=completing.files)
def export(session: Session, dispatch_ids: tuple[str, ...], file: str) -> None:
    """Write dispatches into one file that `cas-run import` takes into another store: results, code, inputs.

    The same dispatch gives the same bytes from whatever store. FILE is `-` for stdout; a file that is no bundle is
    not written over.
    """
    out = session.terminal.out
    if file in ("/dev/stdout", "/dev/fd/1"):
        file = "-"  # by then what they lead to is stderr
    if not dispatch_ids:
        raise click.UsageError(f"`{file}` is either an ID or a FILE, and it takes both\n  -> cas-run export ID FILE")
    if file == "-" and (session.as_json or out.tty):
        raise click.UsageError("a bundle is not for a terminal, nor beside --json\n  -> name a file, or a pipe")
    backend = session.local()
    with share_done(session, "exporting") as told:
        found = backend.export(dispatch_ids, session.terminal.binary() if file == "-" else file, told)
    if session.as_json:
        session.answer({"file": file, **found.to_json()})
        return
    said = f"{count(len(found.dispatches), 'dispatch', 'dispatches')}, {count(found.blobs, 'blob')}"
    session.note(f"exported {said}, {size(found.size)}")
    if found.evicted:
        was = count(found.evicted, "result")
        session.note(f"{was} had been evicted, and will be computed again where needed")

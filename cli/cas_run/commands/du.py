"""`cas-run du`: where the bytes of the store are, and what of them could go."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from cas_run import choices
from cas_run.command import command
from cas_run.phrases import count, duration, size
from cas_run.table import Column, lines_of

if TYPE_CHECKING:
    from cas_run.session import Session


@command(
    examples="""
cas-run du
cas-run du --keep-last 0 --json
""",
)
@click.option(
    "--keep-last",
    metavar="N",
    type=choices.Whole(min=0),
    default=1,
    show_default=True,
    help="Count the results of that many dispatches of each lattice as needed, as `gc` does.",
)
def du(session: Session, keep_last: int) -> None:
    """Tell where the bytes are: by what they are for, by lattice, by electron. Each blob counts once.

    What several lattices have is shown by itself. Free room in the database is not counted.
    """
    found = session.local().usage(keep_last)
    if session.as_json:
        session.answer(found.to_json())
        return
    out = session.terminal.out
    if not session.quiet:
        for title, uses in (("for", found.kinds), ("lattice", found.lattices)):
            rows = [[one.name, f"{one.blobs:,}", size(one.bytes)] for one in uses]
            columns = [Column(title, elastic=True), Column("blobs", right=True), Column("bytes", right=True)]
            for line in lines_of(columns, rows, paint=out.paint, width=out.width):
                session.say(line)
            if rows:
                session.say()
        rows = [[e.electron, f"{e.results:,}", size(e.bytes), duration(e.seconds)] for e in found.electrons]
        names = ("results", "bytes", "computed in")
        columns = [Column("electron", elastic=True), *(Column(name, right=True) for name in names)]
        for line in lines_of(columns, rows, paint=out.paint, width=out.width):
            session.say(line)
        if rows:
            session.say()
    free = f"gc would free {size(found.unnamed_bytes)}, with a limit up to {size(found.evictable_bytes)} more"
    printed = f"; {size(found.log_bytes)} of logs" if found.log_bytes else ""
    session.say(f"{size(found.bytes)} in {count(found.blobs, 'blob')}; {free}{printed}")

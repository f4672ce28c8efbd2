"""`cas-run gc`: removes what nothing names, and results that can be computed again."""

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
cas-run gc                                  only what nothing needs any more
cas-run gc --max-size 20GB --dry-run        what would have to go
cas-run gc --older-than 30d --keep-last 3
""",
)
@click.option("--max-size", metavar="SIZE", help="Evict results until the blobs take no more: 500MB, 20GB, 1.5TiB.")
@click.option("--older-than", metavar="AGE", help="Evict results that were not of use for so long: 12h, 30d, 2w.")
@click.option(
    "--keep-last",
    metavar="N",
    type=choices.Whole(min=0),
    default=1,
    show_default=True,
    help="The results of that many dispatches of each lattice stay.",
)
@click.option("-n", "--dry-run", is_flag=True, help="Only tell what would go.")
def gc(session: Session, max_size: str | None, older_than: str | None, keep_last: int, *, dry_run: bool) -> None:
    """Remove what nothing needs; with a limit, evict results that can be computed again.

    The first to go took little time for their size and were not of use for long. Never evicted: inputs, code and
    samples of the history, and what pinned or running dispatches need. What was evicted is computed again when it
    is needed; what hangs on it stays reused. Room inside the database is used again for what comes; `cas-run
    compact` gives it back to the disk.
    """
    from cas_run.backend import Collection

    done = session.local().gc(Collection(max_size, older_than, keep_last, dry_run))
    if session.as_json:
        session.answer(done.to_json())
        return
    out = session.terminal.out
    if done.electrons and not session.quiet:
        rows = [[one.electron, f"{one.results:,}", size(one.bytes), duration(one.seconds)] for one in done.electrons]
        columns = [
            Column("evicted", elastic=True),
            *(Column(t, right=True) for t in ("results", "bytes", "computed in")),
        ]
        for line in lines_of(columns, rows, paint=out.paint, width=out.width):
            session.say(line)
        session.say()
    freed = size(done.bytes_before - done.bytes_after)
    would = "would free" if dry_run else "freed"
    what = f"{count(done.evicted, 'result')} evicted, {count(done.unnamed, 'blob')} that nothing names removed"
    session.say(f"{would} {freed} of {size(done.bytes_before)}: {what}")
    if done.over:
        session.note(f"{size(done.over)} more than that is needed: by inputs, code, samples, pins, the last dispatches")
    for one in done.unread:
        session.note(f"dispatch {one[:12]} cannot be read: until it is removed, what nothing names stays")

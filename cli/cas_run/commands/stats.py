"""`cas-run stats`: what the store has saved so far, and how far its results can be trusted."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cas_run.command import command
from cas_run.phrases import count, duration, size
from cas_run.table import Column, lines_of

if TYPE_CHECKING:
    from cas_run.session import Session


@command(
    examples="""
cas-run stats
cas-run stats --json
""",
)
def stats(session: Session) -> None:
    """Sum up the store: dispatches, hits, time saved by lattice; bytes; and the trust earned by checks.

    Trust is earned by `cas-run verify`, and by `--audit 1%`, which runs a share of the hits of each dispatch again.
    """
    found = session.local().stats()
    if session.as_json:
        session.answer(found.to_json())
        return
    out = session.terminal.out
    rows = [
        [
            one.lattice,
            *(f"{n:,}" for n in (one.dispatches, one.hits, one.ran)),
            f"{one.hit_rate:.0%}",
            *map(duration, (one.saved_s, one.ran_s)),
        ]
        for one in found.lattices
    ]
    columns = [Column("lattice", elastic=True)]
    columns += [Column(title, right=True) for title in ("dispatches", "hits", "ran", "hit rate", "saved", "computed")]
    for line in lines_of(columns, rows, paint=out.paint, width=out.width):
        session.say(line)
    if rows:
        session.say()
    total = sum(one.saved_s for one in found.lattices)
    session.say(f"{count(found.dispatches, 'dispatch', 'dispatches')}; the reuse saved {duration(total)} so far")
    shrunk = f", {size(found.logical_bytes)} were each stored by itself" if found.logical_bytes > found.bytes else ""
    gone = f", {found.evicted:,} of them evicted" if found.evicted else ""
    session.say(f"{count(found.entries, 'result')}{gone}; {size(found.bytes)} in {count(found.blobs, 'blob')}{shrunk}")
    if found.electrons:
        biggest = ", ".join(f"{one.electron} {size(one.bytes)}" for one in found.electrons[:3])
        session.say(f"the biggest: {biggest}")
    for one in found.trust:
        session.say(f"checked {one.electron}: {one.equal:,} of {one.checked:,} came out as recorded")
    for made in found.acceptances:
        session.say(f"accepted: {made.electron} as it was in {made.against[:12]}, by {made.who}")

"""`cas-run list`: the dispatches in the store, newest first."""

from __future__ import annotations

from time import time
from typing import TYPE_CHECKING

import click

from cas_run import choices
from cas_run.command import command
from cas_run.ids import short_id
from cas_run.phrases import ago, duration
from cas_run.report import STATUS_STYLE
from cas_run.table import Column, lines_of

if TYPE_CHECKING:
    from cas_run.session import Session

_COLUMNS = (
    Column("id"),
    Column("lattice", elastic=True),
    Column("status"),
    Column("started"),
    Column("took", right=True, spare=True),
    Column("hits", right=True),
    Column("ran", right=True),
    Column("failed", right=True),
    Column("from", spare=True),
)
STATUSES = ("pending", "running", "completed", "failed", "cancelled", "interrupted")


@command(
    examples="""
cas-run list
cas-run list -n 0 --lattice svm            all of one lattice
cas-run list -q --status failed            ids only
cas-run list --json | jq -r '.dispatches[].dispatch_id'
""",
)
@click.option("-n", "--limit", type=choices.Whole(min=0), default=20, show_default=True, help="How many; 0: all.")
@click.option("--lattice", metavar="NAME", help="Only dispatches of this lattice.")
@click.option("--status", type=click.Choice(STATUSES), help="Only those that are so.")
def list_(session: Session, limit: int, lattice: str | None, status: str | None) -> None:
    """List dispatches, newest first."""
    backend = session.backend()
    found = backend.dispatches(limit or None, lattice, status)
    if session.as_json:
        session.answer({"dispatches": [result.to_json(nodes=False) for result in found]})
        return
    if session.quiet:
        for result in found:
            session.say(result.dispatch_id)
        return
    if not found:
        session.note("no dispatches" + (" like that" if lattice or status else " yet: see `cas-run run --help`"))
        return
    now, out = time(), session.terminal.out
    rows = [
        (
            (short_id(result.dispatch_id), "bold"),
            result.lattice,
            (result.status.value.lower(), STATUS_STYLE.get(result.status.value, "")),
            ago(now - result.started),
            duration(result.seconds) if result.finished or result.status.value == "RUNNING" else "",
            f"{result.hits:,}",
            f"{result.ran:,}",
            (f"{result.failed:,}" if result.failed else "", "red"),
            (short_id(result.parent or ""), "dim"),
        )
        for result in found
    ]
    session.say("\n".join(lines_of(_COLUMNS, rows, paint=out.paint, width=out.width)))

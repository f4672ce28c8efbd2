"""`cas-run backup`: copies the store while others write."""

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
    examples="""
cas-run backup /mnt/disk/cas-run-backup
cas-run list --store /mnt/disk/cas-run-backup
""",
)
@click.argument("folder", metavar="DIR", shell_complete=completing.folders)
def backup(session: Session, folder: str) -> int:
    """Copy the whole store into DIR, consistently, while others write to it.

    The copy is a store. A backup into the folder of an earlier one copies what is new; any other folder has to be
    empty.
    """
    with share_done(session, "copying") as told:
        found = session.local().backup(folder, told)
    if session.as_json:
        session.answer(found)
    else:
        session.note(
            f"backed up {size(found['size'])} in {found['path']}: {count(found['copied'], 'large blob')} copied, "
            f"{found['kept']:,} there already, {found['removed']:,} removed"
        )
    if not found["missing"]:
        return Exit.DONE
    was = count(found["missing"], "large blob")
    session.note(f"{was} missing from the store, and so from the backup\n  -> `cas-run doctor` tells which")
    return Exit.STORE

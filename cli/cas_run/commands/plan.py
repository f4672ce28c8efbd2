"""`cas-run plan`: what would run and why, without running it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from cas_run import choices, completing
from cas_run.command import command
from cas_run.ids import looks_like_id

if TYPE_CHECKING:
    from cas_run.session import Session


@command(
    examples="""
cas-run plan @last -p C=1.5                  what a redispatch with this input would run
cas-run plan flow.py:svm                     what is missing since the file was edited
cas-run plan flow.py:svm --check || echo "results are out of date"
""",
)
@click.argument("target", metavar="ID | FILE.py:LATTICE", shell_complete=completing.ids_and_targets)
@choices.input_option
@choices.edit_options
@click.option("--check", is_flag=True, help="Exit with 5 if anything would run.")
def plan(
    session: Session,
    *,
    target: str,
    pairs: tuple[str, ...],
    replacements: tuple[str, ...],
    recompute: tuple[str, ...],
    no_reuse: bool,
    check: bool,
) -> int:
    """Say what would run, why, and how long it took last time. Runs nothing.

    Takes the id of a dispatch, or a lattice in a file. "wait" are nodes that hang on a new draw: they
    can't be known before it is there.
    """
    from cas_run.conclusion import show_plan

    if looks_like_id(target):
        backend = session.backend()
        parent = backend.resolve(target)
        edits = choices.edits_of(backend, replacements, recompute, no_reuse=no_reuse)
        found = backend.plan(parent, edits, choices.call_of_recorded(backend, parent, pairs))
    else:
        if replacements or recompute:
            advice = f"give an id, or edit {target} and plan that"
            raise click.UsageError(f"--replace and --recompute change a dispatch\n  -> {advice}")
        from cas_run.backend import Edits
        from cas_run.loading import load_lattice

        local = session.local(create=True)
        lattice = load_lattice(target)
        found = local.plan(lattice, Edits(reuse=not no_reuse), choices.call_of_lattice(lattice, pairs))
    return show_plan(session, found, check=check)

"""`cas-run redispatch`: an earlier dispatch again, with other inputs, other code or another draw."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from cas_run import choices
from cas_run.command import command

if TYPE_CHECKING:
    from cas_run.session import Session


@command(
    examples="""
cas-run redispatch @last -p C=1.5                     new inputs; the others stay as they were
cas-run redispatch 9f3a --replace score=metrics.py:recall
cas-run redispatch 9f3a --recompute stochastic        new draws, and what hangs on them
cas-run redispatch 9f3a --recompute train,score       these two, and what then changed
cas-run redispatch 9f3a -p C=1.5 --plan               only say what would run, and why
""",
)
@choices.id_argument()
@choices.input_option
@choices.edit_options
@choices.run_options
@click.option("--plan", "only_plan", is_flag=True, help="Run nothing: say what would run, why, and for how long.")
def redispatch(
    session: Session,
    *,
    dispatch_id: str,
    pairs: tuple[str, ...],
    replacements: tuple[str, ...],
    recompute: tuple[str, ...],
    no_reuse: bool,
    executor: str | None,
    audit: str | None,
    only_plan: bool,
) -> int:
    """Run an earlier dispatch again, by its id.

    The code that runs is the code that was recorded, also when its file has since been edited or deleted.
    Inputs that are not given keep their values, replacements of earlier redispatches stay in force, and all
    that is unchanged is reused. A dispatch that failed or was interrupted is taken up where it stopped.

    Over a server, --replace takes the name or fingerprint of an electron that it knows, and a function of a file
    only where it takes code.
    """
    backend = session.backend()
    from cas_run.backend import How
    from cas_run.conclusion import conclude, show_plan
    from cas_run.foreground import follow

    parent = backend.resolve(dispatch_id)
    edits = choices.edits_of(backend, replacements, recompute, no_reuse=no_reuse)
    call = choices.call_of_recorded(backend, parent, pairs)
    if only_plan:
        return show_plan(session, backend.plan(parent, edits, call))
    how = How(executor, audit)
    result = follow(session, backend, lambda observe: backend.redispatch(parent, edits, call, how, observe))
    return conclude(session, result)

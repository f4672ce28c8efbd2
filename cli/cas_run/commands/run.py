"""`cas-run run`: a lattice from a file, from its inputs to its result."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from cas_run import choices, completing
from cas_run.command import command

if TYPE_CHECKING:
    from cas_run.session import Session


@command(
    examples="""
cas-run run flow.py:svm -p C=1.0 -p gamma=0.7
cas-run run flow.py                            the only lattice in the file
cas-run run package.flow:svm -p names='["a", "b"]'
cas-run redispatch $(cas-run run -q flow.py) -p C=2
""",
)
@click.argument("target", metavar="FILE.py:LATTICE", shell_complete=completing.targets)
@choices.input_option
@choices.no_reuse_option("what comes out different from its recorded result is reported.")
@choices.run_options
def run(
    session: Session,
    *,
    target: str,
    pairs: tuple[str, ...],
    no_reuse: bool,
    executor: str | None,
    audit: str | None,
) -> int:
    """Run a workflow.

    The file is imported as Python would, with its folder first on the path; what stands below
    `if __name__ == "__main__"` stays out. What was computed before, by any run with this store, is reused.

    Progress goes to stderr, and so does what the electrons print; the table and the result go to stdout. With
    -q, stdout has the id and nothing else.
    """
    backend = session.local(create=True)
    from cas_run.backend import How
    from cas_run.conclusion import conclude
    from cas_run.foreground import follow
    from cas_run.loading import load_lattice

    lattice = load_lattice(target)
    call = choices.call_of_lattice(lattice, pairs)
    how = How(executor, audit, reuse=not no_reuse)
    result = follow(session, backend, lambda observe: backend.dispatch(lattice, call, how, observe))
    return conclude(session, result)

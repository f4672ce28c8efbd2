"""`cas-run completion`: the script that makes a shell complete commands, options, ids and lattices."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from cas_run.command import command

if TYPE_CHECKING:
    from cas_run.session import Session


@command(
    examples="""
cas-run completion bash >> ~/.bashrc
cas-run completion zsh >> ~/.zshrc
cas-run completion fish > ~/.config/fish/completions/cas-run.fish
""",
)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(ctx: click.Context, session: Session, shell: str) -> None:
    """Print the completion script of a shell."""
    from click.shell_completion import get_completion_class

    kind = get_completion_class(shell)
    if kind is None:  # pragma: no cover - the three above are click's own
        message = f"click knows no completion for {shell}"
        raise click.UsageError(message)
    completer = kind(ctx.find_root().command, {}, "cas-run", "_CAS_RUN_COMPLETE")
    # Not source(): for bash it starts one to ask its version, which this process may not even have.
    script = completer.source_template % completer.source_vars()
    if session.as_json:
        session.answer({"shell": shell, "script": script})
    else:
        session.say(script.rstrip())

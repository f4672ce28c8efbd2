"""`cas-run completion`: the script that makes a shell complete commands, options, ids and lattices."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from cas_run.command import command

if TYPE_CHECKING:
    from cas_run.session import Session


# Not click's: bash takes words apart at `:` and `=` as well, which lattices and inputs are spelled with, and `@`; it
# replaces only what stands behind the last `:` or `=`.
_BASH = r"""
_cas_run_completion() {
    local line=${COMP_LINE:0:COMP_POINT} words kept type value
    read -ra words <<< "$line"
    [[ $line == *[[:space:]] ]] && words+=("")
    local current=${words[${#words[@]}-1]}
    kept=${current%"${current##*[:=]}"}
    COMPREPLY=()
    while IFS=, read -r type value; do
        case $type in
            dir) compopt -o dirnames ;;
            file) compopt -o default ;;
            plain)
                COMPREPLY+=("${value#"$kept"}")
                [[ $value == *= ]] && compopt -o nospace ;;
        esac
    done < <(COMP_WORDS=$line COMP_CWORD=$((${#words[@]}-1)) _CAS_RUN_COMPLETE=bash_complete "$1")
}

complete -o nosort -F _cas_run_completion cas-run
""".lstrip()
_ZSH_ADDS = "compadd -U -V unsorted -a completions"
# An input goes on behind its `=`.
_ZSH_ADDS_HERE = 'compadd -U -V unsorted -S "${${completions[1]:#*=}:+ }" -a completions'


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
    script = _BASH if shell == "bash" else completer.source_template % completer.source_vars()
    if shell == "zsh":
        script = script.replace(_ZSH_ADDS, _ZSH_ADDS_HERE)
    if session.as_json:
        session.answer({"shell": shell, "script": script})
    else:
        session.say(script.rstrip())

"""The options and arguments that several commands share, and what they amount to."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import click

from cas_run import completing

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from cas_engine.graphs.lattice import Lattice
    from cas_run.backend import Backend, Call, Edits

    Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]


class Whole(click.IntRange):
    """A whole number, perhaps within limits."""

    name = "whole number"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Of what is more than anything has, the most that can be counted."""
        return min(int(super().convert(value, param, ctx)), sys.maxsize)


def id_argument(name: str = "dispatch_id", metavar: str = "ID") -> Decorator:
    """One dispatch."""
    return click.argument(name, metavar=metavar, shell_complete=completing.ids)


def node_argument(*, required: bool) -> Decorator:
    """A node of the dispatch that stands before it."""
    metavar = "NODE" if required else "[NODE]"
    return click.argument("node", required=required, metavar=metavar, shell_complete=completing.nodes)


def input_option(function: Callable[..., Any]) -> Callable[..., Any]:
    """`-p name=value`, as often as there are inputs."""
    return click.option(
        "-p",
        "--param",
        "pairs",
        metavar="NAME=VALUE",
        multiple=True,
        shell_complete=completing.inputs,
        help="An input: a JSON literal or else a text, converted by the parameter's annotation.",
    )(function)


def _set_workers(ctx: click.Context, _: click.Parameter, value: int | None) -> None:
    if value is not None and not ctx.resilient_parsing:
        from cas_engine.bookkeeping.settings import say

        say("workers", str(value))


def run_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """`--executor`, `--audit`: how to run, as `how_of` takes it."""
    for decorate in reversed(
        (
            click.option(
                "--executor",
                type=click.Choice(["thread", "process", "inline"]),
                help="Where electrons run that do not say so: side by side in processes (default) or in threads, "
                "or one after the other.",
            ),
            click.option(
                "--workers",
                type=Whole(min=1),
                metavar="N",
                help="At most so many worker processes (else CAS_RUN_WORKERS, else one for each processor).",
                expose_value=False,
                callback=_set_workers,
            ),
            click.option(
                "--audit",
                metavar="SHARE",
                help="Run this share of the hits again and compare, as in 1% (else CAS_RUN_AUDIT, else none).",
            ),
        )
    ):
        function = decorate(function)
    return function


def edit_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """`--replace`, `--recompute`, `--no-reuse`."""
    for decorate in reversed(
        (
            click.option(
                "--replace",
                "replacements",
                shell_complete=completing.replacements,
                metavar="NAME=FILE.py:FUNCTION",
                multiple=True,
                help="Put a function in the place of the electron NAME, wherever it occurs. Repeatable.",
            ),
            click.option(
                "--recompute",
                metavar="WHAT",
                multiple=True,
                help="Run these again: `stochastic`, `all`, or electrons by name. Repeatable.",
            ),
            no_reuse_option("the same as --recompute all."),
        )
    ):
        function = decorate(function)
    return function


def no_reuse_option(more: str) -> Decorator:
    """`--no-reuse`, and what else is to be said of it."""
    return click.option("--no-reuse", is_flag=True, help=f"Run everything: {more}")


def edits_of(backend: Backend, replacements: Sequence[str], recompute: Sequence[str], *, no_reuse: bool) -> Edits:
    """What those three say together. Imports the files of the replacements."""
    from cas_run.backend import Edits

    replace: dict[str, Callable[..., object] | str] = {}
    for text in replacements:
        name, equals, target = text.partition("=")
        name = name.strip()
        if not equals or not name or not target.strip():
            example = "--replace score=metrics.py:recall"
            raise click.UsageError(f"`--replace {text}` is not name=file.py:function\n  -> for instance {example}")
        if name in replace:
            raise click.UsageError(f"the electron `{name}` is replaced twice\n  -> say once by what")
        replace[name] = backend.replacement(target.strip())
    return Edits(replace, reuse=not no_reuse, recompute=recompute_of(recompute))


def recompute_of(words: Sequence[str]) -> str | list[str] | None:
    """`("a,b", "c")` as `["a", "b", "c"]`; the two words that stand for many nodes stand alone."""
    names = [name.strip() for word in words for name in word.split(",") if name.strip()]
    if not names:
        return None
    for word in ("all", "stochastic"):
        if word in names:
            if set(names) != {word}:
                advice = f"give `{word}` alone, or only names"
                raise click.UsageError(f"--recompute {word} goes with no other name\n  -> {advice}")
            return word
    return list(dict.fromkeys(names))


def call_of_lattice(lattice: Lattice[..., Any], pairs: Sequence[str]) -> Call:
    """The inputs of a lattice that was just loaded; what is not given has its default."""
    from cas_run.arguments import bound, inputs_of
    from cas_run.backend import Call

    return Call(*bound(inputs_of(lattice.fn), pairs, lattice.name))


def call_of_recorded(backend: Backend, dispatch_id: str, pairs: Sequence[str]) -> Call:
    """The new inputs of a redispatch; the others keep the parent's values."""
    from cas_run.arguments import bound
    from cas_run.backend import Call

    if not pairs:  # no reason to load the recorded lattice
        return Call()
    name, inputs = backend.inputs(dispatch_id)
    return Call(*bound(inputs, pairs, name, others_kept=True))

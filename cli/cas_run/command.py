"""The shape of every command: its examples, the options that all share."""

from __future__ import annotations

from keyword import iskeyword
from typing import TYPE_CHECKING, Any

import click

from cas_run import completing
from cas_run.exits import Exit
from cas_run.session import Session

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable


class Command(click.Command):
    """One subcommand. `examples` are printed as they stand; the shared options come last.

    `missing` is the status when a dispatch or node is not there: commands that tend the store have that of the store.
    """

    def __init__(self, *args: Any, examples: str = "", missing: Exit = Exit.NOT_FOUND, **attrs: Any) -> None:
        super().__init__(*args, **attrs)
        self.missing = missing
        self.examples = examples
        self.own_params = list(self.params)
        self.params.extend(shared_options())

    def invoke(self, ctx: click.Context) -> Any:
        session = _session(ctx)
        session.missing, session.command = self.missing, self.name or ""
        return super().invoke(ctx)

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        _write_options(ctx, formatter, "Options", self.own_params)
        _write_options(ctx, formatter, "Options of every command", shared_options())
        write_examples(formatter, self.examples)

    def format_usage(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        # `cas-run run`, also when it was started as `python -m cas_run`
        pieces = [piece for piece in self.collect_usage_pieces(ctx) if piece]
        formatter.write_usage(ctx.command_path, " ".join(pieces))


def command(*, examples: str = "", **attrs: Any) -> Callable[[Callable[..., Any]], Command]:
    """`@command(examples=...)`: the docstring is the help, the function gets the Session first."""

    def decorate(function: Callable[..., Any]) -> Command:
        name = command_name(function.__module__.rpartition(".")[2])
        return click.command(name, cls=Command, examples=examples, **attrs)(click.pass_obj(function))

    return decorate


def write_examples(formatter: click.HelpFormatter, examples: str) -> None:
    """As they stand: click would wrap them."""
    if examples:
        with formatter.section("Examples"):
            for line in examples.strip().splitlines():
                formatter.write(f"  {line}\n")


def command_name(module: str) -> str:
    """The file name says it: `list.py` is `list`, `import_.py` is `import`, dashes are underscores there."""
    return module.rstrip("_").replace("_", "-")


def module_name(command: str) -> str:
    """The way back: names that the language keeps for itself end in an underscore as modules."""
    name = command.replace("-", "_")
    return f"{name}_" if iskeyword(name) else name


def shared_options() -> list[click.Parameter]:
    """New ones each time, since click parameters belong to one command."""
    return [
        click.Option(
            ["--store"],
            metavar="PATH",
            help="The store to use; else CAS_RUN_STORE, else the user's data folder.",
            callback=_gather_store,
            expose_value=False,
            shell_complete=completing.folders,
        ),
        click.Option(
            ["--server"],
            metavar="URL",
            help="A `cas-run serve` to use instead; else CAS_RUN_SERVER.",
            callback=_gather_server,
            expose_value=False,
        ),
        click.Option(
            ["--json", "as_json"],
            is_flag=True,
            help="Exactly one JSON object on stdout (docs/cli.md).",
            callback=_gather_json,
            expose_value=False,
        ),
        click.Option(
            ["-q", "--quiet"],
            count=True,
            help="Only the answer, in its shortest form.",
            callback=_gather_quiet,
            expose_value=False,
        ),
        click.Option(
            ["-v", "--verbose"],
            count=True,
            help="Say more; -vv shows our own tracebacks too.",
            callback=_gather_verbose,
            expose_value=False,
        ),
    ]


def _session(ctx: click.Context) -> Session:
    return ctx.ensure_object(Session)


def _gather_store(ctx: click.Context, _: click.Parameter, value: str | None) -> None:
    if value is not None:
        _session(ctx).store = value


def _gather_server(ctx: click.Context, _: click.Parameter, value: str | None) -> None:
    if value is not None:
        _session(ctx).server = value


def _gather_json(ctx: click.Context, _: click.Parameter, value: bool) -> None:
    if value:
        _session(ctx).as_json = True
        _session(ctx).terminal.divert()


def _gather_quiet(ctx: click.Context, _: click.Parameter, value: int) -> None:
    _session(ctx).verbosity -= value


def _gather_verbose(ctx: click.Context, _: click.Parameter, value: int) -> None:
    _session(ctx).verbosity += value


def _write_options(
    ctx: click.Context, formatter: click.HelpFormatter, title: str, params: Iterable[click.Parameter]
) -> None:
    options = [param for param in params if isinstance(param, click.Option)]
    rows = [row for row in (option.get_help_record(ctx) for option in options) if row is not None]
    if rows:
        with formatter.section(title):
            formatter.write_dl(rows)

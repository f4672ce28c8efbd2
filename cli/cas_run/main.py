"""The command `cas-run`: find the subcommand, run it, turn every ending into a clear line and a status."""

from __future__ import annotations

import gc
import os
import sys
from importlib import import_module
from typing import TYPE_CHECKING

import click

from cas_run.command import Command, module_name, shared_options, write_examples
from cas_run.commands import NAMES, SUMMARIES
from cas_run.exits import Exit, Stopped, as_json, exit_of
from cas_run.session import Session
from cas_run.terminal import ReaderGone, Unwritable

if TYPE_CHECKING:
    from collections.abc import Sequence

EXAMPLES = """
cas-run run flow.py:svm -p C=1.0       the first time: everything runs
cas-run redispatch @last -p C=1.5      new inputs: what hangs on C runs
cas-run show @last                     what ran, what was reused, and why
"""


class Commands(click.Group):
    """The subcommands: one module of `cas_run.commands` each, imported when its name is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        del ctx
        return NAMES

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        del ctx
        if cmd_name not in NAMES:
            return None
        values = vars(import_module(f"cas_run.commands.{module_name(cmd_name)}")).values()
        return next(value for value in values if isinstance(value, Command))

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as error:
            from difflib import get_close_matches

            near = get_close_matches(args[0], self.list_commands(ctx), n=2, cutoff=0.5)
            hint = f"-> did you mean `{'` or `'.join(near)}`?" if near else "-> see `cas-run --help`"
            raise click.UsageError(f"there is no command `{args[0]}`\n  {hint}", ctx) from error

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        del ctx
        for section, summaries in SUMMARIES.items():
            with formatter.section(section):
                formatter.write_dl(list(summaries.items()))

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        del ctx
        write_examples(formatter, EXAMPLES)


def _print_version(ctx: click.Context, _: click.Parameter, value: bool) -> None:
    if value and not ctx.resilient_parsing:
        from cas_run import __version__

        click.echo(f"cas-run {__version__}")
        ctx.exit()


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
def cli() -> None:
    """Run Python workflows; run them again, and only what changed is computed.

    A workflow is a function decorated with @ct.lattice that calls functions decorated with @ct.electron.
    Whatever was computed before, in any earlier run, is taken from the store.
    """


cli.params.extend(shared_options())
cli.params.append(
    click.Option(
        ["--version"],
        is_flag=True,
        is_eager=True,
        expose_value=False,
        callback=_print_version,
        help="Show the version.",
    )
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and give its exit status. Nothing of ours leaves here as a traceback."""
    gc.freeze()  # as in session.py: it is a tenth of the start
    session = Session()
    words = list(sys.argv[1:] if arguments is None else arguments)
    try:
        return _told(words, session)
    finally:
        session.terminal.drop_unwritten()


def _told(words: list[str], session: Session) -> int:
    try:
        status = _run(words, session)
        session.tell_damage()
        session.terminal.out.write("")
    except ReaderGone:
        session.terminal.drop_out()
        return Exit.PIPE_CLOSED
    except Unwritable as error:
        session.terminal.drop_out()
        return _fail(session, "Unwritable", f"{error}\n  -> what ran is kept: see `cas-run list`", Exit.UNWRITABLE)
    return status


def _run(words: list[str], session: Session) -> int:
    if not words and "_CAS_RUN_COMPLETE" not in os.environ:
        session.terminal.err.line(cli.get_help(click.Context(cli, info_name="cas-run")))
        return Exit.USAGE
    try:
        status = cli.main(words, prog_name="cas-run", standalone_mode=False, obj=session)
    except click.UsageError as error:
        return _refuse(error, words, session)
    except click.ClickException as error:
        return _fail(session, type(error).__name__, error.format_message(), Exit(error.exit_code))
    except Stopped as stopped:
        more = {"dispatch_id": stopped.dispatch_id} if stopped.dispatch_id else {}
        status = _fail(session, "Interrupted", str(stopped), stopped.status, **more)
        if stopped.unfinished:
            session.terminal.leave(status)
        return status
    except (KeyboardInterrupt, click.Abort):
        return _fail(session, "Interrupted", "interrupted", Exit.INTERRUPTED)
    except Unwritable:
        raise
    except Exception as error:  # noqa: BLE001 - the last line of defence: it is reported, and with -vv shown
        return _explain(error, session)
    return int(status or 0)


def _refuse(error: click.UsageError, words: list[str], session: Session) -> int:
    """Wrong usage. Parsing may have stopped before it came to --json: look at the words themselves."""
    if "--json" in words:
        session.as_json = True
    message = error.format_message()
    if "\n  -> " not in message and error.ctx is not None:
        message += f"\n  -> see `{error.ctx.command_path} --help`"
    return _fail(session, "UsageError", message, Exit.USAGE)


def _explain(error: Exception, session: Session) -> int:
    from cas_store.errors import CasRunError

    if isinstance(error, CasRunError):
        status = exit_of(error)
        if status is Exit.NOT_FOUND:
            status = session.missing
        _show_traceback(error, session, at=2)
        # What a server refused has the name that it has there, and would have here.
        kind = getattr(error, "kind", "") or type(error).__name__
        return _fail(session, kind, str(error), status)
    from cas_run.tracebacks import is_users, users_traceback

    if is_users(error):
        shown = users_traceback(error)
        return _fail(session, type(error).__name__, f"the workflow's own code fails\n{shown}", Exit.FAILED)
    _show_traceback(error, session, at=2)
    what = "the traceback above" if session.verbosity > 1 else "what the same command prints with -vv"
    message = (
        f"{type(error).__name__}: {error}\n"
        f"  -> this is a fault of cas-run, not of your workflow: please report it, with {what}"
    )
    return _fail(session, "InternalError", message, Exit.BUG)


def _show_traceback(error: Exception, session: Session, *, at: int) -> None:
    if session.verbosity >= at:
        import traceback

        session.terminal.err.write("".join(traceback.format_exception(error)))


def _fail(session: Session, kind: str, message: str, status: Exit, **more: str) -> int:
    err = session.terminal.err
    said, arrow, advice = message.partition("\n  -> ")
    err.line(err.paint("error: ", "bold red") + said + (err.paint(arrow, "dim") + advice if advice else ""))
    if session.as_json:
        session.terminal.divert()
        session.answer(as_json(kind, message, status, **more))
    return status

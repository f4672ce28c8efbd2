"""`cas-run token`: who may ask the server, and for what."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

import click

from cas_run.command import command
from cas_run.table import Column, lines_of

if TYPE_CHECKING:
    from cas_run.server.tokens import Token
    from cas_run.session import Session

_COLUMNS = (Column("name"), Column("scopes"), Column("made"))


@command(
    examples="""
cas-run token new --scope run --name lambda      prints the token, once
cas-run token list
cas-run token revoke lambda
""",
)
@click.argument("what", type=click.Choice(["new", "list", "revoke"]), metavar="new|list|revoke")
@click.argument("which", required=False, metavar="[NAME]")
@click.option("--name", metavar="NAME", help="What to call a new one; else something is made up.")
@click.option(
    "--scope",
    "scopes",
    type=click.Choice(["read", "run", "code", "admin"]),
    multiple=True,
    help="What it may: `read`; `run` also redispatch; `code` also send code; `admin` all. Repeatable.",
)
@click.option("--token-file", metavar="PATH", help="Where tokens are; else beside the config file.")
def token(
    session: Session, *, what: str, which: str | None, name: str | None, scopes: tuple[str, ...], token_file: str | None
) -> None:
    """Make, list and revoke tokens of `cas-run serve`.

    The file keeps hashes: a token is printed when it is made, and never again. A running server sees changes at once.
    """
    from cas_run.server import tokens
    from cas_store.layout import expanded

    path = expanded(token_file) if token_file else tokens.default_path()
    if which and name and what == "new":
        raise click.UsageError(f"a new token is called `{which}` or `{name}`\n  -> give one name")
    named = which or name
    if what == "new":
        if not scopes:
            raise click.UsageError("a token needs a scope\n  -> --scope run, for instance")
        named = named or f"token-{secrets.token_hex(3)}"
        secret = tokens.make(path, named, scopes)
        if session.as_json:
            session.answer({"name": named, "scopes": list(scopes), "token": secret, "token_file": str(path)})
        else:
            session.say(secret)
            session.note(f"`{named}` may {', '.join(scopes)}; this is the only time that it is shown")
    elif what == "revoke":
        if not named:
            raise click.UsageError("which token?\n  -> cas-run token revoke NAME")
        tokens.revoke(path, named)
        if session.as_json:
            session.answer({"revoked": named})
        else:
            session.say(f"`{named}` is of no use any more")
    else:
        _list(session, tokens.load(path))


def _list(session: Session, found: list[Token]) -> None:
    from datetime import datetime, timezone

    if session.as_json:
        rows = [{"name": one.name, "scopes": list(one.scopes), "created": one.created} for one in found]
        session.answer({"tokens": rows})
    elif not found:
        session.note("no tokens: see `cas-run token new --help`")
    else:
        out = session.terminal.out
        made = [datetime.fromtimestamp(one.created, timezone.utc).astimezone() for one in found]
        cells = [(one.name, ", ".join(one.scopes), f"{when:%Y-%m-%d}") for one, when in zip(found, made, strict=True)]
        session.say("\n".join(lines_of(_COLUMNS, cells, paint=out.paint, width=out.width)))

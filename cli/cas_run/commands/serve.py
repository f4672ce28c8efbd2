"""`cas-run serve`: the dispatches of the store over HTTP."""

from __future__ import annotations

import os
from importlib.util import find_spec
from typing import TYPE_CHECKING

import click

from cas_run import choices
from cas_run.command import command
from cas_run.exits import Exit

if TYPE_CHECKING:
    from cas_run.server.serving import Listening
    from cas_run.session import Session

PORT = 8227


@command(
    examples="""
cas-run serve                                       http://127.0.0.1:8227, for this machine
cas-run serve --port 0 --json                       any free port, told as JSON
cas-run token new --scope run && cas-run serve --host 0.0.0.0 --allow-host cas.example.org
""",
)
@click.option("--host", default="127.0.0.1", show_default=True, help="The address; but for loopback it takes a token.")
@click.option("--port", type=choices.Whole(0, 65535), default=PORT, show_default=True, help="The port; 0: any.")
@click.option("--allow-host", "hosts", metavar="NAME", multiple=True, help="A name that clients may address it by.")
@click.option("--token-file", metavar="PATH", help="Where tokens are; else beside the config file.")
@click.option("--private", is_flag=True, help="Reading needs a token too.")
@click.option("--allow-code", is_flag=True, help="Tokens of the scope `code` may send code.")
@click.option("--workers", type=choices.Whole(1, 1024), help="Processes that electrons run in; else one a CPU.")
@click.option(
    "--executor",
    type=click.Choice(["process", "thread", "inline"]),
    help="Where electrons run that do not say so themselves: in worker processes, unless the config says otherwise.",
)
@click.option(
    "--grace",
    type=click.FloatRange(0, 86400),
    default=30.0,
    show_default=True,
    help="Seconds in which to finish what runs, at the end.",
)
def serve(
    session: Session,
    *,
    host: str,
    port: int,
    hosts: tuple[str, ...],
    token_file: str | None,
    private: bool,
    allow_code: bool,
    workers: int | None,
    executor: str | None,
    grace: float,
) -> int:
    """Serve the store: dispatches by id, for callers that have none of their packages.

    Prints its URL and stays until SIGTERM or Ctrl-C. docs/server.md is what clients may rely on.
    """
    missing = [name for name in ("starlette", "uvicorn") if find_spec(name) is None]
    if missing:
        raise click.UsageError(f"the server needs {' and '.join(missing)}\n  -> pip install 'cas-run[server]'")
    from cas_engine.bookkeeping.location import open_store
    from cas_engine.bookkeeping.settings import setting
    from cas_run import __version__
    from cas_run.server.service import Settings
    from cas_run.server.serving import Options, serve
    from cas_run.server.tokens import default_path
    from cas_store.layout import expanded

    if session.server:
        session.store_path()  # which says that a server is no place for another
    store = open_store(session.store, create=not (session.store or setting("store")))
    session.opened.append(store)
    environment = {} if workers is None else {"CAS_RUN_WORKERS": str(workers)}
    settings = Settings(__version__, executor or "", environment, min(4, os.cpu_count() or 1), allow_code)
    tokens = expanded(token_file) if token_file else default_path()
    options = Options(host, port, tokens, private, hosts, grace, settings)

    def listening(told: Listening) -> None:
        if session.as_json:
            session.answer({**told._asdict(), "pid": os.getpid(), "store": str(store.path), "version": __version__})
        else:
            session.say(told.url)
            session.note(f"store {store.path}; token of this machine's clients in {told.local_token_file}")

    done = serve(store, options, listening)
    for pid in done.left_running:
        session.note(f"process {pid} goes on with what runs; `cas-run list --status running` shows it")
    return Exit.DONE

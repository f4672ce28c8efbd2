"""What the options that every command shares amount to, and the way from there to streams and engine."""

from __future__ import annotations

import gc
from typing import TYPE_CHECKING

from cas_run.exits import Exit
from cas_run.terminal import Terminal

if TYPE_CHECKING:
    from cas_run.backend import Backend, Local
    from cas_store.store import Store

_TOLD = 3  # damaged things, one by one


class Session:
    """One invocation. The options may stand before the subcommand, after it, or both: they add up."""

    def __init__(self) -> None:
        self.as_json = False
        self.store: str | None = None
        self.server: str | None = None
        self.command = ""  # its name, for messages
        self.verbosity = 0
        self.terminal = Terminal()
        self.opened: list[Store] = []
        self.missing = Exit.NOT_FOUND  # what the command ends with when a dispatch or node is not there

    @property
    def quiet(self) -> bool:
        return self.verbosity < 0

    @property
    def verbose(self) -> bool:
        return self.verbosity > 0

    def backend(self) -> Backend:
        """The verbs that the chosen server has, or the chosen store."""
        from cas_run.destination import server_of

        url = server_of(self.server, self.store, "--server")
        if url is None:
            return self.local()
        from cas_run.remote import Remote

        return Remote.at(url, retries=2)  # somebody is waiting

    def local(self, *, create: bool = False) -> Local:
        """The verbs of the engine over the chosen store; `create` it if it is not there.

        Whoever asks may run the user's code, if only to load a value: from here on its prints go to stderr.
        """
        path = self.store_path()
        self.terminal.divert()
        from cas_run.backend import Local

        backend = Local(path, create=create)
        # What is loaded by now stays to the end: no collection, that at the exit least of all, need look through it.
        gc.freeze()
        if backend.store not in self.opened:
            self.opened.append(backend.store)
        return backend

    def store_path(self) -> str | None:
        """The store that was named, None for the user's own. Raises BadOption if it is a server that was named."""
        from cas_run.destination import named_by, server_of

        if server_of(self.server, self.store, "--server") is not None:
            from cas_engine.errors import BadOption

            naming = "--server" if self.server else named_by()
            advice = "run it where the store is" if self.server else "--store PATH takes a store on this machine"
            raise BadOption(
                f"`cas-run {self.command}` needs the store itself, and {naming} names a server\n  -> {advice}"
            )
        return self.store

    def tell_damage(self) -> None:
        """What was found damaged on the way: never used, but whoever keeps the machine has to know, also with -q."""
        err = self.terminal.err
        for store in self.opened:
            for one in store.damage[:_TOLD]:
                err.line(f"{err.paint('damaged: ', 'bold yellow')}{one.table} {one.key.hex()[:32]}: {one.why}")
            if len(store.damage) > _TOLD:
                err.line(f"damaged: {len(store.damage) - _TOLD:,} things more")
            if store.damage:
                err.line("  -> it was not used, and is kept in the store's quarantine; see `cas-run doctor`")

    def answer(self, answer: object) -> None:
        """The one JSON object on stdout."""
        import json

        indent = 2 if self.terminal.out.tty else None
        self.terminal.out.line(json.dumps(answer, indent=indent))

    def say(self, text: str = "") -> None:
        """A line of the answer, on stdout."""
        self.terminal.out.line(text)

    def note(self, text: str) -> None:
        """A line about what is going on, on stderr. -q silences it."""
        if not self.quiet:
            self.terminal.err.line(text)

"""Where a call goes: to a server, or to a store.

What is given comes before the environment, and that before the config file. Of equals the server comes first: there
always is a store, and a server only where somebody named it.
"""

from __future__ import annotations

import os

from cas_engine.errors import BadOption

VARIABLE = "CAS_RUN_SERVER"


def server_of(server: str | None, store: object, option: str = "server=") -> str | None:
    """The address of the server that a call goes to, None if it goes to a store. Raises BadOption for both at once."""
    if server:
        if store is not None:
            other = option.replace("server", "store")
            raise BadOption(f"{option} and {other} name two places\n  -> give the one that has the dispatch")
        return server
    if store is not None:
        return None
    if url := os.environ.get(VARIABLE):
        return url
    if os.environ.get("CAS_RUN_STORE"):
        return None
    from cas_engine.bookkeeping.settings import setting

    return setting("server")


def named_by() -> str:
    """What names the server of calls that name none."""
    if os.environ.get(VARIABLE):
        return VARIABLE
    from cas_engine.bookkeeping.settings import config_path

    return f"the config file {config_path()}"

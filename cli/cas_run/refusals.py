"""What a client of a server could not do, as errors of ours: caught and told like those of a store."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from cas_engine.errors import NotFound, UsageError
from cas_run import client
from cas_store.errors import CasRunError, StoreError


class ServerError(CasRunError):
    """What a server said, or that it said nothing. `kind` is its name there, `fields` what in the request was wrong."""

    kind = ""
    fields: tuple[tuple[str, str], ...] = ()


class ServerRefused(ServerError, UsageError):
    """What was asked can't be done as asked; nothing has run."""


class NotOnServer(ServerError, NotFound):
    """The server has no such dispatch, node or lattice."""


class ServerUnusable(ServerError, StoreError):
    """It can't be reached, does not let us in, or has a fault."""


class NoResultThere(ServerError):
    """There is no result, or none that JSON holds."""


_OURS: dict[type[client.ClientError], type[ServerError]] = {
    client.NotFound: NotOnServer,
    client.Refused: ServerRefused,
    client.NoResult: NoResultThere,
    client.NotJson: NoResultThere,
}


def ours(error: client.ClientError) -> CasRunError | TimeoutError:
    """The error of ours that says the same."""
    if type(error) is client.StillRunning:
        return TimeoutError(str(error))
    kind = next((ours for theirs, ours in _OURS.items() if isinstance(error, theirs)), ServerUnusable)
    made = kind(str(error))
    made.kind, made.fields = error.kind, error.fields
    return made


@contextmanager
def told_as_ours() -> Iterator[None]:
    """Errors of the client leave as errors of ours."""
    try:
        yield
    except client.ClientError as error:
        raise ours(error) from None

"""Seeds for electrons that draw: each draw its own, and the same when that draw is repeated."""

from __future__ import annotations

import os
from contextvars import ContextVar, Token

from cas_engine.errors import UsageError
from cas_store.digest import Digest, digest_of

OUTSIDE = -1  # no electron runs

_seed: ContextVar[int | None] = ContextVar("cas_seed", default=OUTSIDE)


def seed() -> int:
    """A seed of 64 bits for the call that runs: of its key and of how often that key was drawn before.

    Inside a stochastic electron each call gives the same one, in whatever process and on whatever machine, so a draw
    can be repeated; `recompute="stochastic"` draws with the next. Outside of electrons it is a new one each time.

    Raises UsageError in an electron that does not say that it is stochastic.
    """
    value = _seed.get()
    if value is None:
        # Its result would hang on how its inputs came about, and it is looked up by what they are.
        raise UsageError(
            "ct.seed() is called in an electron that does not say that it draws\n"
            "  -> decorate it with @ct.electron(stochastic=True), or seed with a number of your own"
        )
    if value != OUTSIDE:
        return value
    return int.from_bytes(os.urandom(8), "big")


def seed_of(key: Digest, draw: int) -> int:
    """The seed of one draw of a key."""
    return int.from_bytes(digest_of(b"seed\0%d:" % draw + key)[:8], "big")


def begin(value: int | None) -> Token[int | None]:
    """From now on `seed()` gives this value; None for what is no draw. Whoever begins a call has to `end` it."""
    return _seed.set(value)


def end(token: Token[int | None]) -> None:
    """As it was before."""
    _seed.reset(token)

"""The digests of parts of a result, where other calls take only those: `h.rows`, `h[0]["k"]`."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from dataclasses import replace
from types import MemberDescriptorType
from typing import Any

from cas_engine.capsules import codec
from cas_engine.capsules.frames import Encoded
from cas_engine.capsules.installed import is_users_class
from cas_engine.fingerprint import Fingerprinter
from cas_engine.graphs.bindings import Const, Step, follow, path_bytes
from cas_engine.plans.keys import part_in
from cas_engine.plans.records import Parts
from cas_store.digest import Digest, digest_of

Path = tuple[Step, ...]
LoadConst = Callable[[Const], Any]
_GETTERS: tuple[object, ...] = (list.__getitem__, tuple.__getitem__, dict.__getitem__)


def picked(
    value: object,
    encoded: Encoded,
    parts: Parts,
    paths: Iterable[Path],
    load_const: LoadConst,
    session: Fingerprinter,
) -> Parts:
    """The parts of a result that are known anyhow, with those at these paths as far as they have a digest."""
    copies: list[object] = []
    found: dict[Digest, Digest] = {}
    for path in paths:
        if part_in(parts, path) is not None:
            continue
        if not copies and not _only_looks(value, path, load_const):
            # A property may change what it looks into. Let that be a copy: so it is for the call that takes it.
            copies = [codec.decode(encoded.copied(), session)]
        digest = digest_at(copies[0] if copies else value, path, load_const, session)
        if digest is not None:
            found[digest_of(path_bytes(path))] = digest
    return replace(parts, by_path=found) if found else parts


def digest_at(value: object, path: Path, load_const: LoadConst, session: Fingerprinter) -> Digest | None:
    """The digest of what lies there, None if it cannot be had or has none."""
    try:
        return session.digest_value(follow(value, path, load_const))
    except Exception:  # noqa: BLE001 - the call that takes it will say so
        return None


def _only_looks(value: Any, path: Path, load_const: LoadConst) -> bool:
    """Whether following a path runs no code of the user's."""
    for kind, step in path:
        cls, key = type(value), load_const(step) if isinstance(step, Const) else step
        if is_users_class(cls) and not (_has_plain_items(cls) if kind == "item" else _is_plain(cls, str(key))):
            return False
        try:
            value = value[key] if kind == "item" else getattr(value, str(key))
        except Exception:  # noqa: BLE001 - there is no such thing
            return True
    return True


def _has_plain_items(cls: type) -> bool:
    return getattr(cls, "__getitem__", None) in _GETTERS and not hasattr(cls, "__missing__")


def _is_plain(cls: type, name: str) -> bool:
    there = inspect.getattr_static(cls, name, None)
    is_kept = type(there) is MemberDescriptorType or not hasattr(type(there), "__get__")
    looks_up: object = cls.__getattribute__
    return is_kept and looks_up is object.__getattribute__ and not hasattr(cls, "__getattr__")

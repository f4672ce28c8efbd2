"""What pickles name: classes and functions of the user's that code brings back from bytes that it holds."""

from __future__ import annotations

import pickletools
import sys
from collections.abc import Iterable, Iterator
from types import CodeType, FunctionType, ModuleType
from typing import NamedTuple

from cas_engine.fingerprint.graph import Node
from cas_engine.fingerprint.named import leaves_in
from cas_engine.fingerprint.origin import owner_of_module
from cas_engine.fingerprint.resolve import import_module
from cas_engine.modules.program import program_of

_TEXTS = frozenset(
    {"SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8", "UNICODE", "BINSTRING", "SHORT_BINSTRING", "STRING"}
)
_LONGEST = 1 << 22  # bytes of a pickle that is looked through


class Pickled(NamedTuple):
    """A thing of the user's that a pickle names."""

    module: str
    name: str  # its first part is a global of the module
    thing: object
    holder: ModuleType  # the module itself

    @property
    def shown(self) -> str:
        """How it is told."""
        return f"{self.module}.{self.name}"


def pickled_in(nodes: Iterable[Node]) -> Iterator[bytes]:
    """The bytes in values and code that are pickles, each once."""
    found: dict[bytes, None] = {}
    for node in nodes:
        if node.kind == "value":
            found.update((each, None) for each in leaves_in(node.obj, bytes))
        elif type(node.obj) is FunctionType:
            found.update((each, None) for each in _constants_of(node.obj.__code__))
    # From protocol 2 on a pickle begins with its number; all end with a full stop.
    return (each for each in found if each[:1] == b"\x80" and each[-1:] == b"." and len(each) <= _LONGEST)


def named_by(
    pickles: Iterable[bytes], spaces: Iterable[dict[str, object]], *, here_first: bool = False
) -> list[Pickled]:
    """What of the user's they name, as who brings it back finds it, among what was recorded with code or here."""
    programs = [program_of(space) for space in spaces]
    found: dict[tuple[str, str], Pickled] = {}
    for module, name in dict.fromkeys(each for one in pickles for each in _names_in(one)):
        recorded = [program[module] for program in programs if module in program]
        holders = [_here(module), *recorded] if here_first or not recorded else [*recorded, _here(module)]
        for holder in holders:
            thing = _part_of(holder, name)
            if holder is not None and thing is not None:
                found[module, name] = Pickled(module, name, thing, holder)
                break
    return [found[key] for key in sorted(found)]


def _here(module: str) -> ModuleType | None:
    """The user's module of that name in this process, where pickle looks first."""
    if not owner_of_module(module).is_user:
        return None
    return sys.modules.get(module) or import_module(module)


def _part_of(module: ModuleType | None, name: str) -> object:
    thing: object = module
    for part in name.split("."):
        try:
            thing = getattr(thing, part)
        except Exception:  # noqa: BLE001 - not there, or a __getattr__ of the user's
            return None
    return thing


def _constants_of(code: CodeType) -> Iterator[bytes]:
    for const in code.co_consts:
        if type(const) is bytes:
            yield const
        elif isinstance(const, CodeType):
            yield from _constants_of(const)


def _names_in(pickle: bytes) -> Iterator[tuple[str, str]]:
    """Module and name of each global; up to where it is no pickle any more."""
    texts: list[str | None] = []  # what was pushed last, None for what is no text
    memo: dict[int, str | None] = {}
    try:
        for op, arg, _ in pickletools.genops(pickle):
            name = op.name
            if name in _TEXTS:
                texts.append(str(arg))
            elif name == "GLOBAL":
                module, _, rest = str(arg).partition(" ")
                yield module, rest
                texts.append(None)
            elif name == "STACK_GLOBAL":
                if len(texts) > 1 and texts[-2] is not None and texts[-1] is not None:
                    yield texts[-2], texts[-1]
                texts.append(None)
            elif name == "MEMOIZE":
                memo[len(memo)] = texts[-1] if texts else None
            elif name in {"BINPUT", "LONG_BINPUT", "PUT"}:
                memo[int(arg or 0)] = texts[-1] if texts else None
            elif name in {"BINGET", "LONG_BINGET", "GET"}:
                texts.append(memo.get(int(arg or 0)))
            elif name not in {"FRAME", "PROTO"}:
                texts.append(None)
            del texts[:-2]
    except Exception:  # noqa: BLE001 - bytes that only begin and end like a pickle
        return

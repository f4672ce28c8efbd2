"""JSON from strangers: bytes to values within limits, and back. Pure."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Sequence
from typing import Any, NoReturn

from cas_run.server.limits import DEPTH, DIGITS
from cas_run.server.problems import Problem

# An open text is one to the end: so each byte is looked at once.
_TEXTS = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"?', re.DOTALL)
_AS_ONE_KIND = bytes.maketrans(b"{}", b"[]")
_NOT_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))


def read(body: bytes) -> Any:
    """The value of a JSON text. Raises Problem (400) for what is none, or is nested or long beyond the limits."""
    if not _is_flat(body):
        _refuse(f"it is nested more than {DEPTH} levels deep")
    try:
        return json.loads(body, parse_int=_int, parse_float=_float, parse_constant=_constant, object_pairs_hook=_object)
    except UnicodeDecodeError:
        _refuse("it is not UTF-8")
    except RecursionError:
        _refuse("it is nested too deep")
    except ValueError as error:
        _refuse(str(error))


def write(value: object) -> bytes:
    """A JSON text, in ASCII: whatever texts are in it, it can be sent."""
    return json.dumps(value, separators=(",", ":"), allow_nan=False).encode()


def _refuse(why: str) -> NoReturn:
    raise Problem(400, "BadRequest", f"the body is not JSON that this server takes: {why}") from None


def _is_flat(body: bytes) -> bool:
    """Whether its brackets are nested within the limit: seen without recursion, at the speed of C."""
    brackets = _TEXTS.sub(b"", body).translate(_AS_ONE_KIND, _NOT_BRACKETS)
    for _ in range(DEPTH):
        fewer = brackets.replace(b"[]", b"")
        if len(fewer) == len(brackets):
            return len(brackets) <= DEPTH  # nothing is left, or what is unbalanced, for the parser to tell
        brackets = fewer
    return not brackets


def _int(text: str) -> int:
    if len(text) > DIGITS:
        raise ValueError(f"a number has {len(text):,} digits, and the most are {DIGITS:,}")
    return int(text)


def _float(text: str) -> float:
    if len(text) > DIGITS:
        raise ValueError(f"a number has {len(text):,} digits, and the most are {DIGITS:,}")
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"the number {text[:40]} is larger than a float can be")
    return value


def _constant(text: str) -> NoReturn:
    raise ValueError(f"{text} is no number in JSON")


def _object(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) != len(pairs):
        seen: set[str] = set()
        twice = next(name for name, _ in pairs if name in seen or seen.add(name))  # type: ignore[func-returns-value]
        raise ValueError(f"an object has the name {json.dumps(twice)[:80]} twice")
    return made


def trusted(text: bytes) -> Any:
    """The value of a JSON text of our own."""
    return json.loads(text)

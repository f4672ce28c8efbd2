"""Values to bytes and back: what an electron returns becomes a blob, a blob becomes an argument.

None, bool, int, float, str and bytes have a form of their own, which costs about a microsecond. The rest is a pickle of
protocol 5 with the large buffers beside it, so that an array comes back as a view on the memory that the blob lies in.
What is the user's own inside a value (classes, functions, modules) is recorded with it: see `by_value`.
"""

from __future__ import annotations

import io
import pickle
import struct
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

from cas_engine.capsules.deep import InsideOut, Unlinked, is_too_deep
from cas_engine.capsules.frames import PREFIX_SIZE, Blob, Encoded, Frame, FrameError, Kind, build, prefix, take_apart
from cas_engine.capsules.live import Session
from cas_engine.capsules.unstorable import place_of
from cas_engine.errors import Unstorable
from cas_engine.modules.importing import Unpickler

# Below this a buffer travels inside the pickle: padding and table would cost more than the copy.
SMALLEST_BUFFER = 512
# Up to here one piece is cheaper for the store than two; above, the value's own bytes are not copied.
_JOINED = 1 << 12
_FLOAT = struct.Struct("<d")
_AFTER = slice(PREFIX_SIZE, None)
_PLAIN = prefix(Kind.PLAIN)


def _int(value: int, _prefix: bytes = prefix(Kind.INT)) -> bytes:
    return _prefix + value.to_bytes((value.bit_length() >> 3) + 1, "little", signed=True)


def _float(value: float, _prefix: bytes = prefix(Kind.FLOAT)) -> bytes:
    return _prefix + _FLOAT.pack(value)


def _str(value: str, _prefix: bytes = prefix(Kind.STR)) -> bytes:
    return _prefix + value.encode("utf-8", "surrogatepass")


def _bytes(value: bytes, _prefix: bytes = prefix(Kind.BYTES)) -> bytes:
    return _prefix + value


_NONE, _BOOL = prefix(Kind.NONE), (prefix(Kind.FALSE), prefix(Kind.TRUE))

# Types with a form of their own, and the blobs of their values.
SMALL: dict[type, Callable[..., bytes]] = {
    type(None): lambda _: _NONE,
    bool: _BOOL.__getitem__,
    int: _int,
    float: _float,
    str: _str,
    bytes: _bytes,
}
_RAW: dict[type, bytes] = {str: prefix(Kind.STR), bytes: prefix(Kind.BYTES)}


def encode(value: object, session: Session | None = None) -> Encoded:
    """The blob of a value. `session` fingerprints the classes and functions of the user's in it.

    Large buffers in the pieces are those of the value: store them before the value can change. Raises Unstorable.
    """
    kind = type(value)
    small = SMALL.get(kind)
    if small is None:
        return _pickled(value, session)
    if kind in _RAW and len(value) > _JOINED:  # type: ignore[arg-type]
        raw = small(value, b"")
        return Encoded([_RAW[kind], raw], PREFIX_SIZE + len(raw))
    blob = small(value)
    return Encoded([blob], len(blob))


def decode(blob: Blob, session: Session | None = None) -> Any:
    """The value of a blob; of one in parts: its head, then the parts.

    Its arrays are views on these where they are writable, and copies where they are not.

    Raises FrameError, CapsuleError, EnvironmentMismatch.
    """
    head = blob[0] if isinstance(blob, tuple) else blob
    small = _DECODE.get(bytes(head[:PREFIX_SIZE]))
    if small is not None:
        return small(head)
    return _unpickled(take_apart(head, blob[1:] if isinstance(blob, tuple) else ()), session)


_BY_KIND: dict[Kind, Callable[[Any], Any]] = {
    Kind.NONE: lambda _: None,
    Kind.FALSE: lambda _: False,
    Kind.TRUE: lambda _: True,
    Kind.INT: lambda blob: int.from_bytes(blob[_AFTER], "little", signed=True),
    Kind.FLOAT: lambda blob: _FLOAT.unpack_from(blob, PREFIX_SIZE)[0],
    Kind.STR: lambda blob: str(blob[_AFTER], "utf-8", "surrogatepass"),
    Kind.BYTES: lambda blob: bytes(blob[_AFTER]),
    Kind.PLAIN: lambda blob: _loaded(memoryview(blob)[_AFTER], None, (), None),
}
_DECODE = {prefix(kind): small for kind, small in _BY_KIND.items()}  # by how their blobs begin


def _pickled(value: object, session: Session | None) -> Encoded:
    try:
        return _written(value, session)
    except (Unstorable, MemoryError):
        raise
    except Exception as error:
        if is_too_deep(error):
            for way in (InsideOut, Unlinked):
                with suppress(Exception):  # then the first error stands
                    return _written(way(value), session)
        kind, why, where = place_of(value, error, lambda part: _try(part, session))
        raise Unstorable(kind, why, where) from error


def _written(value: object, session: Session | None) -> Encoded:
    from cas_engine.capsules.definitions import (
        ValuePickler,  # late: a result that is read needs no pickler, nor all below it
    )

    buffers: list[memoryview] = []

    def keep(buffer: pickle.PickleBuffer) -> bool:
        raw = buffer.raw()
        if raw.nbytes < SMALLEST_BUFFER:
            return True  # stays in the pickle
        buffers.append(raw)
        return False

    out = io.BytesIO()
    out.write(_PLAIN)
    pickler = ValuePickler(out, keep, session, value.ids if isinstance(value, Unlinked) else frozenset())
    pickler.dump(value)
    if not buffers and not pickler.definitions:
        blob = out.getvalue()
        return Encoded([blob], len(blob))
    form = Kind.LINKED if pickler.definitions else Kind.PICKLE
    return build(form, out.getbuffer()[PREFIX_SIZE:], pickler.definitions, buffers)


def _try(value: object, session: Session | None) -> None:
    from cas_engine.capsules.definitions import ValuePickler

    ValuePickler(io.BytesIO(), lambda _: False, session).dump(value)


def _unpickled(frame: Frame, session: Session | None) -> Any:
    buffers = [memoryview(bytearray(b)) if b.readonly else b for b in frame.buffers]
    if frame.kind is Kind.PICKLE:
        return _loaded(frame.stream, buffers, (), None)
    if frame.kind is Kind.LINKED:
        if session is None:
            from cas_engine.fingerprint import Fingerprinter

            session = Fingerprinter()
        return _loaded(frame.stream, buffers, frame.sections, session)
    raise FrameError("a blob holds recorded code where a value was expected\n  -> run again")


def _loaded(
    stream: memoryview, buffers: list[memoryview] | None, sections: Sequence[memoryview], session: Session | None
) -> Any:
    try:
        if session is None:
            return Unpickler(io.BytesIO(stream), buffers=buffers).load()
        from cas_engine.capsules.definitions import ValueUnpickler

        return ValueUnpickler(io.BytesIO(stream), buffers, sections, session).load()
    except ImportError as error:
        from cas_engine.capsules.definitions import missing_import

        raise missing_import(error, "a stored value", {}) from error

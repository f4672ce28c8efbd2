"""Recorded code: enough of a function to run it again without the program that defined it.

A capsule is a header in JSON, which is read without unpickling anything, and the function by value, with all of the
user's own that it reaches. Loading takes the live function where importing it here gives the recorded fingerprint, else
the recorded one. A function loaded by value is one object for the whole process: what it does to its globals, the next
call sees, as with any function; that of the live program is not touched.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from cas_engine.capsules import live
from cas_engine.capsules.definitions import PYTHON, load_by_value, told
from cas_engine.capsules.definitions import load_anew as load_stream
from cas_engine.capsules.frames import Frame, FrameError, Kind, build, take_apart
from cas_engine.capsules.live import Name
from cas_engine.capsules.streams import write_code
from cas_engine.errors import CapsuleError
from cas_engine.fingerprint import Fingerprint, Fingerprinter
from cas_engine.fingerprint.environment import analysis, version_of
from cas_engine.fingerprint.patches import Patch


@dataclass(frozen=True, slots=True)
class RecordedComponent:
    """One thing that the code reaches, as `Component`, its digest in hex."""

    kind: str
    name: str
    digest: str
    detail: str
    via: str


@dataclass(frozen=True, slots=True)
class CapsuleHeader:
    """What is known of recorded code without loading it.

    `packages` are versions by distribution, `sources` texts by component; `script` is the module name of a file that
    ran as `__main__`. `fault` says why the code can only be had by importing it unchanged, "" if it can be
    loaded anywhere. `brought` is what others bring to it, as in a fingerprint, by digest in hex; `analysis` says what
    found that out, "" in capsules of earlier versions.
    """

    name: str
    type: str
    module: str
    qualname: str
    script: str
    code: str
    python: str
    packages: Mapping[str, str]
    modules: tuple[str, ...]
    components: tuple[RecordedComponent, ...]
    sources: Mapping[str, str]
    fault: str
    brought: tuple[tuple[str, str], ...] = ()
    analysis: str = ""


def pack(fn: Callable[..., Any], fp: Fingerprint, session: Fingerprinter, depends_on: Sequence[object] = ()) -> bytes:
    """The capsule of a function, partial, callable instance, electron or lattice. Never fails for what it can't carry:
    that is noted in the header, and the function still runs wherever it can be imported.
    """
    brought = session.of(fn).brought
    stream = write_code(fn, session, [thing for _, _, thing in brought if isinstance(thing, Patch)])
    module = getattr(fn, "__module__", None)
    module = module if isinstance(module, str) else ""
    qualname = getattr(fn, "__qualname__", None)
    name = getattr(fn, "__name__", None)
    header = CapsuleHeader(
        name=name if isinstance(name, str) else type(fn).__name__,
        type=_type_of(fn),
        module=Name.of(module, "").module,
        qualname=qualname if isinstance(qualname, str) else "",
        script=Name.of(module, "").script,
        code=fp.code.hex(),
        python=PYTHON,
        packages={package: version_of(package) for package in fp.packages},
        modules=fp.modules,
        components=(
            *(RecordedComponent(c.kind, c.name, c.digest.hex(), c.detail, c.via) for c in fp.components),
            *(RecordedComponent("warning", text, "", "", "") for text in fp.warnings),
        ),
        sources=dict(session.sources(fp, fn, depends_on)),
        fault=told(stream),
        brought=tuple((name, digest.hex()) for name, digest, _ in brought),
        analysis=analysis(),
    )
    section = json.dumps(asdict(header), separators=(",", ":")).encode()
    return b"".join(build(Kind.CAPSULE, stream.content, [section], []).pieces)


def header(blob: bytes | memoryview) -> CapsuleHeader:
    """The header; nothing of the user's is loaded. Raises FrameError."""
    return _header(_frame(blob))


def load(blob: bytes | memoryview, session: Fingerprinter | None = None) -> Callable[..., Any]:
    """The function: the live one if its code is the recorded, else that of the capsule.

    The live one is looked at anew each time, as what it reaches may have changed since; a session shares this among the
    capsules of one dispatch. For looking at, not to be called: see `load_anew`.
    Raises CapsuleError, EnvironmentMismatch, FrameError.
    """
    frame = _frame(blob)
    head = _header(frame)
    session = session or Fingerprinter()
    found: Callable[..., Any] | None = _live(head, session)
    if found is None:
        found = load_by_value(frame.stream, session, *_loadable(head))
    return found


def load_anew(
    blob: bytes | memoryview, session: Fingerprinter | None = None
) -> tuple[Callable[..., Any], Sequence[Patch]]:
    """The function as `load` does, recorded code with its globals as they were recorded; what is to be put back around
    calls of it.

    Raises CapsuleError, EnvironmentMismatch, FrameError.
    """
    head = header(blob)
    session = session or Fingerprinter()
    found: Callable[..., Any] | None = _live(head, session)
    return (found, ()) if found is not None else load_recorded(blob, session)


def load_recorded(blob: bytes | memoryview, session: Fingerprinter) -> tuple[Callable[..., Any], Sequence[Patch]]:
    """As `load_anew`, the recorded function also where the live one is the same."""
    frame = _frame(blob)
    head = _header(frame)
    function, brought = load_stream(frame.stream, session, *_loadable(head))
    if not _is_comparable(head):
        return function, brought
    from cas_engine.capsules import faithful  # late: most code runs in the process that recorded it

    recorded = [(name, bytes.fromhex(digest)) for name, digest in head.brought]
    return function, faithful.missing(function, recorded, brought, session, _shown(head))


def _loadable(head: CapsuleHeader) -> tuple[str, str, dict[str, str]]:
    """What is told of code when it is loaded by value. Raises CapsuleError if it cannot be."""
    if head.fault:
        raise CapsuleError(
            f"the recorded code of `{_shown(head)}` only runs where its module can be imported unchanged: "
            f"{head.fault}\n"
            "  -> make that inside the function that needs it, or run where the source is as it was recorded"
        )
    return _shown(head), head.python, dict(head.packages)


def _shown(head: CapsuleHeader) -> str:
    return f"{head.module}.{head.qualname or head.name}"


def _is_comparable(head: CapsuleHeader) -> bool:
    """Whether what others bring can be compared: not as another version of the analysis finds it.

    Where packages are others, its key is another one here.
    """
    if not head.analysis or head.analysis != analysis():
        return False
    return all(version_of(package) == was for package, was in head.packages.items())


def _live(head: CapsuleHeader, session: Fingerprinter) -> Any | None:
    if not head.module or not head.qualname:
        return None
    name = Name(head.module, head.qualname, head.script)
    return live.find(name, bytes.fromhex(head.code), session, lambda found: _type_of(found) == head.type)


def _type_of(thing: object) -> str:
    return f"{type(thing).__module__}.{type(thing).__qualname__}"


def _frame(blob: bytes | memoryview) -> Frame:
    frame = take_apart(blob)
    if frame.kind is not Kind.CAPSULE or len(frame.sections) != 1:
        raise FrameError("a blob holds a value where recorded code was expected\n  -> run the workflow again")
    return frame


def _header(frame: Frame) -> CapsuleHeader:
    try:
        raw = json.loads(bytes(frame.sections[0]))
        raw["components"] = tuple(RecordedComponent(**component) for component in raw["components"])
        raw["modules"] = tuple(raw["modules"])
        raw["brought"] = tuple((name, digest) for name, digest in raw.get("brought", ()))
        return CapsuleHeader(**raw)
    except (ValueError, TypeError, KeyError) as error:
        raise FrameError(
            f"the header of recorded code is not readable ({error})\n  -> run the workflow again"
        ) from error

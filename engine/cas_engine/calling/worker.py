"""Runs one call: loads its inputs by digest, calls the function, gives the result back as bytes.

It knows no store and no graph: a capsule, a call and a way to fetch blobs are all it gets, so that it can run in
another process or on another machine.
"""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import CoroutineType
from typing import Any, Literal

import cas_engine
from cas_engine.bookkeeping.previews import told
from cas_engine.calling import seeding
from cas_engine.calling.ownership import with_own_defaults
from cas_engine.capsules import codec
from cas_engine.capsules.frames import Encoded
from cas_engine.errors import Undigestible, Unstorable
from cas_engine.fingerprint import Fingerprinter
from cas_engine.graphs.bindings import Binding, Const, Items, Ref, Step, materialize, path_bytes
from cas_engine.modules.program import RECORDED
from cas_engine.plans.records import NO_PARTS, Parts
from cas_engine.values import FileContent, compose, compose_dict, content_of, files_met, leaf_digest
from cas_store.digest import Digest, digest_of
from cas_store.errors import BlobDamaged, BlobMissing, CasRunError

Fetch = Callable[[Digest], "tuple[memoryview | bytes, ...]"]  # a blob: its head, then its parts, if it has any
_MOST_TOLD = 16 << 10  # characters of the beginning, and of the end, of an error
_PARTS_LIMIT = 64  # larger containers are compared as a whole


Steps = tuple[Step, ...]
Taken = tuple[int, Digest, Digest]  # a part by its slot and the digest of its access path, and its own digest

# Not frozen: one of each is made for every call, and that costs four times as much.


@dataclass(slots=True)
class Task:
    """One call to be made. `slots` are the blobs of the upstream results that the bindings refer to."""

    electron: str
    capsule: Digest
    args: tuple[Binding, ...]
    kwargs: tuple[tuple[str, Binding], ...]
    slots: tuple[Digest, ...]
    files: tuple[FileContent, ...]  # files that its inputs name, with what was in them when its key was made
    seed: int | None  # of the key and the index of the draw: what `seed()` gives inside the call; None if it is no draw
    retry_on: bytes | None = None  # the encoded classes of exceptions, or function of one, after which to try again
    picks: tuple[Steps, ...] = ()  # the parts of its result that other calls take
    takes: tuple[Ref, ...] = ()  # the parts that it takes itself of which no more is known than what they are parts of


@dataclass(slots=True)
class Returned:
    """The call returned: the value's bytes, its digest and those of its parts, and the seconds of the call itself."""

    encoded: Encoded
    value: Digest
    parts: Parts
    files: tuple[FileContent, ...]
    seconds: float
    warning: str = ""  # what is to be said of the call
    told: bytes = b""  # what is kept of the value for readers that must not load it: see `previews`
    taken: tuple[Taken, ...] = ()  # the digests of what the call takes


@dataclass(frozen=True, slots=True)
class Raised:
    """The call raised, or its result cannot be kept: a text for people, trimmed to the user's frames."""

    error: str
    seconds: float
    again: bool = True  # whether it is one of the exceptions after which to try again


@dataclass(frozen=True, slots=True)
class InputGone:
    """A blob that the call needs is missing or damaged; nothing was called."""

    blob: Digest


Reply = Returned | Raised | InputGone


def run(task: Task, fetch: Fetch, load: Callable[[], Callable[..., Any]]) -> Reply:
    """Make the call of what `load` gives."""
    session = Fingerprinter()
    try:
        what = "its code"
        function = with_own_defaults(load(), session)
        if RECORDED:
            from cas_engine.capsules.presence import within_its_program

            function = within_its_program(function)
        what = "its inputs"
        args = [_load(binding, task, fetch, session) for binding in task.args]
        kwargs = {name: _load(binding, task, fetch, session) for name, binding in task.kwargs} if task.kwargs else {}
        taken = _taken(task, fetch, session) if task.takes else ()
    except (BlobMissing, BlobDamaged) as gone:
        return InputGone(gone.digest)
    except Exception as error:  # noqa: BLE001 - an input's own __setstate__ may raise anything
        return Raised(f"electron `{task.electron}`: {what} could not be loaded\n{trimmed(error)}", 0.0)
    if task.files and (changed := _changed(task.files)):
        return Raised(f"electron `{task.electron}`: {changed} since its call was recorded\n{_FILE_ADVICE}", 0.0)
    started = time.perf_counter()
    seed = seeding.begin(task.seed)
    try:
        value = function(*args, **kwargs)
        if isinstance(value, CoroutineType):
            import asyncio

            value = asyncio.run(value)
    except BaseException as error:  # noqa: BLE001 - SystemExit in an electron is its failure, not ours
        seconds = time.perf_counter() - started
        again, why = _is_to_be_tried_again(error, task.retry_on)
        return Raised(trimmed(error) + why, seconds, again)
    finally:
        seeding.end(seed)
    seconds = time.perf_counter() - started
    if task.files and (changed := _changed(task.files)):
        return Raised(f"electron `{task.electron}`: {changed} while it ran\n{_FILE_ADVICE}", seconds)
    try:
        reply = returned(value, seconds, task.picks, lambda const: _const(const, fetch, session))
    except Unstorable as problem:
        return Raised(str(problem.within(f"what electron `{task.electron}` returned")), seconds)
    except Exception as error:  # noqa: BLE001 - a result's own __reduce__ may raise anything
        return Raised(f"electron `{task.electron}`: its result could not be stored\n{trimmed(error)}", seconds)
    reply.taken = taken
    return reply


def returned(
    value: object, seconds: float, picks: Sequence[Steps] = (), load_const: Callable[[Const], Any] | None = None
) -> Returned:
    """A value as a reply, with the digests of those parts that others take. Raises Unstorable."""
    leaf = leaf_digest(value)
    if leaf is not None and not picks and type(value) in codec.SMALL:
        return Returned(codec.encode(value), leaf, NO_PARTS, (), seconds)
    session = Fingerprinter()
    encoded = codec.encode(value, session)
    met: list[FileContent] = []
    try:
        with files_met() as met:
            digest, parts = digests(value, session)
    except Undigestible:
        # Equal bytes are equal values; that unequal bytes may be too costs only a missed early cutoff.
        digest, parts = digest_of(b"bytes\0", *encoded.pieces, *encoded.parts), NO_PARTS
    if picks and load_const is not None:
        from cas_engine.calling.picking import picked  # late: most results are taken as a whole

        parts = picked(value, encoded, parts, picks, load_const, session)
    return Returned(encoded, digest, parts, tuple(met), seconds, told=told(value))


def _is_to_be_tried_again(error: BaseException, retry_on: bytes | None) -> tuple[bool, str]:
    """Whether, and what went wrong in finding out."""
    if retry_on is None:
        return True, ""
    try:
        wanted = codec.decode(retry_on)
        return isinstance(error, wanted) if isinstance(wanted, tuple) else bool(wanted(error)), ""
    except Exception as problem:  # noqa: BLE001 - the user's function may raise anything
        return False, f"\n\nits retry_on could not tell whether to try again\n{trimmed(problem)}"


_FILE_ADVICE = "  -> dispatch it again when the file is complete; an electron that writes gives a new file"


def _changed(files: tuple[FileContent, ...]) -> str:
    """The first file whose content is no longer what it was, in words; "" if there is none."""
    for path, digest in files:
        if content_of(path) != digest:
            return f"the file {path} has changed" if Path(path).exists() else f"the file {path} is gone"
    return ""


def digests(value: object, session: Fingerprinter) -> tuple[Digest, Parts]:
    """The digest of a value and those of its items, each computed once. Raises Undigestible."""
    if type(value) in (tuple, list) and 0 < len(value) <= _PARTS_LIMIT:  # type: ignore[arg-type]
        kind: Literal["list", "tuple"] = "tuple" if type(value) is tuple else "list"
        items = [session.digest_value(item) for item in value]  # type: ignore[attr-defined]
        return compose(kind, items), Parts(tuple(items), ())
    if type(value) is dict and 0 < len(value) <= _PARTS_LIMIT:
        pairs = [(k, session.digest_value(k), session.digest_value(v)) for k, v in value.items()]
        known = tuple((k, digest) for k, _, digest in pairs if type(k) in (str, int))
        return compose_dict([(k, v) for _, k, v in pairs]), Parts((), known)
    return session.digest_value(value), NO_PARTS


def _load(binding: Binding, task: Task, fetch: Fetch, session: Fingerprinter) -> Any:
    # Decoded anew for each call: what an electron does to its inputs must not reach anybody else.
    if type(binding) is Ref and not binding.path:
        return codec.decode(fetch(task.slots[binding.slot]), session)
    if type(binding) is Const and binding.encoded is not None:
        return codec.decode(binding.encoded, session)
    if type(binding) is Items and binding.kind != "dict":
        items = [_load(item, task, fetch, session) for item in binding.items]
        return items if binding.kind == "list" else tuple(items)

    return materialize(
        binding,
        lambda const: _const(const, fetch, session),
        lambda slot: codec.decode(fetch(task.slots[slot]), session),
    )


def _taken(task: Task, fetch: Fetch, session: Fingerprinter) -> tuple[Taken, ...]:
    """The digests of parts that a call takes, before it can change them: known once somebody has them at hand."""
    from cas_engine.calling.picking import digest_at  # late: few calls take such parts

    found = []
    for slot, path in task.takes:
        whole = codec.decode(fetch(task.slots[slot]), session)
        digest = digest_at(whole, path, lambda const: _const(const, fetch, session), session)
        if digest is not None:
            found.append((slot, digest_of(path_bytes(path)), digest))
    return tuple(found)


def _const(const: Const, fetch: Fetch, session: Fingerprinter) -> Any:
    return codec.decode(fetch(const.blob) if const.blob is not None else const.encoded or b"", session)


def trimmed(error: BaseException) -> str:
    """The traceback without the frames of ours above the user's. Whatever was raised, this gives a text."""
    try:
        if isinstance(error, CasRunError):
            return shortened(str(error))
        told = traceback.TracebackException.from_exception(error)
        _trim(told)
        return shortened("".join(told.format()).rstrip())
    except Exception as problem:  # noqa: BLE001 - it is the user's class that is asked for its text
        return f"{type(error).__name__}, which cannot be told of: {type(problem).__name__}"


def _trim(told: traceback.TracebackException) -> None:
    ours = tuple(str(Path(p).resolve()) for p in cas_engine.__path__)
    skip = ("asyncio/runners.py", "asyncio/base_events.py")
    chain = [told]
    while chain:  # of causes, which may be as long as there were tries
        one = chain.pop()
        user = [i for i, frame in enumerate(one.stack) if not str(Path(frame.filename)).startswith(ours)]
        frames = [one.stack[i] for i in user if not one.stack[i].filename.replace("\\", "/").endswith(skip)]
        one.stack = traceback.StackSummary.from_list(frames)
        chain += [inner for inner in (one.__cause__, one.__context__) if inner is not None]


def shortened(text: str) -> str:
    """The beginning and the end of a text that is very long: it is kept with the node, and shown with each list."""
    left_out = len(text) - 2 * _MOST_TOLD
    if left_out <= 0:
        return text
    return f"{text[:_MOST_TOLD]}\n[... {left_out:,} characters ...]\n{text[-_MOST_TOLD:]}"

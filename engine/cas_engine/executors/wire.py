"""What a coordinator and its worker processes say to each other, as frames of bytes.

A frame is its length, then what it holds. What goes to a worker is a pickle: it runs what it is given in any case.
What comes back is JSON and raw bytes: the coordinator unpickles nothing that a worker, which runs the user's code, has
made.
"""

from __future__ import annotations

import json
import pickle
import struct
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from cas_engine import files
from cas_engine.calling.worker import InputGone, Raised, Reply, Returned, Task
from cas_engine.capsules.frames import Encoded
from cas_engine.executors.surroundings import Surroundings
from cas_engine.plans.records import NO_PARTS, Parts, paths_from_hex, paths_to_hex
from cas_store import errors
from cas_store.digest import Digest
from cas_store.errors import StoreError
from cas_store.outpost import Lying, Made

UNHEARD = 117  # the status of a worker that cannot be heard any more
_LENGTH = struct.Struct(">I")
_ELSEWHERE = Encoded([], 0)  # the bytes of a result that its worker has written


class Place(NamedTuple):
    """The store whose files a worker reads and writes, without opening it."""

    root: str
    owner: bytes
    compress: bool


class Order(NamedTuple):
    """A call to be made. What a worker was told before, it is not told again."""

    number: int
    task: Task
    blobs: Mapping[Digest, Sequence[Lying]]
    place: Place
    surroundings: Surroundings | None


class Recall(NamedTuple):
    """Give back the calls that have not begun."""


class Forget(NamedTuple):
    """Forget the code of earlier calls."""


Message = Order | Recall | Forget


class Ready(NamedTuple):
    """The worker has started."""


class Given(NamedTuple):
    """These calls have not begun, and will not here."""

    numbers: tuple[int, ...]


class Logged(NamedTuple):
    """A record for the logging of the program that dispatched; no handler of the worker's has taken it."""

    record: Mapping[str, Any]


class Answered(NamedTuple):
    """What came of a call. `printed` is how far the streams of the worker were when it was over."""

    number: int
    reply: Reply | StoreError
    made: Sequence[Made]
    printed: tuple[int, int]
    intact: Mapping[Digest, bytes]  # files that were read through, and what they look like


Report = Ready | Given | Logged | Answered


class Frames:
    """Takes frames out of bytes as they come."""

    def __init__(self) -> None:
        self._bytes = bytearray()

    def take(self, piece: bytes) -> Iterator[bytes]:
        """The frames that are complete with this piece."""
        self._bytes += piece
        at = 0
        while len(self._bytes) - at >= _LENGTH.size:
            (size,) = _LENGTH.unpack_from(self._bytes, at)
            end = at + _LENGTH.size + size
            if len(self._bytes) < end:
                break
            yield bytes(memoryview(self._bytes)[at + _LENGTH.size : end])
            at = end
        del self._bytes[:at]


def told(message: Message) -> bytes:
    """The frame of a message to a worker."""
    return _framed(pickle.dumps(message, protocol=5))


def message_in(frame: bytes) -> Message:
    """The message in a frame."""
    message: Message = pickle.loads(frame)
    return message


def reported(report: Report) -> bytes:
    """The frame of a worker's report."""
    if isinstance(report, Answered):
        return _answered(report)
    if isinstance(report, Given):
        return _json({"given": report.numbers})
    return _json({"log": report.record}) if isinstance(report, Logged) else _json({"ready": True})


def report_in(frame: bytes) -> Report:
    """The report in a frame."""
    (size,) = _LENGTH.unpack_from(frame)
    raw = json.loads(frame[_LENGTH.size : _LENGTH.size + size])
    if "number" in raw:
        return _answer_in(raw, frame, _LENGTH.size + size)
    if "given" in raw:
        return Given(tuple(raw["given"]))
    return Logged(raw["log"]) if "log" in raw else Ready()


def _answered(answered: Answered) -> bytes:
    number, reply, made, printed, intact = answered
    raw: dict[str, Any] = {"number": number, "printed": printed}
    if isinstance(reply, Returned):
        raw["value"], raw["seconds"] = reply.value.hex(), reply.seconds
        if reply.parts is not NO_PARTS:
            by_key = [[key, digest.hex()] for key, digest in reply.parts.by_key]
            raw["parts"] = [b"".join(reply.parts.by_position).hex(), by_key, paths_to_hex(reply.parts.by_path)]
        if reply.files:
            raw["files"] = files.to_json(reply.files)
        if reply.warning:
            raw["warning"] = reply.warning
        if reply.told:
            raw["told"] = reply.told.hex()
        if reply.taken:
            raw["taken"] = [[slot, path.hex(), digest.hex()] for slot, path, digest in reply.taken]
        raw["made"] = [_made_to_json(one) for one in made]
    elif isinstance(reply, Raised):
        raw["error"], raw["seconds"], raw["again"] = reply.error, reply.seconds, reply.again
    elif isinstance(reply, InputGone):
        raw["gone"] = reply.blob.hex()
    else:
        raw["store"] = [type(reply).__name__, str(reply)]
    if intact:
        raw["intact"] = {digest.hex(): stamp.hex() for digest, stamp in intact.items()}
    return _json(raw, *(one.content for one in made if one.content is not None))


def _answer_in(raw: dict[str, Any], frame: bytes, at: int) -> Answered:
    reply: Reply | StoreError
    made: list[Made] = []
    if "value" in raw:
        positions, by_key, by_path = raw.get("parts", ("", (), ""))
        flat = bytes.fromhex(positions)
        by_position = tuple(flat[i : i + 16] for i in range(0, len(flat), 16))
        keyed = tuple((key, bytes.fromhex(digest)) for key, digest in by_key)
        parts = Parts(by_position, keyed, paths_from_hex(by_path))
        value, found = bytes.fromhex(raw["value"]), files.from_json(raw.get("files", ()))
        said = bytes.fromhex(raw.get("told", ""))
        taken = [(slot, bytes.fromhex(path), bytes.fromhex(digest)) for slot, path, digest in raw.get("taken", ())]
        reply = Returned(_ELSEWHERE, value, parts, found, raw["seconds"], raw.get("warning", ""), said, tuple(taken))
        for digest, size, *lies in raw["made"]:
            if lies:
                path, kept, stamp = lies
                made.append(Made(bytes.fromhex(digest), size, None, path, bytes.fromhex(kept), bytes.fromhex(stamp)))
            else:
                made.append(Made(bytes.fromhex(digest), size, frame[at : at + size]))
                at += size
    elif "error" in raw:
        reply = Raised(raw["error"], raw["seconds"], raw["again"])
    elif "gone" in raw:
        reply = InputGone(bytes.fromhex(raw["gone"]))
    else:
        name, text = raw["store"]
        kind = getattr(errors, name, StoreError)
        is_plain = isinstance(kind, type) and issubclass(kind, StoreError) and kind.__init__ is StoreError.__init__
        reply = kind(text) if is_plain else StoreError(text)
    intact = {bytes.fromhex(digest): bytes.fromhex(stamp) for digest, stamp in raw.get("intact", {}).items()}
    return Answered(raw["number"], reply, made, tuple(raw["printed"]), intact)


def _made_to_json(one: Made) -> list[Any]:
    if one.content is not None:
        return [one.digest.hex(), one.size]
    return [one.digest.hex(), one.size, one.path, one.kept.hex(), one.stamp.hex()]


def _json(raw: object, *contents: bytes) -> bytes:
    head = json.dumps(raw, separators=(",", ":")).encode()
    return _framed(b"".join((_LENGTH.pack(len(head)), head, *contents)))


def _framed(content: bytes) -> bytes:
    return _LENGTH.pack(len(content)) + content

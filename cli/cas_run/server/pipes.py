"""Messages between the server and its coordinators: JSON with its length before it. Never pickles."""

from __future__ import annotations

import json
import struct
from typing import Any, BinaryIO

LENGTH = struct.Struct(">I")


def packed(message: object) -> bytes:
    """A message as bytes."""
    text = json.dumps(message, separators=(",", ":")).encode()
    return LENGTH.pack(len(text)) + text


def received(stream: BinaryIO) -> Any | None:
    """The next message, None where there are no more."""
    head = stream.read(LENGTH.size)
    if len(head) < LENGTH.size:
        return None
    (size,) = LENGTH.unpack(head)
    text = stream.read(size)
    return json.loads(text) if len(text) == size else None

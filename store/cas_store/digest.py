"""Digests: 16 bytes of xxh3_128 that name bytes. Pure.

Fine against accidents; not against somebody who wants two values with one digest.
"""

from __future__ import annotations

from xxhash import xxh3_128, xxh3_128_digest

Digest = bytes
DIGEST_SIZE = 16
_JOIN_BELOW = 1 << 16  # below this, one copy is cheaper than a streaming object


digest_of_one = xxh3_128_digest  # of one buffer, where a call in between would be a third of the cost


def digest_of(*buffers: bytes | bytearray | memoryview) -> Digest:
    """The digest of the concatenation, without making it when it is large."""
    if len(buffers) == 1:
        return xxh3_128_digest(buffers[0])
    if sum(memoryview(b).nbytes for b in buffers) < _JOIN_BELOW:
        return xxh3_128_digest(b"".join(buffers))
    state = xxh3_128()
    for buffer in buffers:
        state.update(buffer)
    return state.digest()


def hex_of(digest: Digest) -> str:
    """As 32 hex digits."""
    return digest.hex()


def digest_from_hex(text: str) -> Digest:
    """The digest that :func:`hex_of` wrote. Raises ValueError when it is not one."""
    digest = bytes.fromhex(text)
    if len(digest) != DIGEST_SIZE or len(text) != 2 * DIGEST_SIZE:
        msg = f"not a digest: {text!r} (32 hex digits expected)"
        raise ValueError(msg)
    return digest

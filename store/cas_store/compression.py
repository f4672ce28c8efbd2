"""Bytes made smaller by zstd, where that is worth it and something here can do it.

Python has it from 3.14 on (`compression.zstd`), before that the package `zstandard`: the same streams from both.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from typing import Any, NamedTuple

from xxhash import xxh3_128

from cas_store.digest import Digest
from cas_store.errors import CompressionMissing, StoreError

_WORTH_IT = 0.8  # of the size; what shrinks less is better mapped than unpacked
_SAMPLE = 128 << 10


class _Zstd(NamedTuple):
    """What makes a stream that compresses, and one that decompresses."""

    compressor: Any
    decompressor: Any


@cache
def _zstd() -> _Zstd | None:
    try:
        from compression import zstd
    except ImportError:
        pass
    else:
        return _Zstd(zstd.ZstdCompressor, zstd.ZstdDecompressor)
    try:
        import zstandard
    except ImportError:
        return None
    return _Zstd(lambda: zstandard.ZstdCompressor().compressobj(), lambda: zstandard.ZstdDecompressor().decompressobj())


def check_available() -> None:
    """Raise StoreError unless something here can compress."""
    if _zstd() is None:
        raise StoreError(f"compress = zstd needs a package that is not installed\n{_ADVICE}")


def is_worth_it(size: int, smaller: int) -> bool:
    """Whether that much less is worth that it has to be unpacked."""
    return smaller <= size * _WORTH_IT


def is_promising(views: Sequence[memoryview]) -> bool:
    """Whether samples from the start, the middle and the end of the largest of these shrink."""
    view = max(views, key=len)
    starts = {0, max(0, len(view) // 2 - _SAMPLE // 2), max(0, len(view) - _SAMPLE)}
    samples = [view[start : start + _SAMPLE] for start in sorted(starts)]
    return is_worth_it(sum(map(len, samples)), sum(map(len, compressed(samples))))


def compressed(pieces: Iterable[bytes | memoryview]) -> Iterator[bytes]:
    """The concatenation of the pieces as one frame, in other pieces."""
    zstd = _zstd()
    assert zstd is not None  # noqa: S101  (see check_available)
    stream = zstd.compressor()
    for piece in pieces:
        if smaller := stream.compress(piece):
            yield smaller
    yield stream.flush()


def decompressed(pieces: Iterator[bytes], size: int, what: str) -> bytearray | None:
    """What was compressed, None if these are not it. Raises CompressionMissing."""
    zstd = _zstd()
    if zstd is None:
        raise CompressionMissing(f"{what} is compressed with zstd, which nothing here can read\n{_ADVICE}")
    stream = zstd.decompressor()
    whole, at = bytearray(size), 0
    try:
        for piece in pieces:
            plain = stream.decompress(piece)
            if at + len(plain) > size:
                return None
            whole[at : at + len(plain)] = plain
            at += len(plain)
    except MemoryError:
        raise
    except Exception:  # noqa: BLE001  (each of the two has errors of its own; damaged bytes are damaged bytes)
        return None
    return whole if at == size else None


def made_of(pieces: Iterator[bytes]) -> tuple[int, Digest] | None:
    """The size and digest of what was compressed, in little memory; None if these are not it, or nothing can tell."""
    zstd = _zstd()
    if zstd is None:
        return None
    stream, state, size = zstd.decompressor(), xxh3_128(), 0
    try:
        for piece in pieces:
            plain = stream.decompress(piece)
            state.update(plain)
            size += len(plain)
    except MemoryError:
        raise
    except Exception:  # noqa: BLE001  (as above)
        return None
    return size, state.digest()


_ADVICE = "  -> pip install 'cas-run[zstd]', or use Python 3.14 or newer"

"""Whether a data file may be handed to LMDB, which would map it and die of SIGBUS where it is cut off."""

from __future__ import annotations

import os
import struct
from dataclasses import dataclass
from pathlib import Path

from cas_store.errors import StoreDamaged

# One meta page of LMDB 0.9 on a 64-bit machine: page header; magic, version, address, map size; two roots of
# trees (free list, main), of which the first's padding is the page size; last page, transaction.
_META = struct.Struct("=QHHIIIQQIHHQQQQQIHHQQQQQQQ")
_MAGIC = 0xBEEFC0DE
_IS_META = 0x08
_NO_PAGE = (1 << 64) - 1
_PAGE_SIZES = {1 << n for n in range(9, 17)}


@dataclass(frozen=True, slots=True)
class Meta:
    """What one meta page says."""

    page_size: int
    last_page: int
    transaction: int
    roots: tuple[int, int]


def check_data_file(path: Path) -> bool:
    """True when the file can be opened, False when there is none or an empty one. Raises StoreDamaged.

    Never call it for a file that this process has open in LMDB.
    """
    try:
        with path.open("rb") as file:
            head = file.read(1 << 17)
            size = os.fstat(file.fileno()).st_size  # after the reading: a live file only grows
    except FileNotFoundError:
        return False
    if size == 0:
        return False
    first = _meta(path, head, 0)
    second = _meta(path, head, first.page_size)
    newest = max(first, second, key=lambda meta: meta.transaction)
    if newest.transaction & 1 != (newest is second) and newest.transaction:
        raise _damaged(path, "its two headers contradict each other")
    if any(root != _NO_PAGE and root > newest.last_page for root in newest.roots):
        raise _damaged(path, "its header names a page that it does not have")
    if size < (newest.last_page + 1) * newest.page_size:
        _check_short(path, size, (newest.last_page + 1) * newest.page_size)
    return True


def _meta(path: Path, head: bytes, offset: int) -> Meta:
    if len(head) < offset + _META.size:
        raise _damaged(path, f"it ends within its header, after {len(head)} bytes")
    entries = _META.unpack_from(head, offset)
    flags, magic, page_size = entries[2], entries[4], entries[8]
    if not flags & _IS_META or magic != _MAGIC or page_size not in _PAGE_SIZES:
        raise _damaged(path, "its header is not LMDB's")
    return Meta(page_size, entries[24], entries[25], (entries[15], entries[23]))


def _check_short(path: Path, size: int, expected: int) -> None:
    """A free page at the very end may never have been written; anything else that is missing is damage."""
    from lmdb import verify  # noqa: PLC0415  (rare, and it reads the whole file)

    try:
        findings: list[str] = verify.verify(path, subdir=False)  # type: ignore[no-untyped-call]
    except (verify.VerifyError, OSError) as error:
        findings = [str(error)]
    if findings:
        raise _damaged(path, f"it was cut off: {size} of {expected} bytes are left")


def _damaged(path: Path, why: str) -> StoreDamaged:
    return StoreDamaged(
        f"{path} is damaged: {why}\n"
        f"  -> restore the store from a backup, or move {path.parent.parent} away and start afresh",
        path,
    )

"""The automatic budget: after a dispatch that made the store too large, results are evicted, as `gc` would.

Cheap where nothing is to be done: what the store holds is measured once a boot, and then only added to.
"""

from __future__ import annotations

import struct

from cas_engine.bookkeeping.limits import size_of
from cas_engine.bookkeeping.settings import as_set, setting
from cas_engine.errors import BadOption
from cas_store.errors import SweepUnderWay
from cas_store.store import Store

_SIGNAL = b"held"  # what the store holds, at which size to look again, for which budget
_ROW = struct.Struct("<QQQ")
_DOWN_TO = 0.9  # of the budget, so that not each dispatch has something to evict
_AGAIN = 0.05  # of the budget: how much has to come before it is tried again where all is needed


def budget() -> int | None:
    """What the store may hold, in bytes; None if nobody has said so. Raises BadOption."""
    said = setting("max-size")
    try:
        return None if said is None else size_of(said)
    except BadOption:
        raise BadOption(f"{as_set('max-size', said or '')} is not a size\n  -> give one such as 20GB") from None


def keep_within(store: Store, limit: int) -> None:
    """Evict if there is more than that. Two processes that add at once may lose count until the next time."""
    came = store.take_published()
    row = store.get_signal(_SIGNAL)
    if row is None:
        held, look_at = sum(size for _, size in store.blob_sizes()), limit
    else:
        held, look_at, for_limit = _ROW.unpack(row)
        held, look_at = held + came, limit if for_limit != limit else look_at
    if held > look_at:
        from cas_engine.bookkeeping.collection import gc

        try:
            held = gc(max_size=int(limit * _DOWN_TO), store=store, wait_s=0).bytes_after
        except SweepUnderWay:
            return
        look_at = max(limit, held + int(limit * _AGAIN))
    store.set_signal(_SIGNAL, _ROW.pack(held, look_at, limit))

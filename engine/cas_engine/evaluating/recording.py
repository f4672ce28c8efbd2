"""What is kept of a call that was made: the record of its result, or that it failed."""

from __future__ import annotations

import time
from collections.abc import Mapping

from cas_engine.calling.worker import Returned
from cas_engine.graphs.graph import Row
from cas_engine.plans.outcome import NO_DIGEST, NodeOutcome, NodeStatus
from cas_engine.plans.records import Record
from cas_store.blobs import PreparedBlob
from cas_store.digest import Digest

_NOT_REPEATED = "it came out different from its recorded result, though nothing that its key knows of has changed"


def returned(
    row: Row, reply: Returned, blob: PreparedBlob, draw: int, dispatch: str, before: Record | None
) -> tuple[Record, str]:
    """The record of a result, and what is to be said about it; `before` is that of its key, if it ran all the same.

    A deterministic call that does not repeat itself gave a sample, and so do all of that key from then on.
    """
    differs = before is not None and before.value != reply.value
    warning = reply.warning
    if differs:
        warning = f"{_NOT_REPEATED}; {warning}" if warning else _NOT_REPEATED
    is_sample = row.stochastic or differs or (before is not None and before.is_sample)
    now = time.time()
    record = Record(
        *(reply.value, blob.digest, reply.seconds, now, blob.size, is_sample, draw),
        *(reply.parts, reply.files, row.name, dispatch),
    )
    return record, warning


def failed(reason: str, key: Digest, seconds: float, extra: Mapping[str, str]) -> NodeOutcome:
    """The outcome of a node whose call did not return."""
    return NodeOutcome(
        status=NodeStatus.FAILED,
        reason=reason,
        key=key,
        value=NO_DIGEST,
        blob=NO_DIGEST,
        size=0,
        is_sample=False,
        seconds=seconds,
        created=time.time(),
        extra=extra,
    )

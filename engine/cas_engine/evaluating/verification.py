"""Runs deterministic electrons again and compares: whoever is random without saying so is found and named."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from typing import Any

from cas_engine.bookkeeping import ledger
from cas_engine.bookkeeping.kept import outcomes_of
from cas_engine.bookkeeping.location import StoreChoice, open_store
from cas_engine.calling.worker import InputGone, Raised, Task
from cas_engine.capsules.unchanged import RecordedCode
from cas_engine.errors import BadOption
from cas_engine.evaluating.calls import task_of
from cas_engine.evaluating.result import Result, result_of
from cas_engine.executors import called
from cas_engine.plans.outcome import NO_DIGEST
from cas_store.digest import digest_of
from cas_store.store import Store
from cas_store.tables import Table
from cas_store.writes import Put

_TRUST = b"trust:"
_SIDE_BY_SIDE = 2


@dataclass(frozen=True, slots=True)
class Check:
    """One electron run again. `verdict` is equal, different, failed, or cannot (its inputs are gone)."""

    dispatch_id: str
    label: str
    electron: str
    verdict: str
    detail: str
    seconds: float


@dataclass(frozen=True, slots=True)
class Verification:
    """What came of running electrons of a dispatch again; nothing of the history is changed by it."""

    dispatch_id: str
    checks: tuple[Check, ...]

    @property
    def different(self) -> tuple[Check, ...]:
        """Those that did not repeat themselves."""
        return tuple(check for check in self.checks if check.verdict == "different")

    @property
    def holds(self) -> bool:
        """Whether everything that was run came out as recorded."""
        return all(check.verdict == "equal" for check in self.checks)

    def to_json(self) -> dict[str, Any]:
        """As `cas-run verify --json` prints it."""
        return {"dispatch_id": self.dispatch_id, "holds": self.holds, "checks": [asdict(c) for c in self.checks]}

    def __str__(self) -> str:
        width = max([len(check.label) for check in self.checks], default=0)
        lines = [f"{c.label:<{width}}  {c.verdict:<9}  {c.seconds:9.3f} s  {c.detail}".rstrip() for c in self.checks]
        equal = sum(check.verdict == "equal" for check in self.checks)
        return "\n".join([*lines, f"{equal} of {len(self.checks)} came out as recorded"])


@dataclass(frozen=True, slots=True)
class Trust:
    """How often an electron's recorded results were checked by running it again, and how often they held."""

    electron: str
    checked: int
    equal: int


def verify(
    dispatch_id: str,
    sample: int | None = None,
    *,
    store: StoreChoice = None,
    on_check: Callable[[Check], None] | None = None,
) -> Verification:
    """Run the deterministic electrons of a dispatch again, those in its sublattices too, and compare the digests.

    sample    run only this many, chosen at random
    on_check  called after each

    Raises UnknownDispatch, BadOption.
    """
    if sample is not None and sample < 1:
        raise BadOption(f"sample={sample} is not a count\n  -> give a whole number from 1, or leave it out")
    opened = open_store(store)
    result = result_of(opened, ledger.resolve(opened, dispatch_id))
    chosen = list(_checkable(opened, result, ""))
    if sample is not None and sample < len(chosen):
        chosen = [chosen[i] for i in sorted(random.sample(range(len(chosen)), sample))]
    checks = _run(opened, chosen, on_check)
    _earn(opened, checks)
    return Verification(result.dispatch_id, tuple(checks))


def audit(store: Store, dispatch_id: str, share: float) -> list[Check]:
    """Check a share (0 to 1) of the hits of a dispatch; which, is drawn from its id. The checks that were made."""
    result = result_of(store, dispatch_id)
    hits = [one for one in _checkable(store, result, "") if one.status == "hit" and _drawn(one, dispatch_id, share)]
    checks = _run(store, hits, None)
    _earn(store, checks)
    return checks


def trust(*, store: StoreChoice = None) -> list[Trust]:
    """The trust earned by each electron's recorded results so far."""
    with open_store(store).snapshot() as snapshot:
        rows = [json.loads(row) for _, row in snapshot.scan(Table.META, _TRUST)]
    return sorted((Trust(**row) for row in rows), key=lambda one: one.electron)


@dataclass(frozen=True, slots=True)
class _Recorded:
    """A node with a recorded result that can be run again."""

    dispatch_id: str
    label: str
    electron: str
    status: str
    value: bytes
    task: Task


def _checkable(store: Store, result: Result, within: str) -> Iterable[_Recorded]:
    graph = result.manifest.graph
    nodes = outcomes_of(store, ledger.get(store, result.dispatch_id))
    for node, one in zip(result.nodes, nodes, strict=False):
        if node.is_sublattice and node.dispatch:
            yield from _checkable(store, result_of(store, node.dispatch), f"{within}{node.label}/")
        elif not one.is_sample and not node.is_sublattice and one.value != NO_DIGEST:
            task = task_of(graph, node.index, lambda parent: nodes[parent].blob, lambda _: (), None)
            yield _Recorded(result.dispatch_id, within + node.label, node.electron, node.status, one.value, task)


def _run(store: Store, chosen: Sequence[_Recorded], on_check: Callable[[Check], None] | None) -> list[Check]:
    checks = []
    with ThreadPoolExecutor(_SIDE_BY_SIDE, "cas-run verify") as pool:
        for check in pool.map(lambda one: _check(store, one), chosen):
            checks.append(check)
            if on_check is not None:
                on_check(check)
    return checks


def _check(store: Store, one: _Recorded) -> Check:
    reply = called(one.task, store.get_pieces, RecordedCode())
    if isinstance(reply, InputGone):
        verdict, detail, seconds = "cannot", "an input of it is damaged or gone", 0.0
    elif isinstance(reply, Raised):
        verdict, detail, seconds = "failed", _last_words(reply.error), reply.seconds
    elif reply.value == one.value:
        verdict, detail, seconds = "equal", "", reply.seconds
    else:
        verdict, seconds = "different", reply.seconds
        detail = "random, or it reads what its key does not know: say stochastic=True, depends_on=[...] or version=..."
    return Check(one.dispatch_id, one.label, one.electron, verdict, detail, seconds)


def _last_words(error: str) -> str:
    """The exception of a traceback; of a message of ours what happened, not what to do."""
    lines = [line for line in error.strip().splitlines() if not line.lstrip().startswith("->")]
    flush = [line for line in lines if not line.startswith(" ")]
    return (flush or lines)[-1]


def _drawn(one: _Recorded, dispatch_id: str, share: float) -> bool:
    draw = digest_of(f"{dispatch_id}{one.dispatch_id}{one.label}".encode())
    return int.from_bytes(draw[:8], "big") < share * 2**64


def _earn(store: Store, checks: Sequence[Check]) -> None:
    earned: dict[str, tuple[int, int]] = {}
    for check in checks:
        if check.verdict in ("equal", "different"):
            checked, equal = earned.get(check.electron, (0, 0))
            earned[check.electron] = (checked + 1, equal + (check.verdict == "equal"))
    writes = []
    for electron, (checked, equal) in earned.items():
        key = _TRUST + digest_of(electron.encode())
        row = store.get(Table.META, key)
        before = json.loads(row) if row is not None else {"checked": 0, "equal": 0}
        now = Trust(electron, before["checked"] + checked, before["equal"] + equal)
        writes.append(Put(Table.META, key, json.dumps(asdict(now)).encode()))
    if writes:
        store.commit(writes)

"""What the user has accepted as the same though its code differs: data in the store, with who, when and the diff.

An acceptance maps the fingerprint of new code to that of the old, so that keys are made as if nothing had changed, and
the old results answer.
"""

from __future__ import annotations

import getpass
import json
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass

from cas_engine.bookkeeping import ledger
from cas_engine.bookkeeping.accepted import PREFIX
from cas_engine.bookkeeping.location import StoreChoice, open_store
from cas_engine.errors import BadOption
from cas_engine.evaluating.result import Result, result_of
from cas_engine.fingerprint.environment import effective_with
from cas_engine.inspecting.comparison import arguments_of, source_diff
from cas_engine.inspecting.explanation import chosen, counterpart, earlier_than
from cas_store.digest import Digest
from cas_store.store import Store
from cas_store.tables import Table
from cas_store.writes import Delete, Put, Write


@dataclass(frozen=True, slots=True)
class Acceptance:
    """One decision: `new` counts as `old` (fingerprints in hex). `when` in seconds since 1970."""

    electron: str
    new: str
    old: str
    dispatch: str
    against: str
    who: str
    when: float
    results: str  # whether the two results were equal: "equal", "changed" or "unknown"
    diff: str


def accept(dispatch_id: str, node: str, *, store: StoreChoice = None) -> Acceptance:
    """Record that an electron's change, seen in a dispatch, means the same as what it was in the one before.

    From then on its nodes are keyed as before, and the earlier results answer; what the changed code computed meanwhile
    stays in the history. `against` is the dispatch's parent, or the nearest earlier one of the same lattice.

    Raises UnknownDispatch, UnknownNode, and BadOption when nothing differs or there is nothing to compare with.
    """
    opened = open_store(store)
    result = result_of(opened, ledger.resolve(opened, dispatch_id))
    before = earlier_than(opened, result)
    if before is None:
        raise BadOption(
            f"dispatch {result.dispatch_id[:12]} is the first of `{result.lattice}`, so there is nothing "
            "that it could be the same as\n  -> accept a change in a later dispatch"
        )
    new_node = chosen(result, node)[0]  # all nodes of an electron have one code
    old_node = counterpart(before, new_node) or before.node(node)
    new, old = _fingerprint(result, new_node.index), _fingerprint(before, old_node.index)
    if new == old:
        short = result.dispatch_id[:12]
        raise BadOption(
            f"the code and packages of `{node}` are the same in {short} and {before.dispatch_id[:12]}\n"
            f"  -> `cas-run explain {short} {node}` says why it ran"
        )
    rows = (before.manifest.graph.row_of(old_node.index), result.manifest.graph.row_of(new_node.index))
    digests = (old_node.value_digest, new_node.value_digest)
    versions = (dict(before.manifest.environment), dict(result.manifest.environment))
    # Results of other inputs say nothing of the code.
    given = {argument.what for argument in arguments_of(opened, result, new_node, before, old_node)}
    if not given <= {"unchanged", "ignored"}:
        digests = ("", "")
    made = Acceptance(
        electron=new_node.electron,
        new=new.hex(),
        old=old.hex(),
        dispatch=result.dispatch_id,
        against=before.dispatch_id,
        who=_who(),
        when=time.time(),
        results="unknown" if "" in digests else "equal" if digests[0] == digests[1] else "changed",
        diff=source_diff(opened, *rows, versions),
    )
    opened.commit([Put(Table.META, PREFIX + new, json.dumps(asdict(made)).encode()), *answers_withdrawn(opened)])
    return made


def acceptances(*, store: StoreChoice = None) -> list[Acceptance]:
    """All that was accepted, the oldest first."""
    return sorted(_all(open_store(store)), key=lambda one: one.when)


def withdraw(fingerprint: str, *, store: StoreChoice = None) -> Acceptance:
    """Take an acceptance back, named by its `new` fingerprint or a beginning that only it has; what was withdrawn.

    From then on the changed code counts as changed. Raises BadOption if there is none, or more than one.
    """
    opened = open_store(store)
    wanted = fingerprint.strip().lower()
    found = [made for made in _all(opened) if wanted and made.new.startswith(wanted)]
    if len(found) != 1:
        said = f"{len(found)} acceptances begin with" if found else "there is no acceptance"
        raise BadOption(f"{said} `{fingerprint}`\n  -> `cas-run accept --list` shows them")
    opened.commit([Delete(Table.META, PREFIX + bytes.fromhex(found[0].new)), *answers_withdrawn(opened)])
    return found[0]


def answers_withdrawn(store: Store) -> list[Write]:
    """Whole workflows are answered from what their own code gave; from here on their nodes are asked again."""
    with store.snapshot() as snapshot:
        return [Delete(Table.LATTICES, key) for key, _ in snapshot.scan(Table.LATTICES)]


def _all(store: Store) -> Iterator[Acceptance]:
    with store.snapshot() as snapshot:
        rows = [row for _, row in snapshot.scan(Table.META, PREFIX)]
    for row in rows:
        yield Acceptance(**json.loads(row))


def _fingerprint(result: Result, node: int) -> Digest:
    """The effective fingerprint as it was where the dispatch ran."""
    row = result.manifest.graph.row_of(node)
    return effective_with(row.code, row.packages, dict(result.manifest.environment))


def _who() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError, ImportError):  # a container's user may have no name
        return "unknown"

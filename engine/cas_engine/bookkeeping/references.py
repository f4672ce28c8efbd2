"""What a dispatch names in the store: the blobs it cannot do without, the results it can compute again.

Read from its manifest and its outcome; nothing of the user's is unpickled.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from cas_engine.bookkeeping.answers import load_manifest
from cas_engine.bookkeeping.kept import outcomes_of
from cas_engine.bookkeeping.ledger import Entry
from cas_engine.graphs.bindings import Binding, consts_in
from cas_engine.plans.manifest import Manifest, templates_naming_blobs
from cas_engine.plans.outcome import NO_DIGEST, NodeOutcome
from cas_store.digest import Digest
from cas_store.store import Store


@dataclass(frozen=True, slots=True)
class Named:
    """What one dispatch names.

    `history` are its manifest and outcome, `code` the recorded functions, `inputs` the constants, its own inputs
    included. `results` are the nodes that have a value. `inner` are the ids of the dispatches that its sublattices were
    evaluated as; what those name is not in here.
    """

    history: frozenset[Digest]
    code: frozenset[Digest]
    inputs: frozenset[Digest]
    results: tuple[NodeOutcome, ...]
    inner: tuple[str, ...]

    @property
    def samples(self) -> frozenset[Digest]:
        """The results that are not functions of their keys: drawn again, they would be others."""
        return frozenset(node.blob for node in self.results if node.is_sample)

    @property
    def lasting(self) -> frozenset[Digest]:
        """The blobs that nothing can bring back."""
        return self.history | self.code | self.inputs | self.samples

    @property
    def keys(self) -> frozenset[Digest]:
        """The keys of the nodes that have a result."""
        return frozenset(node.key for node in self.results)

    def blobs(self) -> frozenset[Digest]:
        """All of them."""
        return self.lasting | {node.blob for node in self.results}


def named_by(store: Store, entry: Entry) -> Named:
    """What a dispatch names. Raises BlobMissing, BlobDamaged, CapsuleError where that cannot be told."""
    return named_in(entry, load_manifest(store, entry), outcomes_of(store, entry))


def named_in(entry: Entry, manifest: Manifest, settled: Sequence[NodeOutcome]) -> Named:
    """The same, of a dispatch whose manifest and outcomes are at hand."""
    return Named(
        history=frozenset(bytes.fromhex(blob) for blob in (entry.manifest, entry.outcome) if blob),
        code=frozenset(_code_of(manifest)),
        inputs=frozenset(_constants_of(manifest)),
        results=tuple(node for node in settled if node.blob != NO_DIGEST),
        inner=tuple({node.extra["dispatch"]: None for node in settled if "dispatch" in node.extra}),
    )


def blobs_of(manifest: Manifest) -> set[Digest]:
    """The recorded code and the constants that a manifest names."""
    return {*_code_of(manifest), *_constants_of(manifest)}


def _code_of(manifest: Manifest) -> Iterator[Digest]:
    return (row.capsule for row in (manifest.lattice, *manifest.graph.rows, *manifest.replaced))


def _constants_of(manifest: Manifest) -> Iterator[Digest]:
    graph = manifest.graph
    yield from _blobs_in(binding for _, binding in manifest.inputs.params)
    yield from _blobs_in([graph.output])
    for template in templates_naming_blobs(graph):
        yield from _blobs_in(binding for _, binding in template.params)


def _blobs_in(bindings: Iterable[Binding]) -> Iterator[Digest]:
    for binding in bindings:
        yield from (const.blob for const in consts_in(binding) if const.blob is not None)

"""Merkle keys: what makes two computations the same. Pure.

    key(node)     = H(format, effective fingerprint, version, template, [ordinal of a draw], identities of the parents)
    identity      = its key; of a sample, H(its key, the value's digest)
    content key   = H(format, effective fingerprint, version, value digests of the actual inputs)
    lattice key   = H(format, effective fingerprint, replacements in force, digest of the inputs)

The effective fingerprint is H(code, [(package, version here)]): packages count as found where the node runs.
Every H is xxh3_128 over tagged pieces of fixed or counted length.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from itertools import islice

from cas_engine.graphs.bindings import Binding, Const, Items, Ref, Step, path_bytes
from cas_engine.graphs.graph import Graph, Row, in_force
from cas_engine.graphs.templates import DIGEST_AT, ROW, Rows
from cas_engine.plans.records import Parts
from cas_engine.values import compose, compose_dict
from cas_store.digest import Digest, digest_of, digest_of_one

FORMAT = b"cas-run key 1\0"  # another number makes every key another one

Effective = Callable[[Digest, tuple[str, ...]], Digest]


def prefix_of(row: Row, effective: Effective, replaced: Iterable[Row] = ()) -> bytes:
    """What all nodes of an electron have in common in their keys.

    For a sublattice, `replaced` are the rows in force: those that stand in somewhere inside are part of it.
    """
    fingerprint = effective(row.code, row.packages)
    if row.is_lattice:
        inside = sorted((r.slot, prefix_of(r, effective)) for r in in_force(row, replaced))
        fingerprint = digest_of(b"".join([fingerprint, *(_text(slot) + prefix for slot, prefix in inside)]))
    version = b"-" if row.version is None else b"v" + _text(row.version)
    return FORMAT + (b"L" if row.is_lattice else b"E") + fingerprint + digest_of(version)


def node_key(prefix: bytes, template: Digest, ordinal: int | None, identities: Sequence[Digest]) -> Digest:
    """The key of a node; `ordinal` is given for draws of a stochastic electron only."""
    draw = b"" if ordinal is None else b"#%d:" % ordinal
    return digest_of(b"".join((prefix, template, draw, *identities)))


def sample_identity(key: Digest, value: Digest) -> Digest:
    """The identity of a node whose result is not a function of its key."""
    return digest_of(b"sample\0" + key + value)


def content_key_of(
    graph: Graph,
    node: int,
    prefix: bytes,
    value_of: Callable[[int], Digest],
    parts_of: Callable[[int], Parts],
    identity_of: Callable[[int], Digest | None],
) -> Digest:
    """The key by the values that a call really gets, however they came about, of a node whose parents have results.

    `prefix` is that of its electron; what its parents gave is asked for by node.
    """
    electron, template = graph.electron_of[node], graph.templates[graph.template_of[node]]
    above = graph.parents_of(node)

    def digest_of_slot(ref: Ref) -> Digest:
        if not ref.path:
            return value_of(above[ref.slot])
        parts, (kind, step) = parts_of(above[ref.slot]), ref.path[0]
        if (known := part_in(parts, ref.path)) is not None:
            return known
        part = parts.at(step) if kind == "item" else None
        return part_of(value_of(above[ref.slot]), ref) if part is None else part_of(part, Ref(ref.slot, ref.path[1:]))

    usual, ignore = template.usual, graph.rows[electron].ignore
    leave_out = usual.union(ignore) if usual or ignore else ()
    pieces = [b"content\0", prefix]
    for name, binding in template.params:
        if leave_out and name.lstrip("*") in leave_out:
            continue
        pieces.append(_text(name))
        if type(binding) is Const:
            pieces.append(binding.digest)
        elif type(binding) is Ref and not binding.path:
            pieces.append(value_of(above[binding.slot]))
        else:
            pieces.append(value_digest(binding, digest_of_slot))
    pieces.append(b"after")
    if len(above) > template.slots:
        # By what they are, not what they gave: a child waits for what its parents do to the world.
        waits = [identity_of(parent) for parent in above[template.slots :]]
        pieces += [one for one in waits if one is not None]
    return digest_of_one(b"".join(pieces))


def value_digest(binding: Binding, slot_digest: Callable[[Ref], Digest]) -> Digest:
    """The digest of the value that a binding stands for, from those of its parts."""
    if isinstance(binding, Const):
        return binding.digest
    if isinstance(binding, Ref):
        return slot_digest(binding)
    if isinstance(binding, Items):
        parts = [value_digest(item, slot_digest) for item in binding.items]
        if binding.kind == "dict":
            return compose_dict(list(zip(parts[::2], parts[1::2], strict=True)))
        return compose("list" if binding.kind == "list" else "tuple", parts)
    pieces = [b"fields\0", binding.cls.digest]
    for name, item in binding.fields:
        pieces += [_text(name), value_digest(item, slot_digest)]
    return digest_of(b"".join(pieces))


def part_in(parts: Parts, path: tuple[Step, ...]) -> Digest | None:
    """The digest of what lies at the end of a path, None if it is not known."""
    if len(path) == 1 and path[0][0] == "item" and (there := parts.at(path[0][1])) is not None:
        return there
    return parts.by_path.get(digest_of(path_bytes(path))) if parts.by_path else None


def part_of(whole: Digest, ref: Ref) -> Digest:
    """The digest of a part of a value, where only that of the whole is known."""
    return digest_of(b"part\0" + whole + path_bytes(ref.path)) if ref.path else whole


def lattice_key(row: Row, effective: Effective, replaced: Iterable[Row], inputs: Digest) -> Digest:
    """The key of one evaluation of a lattice."""
    return digest_of(b"lattice\0" + prefix_of(row, effective, replaced) + inputs)


def keys_of(graph: Graph, rows: Rows, prefixes: Sequence[bytes]) -> list[Digest]:
    """The keys of all nodes, in order, where the identity of each is its key, and all slots count in it.

    As `node_key` of each. `rows` are the graph's `key_rows`.
    """
    keys: list[Digest] = []
    parents, key_of, hash_of, begin = graph.parents, keys.__getitem__, digest_of_one, 0
    rows, size = bytes(rows), ROW.size  # a slice of a view takes twice as long
    for at, template, end in zip(graph.electron_of, graph.template_of, islice(graph.first_parent, 1, None)):  # noqa: B905
        start = template * size + DIGEST_AT
        digest = rows[start : start + 16]
        count = end - begin
        # One parent or two, as most nodes have, are looked up without a slice: in two thirds of the time.
        if count == 1:
            above = keys[parents[begin]]
        elif count == 2:
            above = keys[parents[begin]] + keys[parents[begin + 1]]
        else:
            above = b"".join(map(key_of, parents[begin:end]))
        keys.append(hash_of(b"".join((prefixes[at], digest, above))))
        begin = end
    return keys


@lru_cache(maxsize=1024)
def _text(text: str) -> bytes:
    raw = text.encode("utf-8", "surrogatepass")  # a variable of the environment may be any bytes
    return b"%d:" % len(raw) + raw

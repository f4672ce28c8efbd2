"""An electron beside what it was in another dispatch, piece by piece: its code and what it stands on, its arguments."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence

from cas_engine.bookkeeping.explain import shown
from cas_engine.capsules import capsule
from cas_engine.capsules.capsule import CapsuleHeader
from cas_engine.evaluating.result import NodeResult, Result
from cas_engine.fingerprint.environment import FILE, VARIABLE, earlier_name
from cas_engine.graphs.bindings import Binding, Const, Fields, Items, Ref, Step
from cas_engine.graphs.graph import Row
from cas_engine.plans.explained import Argument, Change
from cas_store.errors import CasRunError
from cas_store.store import Store

Versions = Mapping[str, str]


def header_of(store: Store, row: Row) -> CapsuleHeader | None:
    """What is known of an electron's recorded code, None if it is gone."""
    try:
        return capsule.header(store.get_blob(row.capsule))
    except CasRunError:
        return None


# Code -------------------------------------------------------------------------------------------------------


def changes_between(store: Store, old: Row, new: Row, versions: tuple[Versions, Versions]) -> list[Change]:
    """All pieces of code, values, packages and files that differ between two electrons.

    `versions` are those of packages, and the contents of files, where the one and where the other ran: code is
    recorded once, however often what it stands on changes.
    """
    was, now = header_of(store, old), header_of(store, new)
    if was is None or now is None:
        return []
    return [*_code_changes(was, now), *_package_changes(old, new, now, versions)]


def source_diff(store: Store, old: Row, new: Row, versions: tuple[Versions, Versions]) -> str:
    """The unified diff of every piece of source that differs between two electrons."""
    changes = changes_between(store, old, new, versions)
    return "\n".join(change.diff or f"{change.name}: {change.what}" for change in changes)


_ELSEWHERE = ("package", "file", "variable", "warning")  # kinds of components that do not count as code


def _code_changes(was: CapsuleHeader, now: CapsuleHeader) -> list[Change]:
    before = {(c.kind, c.name): c for c in was.components if c.kind not in _ELSEWHERE}
    after = {(c.kind, c.name): c for c in now.components if c.kind not in _ELSEWHERE}
    changes = []
    for where, piece in after.items():
        other = before.get(where)
        if other is not None and other.digest == piece.digest:
            continue
        if other is None:
            what = "reached now"
        elif piece.kind == "value" and other.detail != piece.detail:
            what = f"{other.detail} → {piece.detail}"
        else:
            what = "changed"
        changes.append(Change(piece.kind, piece.name, what, _route(now, piece.name), _diff(was, now, piece.name)))
    changes += [
        Change(piece.kind, piece.name, "no longer reached", _route(was, piece.name), "")
        for where, piece in before.items()
        if where not in after
    ]
    return changes


def _package_changes(old: Row, new: Row, now: CapsuleHeader, versions: tuple[Versions, Versions]) -> list[Change]:
    changes = []
    for package in new.packages:
        before = earlier_name(package, old.packages)
        was, here = versions[0].get(before, ""), versions[1].get(package, "")
        if was == here:
            continue
        name = package.removeprefix(FILE).removeprefix(VARIABLE)
        kind = "file" if package.startswith(FILE) else "variable" if package.startswith(VARIABLE) else "package"
        if before not in old.packages or not was:
            what = "reached now"
        else:
            what = "changed" if kind != "package" or here.startswith("content:") else f"{was} → {here}"
        changes.append(Change(kind, name, what, _route(now, name), ""))
    return changes


def _route(head: CapsuleHeader, name: str) -> tuple[str, ...]:
    """The names by which the electron reaches a piece, itself first."""
    via = {c.name: c.via for c in head.components}
    route = [name]
    while (above := via.get(route[-1], "")) and above not in route:
        route.append(above)
    return tuple(reversed(route))


def _diff(was: CapsuleHeader, now: CapsuleHeader, name: str) -> str:
    old, new = was.sources.get(name), now.sources.get(name)
    if old is None or new is None or old == new:
        return ""
    return "".join(_unified(old.splitlines(keepends=True), new.splitlines(keepends=True), name)).rstrip("\n")


def _unified(old: Sequence[str], new: Sequence[str], name: str) -> list[str]:
    lines = difflib.unified_diff(old, new, f"{name} before", f"{name} now", n=2)
    return [line if line.endswith("\n") else f"{line}\n" for line in lines]


# Arguments --------------------------------------------------------------------------------------------------


def arguments_of(
    store: Store, result: Result, node: NodeResult, before: Result, was: NodeResult
) -> tuple[Argument, ...]:
    """The arguments of a call beside those of the same call in an earlier dispatch, without loading any of them."""
    new = dict(result.manifest.graph.template(node.index).params)
    old = dict(before.manifest.graph.template(was.index).params)
    row = result.manifest.graph.row_of(node.index)
    found = []
    for name, binding in new.items():
        given, now = name.lstrip("*"), _told(store, binding, result, node)
        if given in row.ignore:
            found.append(Argument(given, "ignored", now, ""))
        elif name not in old:
            found.append(Argument(given, "new", now, ""))
        elif _is_same(old[name], binding, (before, was), (result, node)):
            found.append(Argument(given, "unchanged", now, ""))
        else:
            found.append(Argument(given, "changed", now, _told(store, old[name], before, was)))
    found += [
        Argument(name.lstrip("*"), "left out", "", _told(store, binding, before, was))
        for name, binding in old.items()
        if name not in new
    ]
    return tuple(found)


_At = tuple[Result, NodeResult]


def _source(ref: Ref, at: _At) -> NodeResult:
    result, node = at
    return result.nodes[result.manifest.graph.parents_of(node.index)[ref.slot]]


def _is_same(old: Binding, new: Binding, before: _At, now: _At) -> bool:
    if isinstance(old, Const) and isinstance(new, Const):
        return old.digest == new.digest
    if isinstance(old, Ref) and isinstance(new, Ref):
        was, here = _source(old, before), _source(new, now)
        return old.path == new.path and was.value_digest == here.value_digest != ""
    if isinstance(old, Items) and isinstance(new, Items):
        same = old.kind == new.kind and len(old.items) == len(new.items)
        return same and all(_is_same(a, b, before, now) for a, b in zip(old.items, new.items, strict=True))
    if isinstance(old, Fields) and isinstance(new, Fields):
        same = old.cls.digest == new.cls.digest and [n for n, _ in old.fields] == [n for n, _ in new.fields]
        pairs = zip(old.fields, new.fields, strict=True) if same else ()
        return same and all(_is_same(a, b, before, now) for (_, a), (_, b) in pairs)
    return False


def _told(store: Store, binding: Binding, result: Result, node: NodeResult) -> str:
    if isinstance(binding, Const):
        return shown(store, binding)
    if isinstance(binding, Ref):
        return f"from {_source(binding, (result, node)).label}{_path(binding.path)}"
    if isinstance(binding, Items):
        inside = ", ".join(_told(store, item, result, node).removeprefix("from ") for item in binding.items[:6])
        more = ", ..." if len(binding.items) > 6 else ""
        return f"a {binding.kind} of {inside}{more}"
    return "of " + ", ".join(f"{name}: {_told(store, item, result, node)}" for name, item in binding.fields[:6])


def _path(path: Sequence[Step]) -> str:
    steps = []
    for kind, step in path:
        shown = "..." if isinstance(step, Const) else repr(step)
        steps.append(f"[{shown}]" if kind == "item" else f".{step}")
    return "".join(steps)

"""Which parts of the results of a graph's nodes other nodes take: `h.rows`, `h[0]["k"]`. Pure."""

from __future__ import annotations

from functools import cached_property

from cas_engine.graphs import templates
from cas_engine.graphs.bindings import Step, path_bytes, refs_in
from cas_engine.graphs.graph import Graph

Path = tuple[Step, ...]
_MOST = 1024  # parts of one result: with more it is compared as a whole


class Picks:
    """Of one graph. Where no call takes a part, as in most, no call is looked at."""

    def __init__(self, graph: Graph) -> None:
        self._graph = graph

    @cached_property
    def are_there(self) -> bool:
        """Whether any call takes parts: mostly none does, and then nobody need ask for each."""
        return bool(self._taking)

    @cached_property
    def _taking(self) -> frozenset[int]:
        return frozenset(templates.taking_parts(self._graph.templates))

    def of(self, *nodes: int) -> tuple[Path, ...]:
        """The access paths by which others take parts of what some nodes give, all of which are the same call."""
        graph, found = self._graph, dict[bytes, Path]()
        for node in nodes:
            for child in graph.index.children_of(node):
                if graph.template_of[child] not in self._taking:
                    continue
                above = graph.parents_of(child)
                for _, binding in graph.template(child).params:
                    for ref in refs_in(binding):
                        if ref.path and above[ref.slot] == node:
                            found[path_bytes(ref.path)] = ref.path
                if len(found) > _MOST:
                    return ()
        return tuple(found.values())

    def any_in(self, node: int) -> bool:
        """Whether the call that a node is takes parts of results."""
        return self._graph.template_of[node] in self._taking

"""What a fingerprint is, for those who use one. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, NamedTuple

ComponentKind = Literal["code", "class", "value", "package", "module", "file", "variable", "unresolved"]


class Component(NamedTuple):
    """One piece of what a function reaches, for telling what changed between two fingerprints."""

    kind: ComponentKind
    name: str  # "helpers.scale"
    digest: bytes  # of this piece alone, not of what it reaches
    detail: str  # a version, a short repr
    via: str  # the name of the component that reaches it, "" for the root


class Brought(NamedTuple):
    """What code reaches only because other modules have brought it: put it into a package, or derived a class."""

    name: str
    digest: bytes  # of all that it reaches
    thing: object  # a Patch, or the class


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """The identity of code: what would run, not how it is written."""

    code: bytes  # of all the user's own code and values reached; no version of a package is in it
    packages: tuple[str, ...]  # distributions reached, sorted, always with "python"
    components: tuple[Component, ...]  # the root first
    electrons: tuple[tuple[str, bytes, bool], ...]  # electrons reached: (name, digest of their code, stochastic)
    unresolved: tuple[str, ...]  # what no analysis could follow
    warnings: tuple[str, ...]  # "f writes the global COUNT"
    modules: tuple[str, ...]  # the user's own modules reached, those imported in bodies too
    by_texts: bool = False  # whether texts that it is given may lead to more: modules, scripts, variables
    brought: tuple[Brought, ...] = ()  # sorted


def named(brought: Iterable[Brought]) -> set[tuple[str, bytes]]:
    """Names and digests: what can be compared between processes."""
    return {(name, digest) for name, digest, _ in brought}

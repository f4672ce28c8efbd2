"""Which results a dispatch may reuse: what `recompute` and `reuse_previous_results` mean. Pure."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass, replace

from cas_engine.errors import BadOption, UnknownElectron
from cas_engine.graphs.graph import Row


@dataclass(frozen=True, slots=True)
class Policy:
    """What runs although its result is known: everything, the stochastic electrons, those named, or nothing."""

    everything: bool = False
    stochastic: bool = False
    names: tuple[str, ...] = ()

    @property
    def forces_nothing(self) -> bool:
        """Whether every known result is used."""
        return not (self.everything or self.stochastic or self.names)

    def reason(self, row: Row) -> str | None:
        """Why nodes of this electron run whatever is known, None if they need not.

        A sublattice is entered when what is forced may be inside it.
        """
        if self.everything:
            return "everything was asked to run"
        if self.stochastic and row.stochastic:
            return "stochastic, forced"
        if row.slot in self.names or row.name in self.names:
            return "asked to run"
        if row.is_lattice and any(r.name in self.names for r in row.reaches):
            return "something in it was asked to run"
        return None

    def words(self) -> list[str]:
        """As a list of words, for records and people."""
        return [*(["all"] if self.everything else []), *(["stochastic"] if self.stochastic else []), *self.names]


REUSE = Policy()


def policy_from_words(words: Sequence[str]) -> Policy:
    """The policy that `words` wrote."""
    return Policy("all" in words, "stochastic" in words, tuple(w for w in words if w not in ("all", "stochastic")))


def checked_policy(recompute: object, reuse: object) -> Policy:
    """The policy that the options of a redispatch ask for. Raises BadOption."""
    if not isinstance(reuse, bool):
        raise BadOption(f"reuse_previous_results={reuse!r} is not True or False\n  -> give True or False")
    words: Sequence[object]
    if recompute is None:
        words = ()
    elif isinstance(recompute, str):
        if recompute not in ("all", "stochastic"):
            raise BadOption(
                f'recompute="{recompute}" is not known\n'
                f'  -> "all", "stochastic", or a list of names of electrons: recompute=["{recompute}"]'
            )
        words = (recompute,)
    elif isinstance(recompute, (list, tuple, set, frozenset)):
        words = tuple(recompute)
    else:
        raise BadOption(
            f'recompute={recompute!r} is not known\n  -> "all", "stochastic", or a list of names of electrons'
        )
    for word in words:
        if not isinstance(word, str):
            raise BadOption(f"recompute: {word!r} is not the name of an electron\n  -> give names as texts")
    texts = [str(word) for word in words]
    if not reuse:
        return Policy(everything=True)
    return policy_from_words(texts)


def check_names(policy: Policy, rows: Sequence[Row]) -> None:
    """Raise UnknownElectron for a name in the policy that no electron has."""
    known = names_of(rows)
    for name in policy.names:
        if name not in known:
            raise UnknownElectron(name, nearest(name, known), sorted(known))


def by_slot(policy: Policy, rows: Sequence[Row]) -> Policy:
    """The policy with electrons named as the lattice calls them too, where they were named by what stands in."""
    slots = tuple(row.slot for row in rows if row.name in policy.names)
    return replace(policy, names=tuple(dict.fromkeys([*policy.names, *slots])))


def names_of(rows: Sequence[Row]) -> set[str]:
    """Every name by which an electron of these rows, or one inside their sublattices, is known."""
    known = {name for row in rows for name in (row.slot, row.name)}
    return known | {r.name for row in rows if row.is_lattice for r in row.reaches}


def nearest(name: str, known: set[str]) -> list[str]:
    """The names most like one that is not known."""
    return difflib.get_close_matches(name, sorted(known), n=3, cutoff=0.5)

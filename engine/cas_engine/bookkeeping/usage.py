"""Where the bytes of a store are: by what they are for, by lattice, by electron; and what of them could go."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from cas_engine.bookkeeping.location import StoreChoice, open_store
from cas_engine.bookkeeping.survey import Keep, Kind, Survey, survey_of

SEVERAL = "(several lattices)"
NO_LATTICE = "(no lattice)"


@dataclass(frozen=True, slots=True)
class Use:
    """The blobs of one kind, or of one lattice alone. A blob is counted once."""

    name: str
    blobs: int
    bytes: int


@dataclass(frozen=True, slots=True)
class ElectronUse:
    """The results of one electron; `seconds` is what they took."""

    electron: str
    results: int
    bytes: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Usage:
    """A store in bytes. `unnamed` goes with the next `gc`, `evictable` if there is a limit; the rest is needed."""

    blobs: int
    bytes: int
    database_bytes: int  # the file with all rows, small blobs among them, and room that is free in it
    log_bytes: int  # what electrons have printed
    unnamed_bytes: int
    evictable_bytes: int
    kinds: tuple[Use, ...]
    lattices: tuple[Use, ...]
    electrons: tuple[ElectronUse, ...]

    def to_json(self) -> dict[str, Any]:
        """As `cas-run du --json` prints it."""
        return asdict(self)


def usage(keep_last: int = 1, *, store: StoreChoice = None) -> Usage:
    """Where the bytes of a store are, the most first; `keep_last` as for `gc`."""
    opened = open_store(store)
    log_bytes = sum(size for _, size in opened.log_sizes())
    return usage_in(survey_of(opened, keep_last), opened.database_bytes, log_bytes)


def usage_in(survey: Survey, database_bytes: int, log_bytes: int) -> Usage:
    """The same, of a survey."""
    kinds: dict[str, list[int]] = {}
    lattices: dict[str, list[int]] = {}
    unnamed = evictable = 0
    for at, size in enumerate(survey.size):
        kind = Kind(survey.kind[at])
        whose = survey.lattice_of(at) or (SEVERAL if survey.is_shared(at) else NO_LATTICE)
        for sums, name in ((kinds, kind.word), (lattices, whose)):
            found = sums.setdefault(name, [0, 0])
            found[0] += 1
            found[1] += size
        unnamed += size if kind is Kind.UNNAMED else 0
        evictable += size if kind is Kind.RESULTS and survey.keep[at] == Keep.MAY_GO else 0
    return Usage(
        blobs=len(survey.size),
        bytes=survey.bytes,
        database_bytes=database_bytes,
        log_bytes=log_bytes,
        unnamed_bytes=unnamed,
        evictable_bytes=evictable,
        kinds=_largest_first(kinds),
        lattices=_largest_first(lattices),
        electrons=electrons_in(survey),
    )


def electrons_in(survey: Survey) -> tuple[ElectronUse, ...]:
    """The electrons whose results are there, those that take most first."""
    sums: dict[str, tuple[int, int, float]] = {}
    for at, size in enumerate(survey.size):
        name = survey.electron_of(at)
        if name and survey.kind[at] == Kind.RESULTS:
            results, taken, seconds = sums.get(name, (0, 0, 0.0))
            is_result = survey.named[at]
            sums[name] = (results + is_result, taken + size, seconds + is_result * survey.seconds[at])
    return tuple(sorted((ElectronUse(name, *one) for name, one in sums.items()), key=lambda one: -one.bytes))


def _largest_first(sums: dict[str, list[int]]) -> tuple[Use, ...]:
    return tuple(sorted((Use(name, *one) for name, one in sums.items()), key=lambda one: -one.bytes))

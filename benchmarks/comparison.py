"""What was found now beside what an earlier run wrote with --json: by ratios to the limit, where there are limits."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from benchmarks.harness import shown

NOTABLE = 1.25  # times; less than that is the noise of a machine on which others work
HIGHER_IS_BETTER = frozenset({"a second"})


@dataclass(frozen=True, slots=True)
class Line:
    """A figure then and now. Its limit was measured beside it each time, so that a slower machine slows both."""

    name: str
    unit: str
    then: float
    now: float
    by_ratio: bool

    @property
    def times(self) -> float:
        """How many times as much as then; below 1 is better."""
        if not self.then or not self.now:
            return 1.0
        return self.then / self.now if self.unit in HIGHER_IS_BETTER else self.now / self.then

    @property
    def verdict(self) -> str:
        return "worse" if self.times > NOTABLE else "better" if self.times < 1 / NOTABLE else ""


def text_of(earlier: Mapping[str, Any], here: Mapping[str, Any], found: Mapping[str, Any]) -> str:
    """A table of what is in both; `earlier` is the whole file, `here` this machine, `found` what was found now."""
    then, now = dict(figures_in(earlier["benchmarks"])), dict(figures_in(found))
    lines = [line for name in now if name in then for line in [line_of(name, then[name], now[name])]]
    if not lines:
        return "nothing that is in both"
    differing = [name for name in ("cpu", "cores", "python") if earlier["machine"].get(name) != here.get(name)]
    head = f"{'':<78}{'then':>10}{'now':>10}{'times':>8}"
    table = [
        f"{line.name + (', ratio' if line.by_ratio else ', ' + line.unit):<78}"
        f"{shown(line.then):>10}{shown(line.now):>10}{line.times:>8.2f}  {line.verdict}".rstrip()
        for line in lines
    ]
    notes = [f"another {name}: {earlier['machine'].get(name)} then, {here.get(name)} now" for name in differing]
    gone = sorted(name for name in then if name not in now and name.partition(": ")[0].partition(".")[0] in found)
    notes += [f"not measured now: {name}" for name in gone]
    return "\n".join([head, *table, *notes])


def line_of(name: str, then: Mapping[str, Any], now: Mapping[str, Any]) -> Line:
    by_ratio = bool(then.get("ratio") and now.get("ratio"))
    column = "ratio" if by_ratio else "ours"
    return Line(name, now["unit"], then[column], now[column], by_ratio)


def figures_in(found: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Each figure by its name, with the benchmark and the lines above it where its own words begin with a blank."""
    for name, part in found.items():
        if name == "figures":
            heading = ""
            for figure in part:
                what, nodes = figure["what"], figure.get("nodes")
                heading = heading if what.startswith(" ") else what
                words = f"{heading}: {what.strip()}" if what.startswith(" ") else what
                yield f"{above}: {words}{'' if nodes is None else f', {nodes:,} nodes'}", figure
        elif isinstance(part, dict):
            yield from figures_in(part, f"{above}.{name}" if above else name)

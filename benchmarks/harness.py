"""What every benchmark is given and gives back, and how a figure is shown beside its limit."""

from __future__ import annotations

import math
import os
import platform
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True)
class Options:
    quick: bool = False
    peers: str = ""  # names with commas, or `all`; empty: none
    lanes: int = 2  # cases of the corpus side by side
    seconds_each: float = 300.0  # for one contender; what is not played by then is left out, and the share told
    nodes: int = 100_000  # of the largest graph
    rounds: int = 5  # at most
    say: Callable[[str], None] = field(default=lambda line: print(line, flush=True))


@dataclass(frozen=True, slots=True)
class Report:
    """What one benchmark found: for people and for --json."""

    text: str
    found: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Figure:
    """A measured figure; `limit` is what the machine can do, measured in the same run, or what is asked for."""

    what: str
    unit: str
    ours: float
    limit: float | None = None
    limit_is: str = ""
    reach: str = ""  # in words: what the ratio or figure should be
    p90: float | None = None
    most: float | None = None
    p99: float | None = None
    cpu: float | None = None  # where `ours` is of the wall clock: the processor's part of it, the same unit
    nodes: int | None = None  # of the graph: lines that differ in nothing else are one curve of a chart

    @property
    def name(self) -> str:
        return self.what if self.nodes is None else f"{self.what}, {self.nodes:,} nodes"

    @property
    def ratio(self) -> float | None:
        return self.ours / self.limit if self.limit else None


def measured(
    what: str,
    unit: str,
    taken: Sequence[float],
    scale: float = 1.0,
    limit: Sequence[float] = (),
    limit_is: str = "",
    reach: str = "",
    nodes: int | None = None,
    cpu: Sequence[float] = (),
) -> Figure:
    """The figure for what was taken some times, beside the median of what the limit took in the same rounds."""
    median, p90, p99, most = (scale * each for each in spread_of(taken))
    least = scale * statistics.median(limit) if limit else None
    processor = scale * statistics.median(cpu) if cpu else None
    return Figure(what, unit, median, least, limit_is, reach, p90, most, p99, processor, nodes)


def spread(seconds: Sequence[float]) -> tuple[float, float, float]:
    """Median, p90 and maximum."""
    median, p90, _, most = spread_of(seconds)
    return median, p90, most


def spread_of(seconds: Sequence[float]) -> tuple[float, float, float, float]:
    """Median, p90, p99 and maximum, for what was done often enough."""
    ordered = sorted(seconds)
    p90, p99 = (ordered[math.ceil(share * len(ordered)) - 1] for share in (0.9, 0.99))
    return statistics.median(ordered), p90, p99, ordered[-1]


def seconds_of(call: Callable[[], object], times: int) -> list[float]:
    """Processor time of each call, all threads: what a busy machine disturbs least. It tells nothing of waiting."""
    taken = []
    for _ in range(times):
        start = time.process_time()
        call()
        taken.append(time.process_time() - start)
    return taken


def table_of(figures: Sequence[Figure]) -> str:
    """Columns that no figure fills are left out."""
    columns: dict[str, list[float | None]] = {
        "limit": [each.limit for each in figures],
        "ours": [each.ours for each in figures],
        "cpu": [each.cpu for each in figures],
        "p90": [each.p90 for each in figures],
        "p99": [each.p99 for each in figures],
        "max": [each.most for each in figures],
    }
    filled = {name: column for name, column in columns.items() if any(each is not None for each in column)}
    lines = [f"{'':<58}" + "".join(f"{name:>10}" for name in filled) + f"{'ratio':>7}  reach"]
    for number, figure in enumerate(figures):
        cells = "".join(f"{shown(column[number]):>10}" for column in filled.values())
        ratio = "" if figure.ratio is None else f"{figure.ratio:.2f}"
        lines.append(f"{figure.name + ', ' + figure.unit:<58}{cells}{ratio:>7}  {figure.reach}".rstrip())
    limits: dict[str, list[str]] = {}
    for figure in figures:
        if figure.limit_is:
            limits.setdefault(figure.limit_is, []).append(figure.what.strip())
    notes = [f"limit of {what[0]}{' and the like' if what[1:] else ''}: {words}" for words, what in limits.items()]
    return "\n".join([*lines, *notes])


def shown(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def json_of(figures: Sequence[Figure]) -> dict[str, Any]:
    return {"figures": [{**asdict(figure), "ratio": figure.ratio} for figure in figures]}


def machine() -> dict[str, Any]:
    """What the figures were measured on; others' work on it is told by the load."""
    cpu = platform.processor() or platform.machine()
    listed = Path("/proc/cpuinfo")
    if listed.exists():
        names = [line.partition(":")[2].strip() for line in listed.read_text().splitlines() if "model name" in line]
        cpu = names[0] if names else cpu
    return {
        "cpu": cpu,
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.release()}",
        "load": [round(each, 1) for each in os.getloadavg()],
        "date": time.strftime("%Y-%m-%d %H:%M"),
    }

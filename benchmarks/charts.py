"""Charts of cost against the size of the graph, and a page around them: what was found, on what, and when.

A chart is a part of what a benchmark found, whose lines know how many nodes they are of. Words before a colon name a
panel of it, those behind it the curve: `chain: joblib`. Wants matplotlib: the extra `bench`.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

Rows = Sequence[Mapping[str, Any]]
Curves = dict[str, dict[int, float]]

LIMIT = "limit"
OURS = "cas-run"


def draw(found: Mapping[str, Any], machine: Mapping[str, Any], folder: Path) -> list[Path]:
    """Writes a picture for each chart and README.md, and says which files it wrote."""
    folder.mkdir(parents=True, exist_ok=True)
    written, page = [], [HEAD, caption(machine)]
    for name, rows in parts(found):
        panels = panels_of([row for row in rows if row["unit"] == rows[0]["unit"]])
        if not panels:
            continue
        file = folder / f"{name.replace(' ', '-').replace(',', '')}.svg"
        picture(name, rows[0]["unit"], panels, machine, file)
        page += [f"## {name}", f"![{name}: cost against nodes]({file.name})", table(rows)]
        written.append(file)
    versions = {peer: version for part in found.values() for peer, version in part.get("versions", {}).items()}
    notes = [note for part in found.values() for note in part.get("notes", ())]
    if versions:
        page.append("Peers: " + ", ".join(f"{peer} {version}" for peer, version in versions.items()) + ".")
    if notes:
        page.append("\n".join(f"- {note}" for note in notes))
    readme = folder / "README.md"
    readme.write_text("\n\n".join(page) + "\n", encoding="utf-8")
    return [*written, readme]


HEAD = """# Cost against the size of the graph

Written by `python -m benchmarks --charts`; what is measured, and how, is told in
[benchmarks/README.md](../../benchmarks/README.md). Both axes are logarithmic. Dashed lines are limits: what the
machine can do, measured in the same rounds. Seconds are of the wall clock, with whatever else the machine did; *cpu* is
the processor's part of them."""


def caption(machine: Mapping[str, Any]) -> str:
    """The kind of machine and the date: no name of a host, no path."""
    load = ", ".join(map(str, machine["load"]))
    return f"{machine['cpu']}, {machine['cores']} cores, Python {machine['python']}, load {load}, {machine['date']}."


def parts(found: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, Rows]]:
    for name, part in found.items():
        if name == "figures":
            sized = [row for row in part if row.get("nodes") is not None]
            if sized:
                yield above, sized
        elif isinstance(part, dict):
            yield from parts(part, f"{above}, {name}" if above else name)


def panels_of(rows: Rows) -> dict[str, Curves]:
    """Those with two sizes at least: a point is no curve. Beside peers one limit is drawn, else one for each curve."""
    panels: dict[str, Curves] = {}
    for row in rows:
        panel, curve = split(row["what"])
        panels.setdefault(panel, {}).setdefault(curve, {})[row["nodes"]] = row["ours"]
    for row in rows:
        panel, curve = split(row["what"])
        if row["limit"] is not None and (curve == OURS or OURS not in panels[panel]):
            name = LIMIT if curve == OURS else f"{LIMIT} of {curve}"
            panels[panel].setdefault(name, {})[row["nodes"]] = row["limit"]
    return {panel: curves for panel, curves in panels.items() if any(len(points) > 1 for points in curves.values())}


def split(what: str) -> tuple[str, str]:
    panel, _, curve = what.rpartition(": ")
    return panel, curve.strip()


def picture(name: str, unit: str, panels: Mapping[str, Curves], machine: Mapping[str, Any], file: Path) -> None:
    matplotlib: Any = importlib.import_module("matplotlib")
    matplotlib.use("svg")
    # The same figures give the same file, and its words can be read and searched.
    matplotlib.rcParams |= {"svg.hashsalt": "cas-run", "svg.fonttype": "none"}
    pyplot: Any = importlib.import_module("matplotlib.pyplot")
    columns = min(len(panels), 3)
    rows = -(-len(panels) // columns)
    figure, axes = pyplot.subplots(rows, columns, figsize=(4.4 * columns, 3.6 * rows + 0.8), squeeze=False, sharey=True)
    found = dict.fromkeys(curve for curves in panels.values() for curve in curves)
    order = sorted((curve for curve in found if not curve.startswith(LIMIT)), key=lambda each: each != OURS)
    colours = matplotlib.colormaps["tab20"].colors
    shown: dict[str, Any] = {}
    for axis, (panel, curves) in zip(axes.flat, panels.items(), strict=False):
        for curve, points in sorted(curves.items()):
            of = curve.removeprefix(f"{LIMIT} of ")
            colour = "black" if curve == LIMIT else colours[order.index(of) % len(colours)]
            style: dict[str, Any] = {"marker": "o", "markersize": 3, "linewidth": 2.4 if curve == OURS else 1.2}
            if curve.startswith(LIMIT):
                style = {"linestyle": "--", "linewidth": 1.2}
            [shown[curve]] = axis.plot(list(points), list(points.values()), color=colour, **style)
        axis.set(xscale="log", yscale="log", title=panel, xlabel="nodes", ylabel=unit)
        axis.grid(visible=True, which="major", alpha=0.3)
    for axis in list(axes.flat)[len(panels) :]:
        axis.set_axis_off()
    names = [*order, *(curve for curve in found if curve.startswith(LIMIT))]
    figure.legend([shown[each] for each in names], names, loc="outside right upper", frameon=False)
    figure.set_layout_engine("constrained")
    figure.suptitle(f"{name}\n{caption(machine)}", fontsize=9)
    figure.savefig(file, metadata={"Date": None, "Creator": None})
    pyplot.close(figure)


def table(rows: Rows) -> str:
    lines = ["| | nodes | unit | limit | ours | cpu | p90 | max | ratio |", "|---|" + "---:|" * 8]
    for row in rows:
        cells = [cell(row.get(column)) for column in ("limit", "ours", "cpu", "p90", "most", "ratio")]
        lines.append(f"| {row['what']} | {row['nodes']:,} | {row['unit']} | {' | '.join(cells)} |")
    return "\n".join(lines)


def cell(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"

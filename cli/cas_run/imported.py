"""What a bundle carries, as lines for who has to decide whether to trust it. Pure."""

from __future__ import annotations

from collections import Counter
from datetime import datetime
from typing import TYPE_CHECKING

from cas_run.ids import short_id
from cas_run.phrases import count, shorten, size

if TYPE_CHECKING:
    from cas_engine.bundles.unbundling import Bundle
    from cas_run.terminal import Stream

MOST = 20


def bundle_lines(found: Bundle, out: Stream, *, each: bool) -> list[str]:
    """Dispatches, code, packages, and what of it the store has already."""
    lines = []
    for one in found.dispatches:
        if one.outer and not each:
            continue
        when = datetime.fromtimestamp(one.started).strftime("%Y-%m-%d %H:%M")  # noqa: DTZ006 - as the user's clock says
        inputs = ", ".join(f"{_plain(name)}={_plain(text)}" for name, text in one.inputs.items())
        here = "  (here already)" if one.is_here else ""
        name = out.paint(_plain(one.lattice), "bold")
        lines.append(
            f"{short_id(one.dispatch_id)} {name}({shorten(inputs, 80)})  {one.status}, {when}, "
            f"{count(one.nodes, 'node')}{here}"
        )
    modules: dict[str, list[str]] = {}
    for code in found.code:
        modules.setdefault(code.module, []).append(_plain(code.name))
    for module, names in list(modules.items())[: None if each else MOST]:
        shown = sorted(set(names))
        lines.append(f"code of {_plain(module)}: {shorten(', '.join(shown), 160)}")
    if len(modules) > MOST and not each:
        lines.append(f"code of {len(modules) - MOST:,} more modules (-v)")
    packages = [
        f"{_plain(name)} {_plain(there)}" + ("" if there == here else f" (here {here})")
        for name, (there, here) in found.packages.items()
    ]
    if packages:
        lines.append("packages: " + ", ".join(packages))
    lines += [f"accepted as unchanged: {_plain(one.electron)}, by {_plain(one.who)}" for one in found.accepted]
    lines.append(
        f"{count(len(found.dispatches), 'dispatch', 'dispatches')}, {count(found.records, 'record')} "
        f"({found.new_records:,} new), {count(found.blobs, 'blob')}, {size(found.size)}: "
        + ("imported" if found.imported else "intact")
    )
    if found.kept:
        electrons = Counter(text.rpartition(" ")[0] for text in found.kept)
        most = ", ".join(f"{_plain(name)} ({n:,})" for name, n in electrons.most_common(5))
        verb = "has" if found.imported else "would keep"
        lines.append(f"for {count(len(found.kept), 'node')} the store {verb} another result, which stays: {most}")
    return lines


def _plain(text: str) -> str:
    """Nothing that a terminal would obey: these texts are somebody else's."""
    return "".join(c if c.isprintable() else "?" for c in text)

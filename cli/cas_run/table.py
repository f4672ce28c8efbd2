"""Plain text tables: aligned columns, no frames, at home in a terminal and in a pipe. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

GAP = "  "
SMALLEST = 12  # an elastic column is not squeezed below this

Cell = str | tuple[str, str]  # text, or text and its style


class Column(NamedTuple):
    title: str
    right: bool = False
    elastic: bool = False  # gives way when the line is too long for the terminal
    spare: bool = False  # and this is left out when that is not enough, the last one first


def lines_of(
    columns: Sequence[Column],
    rows: Sequence[Sequence[Cell]],
    *,
    paint: Callable[[str, str], str],
    width: int | None = None,
) -> list[str]:
    """The header and one line a row, nothing without rows. Columns in which nothing stands are left out."""
    if not rows:
        return []
    kept = [i for i in range(len(columns)) if any(_text(row[i]) for row in rows)]
    natural = {i: max([display_width(columns[i].title), *(display_width(_text(row[i])) for row in rows)]) for i in kept}
    while True:
        widths = [natural[i] for i in kept]
        excess = _squeeze(widths, [columns[i] for i in kept], width)
        spare = [i for i in kept if columns[i].spare]
        if excess <= 0 or not spare:
            break
        kept.remove(spare[-1])
    columns = [columns[i] for i in kept]
    rows = [[row[i] for i in kept] for row in rows]
    header = [(column.title, "dim") for column in columns]
    return [_line(columns, cells, widths, paint) for cells in (header, *rows)]


def display_width(text: str) -> int:
    """Columns that a terminal gives to the text."""
    if text.isascii():
        return len(text)
    from unicodedata import combining, east_asian_width

    return sum(0 if combining(c) else 2 if east_asian_width(c) in "WF" else 1 for c in text)


def clipped(text: str, width: int) -> str:
    """The text, with an ellipsis where it had to end."""
    if display_width(text) <= width:
        return text
    used, kept = 0, []
    for character in text:
        used += display_width(character)
        if used > width - 1:
            break
        kept.append(character)
    return "".join(kept) + "…"


def _squeeze(widths: list[int], columns: Sequence[Column], width: int | None) -> int:
    """Make elastic columns narrower; by how much the line is too long still."""
    if width is None:
        return 0
    excess = sum(widths) + len(GAP) * (len(widths) - 1) - width
    for i in sorted(range(len(widths)), key=lambda i: -widths[i]):
        if excess > 0 and columns[i].elastic:
            taken = min(excess, max(widths[i] - SMALLEST, 0))
            widths[i] -= taken
            excess -= taken
    return excess


def _line(
    columns: Sequence[Column],
    cells: Sequence[Cell],
    widths: Sequence[int],
    paint: Callable[[str, str], str],
) -> str:
    parts = []
    for column, cell, width in zip(columns, cells, widths, strict=True):
        text = clipped(_text(cell), width)
        space = " " * (width - display_width(text))
        painted = paint(text, "" if isinstance(cell, str) else cell[1])
        parts.append(space + painted if column.right else painted + space)
    return GAP.join(parts).rstrip()


def _text(cell: Cell) -> str:
    text = cell if isinstance(cell, str) else cell[0]
    # Names come from users' code: none of them moves the cursor or rings a bell.
    return text if text.isprintable() else " ".join("".join(c if c.isprintable() else " " for c in text).split())

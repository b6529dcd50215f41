"""Text for a terminal: names that cannot command it, and tables."""

from __future__ import annotations

from collections.abc import Sequence


def printable(text: str) -> str:
    """Return the text without what a terminal would obey."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def table(columns: Sequence[str], rows: Sequence[tuple[str, Sequence[str]]]) -> list[str]:
    """Return indented lines with aligned cells.

    Args:
        columns: titles of the cells.
        rows: (name, cells); the name stands last, where its width does no harm.
    """
    lines = [(tuple(columns), ""), *((tuple(cells), printable(name)) for name, cells in rows)]
    widths = [max(len(cells[k]) for cells, _name in lines) for k in range(len(columns))]
    return [
        "  " + "  ".join(cell.rjust(width) for cell, width in zip(cells, widths, strict=True)) + f"  {name}".rstrip()
        for cells, name in lines
    ]

"""Cells of the evaluation page's tables: what is read, and what is sorted by."""

from __future__ import annotations

import math
from dataclasses import dataclass

from scripts.report.numbers import DASH, format_number


@dataclass(frozen=True)
class Cell:
    """One cell.

    Attributes:
        text: what is read.
        order: number or text that it sorts by, None where nothing was measured.
        note: a second, quieter line.
    """

    text: str
    order: float | str | None = None
    note: str = ""


@dataclass(frozen=True)
class Column:
    """Head of a column.

    Attributes:
        label: its name.
        note: unit and direction.
        hint: the same in words.
        numeric: aligned to the right.
        role: see `Quantity`.
    """

    label: str
    note: str = ""
    hint: str = ""
    numeric: bool = False
    role: str = ""


@dataclass(frozen=True)
class Table:
    """A table that can be sorted; the first cell of a row names it."""

    caption: str
    columns: list[Column]
    rows: list[list[Cell]]


def text_cell(text: str, note: str = "") -> Cell:
    """A cell that sorts by its text."""
    return Cell(text, text.lower(), note)


def number_cell(
    value: float | None, decimals: int, note: str = "", *, signed: bool = False
) -> Cell:
    """A cell that sorts by its number; a dash without an order where there is none."""
    if value is None or math.isnan(value):
        return Cell(DASH)
    order = value if math.isfinite(value) else "Infinity"  # what JavaScript reads as a number
    return Cell(format_number(value, decimals, signed=signed), order, note)

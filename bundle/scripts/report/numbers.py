"""Numbers in words: figures and p-values as a page or a table writes them."""

from __future__ import annotations

import math

MINUS, DASH, INFINITY = "\N{MINUS SIGN}", "\N{EN DASH}", "\N{INFINITY}"


def is_missing(value: float | None) -> bool:
    """Whether a figure was not measured: None or NaN."""
    return value is None or math.isnan(value)


def format_number(value: float | None, decimals: int, *, signed: bool = False) -> str:
    """Write a figure with a true minus sign; a dash where it was not measured."""
    if value is None or math.isnan(value):
        return DASH
    if math.isinf(value):
        return INFINITY
    text = f"{value:+.{decimals}f}" if signed else f"{value:.{decimals}f}"
    if float(text) == 0:
        text = text.lstrip("+-")
    return text.replace("-", MINUS)


def format_p(value: float) -> str:
    """Write a p-value as papers do."""
    return "p < .001" if value < 0.001 else "p = " + f"{value:.3f}".lstrip("0")

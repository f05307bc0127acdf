"""Charts of the evaluation page, as text that stands in the page itself."""

from __future__ import annotations

import base64
import io
import math
import re
import tempfile
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure

from scripts.report.glossary import COMPARISONS, CONTRASTS, DIRECTIONS, find_quantity
from scripts.report.numbers import format_number, is_missing
from scripts.report.tables import name_row
from scripts.report.training_curves import NoScalarsError, save_training_curves

BAR_FIGURES = ("ssim", "psnr", "mae")
MAX_MODELS = 8  # bars of models in a chart; more cannot be told apart on a phone
LABEL_CHARACTERS = 24
BINS = 64  # of a joint histogram, as of the look-up table
# Stand-ins that the page replaces by its own colours, so that charts follow light and dark.
INK, MUTED, MODEL, TRIVIAL = "#010101", "#020202", "#030303", "#040404"
PAGE_COLOURS = {INK: "ink", MUTED: "muted", MODEL: "model", TRIVIAL: "trivial"}


def make_bar_charts(summary: Mapping[str, Any]) -> list[dict[str, str]]:
    """One chart a direction and primary figure: `title` and `svg`."""
    charts = []
    for comparison in DIRECTIONS:
        for figure in BAR_FIGURES:
            rows = select_bars(summary["rows"], comparison, figure)
            if rows:
                title = f"{find_quantity(figure).label}, {COMPARISONS[comparison]}"
                charts.append({"title": title, "svg": plot_bars(rows, figure, title)})
    return charts


def select_bars(
    rows: Sequence[Mapping[str, Any]], comparison: str, figure: str
) -> list[Mapping[str, Any]]:
    """Rows of the best models and of the trivial rows, the best first."""
    found = [
        row
        for row in rows
        if (row["comparison"], row["figure"]) == (comparison, figure)
        and row["mean"] is not None
        and math.isfinite(row["mean"])
    ]
    found.sort(key=lambda row: row["mean"], reverse=find_quantity(figure).better == "higher")
    models = [row["model"] for row in found if row["kind"] == "model"][:MAX_MODELS]
    return [row for row in found if row["kind"] == "trivial" or row["model"] in models]


def plot_bars(rows: Sequence[Mapping[str, Any]], figure: str, title: str) -> str:
    """Draw bars from 0 with their intervals, the best at the top."""
    quantity = find_quantity(figure)
    drawing, axes = make_axes(4.2, 0.75 + 0.42 * len(rows))
    names = [name_row(row["model"], row["kind"]) for row in rows]
    for place, row in enumerate(rows):
        colour = MODEL if row["kind"] == "model" else TRIVIAL
        axes.barh(place, row["mean"], color=colour, height=0.62)
        low, high = _read_interval(row)
        axes.hlines(place, low, high, color=INK, linewidth=1.6)
        axes.vlines((low, high), place - 0.14, place + 0.14, color=INK, linewidth=1.6)
        axes.annotate(
            format_number(row["mean"], quantity.decimals),
            (max(high, 0), place),
            xytext=(5, 0),
            textcoords="offset points",
            color=INK,
            fontsize=9,
            verticalalignment="center",
        )
    axes.set_yticks(range(len(rows)), [shorten(name) for name in names], parse_math=False)
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.margins(x=0.16)
    axes.tick_params(axis="y", length=0, labelcolor=INK, labelsize=9)
    axes.set_xlabel(f"{quantity.label}{', ' + quantity.unit if quantity.unit else ''}")
    return format_svg(drawing, f"{title}. {'; '.join(map(_describe_bar, rows))}.")


def _read_interval(row: Mapping[str, Any]) -> tuple[float, float]:
    if is_missing(row["low"]) or is_missing(row["high"]):
        return row["mean"], row["mean"]
    return row["low"], row["high"]


def _describe_bar(row: Mapping[str, Any]) -> str:
    decimals = find_quantity(row["figure"]).decimals
    mean, low, high = (format_number(row[name], decimals) for name in ("mean", "low", "high"))
    return f"{name_row(row['model'], row['kind'])} {mean} ({low} to {high})"


def shorten(label: str) -> str:
    """Keep the end of a long label, where labels of one folder differ."""
    return label if len(label) <= LABEL_CHARACTERS else f"…{label[1 - LABEL_CHARACTERS :]}"


def plot_joint_histogram(
    real: npt.NDArray[np.uint8], synthetic: npt.NDArray[np.uint8], comparison: str
) -> str:
    """Draw how often a synthetic intensity meets a real one, both 0 to 255, on black.

    Args:
        real: (voxels,).
        synthetic: (voxels,).
        comparison: direction.
    """
    contrast = CONTRASTS[comparison][1]
    drawing, axes = make_axes(4.2, 3.9)
    edges = np.linspace(0, 1, BINS + 1)
    counts = np.histogram2d(real / 255, synthetic / 255, bins=(edges, edges))[0].T
    axes.patch.set(visible=True, color="black")
    axes.pcolormesh(
        edges,
        edges,
        np.ma.masked_equal(counts, 0),
        norm=LogNorm(1, max(counts.max(), 2)),
        cmap="inferno",
        rasterized=True,
    )
    axes.plot((0, 1), (0, 1), color="white", linewidth=0.8, linestyle="--")
    axes.set(xlim=(0, 1), ylim=(0, 1), aspect="equal")
    axes.set(xlabel=f"real {contrast}", ylabel=f"synthetic {contrast}")
    return format_svg(drawing, f"How often a synthetic {contrast} intensity meets a real one")


def compute_correlation(real: npt.NDArray[np.uint8], synthetic: npt.NDArray[np.uint8]) -> float:
    """Pearson's correlation of two lists of voxels, NaN where one of them is constant."""
    if real.size == 0 or real.std() == 0 or synthetic.std() == 0:
        return float("nan")
    return float(np.corrcoef(real, synthetic)[0, 1])


def make_training_curves(tensorboard_dir: Path | None) -> str | None:
    """Picture of a run's curves as a data URI, None where none are there yet."""
    if tensorboard_dir is None:
        return None
    with tempfile.TemporaryDirectory() as folder:
        try:
            picture = save_training_curves(Path(folder) / "curves.webp", tensorboard_dir)
        except (FileNotFoundError, NoScalarsError):
            return None
        return format_uri(picture.read_bytes(), "image/webp")


def format_uri(content: bytes, kind: str) -> str:
    """Put a file into a data URI."""
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


def make_axes(width_inch: float, height_inch: float) -> tuple[Figure, Axes]:
    """Start a chart without a frame, in the page's colours."""
    figure = Figure(figsize=(width_inch, height_inch), layout="constrained")
    FigureCanvasSVG(figure)
    axes = figure.add_subplot()
    axes.patch.set_visible(False)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(MUTED)
    axes.tick_params(colors=MUTED, labelsize=8)
    axes.xaxis.label.set_color(INK)
    axes.yaxis.label.set_color(INK)
    return figure, axes


def format_svg(figure: Figure, description: str) -> str:
    """Write a chart as SVG that takes the page's colours and fonts.

    Args:
        figure: the chart.
        description: what a reader who cannot see it is told; it also tells the chart's names from
            those of other charts on the page.
    """
    figure.patch.set_visible(False)
    buffer = io.StringIO()
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": description}):
        figure.savefig(buffer, format="svg", dpi=150)
    svg = buffer.getvalue()
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r' (?:width|height)="[\d.]+pt"| xmlns(?::xlink)?="[^"]*"', "", svg)
    svg = re.sub(r'<g id="[^"]*"', "<g", svg)
    for stand_in, name in PAGE_COLOURS.items():
        svg = svg.replace(stand_in, f"var(--{name})")
    return svg.replace("<svg", f'<svg role="img" aria-label="{escape(description)}"', 1)

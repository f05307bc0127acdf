"""Pictures and charts of the data report, as text that goes into the page."""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
import numpy.typing as npt
from matplotlib import image as mpl_image
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

from data_prep.session_summary import (
    BINS,
    NATIVE_T1W,
    NATIVE_T2W,
    REGISTERED,
    SessionSummary,
)

ZOOM = 2  # pixels of a picture per pixel of a slice
TILE = 12  # pixels of a slice per square of the checkerboard, 18 mm at 1.5 mm
CONTOUR_RGB = (255, 196, 0)
MARGIN = 4  # pixels of a slice around the brain
# Stand-ins that the page replaces by its own colours, so that charts follow light and dark.
INK, MUTED, T1W, T2W, ALERT = "#010101", "#020202", "#030303", "#040404", "#050505"
PAGE_COLOURS = {INK: "ink", MUTED: "muted", T1W: "t1w", T2W: "t2w", ALERT: "alert"}

Image = npt.NDArray[np.uint8]


def make_pictures(session: SessionSummary, heights: Sequence[float]) -> list[dict[str, str]]:
    """Pictures of one session, upright: front at the top, the patient's left on the left.

    Args:
        session: what to show.
        heights: which slices, as fractions of the way through those that touch the brain.

    Returns:
        One dict per picture with `caption`, `alt` and `uri`.
    """
    key = NATIVE_T1W if NATIVE_T1W in session.series else NATIVE_T2W
    images, masks = session.series[key].load_images(), session.series[key].load_masks()
    registered = session.series.get(REGISTERED)
    pictures = []
    for height in heights:
        row = round(height * (len(images) - 1))
        window = find_window(masks)
        mask = upright(masks[row], window) > 0
        shown = {key[0]: grey(upright(images[row], window))}
        if registered:
            shown["Registered T2w"] = grey(upright(registered.load_images()[row], window))
            shown["Checkerboard"] = make_checkerboard(*shown.values())
        shown[f"{key[0]} with mask"] = draw_contour(shown[key[0]], mask)
        for caption, picture in shown.items():
            alt = f"{caption} of {session.label}, slice {row + 1} of {len(images)}"
            pictures.append({"caption": caption, "alt": alt, "uri": format_uri(picture)})
    return pictures


def find_window(masks: npt.NDArray[np.uint8]) -> tuple[slice, slice]:
    """Rows and columns of a slice that hold the brain of all slices, with a margin."""
    seen = masks.max(axis=0) > 0
    window = []
    for axis in (1, 0):
        where = np.flatnonzero(seen.any(axis=axis))
        window.append(slice(max(where[0] - MARGIN, 0), where[-1] + MARGIN + 1))
    return window[0], window[1]


def upright(array: npt.NDArray[Any], window: tuple[slice, slice]) -> npt.NDArray[Any]:
    """Turn (i to the right, j to the front) into rows from the top, and enlarge."""
    return np.rot90(array[window]).repeat(ZOOM, axis=0).repeat(ZOOM, axis=1)


def grey(array: npt.NDArray[np.uint16]) -> Image:
    """Show 16-bit intensities as (height, width, 3) in [0, 255]."""
    return np.repeat((array >> 8).astype(np.uint8)[..., None], 3, axis=2)


def make_checkerboard(first: Image, second: Image) -> Image:
    """Alternate squares of two pictures: edges run on where they are aligned."""
    row, column = np.indices(first.shape[:2]) // (TILE * ZOOM)
    return np.where(((row + column) % 2 == 0)[..., None], first, second)


def draw_contour(picture: Image, mask: npt.NDArray[np.bool_]) -> Image:
    """Paint the outermost pixels of a mask, one pixel of the picture wide."""
    inner = mask.copy()
    for axis, step in ((0, 1), (0, -1), (1, 1), (1, -1)):
        inner &= np.roll(mask, step, axis=axis)
    return np.where((mask & ~inner)[..., None], np.array(CONTOUR_RGB, np.uint8), picture)


def format_uri(picture: Image) -> str:
    """Put a picture into a data URI."""
    buffer = io.BytesIO()
    mpl_image.imsave(buffer, picture, format="webp", pil_kwargs={"quality": 82})
    return "data:image/webp;base64," + base64.b64encode(buffer.getvalue()).decode()


def plot_densities(sessions: Sequence[SessionSummary]) -> str:
    """Chart the intensities of a dataset: thin lines are sessions, thick lines their mean."""
    figure, axes = make_axes(4.2, 2.5)
    centres = (np.arange(BINS) + 0.5) / BINS
    for contrast, colour in (("T1w", T1W), ("T2w", T2W)):
        densities = [one.densities[contrast] for one in sessions if contrast in one.densities]
        if not densities:
            continue
        for density in densities if len(densities) > 1 else ():
            axes.plot(centres, density, color=colour, linewidth=0.6, alpha=0.35)
        mean = np.mean(densities, axis=0)
        axes.plot(centres, mean, color=colour, linewidth=2, label=contrast)
    axes.set(xlim=(0, 1), ylim=(0, None), xlabel="intensity", ylabel="density")
    axes.legend(frameon=False, labelcolor=INK)
    return format_svg(figure)


def plot_mutual_information(sessions: Sequence[SessionSummary]) -> str:
    """Chart mutual information before and after registration; below the line it fell."""
    figure, axes = make_axes(4.2, 3.6)
    registrations = [(one, read_mutual_information(one.registration)) for one in sessions]
    points = [(one, pair) for one, pair in registrations if pair]
    for one, (before, after) in points:
        colour = ALERT if one.remarks else T1W
        axes.plot(before, after, "o", color=colour, markersize=6, alpha=0.85)
        if one.remarks:
            side = "right" if before > np.mean([pair[0] for _, pair in points]) else "left"
            axes.annotate(
                one.label,
                (before, after),
                xytext=(-7 if side == "right" else 7, 0),
                textcoords="offset points",
                horizontalalignment=side,
                verticalalignment="center",
                color=ALERT,
                fontsize=8,
            )
    values = [value for _, pair in points for value in pair]
    ends = [min(values), max(values)]
    axes.plot(ends, ends, color=MUTED, linewidth=1, linestyle="--", zorder=0)
    axes.set(xlabel="normalised mutual information before", ylabel="after")
    return format_svg(figure)


def read_mutual_information(registration: Mapping[str, Any] | None) -> tuple[float, float] | None:
    """Mutual information before and after, where it was measured."""
    if not registration or registration.get("mutual_information_after") is None:
        return None
    return (
        float(registration["mutual_information_before"]),
        float(registration["mutual_information_after"]),
    )


def make_axes(width_inch: float, height_inch: float) -> tuple[Figure, Axes]:
    """Start a chart without a frame, in the page's colours."""
    figure = Figure(figsize=(width_inch, height_inch), layout="constrained")
    FigureCanvasSVG(figure)
    axes = figure.add_subplot()
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(MUTED)
    axes.tick_params(colors=MUTED, labelsize=8)
    axes.xaxis.label.set_color(INK)
    axes.yaxis.label.set_color(INK)
    return figure, axes


def format_svg(figure: Figure) -> str:
    """Write a chart as SVG that stands in the page itself and takes its colours and fonts."""
    figure.patch.set_visible(False)
    figure.axes[0].patch.set_visible(False)
    buffer = io.StringIO()
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": "report"}):
        figure.savefig(buffer, format="svg")
    svg = buffer.getvalue()
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r' (?:width|height)="[\d.]+pt"| xmlns(?::xlink)?="[^"]*"', "", svg)
    svg = re.sub(r'<g id="[^"]*"', "<g", svg)
    for stand_in, name in PAGE_COLOURS.items():
        svg = svg.replace(stand_in, f"var(--{name})")
    return svg.replace("<svg", '<svg aria-hidden="true"', 1)

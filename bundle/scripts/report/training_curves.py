"""Training curves: losses and metrics of a run, from its TensorBoard event files."""

from __future__ import annotations

import logging
import math
from collections import defaultdict
from collections.abc import Sequence
from operator import attrgetter
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from scripts.report.comparison_figure import save_figure

CURVES_PER_ROW = 3
TICKS = 4  # at most, an axis
# Inches. Matplotlib's own layout would draw every panel twice, in twice the time.
PANEL = {"width": 4.0, "height": 2.4}
MARGIN = {"left": 0.6, "right": 0.1, "bottom": 0.5, "top": 0.3}


class NoScalarsError(ValueError):
    """A run has event files, but has logged nothing: it has just begun, or ended early."""


def load_scalars(event_dir: str | PathLike[str]) -> dict[str, npt.NDArray[np.float64]]:
    """Read the scalars of a run's TensorBoard event files.

    Returns:
        (points, 2) by tag: step and value.

    Raises:
        FileNotFoundError: there are no event files.
        NoScalarsError: they hold no scalars.
    """
    if not list(Path(event_dir).glob("*tfevents*")):
        raise FileNotFoundError(f"{event_dir}: no TensorBoard event files; train a model first")
    logging.getLogger("tensorboard").setLevel(logging.ERROR)  # it reports every file that it opens
    accumulator = EventAccumulator(str(event_dir), size_guidance={"scalars": 0})  # 0: keep all
    accumulator.Reload()
    tags = accumulator.Tags()["scalars"]
    if not tags:
        raise NoScalarsError(f"{event_dir}: the event files hold no scalars")
    return {tag: unique_steps(accumulator.Scalars(tag)) for tag in sorted(tags)}


def unique_steps(points: Sequence[Any]) -> npt.NDArray[np.float64]:
    """Sort points by step; where a resumed run wrote a step again, the later value counts."""
    values = {point.step: point.value for point in sorted(points, key=attrgetter("wall_time"))}
    return np.array(sorted(values.items()), dtype=np.float64)


def group_by_quantity(tags: Sequence[str]) -> dict[str, dict[str, str]]:
    """Put `training/ssim` and `validation/ssim` into one panel: {"ssim": {part: tag}}."""
    groups: defaultdict[str, dict[str, str]] = defaultdict(dict)
    for tag in tags:
        part, _, quantity = tag.rpartition("/")
        groups[quantity][part] = tag
    return dict(groups)


def save_training_curves(path: str | PathLike[str], event_dir: str | PathLike[str]) -> Path:
    """Save losses and validation metrics of a run, one panel per quantity.

    Args:
        path: picture to write.
        event_dir: folder that holds the TensorBoard event files.
    """
    scalars = load_scalars(event_dir)
    groups = group_by_quantity(list(scalars))
    figure, axes = _make_panels(math.ceil(len(groups) / CURVES_PER_ROW))
    for panel, (quantity, tags) in zip(axes, groups.items(), strict=False):
        for part, tag in tags.items():
            steps, values = scalars[tag].T
            marker = "o" if len(steps) == 1 else ""  # one point makes no line
            panel.plot(steps, values, label=part, marker=marker, linewidth=1.3)
        panel.set_title(quantity, fontsize=10)
        panel.set_xlabel("step", fontsize=8)
        panel.tick_params(labelsize=8)
        panel.locator_params(nbins=TICKS)
        panel.spines[["top", "right"]].set_visible(False)
        if any(tags):
            panel.legend(frameon=False, fontsize=8)
    for panel in axes[len(groups) :]:
        panel.set_axis_off()
    return save_figure(figure, path)


def _make_panels(rows: int) -> tuple[Figure, npt.NDArray[Any]]:
    """A figure and its panels, row by row, with room for titles and ticks between them."""
    width, height = CURVES_PER_ROW * PANEL["width"], rows * PANEL["height"]
    figure = Figure(figsize=(width, height))
    axes = figure.subplots(rows, CURVES_PER_ROW, squeeze=False).ravel()
    across, down = MARGIN["left"] + MARGIN["right"], MARGIN["bottom"] + MARGIN["top"]
    figure.subplots_adjust(
        left=MARGIN["left"] / width,
        right=1 - MARGIN["right"] / width,
        bottom=MARGIN["bottom"] / height,
        top=1 - MARGIN["top"] / height,
        wspace=across / (PANEL["width"] - across),
        hspace=down / (PANEL["height"] - down),
    )
    return figure, axes

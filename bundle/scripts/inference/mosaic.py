"""A picture of one translation, to look at: source above, synthetic below, in three planes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray

from scripts.whole_files import open_whole

# Axis across the slices of a plane, and where slices are shown as parts of the brain's extent.
SHOWN = ((2, (0.2, 0.35, 0.5, 0.65, 0.8)), (1, (0.35, 0.65)), (0, (0.35, 0.5)))
MARGIN_MM = 8.0
INCH_PER_MM, DPI = 0.0105, 110
LEAST_WIDTH = 5.0  # inches, for the title above a single slice
PAPER, INK, EDGE = "black", "#e6e6e6", "#ffb000"

Volume = NDArray[np.floating[Any]]
Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Section:
    """One slice that is shown.

    Attributes:
        axis: across it.
        index: voxel along that axis.
        window: voxels of all three axes that are shown.
    """

    axis: int
    index: int
    window: tuple[slice, slice, slice]

    def cut(self, volume: NDArray[Any]) -> NDArray[Any]:
        """Return the slice, its second axis upwards."""
        first, second = (self.window[axis] for axis in range(3) if axis != self.axis)
        return np.rot90(volume.take(self.index, self.axis)[first, second])

    def measure_mm(self, spacing_mm: Sequence[float]) -> tuple[float, float]:
        """Width and height as it is shown."""
        width, height = (
            (self.window[axis].stop - self.window[axis].start) * spacing_mm[axis]
            for axis in range(3)
            if axis != self.axis
        )
        return width, height


def save_mosaic(
    path: Path,
    *,
    rows: dict[str, Volume],
    mask: Mask,
    spacing_mm: Sequence[float],
    title: str,
) -> None:
    """Save slices in all planes, one row a volume, the mask's edge drawn on the first.

    Args:
        path: PNG to write.
        rows: volumes (x, y, z) in RAS+ with values in [0, 1], by name.
        mask: brain, the same shape.
        spacing_mm: voxel size.
        title: above the picture.
    """
    sections = choose_sections(mask, spacing_mm)
    sizes = [section.measure_mm(spacing_mm) for section in sections]
    figure = make_figure(sizes, rows=len(rows))
    figure.suptitle(title, color=INK, fontsize=9, parse_math=False)
    grid = figure.add_gridspec(len(rows), len(sections), width_ratios=[width for width, _ in sizes])
    for row, (name, volume) in enumerate(rows.items()):
        for column, section in enumerate(sections):
            axes = figure.add_subplot(grid[row, column])
            show_section(axes, section, volume, spacing_mm)
            if row == 0:
                draw_mask_edge(axes, section.cut(mask))
                if section.axis != 0:
                    mark_sides(axes)
            if column == 0:
                write(axes, name, place=(0.02, 0.98), va="top", color=INK)
    with open_whole(path) as file:
        figure.savefig(file, dpi=DPI, format="png", metadata={"Software": None})


def make_figure(sizes_mm: Sequence[tuple[float, float]], *, rows: int) -> Figure:
    """Return a black figure in which every section has the same scale."""
    width = sum(width for width, _ in sizes_mm) * INCH_PER_MM
    height = max(height for _, height in sizes_mm) * INCH_PER_MM * rows
    size = (max(width, LEAST_WIDTH), height + 0.3)
    figure = Figure(figsize=size, layout="constrained", facecolor=PAPER)
    FigureCanvasAgg(figure)
    return figure


def show_section(axes: Axes, section: Section, volume: Volume, spacing_mm: Sequence[float]) -> None:
    """Show one slice of a volume in grey."""
    width_mm, height_mm = section.measure_mm(spacing_mm)
    picture = section.cut(volume)
    aspect = (height_mm / picture.shape[0]) / (width_mm / picture.shape[1])
    axes.imshow(picture, cmap="gray", vmin=0, vmax=1, aspect=aspect)
    axes.set_axis_off()


def draw_mask_edge(axes: Axes, mask: Mask) -> None:
    """Draw the edge of the brain mask."""
    if mask.any() and not mask.all() and min(mask.shape) > 1:
        axes.contour(mask, levels=[0.5], colors=EDGE, linewidths=0.6)


def mark_sides(axes: Axes) -> None:
    """Mark the patient's left and right: the first axis of RAS+ runs to the right."""
    write(axes, "L", place=(0.02, 0.02), ha="left", color=EDGE)
    write(axes, "R", place=(0.98, 0.02), ha="right", color=EDGE)


def write(axes: Axes, text: str, *, place: tuple[float, float], **style: Any) -> None:
    """Write into a panel, at a place from 0 to 1."""
    axes.text(*place, text, fontsize=8, transform=axes.transAxes, **style)


def choose_sections(mask: Mask, spacing_mm: Sequence[float]) -> list[Section]:
    """Choose slices through the brain in every plane; of a single slice only that one.

    Raises:
        ValueError: the mask is empty.
    """
    window = find_window(mask, spacing_mm)
    if 1 in mask.shape:
        return [Section(mask.shape.index(1), 0, window)]
    sections = []
    for axis, heights in SHOWN:
        touched = find_touched(mask, axis)
        indices = sorted({int(touched[round(part * (len(touched) - 1))]) for part in heights})
        sections += [Section(axis, index, window) for index in indices]
    return sections


def find_touched(mask: Mask, axis: int) -> NDArray[np.intp]:
    """Return the slices across an axis that hold brain."""
    touched = np.flatnonzero(mask.any(axis=tuple({0, 1, 2} - {axis})))
    if touched.size == 0:
        raise ValueError("the brain mask is empty, so there is nothing to show.")
    return touched


def find_window(mask: Mask, spacing_mm: Sequence[float]) -> tuple[slice, slice, slice]:
    """Voxels of each axis that hold the brain with a margin."""
    parts = []
    for axis in range(3):
        touched = find_touched(mask, axis)
        margin = round(MARGIN_MM / spacing_mm[axis])
        stop = min(int(touched[-1]) + margin + 1, mask.shape[axis])
        parts.append(slice(max(int(touched[0]) - margin, 0), stop))
    return parts[0], parts[1], parts[2]

"""Figures that a human looks at: real images beside the synthetic one and its error."""

from __future__ import annotations

from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from scripts.nifti import load_volume

# Through the orbits, the ventricles and above them, as fractions of the brain's height.
DISPLAY_HEIGHTS = (0.35, 0.55, 0.75)
MARGIN = 4  # pixels around the brain
# Colours run to half of the intensity range in every figure, so that figures can be compared.
MAX_ERROR = 0.5
PERCENTILES = (0.5, 99.5)
PANEL_INCH, DPI = 2.3, 150
PAPER, INK = "black", "#e6e6e6"  # images are judged best on black

Floats = npt.NDArray[np.floating[Any]]
Mask = npt.NDArray[np.bool_]


def save_comparison_figure(
    path: str | PathLike[str],
    *,
    real_t1w: Floats,
    real_t2w: Floats,
    synthetic_t2w: Floats,
    mask: Mask,
    label: str,
) -> Path:
    """Save real T1w, real T2w, synthetic T2w and the absolute error of a few slices.

    Args:
        path: picture to write; its ending names the format.
        real_t1w: (slice, i, j), i to the patient's right and j to the front, in [0, 1].
        real_t2w: the same on the same grid.
        synthetic_t2w: the same, made from `real_t1w`.
        mask: brain, the same shape.
        label: subject and what the reader must know.

    Returns:
        The picture's path.
    """
    arrays = {"real T1w": real_t1w, "real T2w": real_t2w, "synthetic T2w": synthetic_t2w}
    figure = plot_comparison(arrays, mask=mask.astype(bool), label=label, pixel_aspect=1.0)
    return save_figure(figure, path)


def save_comparison_from_nifti(
    path: str | PathLike[str],
    *,
    t1w: str | PathLike[str],
    t2w: str | PathLike[str],
    synthetic: str | PathLike[str],
    synthetic_range: tuple[float, float],
    brain_mask: str | PathLike[str],
    label: str,
) -> Path:
    """Save the same figure from NIfTI volumes on one grid.

    Real volumes are scaled by their 0.5 and 99.5 percentiles inside the mask, as for training, so
    that whole heads can be shown; the synthetic one by what it says of itself, so that a contrast
    that is too weak, or tissue that is missing, is an error.

    Args:
        path: picture to write.
        t1w: real T1w.
        t2w: real T2w.
        synthetic: volume that inference wrote.
        synthetic_range: what 0 and 1 are stored as in it.
        brain_mask: of all, above 0 in the brain.
        label: title.

    Raises:
        ValueError: a volume cannot be used or they are not on one grid; the text says why.
    """
    files = {"real T1w": t1w, "real T2w": t2w, "synthetic T2w": synthetic, "brain mask": brain_mask}
    images = {
        name: nib.as_closest_canonical(load_volume(Path(file))) for name, file in files.items()
    }
    check_grids(images)
    volumes = {name: np.moveaxis(image.get_fdata(), 2, 0) for name, image in images.items()}
    mask = volumes.pop("brain mask") > 0
    low, high = synthetic_range
    shown = (volumes.pop("synthetic T2w") - low) / (high - low)
    scaled = {name: scale_by_percentiles(volume, mask) for name, volume in volumes.items()}
    scaled["synthetic T2w"] = np.clip(shown, 0, 1)
    spacing_mm = images["real T1w"].header.get_zooms()
    aspect = float(spacing_mm[1] / spacing_mm[0])
    return save_figure(plot_comparison(scaled, mask=mask, label=label, pixel_aspect=aspect), path)


def check_grids(images: Mapping[str, nib.Nifti1Image]) -> None:
    """ValueError that says what differs unless all volumes share shape and affine."""
    (first_name, first), *others = images.items()
    for name, image in others:
        if image.shape != first.shape:
            raise ValueError(
                f"{name} has shape {image.shape}, {first_name} {first.shape}: "
                "resample them to one grid first"
            )
        if not np.allclose(image.affine, first.affine, atol=1e-2):  # mm
            raise ValueError(
                f"{name} and {first_name} have one shape but lie elsewhere, affines "
                f"{image.affine.tolist()} and {first.affine.tolist()}: resample them to one grid"
            )


def scale_by_percentiles(volume: Floats, mask: Mask) -> Floats:
    """Scale the 0.5 and 99.5 percentiles inside the mask to [0, 1] and cut off the rest."""
    low, high = np.percentile(volume[mask], PERCENTILES)
    scaled: Floats = np.clip((volume - low) / max(high - low, np.finfo(float).tiny), 0, 1)
    return scaled


def select_display_slices(mask: Mask) -> list[int]:
    """Choose slices low, in the middle and high in the brain, each once.

    Args:
        mask: (slice, i, j).
    """
    touched = np.flatnonzero(mask.any(axis=(1, 2)))
    if touched.size == 0:
        raise ValueError(f"no slice of the mask {mask.shape} touches the brain")
    return sorted({int(touched[round(h * (len(touched) - 1))]) for h in DISPLAY_HEIGHTS})[::-1]


def compute_error(real: Floats, synthetic: Floats, mask: Mask) -> Floats:
    """Absolute error inside the mask, 0 outside; all three of one shape."""
    return np.where(mask, np.abs(real - synthetic), 0.0)


def plot_comparison(
    arrays: Mapping[str, Floats], *, mask: Mask, label: str, pixel_aspect: float
) -> Figure:
    """Draw one row per slice: the three contrasts and the error of the last against the second.

    Args:
        arrays: three arrays (slice, i, j) in [0, 1] by name: source, target, synthetic target.
        mask: (slice, i, j).
        label: title.
        pixel_aspect: size of a pixel along j over that along i.
    """
    check_shapes({**arrays, "mask": mask})
    _, target, synthetic = arrays.values()
    columns = {**arrays, "absolute error": compute_error(target, synthetic, mask)}
    slices, window = select_display_slices(mask), find_window(mask)
    width, height = (part.stop - part.start for part in window)
    row_inch = PANEL_INCH * height * pixel_aspect / width
    figure = Figure(
        figsize=(PANEL_INCH * 4 + 0.9, row_inch * len(slices) + 0.7),
        layout="constrained",
        facecolor=PAPER,
    )
    figure.suptitle(label, color=INK, fontsize=11)
    axes = figure.subplots(len(slices), 4, squeeze=False)
    for row, index in enumerate(slices):
        for column, (name, array) in enumerate(columns.items()):
            panel = np.rot90(array[index][window])
            error = column == 3
            show(axes[row, column], panel, error=error, pixel_aspect=pixel_aspect)
            if row == 0:
                axes[row, column].set_title(name, color=INK, fontsize=11)
    add_colour_scale(figure, axes[:, 3])
    return figure


def check_shapes(arrays: Mapping[str, npt.NDArray[Any]]) -> None:
    """ValueError that names every shape unless all are one (slice, i, j)."""
    shapes = {name: array.shape for name, array in arrays.items()}
    if len(set(shapes.values())) != 1 or any(len(shape) != 3 for shape in shapes.values()):
        found = ", ".join(f"{name} {shape}" for name, shape in shapes.items())
        raise ValueError(f"found {found}; expected one shape (slice, i, j)")


def find_window(mask: Mask) -> tuple[slice, slice]:
    """Rows and columns of a slice that hold the brain of all slices, with a margin."""
    i, j = (np.flatnonzero(mask.any(axis=axes)) for axes in ((0, 2), (0, 1)))
    return (
        slice(max(i[0] - MARGIN, 0), min(i[-1] + MARGIN + 1, mask.shape[1])),
        slice(max(j[0] - MARGIN, 0), min(j[-1] + MARGIN + 1, mask.shape[2])),
    )


def show(axes: Axes, panel: Floats, *, error: bool, pixel_aspect: float) -> None:
    """Show one panel: grey in [0, 1], or an error in colours up to `MAX_ERROR`."""
    axes.imshow(
        panel,
        cmap="inferno" if error else "gray",
        vmin=0,
        vmax=MAX_ERROR if error else 1,
        aspect=pixel_aspect,
        interpolation="nearest",
    )
    axes.set_axis_off()


def add_colour_scale(figure: Figure, error_axes: npt.NDArray[Any]) -> None:
    """Add the scale of the error beside its column."""
    bar = figure.colorbar(error_axes[0].images[0], ax=error_axes.tolist(), aspect=40, shrink=0.7)
    bar.ax.tick_params(colors=INK, labelsize=8)
    bar.set_label("of the intensity range", color=INK, fontsize=8)
    bar.outline.set_visible(False)


def save_figure(figure: Figure, path: str | PathLike[str]) -> Path:
    """Write a figure and make its folder where it is absent."""
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    FigureCanvasAgg(figure)
    figure.savefig(target, dpi=DPI)
    return target

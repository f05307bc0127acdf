"""One frame of a training's picture: real, synthetic and cycle images and their densities."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from PIL import Image

from scripts.example_slices import Examples
from scripts.image_panels import prepare_display, turn_upright
from scripts.report.comparison_figure import INK, PAPER

SOURCES = {"t1w": "t2w", "t2w": "t1w"}  # what the images of a contrast are made from
NAMES = {"t1w": "T1w", "t2w": "T2w"}
SYNTHETIC, CYCLE = "#ffb000", "#78b4ff"
COLOURS = {"real": INK, "fake": SYNTHETIC, "reconstructed": CYCLE}
BINS = 64  # of a density over [0, 1]
HIGHEST = 1.5  # end of the density axis, in maxima of the real images, which every frame shares

PANEL = 200  # pixels on the screen that a panel should take; enlarged by whole factors only
GAP = 6  # pixels between panels and around them
TITLE_HEIGHT, LABEL_HEIGHT, PLOT_HEIGHT, DPI = 40, 28, 230, 100
PLOT_MARGINS = 60, 50, 20, 12  # left, bottom, right, above: pixels for the axes' labels
SHADES = 28  # of each curve's colour in the palette
GREYS = 256 - 2 * SHADES  # the first of the palette

Floats = npt.NDArray[np.floating[Any]]
Mask = npt.NDArray[np.bool_]


def draw_frame(examples: Examples, contrast: str, *, count: int, title: str) -> Image.Image:
    """Draw one contrast of the first `count` examples, with one palette for all frames.

    Rows are the examples, columns the real source, the real image, the synthetic one that was
    made from that source, and the real image after its way to the other contrast and back. Below
    are the densities of the latter three.

    Args:
        examples: translated slices.
        contrast: "t1w" or "t2w".
        count: rows at most.
        title: above the images.
    """
    source, name = SOURCES[contrast], NAMES[contrast]
    columns = {
        f"real {NAMES[source]}": f"real_{source}",
        f"real {name}": f"real_{contrast}",
        f"synthetic {name}": f"fake_{contrast}",
        f"{name} after the cycle": f"reconstructed_{contrast}",
    }
    panels = [
        prepare_display(examples.images[key][:count])[:, 0].numpy() for key in columns.values()
    ]
    scale = max(1, round(PANEL / panels[0].shape[-1]))
    grid = join_panels([panel.repeat(scale, 1).repeat(scale, 2) for panel in panels])
    densities = compute_densities(examples, contrast, count=count)
    surroundings = draw_surroundings(grid.shape, list(columns), densities, title=title)
    return use_palette(surroundings, grid)


def use_palette(surroundings: npt.NDArray[np.uint8], grid: Floats) -> Image.Image:
    """Put the images into their place and return all in the colours of `make_palette`.

    Pillow finds the nearest colour roughly, which does for words and curves, not for images.
    """
    palette = Image.new("P", (1, 1))
    palette.putpalette(make_palette())
    around = Image.fromarray(surroundings).quantize(palette=palette, dither=Image.Dither.NONE)
    numbers = np.array(around)  # of colours
    top = TITLE_HEIGHT + LABEL_HEIGHT
    numbers[top : top + grid.shape[0], : grid.shape[1]] = np.rint(grid * (GREYS - 1))
    frame = Image.fromarray(numbers)
    frame.putpalette(make_palette())
    return frame


def join_panels(columns: list[Floats]) -> Floats:
    """Join columns of panels (row, height, width) in [0, 1] to one image with black gaps."""
    around = ((0, 0), (0, GAP), (GAP, 0))
    rows = np.concatenate([np.pad(panels, around) for panels in columns], axis=2)
    return np.pad(rows.reshape(-1, rows.shape[2]), ((0, 0), (0, GAP)))


def compute_densities(examples: Examples, contrast: str, *, count: int) -> dict[str, Floats]:
    """Compute the densities of a contrast's real, fake and reconstructed images in the brain."""
    masks = {
        name: prepare_mask(examples, name=of, count=count)
        for name, of in zip(COLOURS, (contrast, SOURCES[contrast], contrast), strict=True)
    }
    return {
        name: compute_density(
            prepare_display(examples.images[f"{name}_{contrast}"][:count]).numpy(), mask
        )
        for name, mask in masks.items()
    }


def compute_density(images: Floats, mask: Mask) -> Floats:
    """Compute how dense intensities are in `BINS` equal bins over [0, 1], where the mask is true.

    Returns:
        (BINS,) values whose mean is 1, or 0 everywhere for an empty mask.
    """
    counts, _ = np.histogram(images[mask], bins=BINS, range=(0.0, 1.0))
    density: Floats = counts * BINS / max(1, counts.sum())
    return density


def prepare_mask(examples: Examples, *, name: str, count: int) -> Mask:
    """Turn masks as `prepare_display` turns images: (batch, 1, rows, columns)."""
    mask: Mask = turn_upright(examples.masks[name][:count]).cpu().numpy().astype(bool)
    return mask


def draw_surroundings(
    grid: tuple[int, ...], labels: list[str], densities: dict[str, Floats], *, title: str
) -> npt.NDArray[np.uint8]:
    """Draw title, labels and densities around the place of the images, which stays empty.

    Args:
        grid: height and width of the images together, in pixels.
        labels: of the columns.
        densities: of `compute_densities`.
        title: above all.

    Returns:
        (height, width, 3) of 0 to 255.
    """
    top = TITLE_HEIGHT + LABEL_HEIGHT
    width, height = grid[1], top + grid[0] + PLOT_HEIGHT
    figure = Figure(figsize=((width + 0.5) / DPI, (height + 0.5) / DPI), dpi=DPI, facecolor=PAPER)
    style: dict[str, Any] = {"color": INK, "horizontalalignment": "center"}
    middle = 1 - TITLE_HEIGHT / 2 / height
    figure.text(0.5, middle, title, fontsize=12, verticalalignment="center", **style)
    for number, label in enumerate(labels):
        place = (number + 0.5) / len(labels), 1 - (top - LABEL_HEIGHT / 2) / height
        figure.text(*place, label, fontsize=10, verticalalignment="center", **style)
    left, bottom, right, above = PLOT_MARGINS
    size = (width - left - right) / width, (PLOT_HEIGHT - bottom - above) / height
    plot = figure.add_axes((left / width, bottom / height, *size))
    plot_densities(plot, densities, dict(zip(COLOURS, labels[1:], strict=True)))
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.array(canvas.buffer_rgba())[..., :3]


def plot_densities(axes: Axes, densities: dict[str, Floats], labels: dict[str, str]) -> None:
    """Draw three curves on axes that are the same in every frame of a training."""
    middles = (np.arange(BINS) + 0.5) / BINS
    for name, density in densities.items():
        axes.plot(middles, density, color=COLOURS[name], linewidth=1.6, label=labels[name])
    axes.set_xlim(0, 1)
    axes.set_ylim(0, HIGHEST * max(1.0, float(densities["real"].max())))
    axes.set_facecolor(PAPER)
    axes.set_xlabel("intensity in the brain", color=INK, fontsize=9)
    axes.set_ylabel("density", color=INK, fontsize=9)
    axes.tick_params(colors=INK, labelsize=8)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["bottom", "left"]].set_color(INK)
    axes.legend(loc="upper right", frameon=False, fontsize=9, labelcolor=INK, ncols=len(labels))


def make_palette() -> list[int]:
    """Return 256 colours (red, green, blue, ...): greys, and each curve's colour fading out."""
    greys = np.repeat(np.linspace(0, 1, GREYS)[:, None], 3, axis=1)
    strengths = np.linspace(1, 0, SHADES, endpoint=False)[:, None]
    shades = [strengths * to_rgb(colour) for colour in (SYNTHETIC, CYCLE)]
    colours: list[int] = (
        np.rint(np.concatenate([greys, *shades]) * 255).astype(int).ravel().tolist()
    )
    return colours

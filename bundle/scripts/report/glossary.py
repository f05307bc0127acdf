"""The words of the evaluation page: what each figure means and how it is written."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

ARROW = "\N{RIGHTWARDS ARROW}"
COMPARISONS = {
    "t2w": f"T1w {ARROW} T2w",
    "t1w": f"T2w {ARROW} T1w",
    "t1w_cycle": f"T1w {ARROW} T2w {ARROW} T1w, the cycle",
    "t2w_cycle": f"T2w {ARROW} T1w {ARROW} T2w, the cycle",
}
DIRECTIONS = ("t2w", "t1w")
# Source and target of each direction.
CONTRASTS = {"t2w": ("T1w", "T2w"), "t1w": ("T2w", "T1w")}
ROW_NAMES = {
    "copy": "copy of the source",
    "inverted": "inverted source",
    "mean": "mean in the mask",
    "lookup": "look-up table",
    "real": "real target",
}
# The part of a sentence that stands after "better than".
TRIVIAL_PHRASES = {
    "copy": "copying the input",
    "inverted": "inverting the input",
    "mean": "the mean",
    "lookup": "the look-up table",
}
KIND_ORDER = ("model", "trivial", "real")
BETTER = {
    "higher": ("\N{UPWARDS ARROW}", "higher is better"),
    "lower": ("\N{DOWNWARDS ARROW}", "lower is better"),
    "one": ("\N{RIGHTWARDS ARROW}1", "nearer to 1 is better"),
    "unknown": ("", "not in the glossary"),
}


@dataclass(frozen=True)
class Quantity:
    """How one figure is shown.

    Attributes:
        key: column of `metrics.csv`.
        label: head of its column.
        meaning: a sentence or two.
        better: key of `BETTER`.
        ideal: of a perfect image.
        decimals: behind the point.
        unit: "" where there is none.
        role: "primary", "second" or "earlier", the last for reading older tables only.
    """

    key: str
    label: str
    meaning: str
    better: str
    ideal: str
    decimals: int = 3
    unit: str = ""
    role: str = "second"


QUANTITIES = (
    Quantity(
        "ssim",
        "SSIM",
        "Structural similarity to the real target inside the brain, on [0, 1]: Gaussian window of "
        "11 pixels. It decides the verdict.",
        "higher",
        "1",
        role="primary",
    ),
    Quantity(
        "psnr",
        "PSNR",
        "Peak signal-to-noise ratio, from the mean squared error inside the brain. It likes smooth "
        "images and does not rank unpaired methods, so it decides nothing alone.",
        "higher",
        "no upper end",
        decimals=2,
        unit="dB",
        role="primary",
    ),
    Quantity(
        "mae",
        "MAE",
        "Mean absolute error inside the brain, of an intensity range from 0 to 1.",
        "lower",
        "0",
        role="primary",
    ),
    Quantity(
        "nmse", "NMSE", "Squared error over the squared intensity of the target.", "lower", "0"
    ),
    Quantity(
        "ms_ssim",
        "MS-SSIM",
        "Structural similarity at several scales, of whole slices: their empty background is equal "
        "and lifts it for every row. Compare rows of one table only.",
        "higher",
        "1",
    ),
    Quantity(
        "ngf",
        "Structure (NGF)",
        "Do edges of source and image run alike? Agreement of their gradient fields. Compare with "
        "the rows of copying, inverting and the real image: 1 is out of reach for smooth images.",
        "higher",
        "1",
    ),
    Quantity(
        "tissue_order",
        "Tissue order",
        "Share of sessions whose tissues are in the right order: fluid bright and white matter "
        "dark in T2w, the other way round in T1w.",
        "higher",
        "1",
        decimals=2,
    ),
    Quantity(
        "slice_ratio",
        "Slice ratio",
        "Difference of neighbouring slices, over that of the real target: above 1 the slices "
        "flicker, below 1 they are too alike.",
        "one",
        "1",
    ),
    Quantity(
        "checkerboard",
        "Checkerboard",
        "Energy at the frequencies of the network's stride, over that of the real target: above 1 "
        "a grid lies over the image.",
        "one",
        "1",
    ),
    Quantity(
        "hidden_code_drop",
        "Hidden-code drop",
        "Cycle SSIM lost when faint noise is put on the synthetic image: a large drop means that "
        "the image hides its source. At most 0.02 is wanted.",
        "lower",
        "0",
    ),
    Quantity(
        "dice",
        "Dice",
        "Overlap with the true tissue labels, found by a segmenter that has seen real images only; "
        "the real target's row is the ceiling.",
        "higher",
        "1",
    ),
    Quantity(
        "spots_kept",
        "Spots kept",
        "Share of the real target's spots in white matter (lesions: bright in T2w, dark in T1w) "
        "that the image shows too. Where its tissues are not in order it keeps none, and what it "
        "invents is not counted. A low share means that it must not be read for lesions.",
        "higher",
        "1",
        decimals=2,
    ),
    Quantity(
        "spots_invented",
        "Spots invented",
        "Spots in white matter of one session at which neither real image has one.",
        "lower",
        "0",
        decimals=1,
    ),
    Quantity(
        "earlier_ssim",
        "SSIM, earlier",
        "Earlier system's figure, for reading old tables only: whole slices on [-1, 1], background "
        "included, which flatters every image.",
        "higher",
        "1",
        role="earlier",
    ),
    Quantity(
        "earlier_psnr",
        "PSNR, earlier",
        "Earlier system's figure, for reading old tables only: whole slices on [-1, 1], background "
        "included, which adds several dB; slices without any error are left out.",
        "higher",
        "no upper end",
        decimals=2,
        unit="dB",
        role="earlier",
    ),
    Quantity(
        "sliced_wasserstein",
        "Sliced Wasserstein",
        "Distance between patches of synthetic and of real images, which need not show the "
        "same people. A real row is what two halves of the real subjects differ by. Where sources "
        "and real images are of the same people, a perfect model lies nearer than that.",
        "lower",
        "the real row's or less",
        decimals=4,
    ),
    Quantity(
        "cycle_ssim",
        "Cycle SSIM",
        "Structural similarity of the source and what comes back after both translations.",
        "higher",
        "1",
    ),
    Quantity(
        "cycle_psnr",
        "Cycle PSNR",
        "Peak signal-to-noise ratio of the same.",
        "higher",
        "no upper end",
        decimals=2,
        unit="dB",
    ),
    Quantity("cycle_mae", "Cycle MAE", "Mean absolute error of the same.", "lower", "0"),
)
BY_KEY = {quantity.key: quantity for quantity in QUANTITIES}


def find_quantity(key: str) -> Quantity:
    """Describe a figure; one without an entry here is shown under its own name."""
    unknown = Quantity(key, key.replace("_", " "), "No description.", "unknown", "not known")
    return BY_KEY.get(key, unknown)


def sort_figures(keys: Iterable[str]) -> list[str]:
    """Put figures into the order of the glossary, others behind them."""
    order = list(BY_KEY)
    return sorted(dict.fromkeys(keys), key=lambda key: order.index(key) if key in order else 99)

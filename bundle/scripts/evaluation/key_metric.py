"""The figure that decides which models are kept, with registered pairs and without."""

from __future__ import annotations

import math

AUTO = "auto"
PAIRED_CHOICE = "t2w_ssim"
UNPAIRED_CHOICE = "t2w_unpaired_error"
UNPAIRED_FIGURES = ("sliced_wasserstein", "ngf", "unpaired_error")
CYCLE_FIGURES = ("ssim", "psnr", "mae")
UNPAIRED_FIGURE_NAMES = (
    *(f"{target}_{figure}" for target in ("t2w", "t1w") for figure in UNPAIRED_FIGURES),
    *(f"{source}_native_cycle_{figure}" for source in ("t1w", "t2w") for figure in CYCLE_FIGURES),
)
ERRORS = ("mae", "nmse", "sliced_wasserstein", "unpaired_error")  # the smaller the better


def choose_key_metric(key_metric: str, *, has_pairs: bool, has_native: bool) -> str:
    """Return the figure that "auto" stands for, or the one that was named.

    Args:
        key_metric: name of a figure, or "auto": SSIM of the T2w where there are pairs (or nothing
            else to measure), else `compute_unpaired_error` of the T2w.
        has_pairs: whether there are registered pairs.
        has_native: whether there are images of both contrasts to measure without pairs.
    """
    if key_metric != AUTO:
        return key_metric
    return PAIRED_CHOICE if has_pairs or not has_native else UNPAIRED_CHOICE


def is_smaller_better(name: str) -> bool:
    """Whether a figure, such as `t2w_mae`, measures an error."""
    return name.endswith(ERRORS)


def is_better(name: str, current: float, best: float) -> bool:
    """Whether a value of a figure beats another; no number beats nothing, anything beats it."""
    if not math.isfinite(current):
        return False
    if not math.isfinite(best):
        return True
    return current < best if is_smaller_better(name) else current > best


def rank_value(name: str, value: float) -> float:
    """Return what sorts values of a figure from the best to the worst, those that are none last."""
    if not math.isfinite(value):
        return math.inf
    return value if is_smaller_better(name) else -value

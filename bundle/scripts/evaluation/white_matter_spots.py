"""Whether a synthetic image shows the lesions of white matter, and no others."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor

from scripts.evaluation.image_checks import check_shapes
from scripts.evaluation.structure import BRIGHT_TO_DARK, CLASSES

RIM_PIXELS = 2  # of white matter, which hold other tissue too
SURROUNDINGS_PIXELS = 6  # standard deviation; coil sensitivities change more slowly
LEAST_VOXELS = 6
NEIGHBOURS = np.ones((3, 3, 3), dtype=bool)

Spots = NDArray[np.int32]
Volume = NDArray[np.float64]


def find_spots(image: Tensor, tissues: Tensor, contrast: str) -> Spots | None:
    """Find spots of white matter, brighter in T2w or darker in T1w than the white matter about.

    They differ from it by more than grey matter does from white, and have six voxels or more, also
    across slices and corners. The two outermost pixels of white matter in each slice do not count.

    Args:
        image: (slices, 1, height, width), in the order of space; those that stand side by side
            here count as neighbours.
        tissues: true classes of the same shape, by the numbers of `CLASSES`.
        contrast: "T2w" or "T1w".

    Returns:
        (slices, height, width), each spot with a number of its own and 0 elsewhere; None where
        grey or white matter is missing, or grey is not the brighter in T2w or darker in T1w.
    """
    check_shapes(image=image, tissues=tissues)
    sign = 1 if BRIGHT_TO_DARK[contrast][0] == "csf" else -1
    values = sign * image[:, 0].double().numpy(force=True)
    classes = tissues[:, 0].numpy(force=True)
    grey, white = (classes == CLASSES[name] for name in ("gm", "wm"))
    if not grey.any() or not white.any():
        return None
    difference = float(np.median(values[grey]) - np.median(values[white]))
    if difference <= 0:
        return None
    inner = np.stack([ndimage.binary_erosion(each, iterations=RIM_PIXELS) for each in white])
    beyond = values - _average_surroundings(values, white) > difference
    found, _ = ndimage.label(inner & beyond, NEIGHBOURS)
    small = np.flatnonzero(np.bincount(found.ravel()) < LEAST_VOXELS)
    return np.where(np.isin(found, small), 0, found).astype(np.int32)


def _average_surroundings(values: Volume, white: NDArray[np.bool_]) -> Volume:
    """Weighted mean of the white matter about each voxel, in its slice and without its rim."""
    within = np.stack([ndimage.binary_erosion(each) for each in white]).astype(float)
    sigma = (0, SURROUNDINGS_PIXELS, SURROUNDINGS_PIXELS)
    total = ndimage.gaussian_filter(values * within, sigma)
    weight = ndimage.gaussian_filter(within, sigma)
    return total / np.maximum(weight, np.finfo(float).tiny)


def compare_spots(
    synthetic: Spots | None, *, target: Spots | None, source: Spots | None
) -> dict[str, float]:
    """Spots of the real target that the synthetic image shows, and those that it makes up.

    Args:
        synthetic: of `find_spots`, (slices, height, width).
        target: those of the real image in the same contrast.
        source: those of the real image that was translated.

    Returns:
        `spots_kept`, the share of the target's spots at which the synthetic image has one (NaN
        where there are none), and `spots_invented`, the number of its spots that touch a spot of
        neither real image. Both NaN where a real image has not the tissues of its contrast. A
        synthetic one that has them not keeps nothing, and its spots, which nothing tells from
        tissue, are not counted (NaN): 0 would be praise.
    """
    if target is None or source is None:
        return {"spots_kept": math.nan, "spots_invented": math.nan}
    if synthetic is None:
        return {"spots_kept": 0.0 if target.any() else math.nan, "spots_invented": math.nan}
    near = ndimage.binary_dilation((target > 0) | (source > 0), NEIGHBOURS)
    wanted, kept = _count(target), _count(target[synthetic > 0])
    return {
        "spots_kept": kept / wanted if wanted else math.nan,
        "spots_invented": float(_count(synthetic) - _count(synthetic[near])),
    }


def _count(spots: Spots) -> int:
    """Number of spots that have a voxel here."""
    return int(np.count_nonzero(np.unique(spots)))

"""Which slices go into a network beside a slice: the same in training, evaluation and inference."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

DECIMALS = 4  # of a quotient: 3 mm at 1.2 mm a slice is 2.5, whatever rounding made of it


def count_steps(distance_mm: float, spacing_mm: float) -> int:
    """Slices from one to its neighbour: the nearest whole number, halves up, and at least 1.

    So a neighbour is never the slice itself, and both sides reach equally far.

    Args:
        distance_mm: wanted.
        spacing_mm: from one slice of the volume to the next, above 0.
    """
    return max(1, math.floor(round(distance_mm / spacing_mm, DECIMALS) + 0.5))


def find_neighbours(
    slice_indices: npt.NDArray[np.integer], *, slices: int, step: int
) -> npt.NDArray[np.intp]:
    """Places of the slices that go in with each.

    Args:
        slice_indices: of the slices with brain, (slices with brain,), in any order.
        slices: that go in together, an odd number.
        step: of `count_steps`.

    Returns:
        (slices with brain, slices): at the ends of the brain the outermost slice again; the
        nearest one, the lower of two, where one is missing in between.
    """
    if not len(slice_indices):
        return np.empty((0, slices), dtype=np.intp)
    offsets = step * (np.arange(slices) - slices // 2)
    wanted = slice_indices[:, None] + offsets
    order = np.argsort(slice_indices)
    nearest = np.abs(wanted[..., None] - slice_indices[order]).argmin(axis=-1)
    return order[nearest]

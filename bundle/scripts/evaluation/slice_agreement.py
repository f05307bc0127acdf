"""Whether neighbouring slices of a volume agree as much as those of the real one."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from scripts.evaluation.image_checks import check_ranges, check_shapes


def neighbouring_slice_ratio(
    synthetic: Tensor, real: Tensor, mask: Tensor, slice_indices: Sequence[int]
) -> float:
    """Mean absolute difference between neighbouring slices, synthetic over real.

    Pooled over the voxels that both neighbours' masks hold. In [0, infinity), 1 is ideal: above it
    slices flicker, below it the volume is smoother than a real one. Rule 9 of the evaluation.

    Args:
        synthetic: (slices, 1, height, width) in [0, 1], one volume.
        real: the same shape and range.
        mask: the same shape, boolean or 0 and 1.
        slice_indices: place of each slice along the volume's axis; neighbours differ by one.

    Returns:
        The ratio; NaN where no slices are neighbours or the real ones do not differ.
    """
    check_shapes(synthetic=synthetic, real=real, mask=mask)
    check_ranges(synthetic=synthetic, real=real, data_range=1.0)
    if len(slice_indices) != len(mask):
        raise ValueError(
            f"Found {len(slice_indices)} slice indices for {len(mask)} slices; expected one each."
        )
    ordered, order = torch.as_tensor(slice_indices).sort()
    first = torch.nonzero(ordered.diff() == 1).flatten()
    lower, upper = order[first], order[first + 1]
    both = mask[lower].bool() & mask[upper].bool()
    of_synthetic, of_real = (
        float(((image[upper] - image[lower]).abs() * both).sum(dtype=torch.double))
        for image in (synthetic, real)
    )
    return of_synthetic / of_real if of_real > 0 else math.nan

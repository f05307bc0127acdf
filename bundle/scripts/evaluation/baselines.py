"""Trivial predictions that every model must beat: the rows of EVALUATION rule 6.

All images are (slices, 1, height, width) in [0, 1] with background 0, masks are boolean.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor


def copy_source(source: Tensor, mask: Tensor) -> Tensor:
    """Predict the source itself inside the mask."""
    return source.where(mask, 0.0)


def invert_source(source: Tensor, mask: Tensor) -> Tensor:
    """Exchange dark and bright inside the mask, as T1w and T2w order their tissues."""
    return (1 - source).where(mask, 0.0)


def fit_target_mean(targets: Tensor, masks: Tensor) -> float:
    """Mean of training targets inside their masks."""
    _check_masks(targets, masks)
    return float(targets[masks].double().mean())


def mean_in_mask(mask: Tensor, *, target_mean: float) -> Tensor:
    """Predict one value for every voxel of the mask."""
    return target_mean * mask.float()


def fit_lookup_table(sources: Tensor, targets: Tensor, masks: Tensor, *, bins: int) -> Tensor:
    """Mean of the target for each of `bins` equal intervals of the source in [0, 1].

    No table with these bins has a smaller squared error on the registered training pairs that it
    is fitted to. A bin that no voxel fell into takes the line between its filled neighbours,
    beyond the outermost ones their value.

    Returns:
        The table, (bins,), float64.
    """
    _check_masks(sources, masks)
    _check_masks(targets, masks)
    index = _compute_bin(sources[masks], bins)
    counts = torch.bincount(index, minlength=bins)
    sums = torch.bincount(index, weights=targets[masks].double(), minlength=bins)
    return _fill_gaps(sums / counts, counts > 0)


def apply_lookup_table(source: Tensor, mask: Tensor, *, table: Tensor) -> Tensor:
    """Predict the table's value for each source voxel inside the mask."""
    return table.to(source)[_compute_bin(source, len(table))].where(mask, 0.0)


def _compute_bin(values: Tensor, bins: int) -> Tensor:
    return (values.double() * bins).long().clamp(0, bins - 1)


def _fill_gaps(table: Tensor, filled: Tensor) -> Tensor:
    known = np.flatnonzero(filled.cpu().numpy())
    values = np.interp(np.arange(len(table)), known, table.cpu().numpy()[known])
    return torch.from_numpy(values).to(table)


def _check_masks(images: Tensor, masks: Tensor) -> None:
    if images.shape != masks.shape:
        raise ValueError(
            f"Found images of shape {tuple(images.shape)} and masks of {tuple(masks.shape)}; "
            "expected the same."
        )
    if not masks.any():
        raise ValueError(f"The masks {tuple(masks.shape)} are empty; expected some voxels.")

"""From one network volume to its slices: 16-bit images, masks, and a row of figures for each."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

# Training draws from slices whose mask covers at least this part of the image (15 % of
# 128 x 128 at 1.5 mm is 55 cm2: the brain from the temporal poles to the upper ventricles) ...
MIN_BRAIN_FRACTION = 0.15
# ... and that stand this far apart: neighbours at 1 mm are nearly the same image twice.
MIN_DISTANCE_MM = 2.0
LARGEST_UINT16 = 65535


@dataclass(frozen=True)
class SliceStack:
    """The slices of one volume that touch the brain.

    Attributes:
        images: (slice, i, j) uint16, 0 to 65535 for an intensity in [0, 1], background 0.
        masks: (slice, i, j) uint8, 0 or 1.
        dseg: tissue truth, (slice, i, j) uint8, or None.
        slice_indices: position of each slice in the volume.
        positions_mm: of each slice along the slice normal, in scanner coordinates.
        affine: (4, 4), network voxel to mm in RAS+.
    """

    images: NDArray[np.uint16]
    masks: NDArray[np.uint8]
    dseg: NDArray[np.uint8] | None
    slice_indices: NDArray[np.int64]
    positions_mm: NDArray[np.float64]
    affine: NDArray[np.float64]


def compute_positions_mm(affine: NDArray[np.float64], slices: int) -> NDArray[np.float64]:
    """Where the slices of a volume lie along their normal, rounded to a micrometre."""
    step = affine[:3, 2]
    normal = np.cross(affine[:3, 0], affine[:3, 1])
    normal = normal / np.linalg.norm(normal)
    normal = normal * np.sign(normal @ step)
    return np.round(normal @ affine[:3, 3] + np.arange(slices) * (normal @ step), 3)


def stack_slices(data: dict[str, Any]) -> SliceStack:
    """Cut a preprocessed volume into the slices that touch its mask.

    Args:
        data: ``image`` (1, i, j, slice) in [-1, 1] and ``brain_mask`` as ``to_network`` leaves
            them; ``dseg`` is taken along where present; ``row_mask`` decides which slices are
            kept where it is present (a partner keeps its partner's), else the mask does.

    Raises:
        ValueError: the mask is empty.
    """
    image, mask = data["image"][0].numpy(), data["brain_mask"][0].numpy() > 0
    affine = np.asarray(data["image"].affine.numpy(), dtype=np.float64)
    row_mask = data["row_mask"][0].numpy() > 0 if "row_mask" in data else mask
    kept = np.flatnonzero(row_mask.any(axis=(0, 1)))
    if kept.size == 0:
        raise ValueError("no slice touches the brain mask.")
    unit = np.where(mask, (image + 1) / 2, 0)[..., kept]
    dseg = data["dseg"][0].numpy()[..., kept] if "dseg" in data else None
    return SliceStack(
        images=_slices_first(np.rint(unit * LARGEST_UINT16), np.uint16),
        masks=_slices_first(mask[..., kept], np.uint8),
        dseg=None if dseg is None else _slices_first(dseg, np.uint8),
        slice_indices=kept,
        positions_mm=compute_positions_mm(affine, mask.shape[2])[kept],
        affine=affine,
    )


def _slices_first(array: NDArray[Any], dtype: Any) -> NDArray[Any]:
    return np.ascontiguousarray(np.moveaxis(array, -1, 0).astype(dtype))


def select_training_slices(
    brain_fractions: NDArray[np.float64], positions_mm: NDArray[np.float64]
) -> NDArray[np.bool_]:
    """Slices with enough brain, from the lowest on, none closer than 2 mm to the one before."""
    chosen = np.zeros(len(positions_mm), dtype=np.bool_)
    last = -np.inf
    for row, (fraction, position) in enumerate(zip(brain_fractions, positions_mm, strict=True)):
        # A micrometre of tolerance: two steps of 1 mm may add up to 1.9999 mm.
        if fraction >= MIN_BRAIN_FRACTION and position - last >= MIN_DISTANCE_MM - 1e-3:
            chosen[row] = True
            last = position
    return chosen


def describe_slices(stack: SliceStack) -> list[dict[str, Any]]:
    """One row of figures for each slice, in the order of the stack."""
    fractions = stack.masks.mean(axis=(1, 2), dtype=np.float64)
    train = select_training_slices(fractions, stack.positions_mm)
    return [
        {
            "slice_index": int(stack.slice_indices[row]),
            "position_mm": float(stack.positions_mm[row]),
            "brain_fraction": round(float(fractions[row]), 6),
            "train": bool(train[row]),
            "row": row,
            "sha256": hashlib.sha256(stack.images[row].tobytes()).hexdigest(),
        }
        for row in range(len(stack.images))
    ]

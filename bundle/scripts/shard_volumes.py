"""Volumes of a slice dataset: the slices of a shard put where they were in the head."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

LARGEST_UINT16 = 65535  # stands for an intensity of 1


def load_shard(path: Path) -> nib.Nifti1Image:
    """Read the images of a shard as a volume (i, j, slice), float32 in [0, 1].

    Raises:
        FileNotFoundError: the shard's JSON is missing.
        ValueError: shard and JSON speak of different slices.
    """
    images = np.load(path, mmap_mode="r", allow_pickle=False)
    indices, affine = _read_places(path, len(images))
    return place_slices(images.astype(np.float32) / LARGEST_UINT16, indices, affine)


def load_shard_mask(path: Path) -> nib.Nifti1Image:
    """Read the brain mask of a shard as a volume (i, j, slice), uint8."""
    masks = np.load(path.with_name(f"{path.stem}_mask.npy"), allow_pickle=False)
    return place_slices(masks, *_read_places(path, len(masks)))


def _read_places(path: Path, count: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    side_car = path.with_suffix(".json")
    if not side_car.is_file():
        raise FileNotFoundError(f"{side_car.name}: missing beside {path.name}. Build it again.")
    facts = json.loads(side_car.read_text(encoding="utf-8"))
    indices = np.asarray(facts["slice_indices"])
    if len(indices) != count:
        raise ValueError(f"{path.name}: {count} slices, but {side_car.name} lists {len(indices)}.")
    return indices, np.asarray(facts["affine"], dtype=float)


def place_slices(
    slices: NDArray[Any], indices: NDArray[np.int64], affine: NDArray[np.float64]
) -> nib.Nifti1Image:
    """Put slices into a volume that starts with the first of them; absent ones are 0.

    Args:
        slices: (slice, i, j).
        indices: of each slice along the third axis of the affine's volume.
        affine: (4, 4), voxel to mm.
    """
    first = int(indices[0])
    voxels = np.zeros((*slices.shape[1:], int(indices[-1]) - first + 1), dtype=slices.dtype)
    voxels[..., indices - first] = np.moveaxis(slices, 0, -1)
    moved = affine.copy()
    moved[:3, 3] += moved[:3, 2] * first
    return nib.Nifti1Image(voxels, moved)

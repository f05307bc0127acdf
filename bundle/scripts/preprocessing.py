"""Space in the preprocessing contract: what a network sees of a volume, and the way back.

``configs/inference.json`` chains these transforms with those of ``intensity``. Every step that
moves voxels is invertible, so that a synthetic volume lands on the grid of its input.
"""

from __future__ import annotations

import logging
from collections.abc import Hashable, Mapping
from typing import Any

import numpy as np
import torch
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import (
    Crop,
    InvertibleTransform,
    MapTransform,
    Orientationd,
    Pad,
    Spacingd,
)
from scipy.ndimage import gaussian_filter
from torch import Tensor

logger = logging.getLogger(__name__)

# Axis codes that put the slice axis last and keep both in-plane axes ascending in RAS+.
AXCODES_OF_PLANE = {"axial": "RAS", "coronal": "RSA", "sagittal": "ASR"}
# Full width at half maximum of a Gaussian over its standard deviation: 2 sqrt(2 ln 2).
FWHM_PER_SIGMA = 2.3548


def compute_smoothing_sigma_mm(spacing_mm: float, target_spacing_mm: float) -> float:
    """Standard deviation in mm of the Gaussian that widens one resolution to a coarser one.

    A voxel of width s is taken as a Gaussian of that full width at half maximum; variances add, so
    the filter has FWHM sqrt(target^2 - s^2). 0 where the target is not coarser.
    """
    return float(np.sqrt(max(target_spacing_mm**2 - spacing_mm**2, 0.0)) / FWHM_PER_SIGMA)


class OrientToPlaned(Orientationd):
    """Turn volumes so that the third spatial axis runs across the slices of a plane.

    Args:
        keys: MetaTensors (1, x, y, z).
        plane: ``axial``, ``coronal`` or ``sagittal``.
        allow_missing_keys: skip absent keys.

    Raises:
        ValueError: unknown plane; or the input is one slice of another plane.
    """

    def __init__(
        self, keys: KeysCollection, *, plane: str, allow_missing_keys: bool = False
    ) -> None:
        if plane not in AXCODES_OF_PLANE:
            raise ValueError(f"plane {plane!r}. Expected one of {sorted(AXCODES_OF_PLANE)}.")
        # MONAI's default labels, given since it warns that their default is about to change.
        super().__init__(
            keys,
            axcodes=AXCODES_OF_PLANE[plane],
            allow_missing_keys=allow_missing_keys,
            labels=(("L", "R"), ("P", "A"), ("I", "S")),
        )
        self.plane = plane

    def __call__(self, data: Mapping[Hashable, Any], lazy: bool | None = None) -> Any:
        """Orient every key."""
        result = super().__call__(data, lazy)
        for key in self.key_iterator(result):
            shape = tuple(result[key].shape[1:])
            if 1 in shape[:2] and shape[2] != 1:
                raise ValueError(
                    f"the image is one slice, but no {self.plane} one: its size is {shape} with "
                    f"the {self.plane} direction last. Use a model of the slice's own plane."
                )
        return result


class SmoothInPlaned(MapTransform):
    """Smooth within slices where a coarser spacing follows, so that nothing is aliased.

    Slices never mix. The voxel size met is kept in ``meta["source_spacing_mm"]``; an in-plane
    spacing above ``max_spacing_mm`` is warned about, since detail will be missing.
    """

    def __init__(
        self, keys: KeysCollection, *, target_spacing_mm: float, max_spacing_mm: float
    ) -> None:
        super().__init__(keys)
        if target_spacing_mm <= 0:  # which MONAI's Spacing would take for "as it is"
            raise ValueError(f"spacing_mm is {target_spacing_mm}; expected mm above 0, as 1.5.")
        self.target_spacing_mm = target_spacing_mm
        self.max_spacing_mm = max_spacing_mm

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Smooth every key, a MetaTensor (1, x, y, z) with the slice axis last."""
        result = dict(data)
        for key in self.key_iterator(result):
            result[key] = self._smooth(result[key])
        return result

    def _smooth(self, volume: MetaTensor) -> MetaTensor:
        spacing = [float(value) for value in volume.pixdim]
        if max(spacing[:2]) > self.max_spacing_mm:
            logger.warning(
                "in-plane spacing is %.2f x %.2f mm; above %.1f mm the result lacks detail",
                *spacing[:2],
                self.max_spacing_mm,
            )
        sigma = [
            compute_smoothing_sigma_mm(value, self.target_spacing_mm) / value
            for value in spacing[:2]
        ]
        smooth = volume.clone()
        smooth[0] = torch.from_numpy(gaussian_filter(volume[0].numpy(), (*sigma, 0.0)))
        smooth.meta["source_spacing_mm"] = spacing
        return smooth


class ResampleInPlaned(Spacingd):
    """MONAI's ``Spacingd``, which leaves alone what is not among its keys.

    Spacingd takes every other entry whose name begins with a key and ``_`` for meta data of that
    key, such as the ``image_path`` that MONAI Label adds.
    """

    def __call__(self, data: Mapping[Hashable, Any], lazy: bool | None = None) -> Any:
        """Resample every key."""
        own = {key: data[key] for key in self.key_iterator(dict(data))}
        return {**data, **super().__call__(own, lazy)}


def compute_in_plane_margins(mask: Tensor, size: int) -> tuple[tuple[int, int], tuple[int, int]]:
    """Voxels to add (or, negative, to cut) before and after both in-plane axes.

    Args:
        mask: (x, y, z) of 0 and 1; the middle of its bounding box becomes the image's middle.
        size: of the wanted square.
    """
    margins = []
    for axis, other in ((0, 1), (1, 0)):
        filled = torch.nonzero(mask.amax(dim=2).amax(dim=other) > 0).flatten()
        middle = (int(filled[0]) + int(filled[-1]) + 1) // 2
        before = size // 2 - middle
        margins.append((before, size - before - mask.shape[axis]))
    return margins[0], margins[1]


class CropOrPadAboutMaskd(MapTransform, InvertibleTransform):
    """Crop or pad both in-plane axes to a square about the middle of the brain mask.

    Where the brain is larger than the square, a warning says how many mask voxels are cut off.
    """

    def __init__(
        self, keys: KeysCollection, mask_key: str, *, size: int, allow_missing_keys: bool = False
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        if size < 1:
            raise ValueError(f"size is {size}; expected pixels a side, as 128.")
        self.mask_key = mask_key
        self.size = size
        self.pad = Pad(value=0)
        self.crop = Crop()

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Frame every key, MetaTensors (1, x, y, z) with the slice axis last."""
        result = dict(data)
        mask = result[self.mask_key]
        if not bool((mask >= 0.5).any()):
            raise ValueError("the brain mask is empty at the network's resolution.")
        margins = compute_in_plane_margins((mask[0] >= 0.5).as_tensor().float(), self.size)
        for key in self.key_iterator(result):
            result[key] = self._frame(result[key], margins)
        lost = int((mask >= 0.5).sum()) - int((result[self.mask_key] >= 0.5).sum())
        if lost:
            logger.warning("%d brain voxels lie outside the %d x %d image", lost, *2 * [self.size])
        return result

    def _frame(self, volume: MetaTensor, margins: tuple[tuple[int, int], ...]) -> MetaTensor:
        added = [(max(before, 0), max(after, 0)) for before, after in margins]
        padded = self.pad(volume, to_pad=[(0, 0), *added, (0, 0)])
        starts = [max(-before, 0) for before, _ in margins]
        kept = tuple(slice(start, start + self.size) for start in starts)
        return self.crop(padded, slices=(*kept, slice(None)))

    def inverse(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Undo the framing; what was cut off comes back as 0."""
        result = dict(data)
        for key in self.key_iterator(result):
            result[key] = self.pad.inverse(self.crop.inverse(result[key]))
        return result

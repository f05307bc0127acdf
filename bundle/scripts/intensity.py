"""Intensities of the preprocessing contract: percentiles inside the brain, [0, 1] and [-1, 1].

``configs/inference.json`` chains these transforms with the spatial ones of ``preprocessing``.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import numpy as np
import torch
from monai.config import KeysCollection
from monai.transforms import MapTransform
from numpy.typing import NDArray

BACKGROUND = -1.0  # of what the networks see, whose brain lies in [-1, 1]


def compute_percentiles_in_mask(
    volume: NDArray[Any], mask: NDArray[np.bool_], *, lower: float, upper: float
) -> tuple[float, float]:
    """Two percentiles (0 to 100) of the voxels inside the mask, in the volume's own units.

    Raises:
        ValueError: the mask is empty, or the volume is constant inside it.
    """
    if not mask.any():
        raise ValueError("the brain mask is empty. Check the brain extraction of this image.")
    low, high = (float(value) for value in np.percentile(volume[mask], [lower, upper]))
    if not high > low:
        raise ValueError(
            f"the image is constant inside the brain mask (percentiles {lower} and {upper} are "
            f"both {low}). Check the image, and the mask's position on it."
        )
    return low, high


class ScaleIntensityInMaskd(MapTransform):
    """Bring the brain to [0, 1] by two percentiles of the whole volume; the background is 0.

    The percentiles are kept in ``meta["percentiles"]``. Volumes of a slice dataset are on that
    scale already.
    """

    def __init__(self, keys: KeysCollection, mask_key: str, *, lower: float, upper: float) -> None:
        super().__init__(keys)
        self.mask_key = mask_key
        self.lower = lower
        self.upper = upper

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Scale every key; see ``compute_percentiles_in_mask`` for what is refused."""
        result = dict(data)
        mask = result[self.mask_key] > 0
        for key in self.key_iterator(result):
            volume = result[key]
            if volume.meta.get("is_prepared", False):
                volume.meta["percentiles"] = (0.0, 1.0)
                continue
            low, high = compute_percentiles_in_mask(
                volume[0].numpy(), mask[0].numpy(), lower=self.lower, upper=self.upper
            )
            scaled = ((volume - low) / (high - low)).clamp(0, 1) * mask.as_tensor()
            scaled.meta["percentiles"] = (low, high)
            result[key] = scaled
        return result


class ToNetworkRanged(MapTransform):
    """From [0, 1] to the network's [-1, 1], the background exactly -1, the mask 0 or 1."""

    def __init__(self, keys: KeysCollection, mask_key: str) -> None:
        super().__init__(keys)
        self.mask_key = mask_key

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Map every key and round the mask, which interpolation has made fractional."""
        result = dict(data)
        mask = (result[self.mask_key] >= 0.5).to(torch.float32)
        result[self.mask_key] = mask
        for key in self.key_iterator(result):
            result[key] = 2.0 * result[key].clamp(0, 1) * mask.as_tensor() - 1.0
        return result


class FromNetworkRanged(MapTransform):
    """From the network's [-1, 1] to [0, 1]; comes before a way back that pads with 0."""

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Map every key."""
        result = dict(data)
        for key in self.key_iterator(result):
            result[key] = ((result[key] + 1.0) / 2.0).clamp(0, 1)
        return result


class MaskImaged(MapTransform):
    """Set everything outside a mask to 0."""

    def __init__(
        self, keys: KeysCollection, mask_key: str, *, allow_missing_keys: bool = False
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.mask_key = mask_key

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Mask every key, on its own device; both are (1, x, y, z)."""
        result = dict(data)
        for key in self.key_iterator(result):
            mask = result[self.mask_key].to(result[key].device)
            result[key] = result[key] * (mask > 0.5)
        return result

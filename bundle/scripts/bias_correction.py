"""N4 bias field correction inside the brain mask (Tustison 2010, doi:10.1109/TMI.2010.2046908)."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import numpy as np
import SimpleITK as sitk
from monai.config import KeysCollection
from monai.transforms import MapTransform
from numpy.typing import NDArray

from scripts.config_options import is_on

# N4 works on logarithms: a few negative voxels are ringing of an earlier resampling, many mean
# that the image is no magnitude image (z-scored, a difference, a phase).
LARGEST_NEGATIVE_FRACTION = 0.02


def correct_bias_field(
    volume: NDArray[np.float32],
    mask: NDArray[np.bool_],
    *,
    spacing_mm: NDArray[np.float64],
    working_spacing_mm: float,
) -> NDArray[np.float32]:
    """Divide a volume by the smooth field that N4 finds inside the mask.

    Args:
        volume: (x, y, z), magnitudes.
        mask: (x, y, z), true in the brain.
        spacing_mm: voxel size along the three axes.
        working_spacing_mm: the field is estimated on voxels of about this size; it is smooth, so
            4 mm loses nothing and is 64 times as fast as 1 mm.

    Returns:
        Corrected volume, float32, the same shape. ITK runs on one thread: with more, the result
        changes in the fifth digit.

    Raises:
        ValueError: more than 2 % of the brain is negative.
    """
    negative = float(np.mean(volume[mask] < 0))
    if negative > LARGEST_NEGATIVE_FRACTION:
        raise ValueError(
            f"{negative:.0%} of the voxels in the brain are negative. N4 needs magnitudes: give "
            "the image before normalisation, or switch bias_correction off for all data."
        )
    # A single slice has no third direction in which a field could vary.
    image = _as_itk(np.maximum(volume, 0), spacing_mm)
    region = _as_itk(mask.astype(np.uint8), spacing_mm)
    field = sitk.GetArrayFromImage(_log_bias_field(image, region, working_spacing_mm))
    return (volume / np.exp(np.transpose(field).reshape(volume.shape))).astype(np.float32)


def _as_itk(array: NDArray[Any], spacing_mm: NDArray[np.float64]) -> sitk.Image:
    """Hand a volume to ITK without its axes of length one."""
    axes = [axis for axis in range(3) if array.shape[axis] > 1]
    image = sitk.GetImageFromArray(np.transpose(np.squeeze(array)))
    image.SetSpacing([float(spacing_mm[axis]) for axis in axes])
    return image


def _log_bias_field(image: sitk.Image, mask: sitk.Image, working_spacing_mm: float) -> sitk.Image:
    shrink = [
        max(1, min(round(working_spacing_mm / spacing), size // 4))
        for spacing, size in zip(image.GetSpacing(), image.GetSize(), strict=True)
    ]
    n4 = sitk.N4BiasFieldCorrectionImageFilter()
    n4.SetNumberOfThreads(1)
    n4.Execute(sitk.Shrink(image, shrink), sitk.Shrink(mask, shrink))
    return n4.GetLogBiasFieldAsImage(image)


class BiasCorrectiond(MapTransform):
    """``correct_bias_field`` for a dictionary of volumes, each a MetaTensor (1, x, y, z)."""

    def __init__(
        self, keys: KeysCollection, mask_key: str, *, enabled: bool, working_spacing_mm: float
    ) -> None:
        super().__init__(keys)
        self.mask_key = mask_key
        self.enabled = is_on(enabled)
        self.working_spacing_mm = working_spacing_mm

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Correct every key; with ``enabled`` false, or of a slice dataset, it passes unchanged."""
        result = dict(data)
        if not self.enabled:
            return result
        mask = result[self.mask_key][0].numpy() > 0
        for key in self.key_iterator(result):
            volume = result[key]
            if volume.meta.get("is_prepared", False):
                continue
            corrected = correct_bias_field(
                volume[0].numpy(),
                mask,
                spacing_mm=volume.pixdim.numpy(),
                working_spacing_mm=self.working_spacing_mm,
            )
            result[key] = volume.clone()
            result[key][0] = volume.new_tensor(corrected)
        return result

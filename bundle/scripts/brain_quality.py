"""Quality control of brain masks: does it look like one whole adult brain?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt, label


@dataclass(frozen=True)
class MaskLimits:
    """What a good mask keeps to; the configuration holds those of adults.

    Volume: intracranial volumes of adults lie between about 1000 and 1900 cm3, masks a tenth
    beyond. Component: brain-extracted images leave specks (27 in one of ARC's, all under 0.01 %);
    1 % is about 13 cm3, a second object. Centroid: 0.40 to 0.65 in 58 real masks. Border: 2 % of
    1300 cm3 within 1 mm is 260 cm2, more than the largest section of a brain: such a mask runs
    along several faces. Thick slices that end within the brain reach 0.5 %.

    Attributes:
        volume_cm3: least and most.
        significant_part: smallest part of the mask that counts as a component of its own.
        centroid: least and most along every axis, as a part of the field of view.
        border_fraction: most of the mask within 1 mm of the border.
    """

    volume_cm3: tuple[float, float]
    significant_part: float
    centroid: tuple[float, float]
    border_fraction: float


@dataclass(frozen=True)
class MaskQuality:
    """Figures of one mask, and what is wrong with it."""

    volume_cm3: float
    components: int
    centroid: tuple[float, float, float]  # as a part of the field of view
    border_fraction: float
    failures: tuple[str, ...]


def check_brain_mask(
    mask: NDArray[np.bool_], affine: NDArray[Any], *, limits: MaskLimits
) -> MaskQuality:
    """Measure a brain mask and name every limit that it breaks.

    Args:
        mask: (x, y, z).
        affine: (4, 4), voxel to mm.
        limits: what it is held to.
    """
    if not mask.any():
        return MaskQuality(0.0, 0, (0.0, 0.0, 0.0), 0.0, ("the mask is empty",))
    volume = float(mask.sum() * abs(np.linalg.det(affine[:3, :3])) / 1000)
    components = count_components(mask, limits.significant_part)
    centroid = compute_centroid(mask)
    border = compute_border_fraction(mask, np.linalg.norm(affine[:3, :3], axis=0))
    least, most = limits.volume_cm3
    failures = []
    if not least <= volume <= most:
        failures.append(f"volume {volume:.0f} cm3, expected {least:.0f} to {most:.0f}")
    if components != 1:
        failures.append(f"{components} components, expected 1")
    low, high = limits.centroid
    if not all(low <= place <= high for place in centroid):
        places = " x ".join(f"{place:.2f}" for place in centroid)
        failures.append(f"centroid at {places} of the field of view, expected {low:.2f}-{high:.2f}")
    if border > limits.border_fraction:
        expected = f"expected at most {limits.border_fraction:.1%}"
        failures.append(f"{border:.1%} of the mask within 1 mm of the border, {expected}")
    return MaskQuality(volume, components, centroid, border, tuple(failures))


def count_components(mask: NDArray[np.bool_], significant_part: float) -> int:
    """Number of face-connected pieces that hold a significant part of the mask."""
    labels, _ = label(mask)
    sizes = np.bincount(labels.ravel())[1:]
    return int(np.count_nonzero(sizes >= significant_part * sizes.sum()))


def compute_centroid(mask: NDArray[np.bool_]) -> tuple[float, float, float]:
    """Mean position of the mask along each axis, 0 and 1 being the ends of the field of view."""
    x, y, z = (np.argwhere(mask).mean(axis=0) + 0.5) / mask.shape
    return float(x), float(y), float(z)


def compute_border_fraction(mask: NDArray[np.bool_], spacing_mm: NDArray[np.floating]) -> float:
    """Part of the mask within 1 mm of the six faces of the volume.

    Measured as area times 1 mm: by voxels, the same cut would count six times on 6 mm slices.
    """
    voxels_per_mm = 1 / spacing_mm
    touched = sum(
        float(mask.take(face, axis).sum() * voxels_per_mm[axis])
        for axis in range(3)
        for face in (0, -1)
    )
    return touched / float(mask.sum())


# The skull and what lies around it: 2 to 8 mm outside the brain, measured on voxels of about 2 mm.
SHELL_MM = (2.0, 8.0)
SHELL_SPACING_MM = 2.0
# Of the shell of a brain that was extracted already: 84 % or more in ten real ones, 10 % at most
# in 48 whole heads.
EXTRACTED_EMPTY_SHELL = 0.5
RINGING = 0.1  # of the 99th percentile of the volume


def compute_empty_shell(
    volume: NDArray[Any], mask: NDArray[np.bool_], spacing_mm: NDArray[np.floating]
) -> float:
    """Part of what surrounds the brain that is empty: near 1 where no skull is left.

    Empty is 0, or as little below it as a resampling leaves; what was normalised to mean 0 is not.

    Args:
        volume: (x, y, z), magnitudes.
        mask: (x, y, z), true in the brain.
        spacing_mm: voxel size.

    Returns:
        0 to 1; 0 where nothing surrounds the brain.
    """
    steps = [max(1, round(SHELL_SPACING_MM / float(size))) for size in spacing_mm]
    coarse = tuple(slice(None, None, step) for step in steps)
    sampling = [float(size) * step for size, step in zip(spacing_mm, steps, strict=True)]
    distance_mm = distance_transform_edt(~mask[coarse], sampling=sampling)
    nearest, farthest = SHELL_MM
    shell = (distance_mm > nearest) & (distance_mm <= farthest)
    values = volume[coarse]
    ringing = RINGING * float(np.percentile(values, 99)) if values.size else 0.0
    around = values[shell]
    return float(np.mean((around <= 0) & (around >= -ringing))) if shell.any() else 0.0

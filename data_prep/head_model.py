"""A head about the MNI152 template: how much of each tissue every cubic millimetre holds.

The brain comes from nilearn's maps of grey and white matter; CSF, skull, fat, muscle and eyes are
laid around it by distance, so that a brain extraction has something to remove.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from nilearn.datasets import (
    load_mni152_brain_mask,
    load_mni152_gm_template,
    load_mni152_wm_template,
)
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt, gaussian_filter, zoom

from data_prep.mr_signal import TISSUES, average_over_voxels

Volume = NDArray[np.float32]

# The model's grid, 1 mm, from corner to corner in the template's RAS mm. Odd sizes, so that every
# second sample is a grid with the same corners.
CORNER_MM = np.array([-92, -128, -116])
END_MM = np.array([92, 104, 100])
SHAPE = tuple(int(size) for size in END_MM - CORNER_MM + 1)

# Thickness of layers outwards from the brain's closed surface, in mm. Adult figures: subarachnoid
# space 2 to 4, skull 6 to 7, scalp 5 to 7.
CSF_RIM_MM, SKULL_END_MM, SCALP_END_MM = 2.0, 8.0, 13.0
RIM_IN_MASK_MM = 1.0  # where common brain masks end: in the subarachnoid space
SULCUS_MM = 8.0  # gaps between brain surfaces up to twice this wide hold CSF, not bone
SKIN_MM, FAT_END_MM = 1.5, 5.0  # depth below the skin's surface
SUBCUTIS = {"fat": 0.6, "muscle": 0.4}  # fat and the tissue between it

# The maps are averages of 152 brains; squared shares are closer to one brain's sharp borders, and
# the weight gives sulci back the CSF that averaging took.
SHARPNESS, CSF_WEIGHT = 2, 1.3


@dataclass(frozen=True)
class HeadModel:
    """What fills the head, in the template's space at 1 mm.

    Attributes:
        fractions: (tissue, x, y, z) in [0, 1], in the order of ``TISSUES``. What is missing to 1
            is bone or air, which give no signal.
        brain: (x, y, z) in [0, 1], the share of each voxel inside the brain mask.
    """

    fractions: Volume
    brain: Volume


def average_head(head: HeadModel, *, voxel_mm: Sequence[float]) -> HeadModel:
    """The head as a scan with these voxels sees it: each sample is the mean over one voxel."""
    fractions = [average_over_voxels(part, voxel_mm=voxel_mm) for part in head.fractions]
    return HeadModel(np.stack(fractions), average_over_voxels(head.brain, voxel_mm=voxel_mm))


def build_head_model() -> HeadModel:
    """Lay one material over another, from the skin inwards."""
    grey, white, template_brain = map(
        _load_onto_grid,
        (load_mni152_gm_template(), load_mni152_wm_template(), load_mni152_brain_mask()),
    )
    from_brain, depth = _compute_distances(template_brain > 0)
    fractions = np.zeros((len(TISSUES), *SHAPE), np.float32)
    _paint(fractions, _step(depth), {"muscle": 1})
    _paint(fractions, _step(depth - SKIN_MM) * _step(FAT_END_MM - depth), SUBCUTIS)
    _paint_face(fractions)
    _paint(fractions, _step(SKULL_END_MM - from_brain), {})
    _paint_spine(fractions)
    _paint(fractions, _step(CSF_RIM_MM - from_brain), {"CSF": 1})
    fractions *= 1 - template_brain
    fractions[:3] += _share_brain(grey, white, template_brain)
    brain = (from_brain <= RIM_IN_MASK_MM) | (template_brain > 0)
    return HeadModel(fractions, brain.astype(np.float32))


def _load_onto_grid(image: Any) -> Volume:
    """Crop and pad a 1 mm image of the template to the model's grid, by whole voxels."""
    volume = np.asarray(image.dataobj, dtype=np.float32)
    shift = np.round(image.affine[:3, 3]).astype(int) - CORNER_MM
    low = np.maximum(shift, 0)
    high = np.minimum(shift + volume.shape, SHAPE)
    out = np.zeros(SHAPE, np.float32)
    target = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
    source = tuple(slice(a, b) for a, b in zip(low - shift, high - shift, strict=True))
    out[target] = volume[source]
    return out


def _share_brain(grey: Volume, white: Volume, brain: Volume) -> Volume:
    """Shares of CSF, GM and WM in the template's brain, (3, x, y, z); CSF is what is left over."""
    csf = CSF_WEIGHT * np.clip(brain - grey - white, 0, 1)
    weights = np.stack([csf, grey, white]) ** SHARPNESS
    weights /= np.maximum(weights.sum(0), np.float32(1e-6))
    weights *= brain
    return weights.astype(np.float32, copy=False)


def _compute_distances(brain: NDArray[np.bool_]) -> tuple[Volume, Volume]:
    """Distance outwards from the closed brain surface, and depth below the skin, in mm."""
    coarse = brain[::2, ::2, ::2]  # distances are smooth: 2 mm will do
    near = 2 * distance_transform_edt(~coarse) <= SULCUS_MM
    closed = coarse | (2 * distance_transform_edt(near) > SULCUS_MM)
    from_brain = _signed_distance(closed)
    x, y, z = _grid_mm(step=2)
    head = from_brain <= SCALP_END_MM
    head |= _radius((x, y, z), (0, 25, -60), (66, 65, 75)) < 1  # face
    head |= (_radius((x, y), (0, -35), (58, 58)) < 1) & (z < -40)  # neck
    smooth = gaussian_filter(head.astype(np.float32), sigma=4) > 0.5
    factor = np.array(SHAPE) / np.array(coarse.shape)
    return zoom(from_brain, factor, order=1), zoom(-_signed_distance(smooth), factor, order=1)


def _signed_distance(mask: NDArray[np.bool_]) -> Volume:
    """Distance to the mask's surface in mm on the 2 mm grid; positive outside."""
    distance = distance_transform_edt(~mask) - distance_transform_edt(mask)
    return (2 * distance).astype(np.float32)


def _grid_mm(*, step: int) -> tuple[NDArray[np.float32], ...]:
    slices = (slice(low, high + 1, step) for low, high in zip(CORNER_MM, END_MM, strict=True))
    return tuple(axis.astype(np.float32) for axis in np.ogrid[tuple(slices)])


def _radius(
    points: Sequence[NDArray[np.float32]], centre: Sequence[float], radii: Sequence[float]
) -> Volume:
    """Distance from the centre, 1 on the ellipsoid's surface."""
    parts = (((p - c) / r) ** 2 for p, c, r in zip(points, centre, radii, strict=True))
    return np.sqrt(sum(parts, start=np.float32(0)))


def _step(distance_mm: Volume) -> Volume:
    """1 inside, 0 outside, and linear over the millimetre in which the surface lies."""
    return np.clip(distance_mm + np.float32(0.5), 0, 1)


def _paint(fractions: Volume, cover: Volume, material: Mapping[str, float]) -> None:
    """Replace what is there by a material, as far as it covers each voxel; {} is bone or air."""
    fractions *= 1 - cover
    for name, share in material.items():
        fractions[list(TISSUES).index(name)] += cover * np.float32(share)


def _paint_face(fractions: Volume) -> None:
    """Eyes (vitreous is water, as CSF) in fat, and an airway behind the nose."""
    points = _grid_mm(step=1)
    for side in (-32, 32):
        orbit = _radius(points, (side, 60, -38), (1, 1, 1))
        _paint(fractions, _step(17 - orbit), SUBCUTIS)
        _paint(fractions, _step(12 - orbit), {"CSF": 1})
    airway = _radius(points, (0, 58, -62), (13, 28, 24))
    _paint(fractions, _step(13 * (1 - airway)), {})


def _paint_spine(fractions: Volume) -> None:
    """Vertebrae, spinal canal and cord, from where the template's brain stem ends (0, -45, -72)."""
    x, y, z = _grid_mm(step=1)
    axis = _radius((x, y), (0, -45), (1, 1))
    below = (z < -68).astype(np.float32)
    for radius, material in ((16, {}), (9, {"CSF": 1}), (6, {"WM": 1})):
        _paint(fractions, _step(radius - axis) * below, material)

"""Label maps of whole heads: read, checked, and brought to the form that is simulated from."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import affine_transform, distance_transform_edt

from data_prep.damaged_files import UNREADABLE
from data_prep.label_tissues import (
    GREY,
    MATERIAL_NAMES,
    MATERIALS,
    SUBARACHNOID,
    WHITE,
    find_materials,
)

MAX_SPACING_MM = 1.5  # of a label map; the cortex is 2 to 4 mm thick
MIN_BRAIN_ML = 400.0  # a newborn's brain; less is a part of one, or another unit of length
SULCUS_MM = 8.0  # gaps between brain surfaces up to twice this wide belong to the brain's mask
MARGIN_MM = 4.0  # of air about the head
# Of the space between the brain's folds. SynthSeg's heads reach 1 %, a brain with the fluid about
# it alone 3 %, a brain without it 100 %.
MAX_UNLABELLED = 0.02
ENDINGS = (".nii.gz", ".nii", ".mgz")


@dataclass(frozen=True)
class LabelledHead:
    """A segmented head on a grid along its own axes, RAS+.

    Attributes:
        labels: (x, y, z), the ids as they were found.
        materials: (x, y, z), positions in ``MATERIAL_NAMES``.
        classes: (x, y, z), 1 CSF, 2 grey matter, 3 white matter, 0 not of the brain.
        distance_mm: (x, y, z), outwards from the closed brain's surface, negative inside.
        spacing_mm: (3,).
        corner_mm: (3,), the first voxel relative to the brain's centre.
    """

    labels: NDArray[np.int32]
    materials: NDArray[np.uint8]
    classes: NDArray[np.uint8]
    distance_mm: NDArray[np.float32]
    spacing_mm: NDArray[np.float64]
    corner_mm: NDArray[np.float64]


def list_label_maps(folder: Path) -> dict[str, Path]:
    """Label maps of a folder by the subject that each becomes, such as ``sub-seg01``.

    Raises:
        FileNotFoundError: there is no such folder, or no map in it.
        ValueError: two names that differ in punctuation only.
    """
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder}: no such folder. Expected one with label maps (NIfTI).")
    found: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        if path.name.startswith(".") or not path.name.endswith(ENDINGS):
            continue
        stem = path.name.split(".")[0]
        subject = "sub-" + "".join(letter for letter in stem if letter.isalnum())
        if subject in found:
            raise ValueError(
                f"{path.name} and {found[subject].name}: both become {subject}. Rename one of them."
            )
        found[subject] = path
    if not found:
        raise FileNotFoundError(f"{folder}: no label map. Expected files like seg_01.nii.gz.")
    return found


def check_label_map(path: Path) -> None:
    """Raise the ValueError of ``load_head``, but for unlabelled folds, in a fifth of the time."""
    try:
        labels, spacing_mm = _read_labels(path)
        found, counts = np.unique(labels, return_counts=True)
        materials = find_materials(found)
        classes = [MATERIALS[MATERIAL_NAMES[number]].tissue_class for number in materials]
        solid = np.isin(classes, (GREY, WHITE))
        _check_volume(float(counts[solid].sum() * spacing_mm.prod() / 1000))
    except UNREADABLE as error:
        raise ValueError(f"{path.name}: {error}") from error


def load_head(path: Path) -> LabelledHead:
    """Read one map.

    Raises:
        ValueError: what is wrong with it; the text names the file.
    """
    try:
        return _label_head(*_read_labels(path))
    except UNREADABLE as error:
        raise ValueError(f"{path.name}: {error}") from error


def _label_head(labels: NDArray[np.int32], spacing_mm: NDArray[np.float64]) -> LabelledHead:
    materials = find_materials(labels)
    classes = np.array([MATERIALS[name].tissue_class for name in MATERIAL_NAMES], np.uint8)
    tissue = classes[materials]
    solid = np.isin(tissue, (GREY, WHITE))
    inner = (tissue > 0) & (materials != MATERIAL_NAMES.index("subarachnoid CSF"))
    _check_volume(float(solid.sum() * spacing_mm.prod() / 1000))
    box = _find_box(labels != 0, spacing_mm)
    distance_mm = np.where(inner[box], -1, close_brain(inner[box], spacing_mm))
    _check_folds(labels[box][(distance_mm <= 0) & ~inner[box]])
    centre = np.argwhere(solid[box]).mean(0) * spacing_mm
    return LabelledHead(
        labels[box],
        materials[box],
        tissue[box],
        distance_mm.astype(np.float32),
        spacing_mm,
        -centre,
    )


def _check_volume(volume_ml: float) -> None:
    if volume_ml < MIN_BRAIN_ML:
        raise ValueError(
            f"{volume_ml:.0f} ml of grey and white matter. Expected a whole brain, "
            f"{MIN_BRAIN_ML:.0f} ml or more, labelled by FreeSurfer's ids."
        )


def _check_folds(labels: NDArray[np.int32]) -> None:
    """Raise ValueError where the space between the brain's folds would be simulated as air."""
    unlabelled = np.count_nonzero(labels == 0)
    if unlabelled > MAX_UNLABELLED * labels.size:
        raise ValueError(
            f"{unlabelled / labels.size:.0%} of the space between the brain's folds is 0, as in "
            "maps of the brain alone (aseg, aparc+aseg, wmparc), and would be simulated as air. "
            f"Expected a whole head, the fluid about the brain labelled {SUBARACHNOID}, as in "
            "SynthSeg's training maps."
        )


def _read_labels(path: Path) -> tuple[NDArray[np.int32], NDArray[np.float64]]:
    loaded = nib.load(path)
    _check_header(loaded)
    image = nib.as_closest_canonical(loaded)
    spacing_mm = np.array(image.header.get_zooms()[:3], dtype=float)
    if len(image.shape) != 3:
        raise ValueError(f"shape {image.shape}. Expected one volume, (x, y, z).")
    if spacing_mm.max() > MAX_SPACING_MM:
        sizes = " x ".join(f"{size:.2f}" for size in spacing_mm)
        raise ValueError(f"voxels of {sizes} mm. Expected at most {MAX_SPACING_MM} mm.")
    values: NDArray[Any] = np.asanyarray(image.dataobj)
    if not np.all(np.isfinite(values)) or np.any(values != np.round(values)):
        raise ValueError("values that are no whole numbers. Expected labels, not an image.")
    return values.astype(np.int32), spacing_mm


def _check_header(image: Any) -> None:
    """Raise ValueError where left and right are unknown, or a voxel holds several values.

    An MGZ has no form codes: its affine is always that of the scanner.
    """
    header = image.header
    if isinstance(header, nib.Nifti1Header) and not (header["sform_code"] or header["qform_code"]):
        raise ValueError(
            "no usable affine (sform and qform codes are both 0), so left and right are unknown. "
            "Convert it again, or set the form codes if you know that the orientation is right."
        )
    dtype = image.get_data_dtype()
    if dtype.fields is not None or dtype.kind == "c":
        raise ValueError(f"voxels are {dtype}. Expected one whole number a voxel, its label.")


def _find_box(head: NDArray[np.bool_], spacing_mm: NDArray[np.float64]) -> tuple[slice, ...]:
    """The head with a margin, as far as the map goes."""
    margin = np.ceil(MARGIN_MM / spacing_mm).astype(int)
    box = []
    for axis in range(3):
        others = tuple(other for other in range(3) if other != axis)
        filled = np.flatnonzero(head.any(axis=others))
        first, last = filled[0] - margin[axis], filled[-1] + 1 + margin[axis]
        box.append(slice(max(int(first), 0), int(last)))
    return tuple(box)


def close_brain(brain: NDArray[np.bool_], spacing_mm: NDArray[np.float64]) -> NDArray[np.float32]:
    """Distance in mm outwards from the brain's surface, its sulci filled.

    Computed on every second voxel: distances are smooth.
    """
    coarse = brain[::2, ::2, ::2]
    step = tuple(2 * spacing_mm)
    near = distance_transform_edt(~coarse, sampling=step) <= SULCUS_MM
    closed = coarse | (distance_transform_edt(near, sampling=step) > SULCUS_MM)
    # to the nearest voxel across the surface, which lies half a step before that
    to_inside = distance_transform_edt(~closed, sampling=step) - spacing_mm.mean()
    to_outside = distance_transform_edt(closed, sampling=step) - spacing_mm.mean()
    distance: NDArray[np.float32] = affine_transform(
        np.where(closed, -to_outside, to_inside).astype(np.float32),
        np.full(3, 0.5),  # voxel i of a coarse axis is voxel 2 i of the fine one
        output_shape=brain.shape,
        order=1,
        mode="nearest",
    )
    return distance

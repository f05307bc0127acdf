"""The volumes that one session gives: T1w, T2w on its own grid, and T2w on the T1w's grid."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import torch
from monai.data import MetaTensor
from numpy.typing import NDArray

from data_prep.registration import RigidRegistration, register_rigid, resample_to
from data_prep.stages import Stages

# A T2w is kept when it covers at least this part of the T1w's brain; less, and the crop, the
# percentiles and every paired figure would speak of different heads.
MIN_COVERAGE = 0.9


@dataclass(frozen=True)
class PreparedVolume:
    """One volume as the network will see it.

    Attributes:
        file: name of the image's file.
        contrast: ``T1w`` or ``T2w``.
        stem_space: ``T1w`` for a T2w moved to the T1w's grid, None on its own grid.
        head: the volume as read, RAS+.
        native: ``image`` and ``brain_mask`` at the input's resolution, bias corrected.
        data: the same as the network sees it.
        brain_extraction: method that made the mask.
        registration: what the registration found, in plain values; None where there was none.
    """

    file: str
    contrast: str
    stem_space: str | None
    head: nib.Nifti1Image
    native: dict[str, Any]
    data: dict[str, Any]
    brain_extraction: str
    registration: dict[str, Any] | None


def prepare_alone(
    stages: Stages, path: Path, contrast: str, *, truth: Path | None
) -> PreparedVolume:
    """Read a volume, extract its brain and bring it to the network's grid.

    Raises:
        ValueError: the file or its brain mask is not fit for use; the text says why.
    """
    files = {"image": str(path), **({"dseg": str(truth)} if truth else {})}
    loaded = stages.load_volume(files)
    head = as_nifti(loaded["image"])
    extracted = stages.extract_brain(loaded)
    check_mask(stages, extracted["brain_mask"])
    if fault := stages.check_extracted.find_fault(extracted["image"], extracted["brain_mask"]):
        raise ValueError(
            f"{fault} Give its input the method auto or none: --brain_extraction NAME=auto."
        )
    method = str(extracted["brain_mask"].meta["brain_extraction"])
    native = stages.correct_bias(extracted)
    data = sample_for_network(stages, native)
    return PreparedVolume(path.name, contrast, None, head, native, data, method, None)


def prepare_moved(stages: Stages, path: Path, t1w: PreparedVolume) -> PreparedVolume:
    """A T2w on its own grid, its brain mask carried over from the T1w by rigid registration.

    Raises:
        ValueError: the file is not fit for use, the registration failed or is not plausible, or
            the T2w covers too little of the T1w's brain.
    """
    loaded = stages.load_volume({"image": str(path)})
    head = as_nifti(loaded["image"])
    mask = as_nifti(t1w.native["brain_mask"])
    found = register_rigid(t1w.head, head, fixed_mask=mask)
    check_registration(found)
    check_coverage(t1w, find_covered(t1w, head, found.matrix))
    inverse = np.asarray(np.linalg.inv(found.matrix), dtype=np.float64)
    carried = resample_to(head, mask, inverse, interpolation="linear").get_fdata() >= 0.5
    native = stages.correct_bias({**loaded, "brain_mask": like(loaded["image"], carried)})
    data = sample_for_network(stages, native)
    method = f"{t1w.brain_extraction} on T1w"
    facts = describe_registration(found)
    return PreparedVolume(path.name, "T2w", None, head, native, data, method, facts)


def prepare_registered(
    stages: Stages, t1w: PreparedVolume, moved: PreparedVolume
) -> PreparedVolume:
    """The same T2w on the T1w's grid: row for row the partner of the T1w.

    Raises:
        ValueError: it was not registered.
    """
    if moved.registration is None:
        raise ValueError(f"{moved.file}: was not registered.")
    matrix = np.array(moved.registration["matrix"])
    grid, mask = t1w.native["image"], t1w.native["brain_mask"]
    covered, brain = find_covered(t1w, moved.head, matrix), mask[0].numpy() > 0
    voxels = _resample(t1w, as_nifti(moved.native["image"]), matrix)
    # What the T2w does not show must not move its percentiles; the mask leaves it out below.
    voxels[brain & ~covered] = np.median(voxels[brain & covered])
    # The coverage goes the way of a label map: nearest neighbour, the crop of the T1w's mask.
    native = {"image": like(grid, voxels), "brain_mask": mask, "dseg": like(grid, covered)}
    data = sample_for_network(stages, native)
    data["row_mask"] = data["brain_mask"]
    data["brain_mask"] = data["brain_mask"] * (data.pop("dseg") > 0)
    facts = {**moved.registration, "coverage": round(float(covered[brain].mean()), 4)}
    return PreparedVolume(
        moved.file, "T2w", "T1w", t1w.head, native, data, moved.brain_extraction, facts
    )


def find_covered(
    t1w: PreparedVolume, t2w: nib.Nifti1Image, matrix: NDArray[Any]
) -> NDArray[np.bool_]:
    """Where (x, y, z) of the T1w's grid lies in the field of view of a T2w."""
    field_of_view = nib.Nifti1Image(np.ones(t2w.shape, dtype=np.float32), t2w.affine)
    return np.asarray(_resample(t1w, field_of_view, matrix) >= 0.99)


def _resample(t1w: PreparedVolume, volume: nib.Nifti1Image, matrix: NDArray[Any]) -> NDArray[Any]:
    moved = resample_to(t1w.head, volume, matrix, interpolation="linear")
    return np.asarray(moved.get_fdata(dtype=np.float32))


def sample_for_network(stages: Stages, native: dict[str, Any]) -> dict[str, Any]:
    """Run ``to_network``; ValueError where the in-plane spacing is too coarse for training."""
    data = stages.to_network(dict(native))
    spacing = data["image"].meta["source_spacing_mm"][:2]
    if max(spacing) > stages.max_in_plane_spacing_mm:
        raise ValueError(
            f"in-plane spacing {spacing[0]:.2f} x {spacing[1]:.2f} mm. Expected at most "
            f"{stages.max_in_plane_spacing_mm} mm; choose the plane in which it was acquired."
        )
    return data


def check_registration(found: RigidRegistration) -> None:
    """ValueError that names what makes a registration implausible."""
    if found.flags:
        raise ValueError(f"registration to the T1w is not plausible: {'; '.join(found.flags)}.")


def check_coverage(t1w: PreparedVolume, covered: NDArray[np.bool_]) -> None:
    """ValueError where a T2w shows too little of the T1w's brain, such as a slab."""
    brain = t1w.native["brain_mask"][0].numpy() > 0
    coverage = float(covered[brain].mean())
    if coverage < MIN_COVERAGE:
        raise ValueError(f"covers {coverage:.0%} of the T1w's brain. Expected {MIN_COVERAGE:.0%}.")


def check_mask(stages: Stages, mask: MetaTensor) -> None:
    """Quality control of a brain mask; ValueError that names each failure."""
    quality = stages.check_brain_mask(mask[0].numpy() > 0, mask.affine.numpy())
    if quality.failures:
        raise ValueError(f"brain mask fails quality control: {'; '.join(quality.failures)}.")


def describe_registration(found: RigidRegistration) -> dict[str, Any]:
    """A registration's findings as JSON holds them, rounded to what can be told apart."""
    facts = asdict(found)
    return {
        name: np.round(value, 6).tolist() if isinstance(value, (np.ndarray, float)) else value
        for name, value in facts.items()
    }


def as_nifti(volume: MetaTensor) -> nib.Nifti1Image:
    """The volume (1, x, y, z) as NIfTI image (x, y, z)."""
    return nib.Nifti1Image(volume[0].numpy().astype(np.float32), volume.affine.numpy())


def like(volume: MetaTensor, voxels: NDArray[Any]) -> MetaTensor:
    """Voxels (x, y, z) as float32 MetaTensor (1, x, y, z) on the grid of another."""
    tensor = torch.from_numpy(np.ascontiguousarray(voxels, dtype=np.float32))[None]
    return MetaTensor(tensor, affine=volume.affine.clone())

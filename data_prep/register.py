"""Moves one volume onto the grid of another: for a pair of files, outside of any dataset."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np

from data_prep.contrasts import as_nifti, check_registration
from data_prep.registration import RigidRegistration, register_rigid, resample_to
from data_prep.stages import load_stages
from data_prep.store import encode_nifti, write_bytes


def register_files(
    fixed: Path, moving: Path, output: Path, *, bundle: Path, brain_extraction: str | None
) -> RigidRegistration:
    """Write ``moving`` on the grid of ``fixed``, both of one head.

    Args:
        fixed: NIfTI, usually the T1w.
        moving: NIfTI, usually the T2w.
        output: ``.nii.gz`` to write, float32, in RAS+ orientation of the fixed volume's grid.
        bundle: whose brain extraction is used.
        brain_extraction: method; None takes the bundle's.

    Raises:
        FileExistsError: the output is there already.
        ValueError: a file is not fit for use, or the registration is not plausible.
    """
    if output.exists():
        raise FileExistsError(f"{output}: exists already. Choose another name.")
    stages = load_stages(bundle, brain_extraction)
    target = stages.extract_brain(stages.load_volume({"image": str(fixed)}))
    source = stages.load_volume({"image": str(moving)})
    head, mask = as_nifti(target["image"]), as_nifti(target["brain_mask"])
    found = register_rigid(head, as_nifti(source["image"]), fixed_mask=mask)
    check_registration(found)
    moved = resample_to(head, as_nifti(source["image"]), found.matrix, interpolation="linear")
    save_on_grid_of(nib.load(fixed), moved, output)
    return found


def save_on_grid_of(reference: nib.Nifti1Image, image: nib.Nifti1Image, path: Path) -> None:
    """Write an image that covers a reference's grid in the reference's own orientation."""
    turn = nib.orientations.ornt_transform(
        nib.io_orientation(image.affine), nib.io_orientation(reference.affine)
    )
    turned = image.as_reoriented(turn)
    voxels = np.asarray(turned.dataobj, dtype=np.float32)
    result = nib.Nifti1Image(voxels, reference.affine)
    result.header.set_xyzt_units("mm")
    result.set_sform(reference.affine, int(reference.header["sform_code"]))
    result.set_qform(reference.affine, int(reference.header["qform_code"]))
    write_bytes(path, encode_nifti(result))

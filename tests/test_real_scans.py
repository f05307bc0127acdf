"""Real scans of every kind at hand go through inference and come back on their own grids."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from tests.inference_runs import run, save_model

# Grid, orientation and storage: see data/README.md of the shared scans.
SCANS = {
    "LPS, 3 mm slices, whole head": ("openms_raw/sub-01/ses-1/anat/*_T1w.nii.gz", "auto"),
    "PSR, bytes with a slope, whole head": ("ixi_t1_2mm/sub-IXI012/anat/*_T1w.nii.gz", "auto"),
    "LAS, negative values": ("openms_mni/sub-07/anat/*_T1w.nii.gz", "none"),
    "oblique, bytes": ("cstar/sub-01/anat/*_T1w.nii.gz", "none"),
    "coronal 6 mm slices, whole head": ("ixi_thick/*/anat/*_T1w.nii.gz", "auto"),
}


@pytest.mark.parametrize("kind", SCANS)
def test_the_image_itself_comes_back_where_it_was(kind, shared_data: Path, tmp_path):
    """With a network that changes nothing, what comes back is the brain of the input."""
    pattern, method = SCANS[kind]
    (path,) = shared_data.glob(pattern)
    save_model(tmp_path)
    (outcome,) = run(
        tmp_path, input=str(path), brain_extraction=method, bias_correction=False,
        network_def={"_target_": "torch.nn.Identity"}, handlers=[], mosaic=False,
    )  # fmt: skip
    assert (outcome.status, outcome.brain_cm3 > 900) == ("done", True), outcome.message
    source, result = nib.load(path), nib.load(tmp_path / "out" / outcome.output)
    for field in ("dim", "pixdim", "qform_code", "sform_code", "xyzt_units", "srow_x", "quatern_c"):
        np.testing.assert_array_equal(result.header[field], source.header[field])
    mask = nib.load(next((tmp_path / "out").glob("*_mask.nii.gz"))).get_fdata() > 0
    before, after = source.get_fdata()[mask], result.get_fdata()[mask]
    assert np.all(result.get_fdata()[~mask] == 0)
    assert np.mean(after > 0) > 0.97
    # Smoothed and resampled in plane, and nothing else: one voxel to the side and it is less.
    here = np.corrcoef(before, after)[0, 1]
    assert here > 0.93
    for axis in range(3):
        for step in (-1, 1):
            moved = np.roll(result.get_fdata(), step, axis)[mask]
            assert np.corrcoef(before, moved)[0, 1] < here

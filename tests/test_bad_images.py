"""Images that cannot be used: left out by name and reason, while the build goes on."""

from __future__ import annotations

import re

import nibabel as nib
import numpy as np
import pandas as pd
import pytest

from data_prep.command_line import LEFT_OUT
from data_prep.verify import verify_dataset
from tests.small_builds import build, read_exclusions, run_cli
from tests.small_heads import make_head, make_quick_bundle, save_dataset, save_head


def spoil_truncated(path):
    path.write_bytes(path.read_bytes()[:-2000])


def spoil_4d(path):
    image = nib.load(path)
    nib.save(nib.Nifti1Image(np.stack([image.get_fdata()] * 2, axis=-1), image.affine), path)


def spoil_with(change):
    def spoil(path):
        image = nib.load(path)
        voxels = image.get_fdata(dtype=np.float32)
        change(voxels)
        nib.save(nib.Nifti1Image(voxels, image.affine), path)

    return spoil


def spoil_affine(path):
    image = nib.load(path)
    image.set_sform(None, 0)
    image.set_qform(None, 0)
    nib.save(image, path)


def fill(value):
    def change(voxels):
        voxels[...] = value

    return change


def put(value):
    def change(voxels):
        voxels[20, 20, 20] = value

    return change


def shrink(voxels):
    voxels[:20] = 0
    voxels[30:] = 0


FAULTS = {
    "truncated": (spoil_truncated, "cannot be read"),
    "4-D": (spoil_4d, "Expected one 3-D volume"),
    "constant": (spoil_with(fill(7)), "empty or constant"),
    "empty": (spoil_with(fill(0)), "empty or constant"),
    "NaN": (spoil_with(put(np.nan)), "NaN or infinite"),
    "infinite": (spoil_with(put(np.inf)), "NaN or infinite"),
    "no affine": (spoil_affine, "no usable affine"),
    "half a brain": (spoil_with(shrink), "brain mask fails quality control"),
}


@pytest.mark.parametrize("contrast", ["T1w", "T2w"])
def test_one_bad_image_never_ends_a_run_and_is_named(tmp_path, contrast, capsys):
    folder = tmp_path / "heads"
    save_dataset(folder, pairs=1)
    for number, (name, (spoil, _)) in enumerate(FAULTS.items(), start=2):
        spoil(save_head(folder, f"sub-{number:02d}", contrast, seed=number))
        assert name
    options = {"brain_extraction": "heads=none", "workers": 1}
    code = run_cli("bids", tmp_path / "out", inputs=folder, **options)
    assert code == LEFT_OUT
    assert f"Left out: {len(FAULTS)} images" in capsys.readouterr().out.splitlines()[-1]
    reasons = read_exclusions(tmp_path / "out")
    for number, (_, expected) in enumerate(FAULTS.values(), start=2):
        assert expected in reasons[f"sub-{number:02d}_{contrast}.nii.gz"]
    assert verify_dataset(tmp_path / "out") == []


def test_a_failed_registration_leaves_the_t2w_out_and_keeps_the_t1w(tmp_path):
    folder = save_dataset(tmp_path / "heads", pairs=1)
    path = folder / "sub-01" / "anat" / "sub-01_T2w.nii.gz"
    image = make_head(0, "T2w")
    affine = image.affine.copy()
    affine[:3, 3] += 400  # the two share no point in space
    image.set_sform(affine, 1)
    image.set_qform(affine, 1)
    nib.save(image, path)
    assert build(tmp_path / "out", folder) == 1
    assert "registration" in read_exclusions(tmp_path / "out")["sub-01_T2w.nii.gz"]
    slices = pd.read_parquet(tmp_path / "out" / "slices.parquet")
    assert set(slices["contrast"]) == {"T1w"}


def test_a_slab_beside_a_whole_head_gives_no_slices(tmp_path):
    folder = save_dataset(tmp_path / "heads", pairs=1)
    slab = make_head(0, "T2w").slicer[:, :, 10:30]  # 60 mm of a brain of 124 mm
    nib.save(slab, folder / "sub-01" / "anat" / "sub-01_T2w.nii.gz")
    assert build(tmp_path / "out", folder, bundle=make_quick_bundle()) == 1
    reason = read_exclusions(tmp_path / "out")["sub-01_T2w.nii.gz"]
    assert re.fullmatch(r"covers 6\d% of the T1w's brain. Expected 90%.", reason)
    shards = pd.read_parquet(tmp_path / "out" / "slices.parquet")["shard"]
    assert set(shards) == {"shards/heads/sub-01_T1w.npy"}


def test_a_t2w_that_lost_its_t1w_says_so(tmp_path):
    folder = save_dataset(tmp_path / "heads", pairs=1, t2w_only=1)
    spoil_with(shrink)(folder / "sub-01" / "anat" / "sub-01_T1w.nii.gz")
    for subject in ("sub-01", "sub-02"):
        spoil_truncated(folder / subject / "anat" / f"{subject}_T2w.nii.gz")
    save_head(folder, "sub-03", "T1w", seed=3)
    assert build(tmp_path / "out", folder) == 3
    reasons = read_exclusions(tmp_path / "out")
    assert "the session's T1w" in reasons["sub-01_T2w.nii.gz"]
    assert "the session's T1w" not in reasons["sub-02_T2w.nii.gz"]

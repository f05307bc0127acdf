"""Inputs unlike what the networks were trained on are warned about or refused."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from scripts.inference.input_checks import (
    CheckContrastd,
    CheckExtractedd,
    CheckHounsfieldd,
    InputRefusedError,
)

from tests.inference_config import parse_inference
from tests.inference_runs import run, save_model
from tests.small_heads import make_head, save_head

RANGES = {"T1w": (0.55, 0.9), "T2w": (0.2, 0.5)}


def make_volume(values) -> MetaTensor:
    tensor = torch.as_tensor(values, dtype=torch.float32).reshape(1, -1, 1, 1).repeat(1, 1, 2, 2)
    return MetaTensor(tensor, meta={"filename_or_obj": "/somewhere/scan.nii.gz"})


def check_contrast(median: float, contrast: str = "T1w", *, refuse: bool = True):
    """A brain of three voxels with this median, and a background that must not count."""
    check = CheckContrastd("image", "mask", refuse=refuse, contrast=contrast, median_ranges=RANGES)
    image = make_volume([-1, -1, -1, -1, 2 * median - 1, -1, 1])
    return check({"image": image, "mask": make_volume([0, 0, 0, 0, 1, 1, 1])})


def test_the_right_contrast_passes_in_silence(caplog):
    check_contrast(0.7)
    check_contrast(0.33, "T2w")
    assert caplog.text == ""


def test_the_other_contrast_is_refused_with_the_way_out():
    with pytest.raises(InputRefusedError, match=r"looks like T2w.*--direction t2w_to_t1w"):
        check_contrast(0.33)
    with pytest.raises(InputRefusedError, match=r"looks like T1w.*--direction t1w_to_t2w"):
        check_contrast(0.7, "T2w")


@pytest.mark.parametrize("median", [0.1, 0.52, 0.95])
def test_neither_contrast_is_warned_about(median, caplog):
    check_contrast(median)
    assert "scan.nii.gz: the median of the brain is" in caplog.text
    assert "somewhere" not in caplog.text


def test_a_refusal_can_be_overruled(caplog):
    with caplog.at_level(logging.WARNING):
        check_contrast(0.33, refuse=False)
    assert "looks like T2w" in caplog.text


def test_a_single_slice_may_hold_little_but_fluid(caplog):
    check = CheckContrastd("image", "mask", refuse=True, contrast="T1w", median_ranges=RANGES)
    image, mask = make_volume([-1, -0.4, -0.4, -0.4]), make_volume([0, 1, 1, 1])
    check({"image": image[..., :1], "mask": mask[..., :1]})
    assert "the median of the brain is 0.30" in caplog.text


def test_hounsfield_units_are_refused():
    check = CheckHounsfieldd("image", refuse=True, below=-200.0, fraction=0.1)
    check({"image": make_volume([-1000] + 19 * [40])})
    with pytest.raises(InputRefusedError, match="20% of the voxels lie below -200"):
        check({"image": make_volume([-1000, -1000] + 8 * [40])})


def test_a_whole_head_that_is_said_to_be_brain_extracted_is_refused(tmp_path):
    save_model(tmp_path)
    head = make_head(1, "T1w")
    larger = nib.Nifti1Image(head.get_fdata(), head.affine @ np.diag([1.3, 1.3, 1.3, 1]))
    nib.save(larger, tmp_path / "large.nii.gz")
    nib.save(head, tmp_path / "right.nii.gz")
    large, right = run(tmp_path, input=str(tmp_path))
    assert (large.status, right.status) == ("refused", "done")
    assert "this looks like a whole head" in large.message


def test_half_a_brain_is_warned_about(tmp_path):
    save_model(tmp_path)
    head = make_head(1, "T1w")
    nib.save(head.slicer[:, :, 22:], tmp_path / "upper.nii.gz")
    (outcome,) = run(tmp_path, input=str(tmp_path / "upper.nii.gz"))
    assert outcome.status == "done"
    assert "a partial field of view" in outcome.message
    side_car = tmp_path / "out" / "upper_space-T1w_desc-synthetic_T2w.json"
    assert "a partial field of view" in json.loads(side_car.read_text())["Warnings"][0]


def test_the_wrong_contrast_is_found_in_a_run(tmp_path):
    save_model(tmp_path)
    save_head(tmp_path / "heads", "sub-01", "T1w", seed=1)
    wrong = save_head(tmp_path / "heads", "sub-01", "T2w", seed=1)
    (wrong.parent / "sub-02_T1w.nii.gz").write_bytes(wrong.read_bytes())
    first, second = run(tmp_path, input=str(wrong.parent))
    assert (first.status, second.status) == ("done", "refused")


def test_a_brain_that_is_extracted_anew_is_warned_about(caplog):
    check = CheckExtractedd("image", "mask")
    head = torch.zeros(1, 30, 30, 30)
    head[:, 10:20, 10:20, 10:20] = 1
    mask = MetaTensor(head, affine=torch.diag(torch.tensor([2.0, 2, 2, 1])))
    mask.meta["brain_extraction"] = "deepbet"
    for surroundings, warned in ((1.0, False), (0.0, True)):
        caplog.clear()
        image = MetaTensor(torch.where(head > 0, 1.0, surroundings), meta=dict(mask.meta))
        image.meta["filename_or_obj"] = "scan.nii"
        check({"image": image, "mask": mask})
        assert ("Pass --brain_extraction auto or none, with --overwrite" in caplog.text) == warned
    mask.meta["brain_extraction"] = "none"
    caplog.clear()
    check({"image": image, "mask": mask})
    assert caplog.text == ""


REAL = {
    "T1w": ("cstar/sub-01/anat/*_T1w.nii.gz", "openms_mni/*/anat/*_T1w.nii.gz"),
    "T2w": ("cstar/sub-01/anat/*_T2w.nii.gz", "openms_mni/*/anat/*_T2w.nii.gz"),
}


@pytest.mark.parametrize("contrast", REAL)
def test_real_scans_pass_the_right_way_and_are_refused_the_other(shared_data: Path, contrast):
    parser = parse_inference(brain_extraction="none", bias_correction=False)
    other = {"T1w": "T2w", "T2w": "T1w"}[contrast]
    parser["direction"] = f"{contrast.lower()}_to_{other.lower()}"
    right = parser.get_parsed_content("checked_preprocessing")
    wrong = CheckContrastd("image", "brain_mask", refuse=True, median_ranges=RANGES, contrast=other)
    paths = [path for pattern in REAL[contrast] for path in sorted(shared_data.glob(pattern))]
    assert len(paths) == 4
    for path in paths:
        prepared = right({"image": str(path)})
        with pytest.raises(InputRefusedError, match=f"looks like {contrast}"):
            wrong(prepared)

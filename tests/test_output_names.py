"""Outputs are named as BIDS names derivatives."""

from __future__ import annotations

import pytest
from scripts.inference.output_names import format_output_stem, is_our_output


@pytest.mark.parametrize(
    ("source", "direction", "expected"),
    [
        ("sub-01_ses-2_T1w.nii.gz", "t1w_to_t2w", "sub-01_ses-2_space-T1w_desc-synthetic_T2w"),
        ("sub-01_T2w.nii", "t2w_to_t1w", "sub-01_space-T2w_desc-synthetic_T1w"),
        ("head.nii.gz", "t1w_to_t2w", "head_space-T1w_desc-synthetic_T2w"),
        ("a/b/my_head.npy", "t1w_to_t2w", "a/b/my_head_space-T1w_desc-synthetic_T2w"),
        # run comes before space in BIDS, resolution behind it
        (
            "sub-1_run-2_res-1mm_T1w.nii",
            "t1w_to_t2w",
            "sub-1_run-2_space-T1w_res-1mm_desc-synthetic_T2w",
        ),
        # a space that is stated is kept, another description is replaced
        (
            "sub-1_space-MNI_desc-preproc_T1w.nii.gz",
            "t1w_to_t2w",
            "sub-1_space-MNI_desc-synthetic_T2w",
        ),
    ],
)
def test_a_synthetic_volume(source, direction, expected):
    assert str(format_output_stem(source, direction, description="synthetic")) == expected


def test_masks_and_uncertainties():
    stems = [
        format_output_stem("s_T1w.nii.gz", "t1w_to_t2w", description=description).name
        for description in ("brain", "uncertainty")
    ]
    assert stems == ["s_space-T1w_desc-brain_mask", "s_space-T1w_desc-uncertainty_T2w"]
    assert all(is_our_output(f"{stem}.nii.gz") for stem in stems)
    assert not is_our_output("sub-01_desc-preproc_T1w.nii.gz")
    assert not is_our_output("sub-01_desc-brain_T1w.nii.gz")


def test_masks_of_both_contrasts_in_one_space_have_two_names():
    names = {
        format_output_stem(f"s_space-MNI_{contrast}.nii", direction, description="brain").name
        for contrast, direction in (("T1w", "t1w_to_t2w"), ("T2w", "t2w_to_t1w"))
    }
    assert names == {"s_space-MNI_desc-brainT1w_mask", "s_space-MNI_desc-brainT2w_mask"}
    assert all(is_our_output(name) for name in names)


def test_unknown_descriptions_are_refused():
    with pytest.raises(ValueError, match="'mask'; expected one of"):
        format_output_stem("s.nii", "t1w_to_t2w", description="mask")

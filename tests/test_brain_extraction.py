"""Brain masks by each method, and what is refused."""

from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest
from scripts.brain_extraction import (
    extract_brain,
    extract_with_deepbet,
    keep_large_components,
    load_mask,
    mask_brain_extracted,
)


def ball(radius, size=32):
    index = np.indices((size,) * 3) - size / 2
    return (index**2).sum(axis=0) < radius**2


def as_image(voxels):
    return nib.Nifti1Image(np.asarray(voxels, dtype=np.float32), np.eye(4))


def test_specks_are_dropped_and_holes_are_filled():
    mask = ball(10)
    mask[16, 16, 16] = False
    mask[0, 0, :3] = True
    mask[26:30, 26:30, 26:30] = True  # 64 of 4169 voxels
    np.testing.assert_array_equal(keep_large_components(mask), ball(10))
    assert not keep_large_components(np.zeros((3, 3, 3), dtype=bool)).any()


def test_both_temporal_lobes_of_a_low_slice_are_kept():
    lobes = np.zeros((40, 40, 1), dtype=bool)
    lobes[5:15, 5:25] = lobes[25:35, 8:20] = True
    np.testing.assert_array_equal(mask_brain_extracted(as_image(100.0 * lobes)), lobes)


def test_brain_extracted_input_is_its_own_mask():
    # Resampling leaves ringing around the brain, below 0 and outside.
    voxels = np.where(ball(10), 100.0, 0.0)
    voxels[ball(12) & ~ball(10)] = -3.0
    np.testing.assert_array_equal(mask_brain_extracted(as_image(voxels)), ball(10))


def test_a_whole_head_is_not_taken_for_a_brain():
    head = np.random.default_rng(0).uniform(1, 9, (16, 16, 16))
    with pytest.raises(ValueError, match=r"100% of the volume.*use"):
        mask_brain_extracted(as_image(head))


def test_a_mask_file_is_read_in_any_orientation(tmp_path):
    mask = np.zeros((8, 9, 10), dtype=np.uint8)
    mask[2:5, 3:4, 6:9] = 1
    image = nib.Nifti1Image(mask, np.eye(4))
    turned = image.as_reoriented(nib.orientations.axcodes2ornt("LIP"))
    nib.save(turned, tmp_path / "mask.nii.gz")
    found, used = extract_brain(as_image(np.ones_like(mask)), str(tmp_path / "mask.nii.gz"))
    np.testing.assert_array_equal(found, mask > 0)
    assert used == "mask file"


@pytest.mark.parametrize(
    ("mask", "affine", "message"),
    [
        (np.eye(8)[..., None].repeat(8, axis=2), np.eye(4) * 1.5, "another grid"),
        (np.eye(7)[..., None].repeat(8, axis=2), np.eye(4), "another grid"),
        (np.zeros((8, 8, 8)), np.eye(4), "empty or constant"),
    ],
)
def test_a_mask_that_does_not_fit_is_refused(tmp_path, mask, affine, message):
    affine[3, 3] = 1
    nib.save(nib.Nifti1Image(mask.astype(np.uint8), affine), tmp_path / "mask.nii")
    with pytest.raises(ValueError, match=message) as caught:
        load_mask(tmp_path / "mask.nii", as_image(np.ones((8, 8, 8))))
    assert "mask.nii" in str(caught.value)


def test_an_unknown_method_is_an_error_that_lists_the_known():
    with pytest.raises(ValueError, match="Expected auto, none, deepbet, hd-bet or a mask file"):
        extract_brain(as_image(ball(5)), "bet")


def test_no_brain_is_an_error():
    with pytest.raises(ValueError, match="is empty"):
        extract_brain(as_image(-ball(5).astype(float)), "none")


def test_deepbet_says_when_it_finds_none():
    with pytest.raises(ValueError, match="deepbet found no brain"):
        extract_with_deepbet(as_image(np.zeros((20, 20, 20))))


@pytest.mark.parametrize("method", ["auto", "deepbet", "hd-bet"])
def test_no_brain_is_looked_for_in_a_single_slice(method):
    with pytest.raises(ValueError, match=r"single slice \(shape \(20, 20, 1\)\).*none"):
        extract_brain(as_image(np.ones((20, 20, 1))), method)


@pytest.mark.parametrize(("around", "method"), [(40.0, "deepbet"), (0.0, "none")])
def test_auto_keeps_the_edge_of_a_brain_that_is_extracted_already(monkeypatch, around, method):
    monkeypatch.setattr("scripts.brain_extraction.extract_with_deepbet", lambda _: ball(8))
    mask, used = extract_brain(as_image(np.where(ball(10), 100.0, around)), "auto")
    assert used == method
    np.testing.assert_array_equal(mask, ball(10) if method == "none" else ball(8))


def test_auto_does_not_take_a_head_that_was_normalised_to_mean_0_for_a_brain(monkeypatch):
    monkeypatch.setattr("scripts.brain_extraction.extract_with_deepbet", lambda _: ball(8))
    head = np.where(ball(8), 2.0, np.where(ball(15), -0.6, -1.0))
    assert extract_brain(as_image(head), "auto")[1] == "deepbet"
    brain = np.where(ball(8), np.where(ball(7), 1.0, -1.0), 0.0)  # whose edge cannot be told
    assert extract_brain(as_image(brain), "auto")[1] == "deepbet"


def test_auto_keeps_the_edges_of_real_extracted_brains(shared_data):
    """A stroke patient's and two of ARC's; the third of ARC is a whole head."""
    for name, expected in (
        ("cstar/sub-01/anat/sub-01_T1w", "none"),
        ("arc_t2/sub-M2208/anat/sub-M2208_T2w", "none"),
        ("arc_t2/sub-M2265/anat/sub-M2265_T2w", "deepbet"),
    ):
        image = nib.as_closest_canonical(nib.load(shared_data / f"{name}.nii.gz"))
        assert extract_brain(image, "auto")[1] == expected, name

"""Masks of whole brains pass, and each fault is named."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.ndimage import binary_dilation
from scripts.brain_quality import MaskLimits, MaskQuality, compute_empty_shell
from scripts.brain_quality import check_brain_mask as check_against

from tests.inference_config import parse_inference

Mask = NDArray[np.bool_]
AFFINE = np.diag([2.0, -2.0, 2.0, 1.0])
ADULT_LIMITS: MaskLimits = parse_inference().get_parsed_content("brain_limits")


def check_brain_mask(
    mask: Mask, affine: NDArray[np.float64], limits: MaskLimits = ADULT_LIMITS
) -> MaskQuality:
    return check_against(mask, affine, limits=limits)


def make_brain() -> Mask:
    """An ellipsoid of 1352 cm3 in the middle of 80 x 100 x 80 voxels of 2 mm."""
    x, y, z = np.ogrid[:80, :100, :80]
    return ((x - 39.5) / 33) ** 2 + ((y - 49.5) / 42) ** 2 + ((z - 39.5) / 29) ** 2 < 1


def cut_in_half(mask: Mask) -> Mask:
    return mask & (np.arange(80) < 40)


def double(mask: Mask) -> Mask:
    copy = mask.copy()
    copy[:, 48:52] = False
    return copy


def shift(mask: Mask) -> Mask:
    return np.concatenate([mask, np.zeros((80, 60, 80), bool)], axis=1)


def crop(mask: Mask) -> Mask:
    """A field of view that ends within the brain on four sides."""
    return mask[17:-17, 18:-18]


def fill(mask: Mask) -> Mask:
    return np.ones_like(mask)


def test_a_brain_passes_and_its_figures_are_right() -> None:
    quality = check_brain_mask(make_brain(), AFFINE)
    assert quality.volume_cm3 == pytest.approx(4 / 3 * np.pi * 66 * 84 * 58 / 1000, rel=0.01)
    assert quality.components == 1
    assert quality.centroid == pytest.approx((0.5, 0.5, 0.5))
    assert quality.border_fraction == 0
    assert quality.failures == ()


@pytest.mark.parametrize(
    ("spoil", "expected"),
    [
        (np.zeros_like, ["the mask is empty"]),
        (cut_in_half, ["volume 674 cm3, expected 900 to 2200"]),
        (double, ["2 components, expected 1"]),
        (shift, ["centroid at 0.50 x 0.31 x 0.50 of the field of view, expected 0.33-0.67"]),
        (crop, ["2.5% of the mask within 1 mm of the border, expected at most 2.0%"]),
        (fill, ["volume 5120 cm3", "3.5% of the mask"]),
    ],
)
def test_each_fault_is_named(spoil: Callable[[Mask], Mask], expected: list[str]) -> None:
    failures = check_brain_mask(spoil(make_brain()), AFFINE).failures
    assert len(failures) == len(expected)
    for failure, start in zip(failures, expected, strict=True):
        assert failure.startswith(start)


def test_specks_are_no_components() -> None:
    mask = make_brain()
    mask[2:6, 2:6, 2:6] = True  # 0.04 %
    assert check_brain_mask(mask, AFFINE).components == 1


def test_thick_slices_that_end_within_the_brain_pass_like_thin_ones() -> None:
    thick = make_brain()[:, :, 15:-15:5]
    thin = np.repeat(thick, 5, axis=2)
    on_thick = check_brain_mask(thick, AFFINE @ np.diag([1, 1, 5, 1]))
    on_thin = check_brain_mask(thin, AFFINE)
    assert on_thick.failures == on_thin.failures == ()
    assert 0.005 < on_thin.border_fraction < 0.02
    assert on_thick.border_fraction == pytest.approx(on_thin.border_fraction)


def test_other_limits_can_be_set() -> None:
    infants = replace(ADULT_LIMITS, volume_cm3=(300.0, 900.0))
    assert check_brain_mask(cut_in_half(make_brain()), AFFINE, limits=infants).failures == ()


def test_the_surroundings_of_a_brain_are_2_to_8_mm_away():
    mask = make_brain()
    volume = mask.astype(float)
    assert compute_empty_shell(volume, mask, np.full(3, 2.0)) == 1
    skull = binary_dilation(mask, iterations=8)  # 16 mm
    assert compute_empty_shell(skull.astype(float), mask, np.full(3, 2.0)) == 0
    # A scalp that begins 10 mm outside the brain is none of its surroundings.
    scalp = volume + (skull & ~binary_dilation(mask, iterations=6))
    assert compute_empty_shell(scalp, mask, np.full(3, 2.0)) > 0.9
    assert compute_empty_shell(volume, np.ones_like(mask), np.full(3, 2.0)) == 0


def test_real_brain_extracted_scans_pass(shared_data: Path) -> None:
    names = ["cstar/*/anat/*_T1w", "cstar/*/anat/*_T2w", "openms_mni/*/anat/*_T1w"]
    names += ["arc_t2/sub-M2208/anat/*", "arc_t2/sub-M2307/anat/*"]
    paths = [path for name in names for path in shared_data.glob(f"{name}.nii.gz")]
    assert len(paths) == 7
    for path in paths:
        image = nib.load(path)
        quality = check_brain_mask(np.asarray(image.dataobj) != 0, image.affine)
        assert quality.failures == (), path.name


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    [
        "openms_raw/sub-01/ses-1/anat/sub-01_ses-1_T1w",  # cut at the top and at the bottom
        "openms_raw/sub-19/ses-2/anat/sub-19_ses-2_T1w",
        "ixi_thick/sub-IXI002/anat/sub-IXI002_T2w",
        "ixi_t1_2mm/sub-IXI327/anat/sub-IXI327_T1w",
        "arc_t2/sub-M2265/anat/sub-M2265_T2w",
    ],
)
def test_real_whole_heads_pass(shared_data: Path, name: str) -> None:
    from deepbet import BrainExtraction

    image = nib.load(shared_data / f"{name}.nii.gz")
    _, mask, _ = BrainExtraction(no_gpu=True).run(image)
    assert check_brain_mask(np.asarray(mask.dataobj) > 0, image.affine).failures == ()

"""The figures by hand and against scikit-image, pooled over the mask and over batches."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scripts.evaluation.metrics import (
    SubjectMetrics,
    SubjectSums,
    earlier_system_psnr,
    earlier_system_ssim,
    masked_mae,
    masked_nmse,
    masked_psnr,
    masked_ssim,
)
from scripts.evaluation.ssim import ssim_map
from skimage.metrics import structural_similarity
from torch import Tensor

FIGURES = {"psnr": masked_psnr, "ssim": masked_ssim, "mae": masked_mae, "nmse": masked_nmse}


def make_slices(slices: int, height: int = 24, width: int = 20) -> tuple[Tensor, Tensor, Tensor]:
    """Prediction, target and mask (slices, 1, height, width), images in [0, 1], background 0."""
    generator = torch.Generator().manual_seed(slices)
    target = torch.rand(slices, 1, height, width, generator=generator)
    noise = torch.rand(target.shape, generator=generator)
    mask = torch.rand(target.shape, generator=generator) > 0.4
    return (0.8 * target + 0.2 * noise) * mask, target * mask, mask


def compute_ssim_in_skimage(prediction: Tensor, target: Tensor, data_range: float) -> np.ndarray:
    """Map (slices, height, width), by an independent program."""
    pairs = zip(prediction[:, 0].double().numpy(), target[:, 0].double().numpy(), strict=True)
    options = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}
    return np.stack(
        [
            structural_similarity(*pair, data_range=data_range, full=True, **options)[1]
            for pair in pairs
        ]
    )


@pytest.mark.parametrize("size", [(11, 11), (12, 37), (64, 51), (128, 128)])
@pytest.mark.parametrize("data_range", [1.0, 2.0])
def test_ssim_map_equals_scikit_image_to_the_edge(size: tuple[int, int], data_range: float) -> None:
    prediction, target, _ = make_slices(2, *size)
    expected = compute_ssim_in_skimage(prediction, target, data_range)
    found = ssim_map(prediction, target, data_range=data_range)
    assert found.shape == prediction.shape
    np.testing.assert_allclose(found[:, 0], expected, rtol=0, atol=1e-9)


def test_slices_smaller_than_the_window_are_refused() -> None:
    with pytest.raises(ValueError, match=r"\(10, 20\) pixels.*11 x 11"):
        ssim_map(torch.zeros(1, 1, 10, 20), torch.zeros(1, 1, 10, 20), data_range=1)


def make_errors() -> tuple[Tensor, Tensor, Tensor]:
    """Two slices, three voxels: errors .3 in the first slice, .1 and .1 in the second."""
    target, mask = torch.zeros(2, 1, 16, 16), torch.zeros(2, 1, 16, 16, dtype=torch.bool)
    error = target.clone()
    for place, value, difference in (((0, 0, 4, 4), 0.5, 0.3), ((1, 0, 2, 7), 0.2, 0.1)):
        target[place], error[place], mask[place] = value, difference, True
    target[1, 0, 9, 9], error[1, 0, 9, 9], mask[1, 0, 9, 9] = 0.4, -0.1, True
    return target + error, target, mask


def test_figures_by_hand_are_pooled_over_the_masks_voxels() -> None:
    found = {name: figure(*make_errors(), data_range=1.0) for name, figure in FIGURES.items()}
    squared_error = 0.09 + 0.01 + 0.01
    assert found["psnr"] == pytest.approx(10 * math.log10(3 / squared_error))
    assert found["mae"] == pytest.approx(0.5 / 3)
    assert found["nmse"] == pytest.approx(squared_error / (0.25 + 0.04 + 0.16))


def test_psnr_of_an_error_of_a_tenth_is_twenty_decibels() -> None:
    target = torch.full((1, 1, 16, 16), 0.5)
    mask = torch.ones_like(target, dtype=torch.bool)
    assert masked_psnr(target + 0.1, target, mask, data_range=1.0) == pytest.approx(20, abs=1e-5)


def test_masked_ssim_is_scikit_images_map_pooled_over_the_mask() -> None:
    prediction, target, mask = make_slices(3)
    expected = compute_ssim_in_skimage(prediction, target, 1.0)[mask[:, 0].numpy()].mean()
    found = masked_ssim(prediction, target, mask, data_range=1.0)
    assert found == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("name", FIGURES)
def test_what_lies_outside_the_mask_changes_nothing(name: str) -> None:
    prediction, target, mask = make_slices(2)
    before = FIGURES[name](prediction, target, mask, data_range=1.0)
    other = torch.where(mask, prediction, 0.7)
    assert FIGURES[name](other, target, mask, data_range=1.0) == before


def test_a_perfect_prediction() -> None:
    _, target, mask = make_slices(2)
    found = [figure(target, target, mask, data_range=1.0) for figure in FIGURES.values()]
    assert found == [math.inf, pytest.approx(1.0), 0.0, 0.0]


def test_numbers_from_zero_to_255_give_the_same_figures_with_their_data_range() -> None:
    prediction, target, mask = make_slices(2)
    for name in ("psnr", "ssim", "nmse"):
        scaled = FIGURES[name](255 * prediction, 255 * target, mask, data_range=255.0)
        plain = FIGURES[name](prediction, target, mask, data_range=1.0)
        assert scaled == pytest.approx(plain, rel=1e-5)


def test_sums_of_batches_add_up_to_the_subject() -> None:
    prediction, target, mask = make_slices(7)
    parts = [
        SubjectSums.from_slices(prediction[part], target[part], mask[part], data_range=1.0)
        for part in (slice(0, 3), slice(3, 4), slice(4, 7))
    ]
    pooled = parts[0] + parts[1] + parts[2]
    assert pooled.voxels == mask.sum()
    for name, figure in FIGURES.items():
        whole = figure(prediction, target, mask, data_range=1.0)
        assert getattr(pooled, name) == pytest.approx(whole, rel=1e-12)


def test_sums_of_different_data_ranges_do_not_add() -> None:
    one, two = (SubjectSums.from_slices(*make_slices(1), data_range=width) for width in (1.0, 2.0))
    with pytest.raises(ValueError, match=r"data_range 1.0 and 2.0"):
        one + two


def test_batches_of_mixed_subjects_give_each_subject_its_own_figures() -> None:
    prediction, target, mask = make_slices(6)
    metrics = SubjectMetrics(data_range=1.0)
    metrics.update(["a", "b", "a", "c"], prediction[:4], target[:4], mask[:4])
    metrics.update(["b", "a"], prediction[4:], target[4:], mask[4:])
    found = metrics.compute()
    for subject_id, rows in (("a", [0, 2, 5]), ("b", [1, 4]), ("c", [3])):
        assert set(found[subject_id]) == set(FIGURES)
        for name, figure in FIGURES.items():
            alone = figure(prediction[rows], target[rows], mask[rows], data_range=1.0)
            assert found[subject_id][name] == pytest.approx(alone, rel=1e-12)


def test_the_mean_counts_every_subject_once() -> None:
    prediction, target, mask = make_slices(5)
    metrics = SubjectMetrics(data_range=1.0)
    metrics.update(["a", "a", "a", "a", "b"], prediction, target, mask)
    subjects = metrics.compute()
    expected = (subjects["a"]["ssim"] + subjects["b"]["ssim"]) / 2
    assert metrics.mean()["ssim"] == pytest.approx(expected)
    metrics.reset()
    with pytest.raises(ValueError, match="no subject"):
        metrics.mean()


class TestBadInput:
    def test_other_shapes_are_shown(self) -> None:
        prediction, target, mask = make_slices(2)
        with pytest.raises(ValueError, match=r"\(2, 1, 24, 20\).*\(1, 1, 24, 20\)"):
            masked_mae(prediction, target[:1], mask, data_range=1.0)

    def test_several_channels_are_refused(self) -> None:
        images = [each.view(1, 2, 24, 20) for each in make_slices(2)]
        with pytest.raises(ValueError, match=r"expected \(slices, 1, height, width\)"):
            masked_mae(*images, data_range=1.0)

    def test_an_empty_mask_is_refused(self) -> None:
        prediction, target, mask = make_slices(2)
        with pytest.raises(ValueError, match="is empty"):
            masked_mae(prediction, target, torch.zeros_like(mask), data_range=1.0)

    @pytest.mark.parametrize("which", ["prediction", "target"])
    def test_images_on_the_networks_range_are_refused(self, which: str) -> None:
        prediction, target, mask = make_slices(2)
        images = {"prediction": prediction, "target": target}
        images[which] = 2 * images[which] - 1
        with pytest.raises(ValueError, match=rf"{which} lies in \[-1, .*expected \[0, 1\]"):
            masked_mae(**images, mask=mask, data_range=1.0)

    def test_rounding_beyond_the_range_is_no_error(self) -> None:
        prediction, target, mask = make_slices(2)
        assert masked_mae(prediction - 0.0009, target + 0.0009, mask, data_range=1.0) > 0
        with pytest.raises(ValueError, match="prediction"):
            masked_mae(prediction - 0.0011, target, mask, data_range=1.0)

    def test_not_a_number_is_refused(self) -> None:
        prediction, target, mask = make_slices(2)
        prediction[0, 0, 3, 3] = math.nan
        with pytest.raises(ValueError, match=r"prediction lies in \[nan, nan\]"):
            masked_mae(prediction, target, mask, data_range=1.0)

    def test_the_subject_is_named(self) -> None:
        prediction, target, mask = make_slices(2)
        mask[1] = False
        with pytest.raises(ValueError, match="sub-02: The brain mask"):
            SubjectMetrics(data_range=1.0).update(["sub-01", "sub-02"], prediction, target, mask)

    def test_every_slice_needs_a_subject(self) -> None:
        with pytest.raises(ValueError, match="1 subject ids for 2 slices"):
            SubjectMetrics(data_range=1.0).update(["sub-01"], *make_slices(2))


def test_earlier_psnr_is_the_mean_of_the_slices_decibels_on_a_range_of_two() -> None:
    target = torch.zeros(2, 1, 16, 16)
    errors = torch.tensor([0.2, 0.02]).view(2, 1, 1, 1)  # 20 and 40 dB of 2
    assert earlier_system_psnr(target + errors, target) == pytest.approx(30, abs=1e-4)


def test_earlier_ssim_is_scikit_images_on_whole_slices_in_minus_one_to_one() -> None:
    prediction, target, _ = make_slices(3)
    prediction, target = 2 * prediction - 1, 2 * target - 1
    expected = compute_ssim_in_skimage(prediction, target, 2.0).mean()
    assert earlier_system_ssim(prediction, target) == pytest.approx(expected, abs=1e-6)


def test_the_callers_images_stay_as_they_are() -> None:
    images = make_slices(2)
    copies = [each.clone() for each in images]
    SubjectSums.from_slices(*images, data_range=1.0)
    assert all(torch.equal(image, copy) for image, copy in zip(images, copies, strict=True))

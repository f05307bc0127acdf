"""Figures of slices against scikit-image, the subject's figures and the earlier system's."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scripts.evaluation.metrics import (
    SubjectSums,
    earlier_system_psnr,
    earlier_system_ssim,
    masked_mae,
    masked_psnr,
    masked_ssim,
)
from scripts.evaluation.slice_figures import slice_figures
from skimage.metrics import peak_signal_noise_ratio, structural_similarity
from torch import Tensor

SLICES = 19  # more than are measured at a time
NAMES = ("ssim", "psnr", "mae", "earlier_ssim", "earlier_psnr")


def make_slices() -> tuple[Tensor, Tensor, Tensor]:
    """Prediction, target and mask (slices, 1, 24, 20), images in [0, 1], background 0."""
    generator = torch.Generator().manual_seed(2)
    target, noise, chance = torch.rand(3, SLICES, 1, 24, 20, generator=generator)
    share = torch.linspace(0.2, 0.8, SLICES).view(-1, 1, 1, 1)
    mask = chance > share
    return (0.8 * target + 0.2 * noise) * mask, target * mask, mask


def test_masked_figures_are_those_of_a_subject_with_one_slice() -> None:
    images = make_slices()
    found = slice_figures(*images)
    assert tuple(found) == NAMES
    figures = {"ssim": masked_ssim, "psnr": masked_psnr, "mae": masked_mae}
    for name, figure in figures.items():
        alone = [
            figure(*(each[row : row + 1] for each in images), data_range=1.0)
            for row in range(SLICES)
        ]
        assert found[name].shape == (SLICES,)
        np.testing.assert_allclose(found[name], alone, rtol=1e-10)


def test_earlier_figures_of_each_slice_are_scikit_images_on_minus_one_to_one() -> None:
    prediction, target, mask = make_slices()
    found = slice_figures(prediction, target, mask)
    options = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}
    for row in range(SLICES):
        x, y = ((2 * image[row, 0] - 1).double().numpy() for image in (prediction, target))
        ssim = structural_similarity(x, y, data_range=2.0, full=True, **options)[1].mean()
        assert float(found["earlier_ssim"][row]) == pytest.approx(ssim, abs=1e-6)
        psnr = peak_signal_noise_ratio(y, x, data_range=2.0)
        assert float(found["earlier_psnr"][row]) == pytest.approx(psnr, abs=1e-5)


def test_means_of_the_earlier_figures_are_the_earlier_systems() -> None:
    prediction, target, mask = make_slices()
    found = slice_figures(prediction, target, mask)
    on_network_range = (2 * prediction - 1, 2 * target - 1)
    expected = {
        "earlier_ssim": earlier_system_ssim(*on_network_range),
        "earlier_psnr": earlier_system_psnr(*on_network_range),
    }
    for name, value in expected.items():
        assert float(found[name].mean()) == pytest.approx(value, abs=1e-6)


def test_slices_pool_to_the_subject() -> None:
    images = make_slices()
    found = slice_figures(*images)
    subject = SubjectSums.from_slices(*images, data_range=1.0)
    voxels = images[2].sum(dim=(1, 2, 3)).double()
    weights = voxels / voxels.sum()
    assert float((weights * found["ssim"]).sum()) == pytest.approx(subject.ssim, rel=1e-9)
    assert float((weights * found["mae"]).sum()) == pytest.approx(subject.mae, rel=1e-9)
    squared_error = float((weights * 10 ** (-found["psnr"] / 10)).sum())
    assert -10 * math.log10(squared_error) == pytest.approx(subject.psnr, rel=1e-9)


def test_a_slice_without_a_mask_has_whole_figures_only() -> None:
    prediction, target, mask = make_slices()
    mask[4] = False
    found = slice_figures(prediction, target, mask)
    for name in ("ssim", "psnr", "mae"):
        assert torch.isnan(found[name]).nonzero().flatten().tolist() == [4]
    assert float(found["earlier_ssim"][4]) == pytest.approx(1)
    assert float(found["earlier_psnr"][4]) == math.inf


def test_a_perfect_slice() -> None:
    _, target, mask = make_slices()
    found = {name: float(figure[0]) for name, figure in slice_figures(target, target, mask).items()}
    assert [found[name] for name in NAMES] == pytest.approx([1, math.inf, 0, 1, math.inf])


def test_what_lies_outside_the_mask_changes_nothing() -> None:
    prediction, target, mask = make_slices()
    before = slice_figures(prediction, target, mask)
    after = slice_figures(torch.where(mask, prediction, 0.7), target, mask)
    assert all(torch.equal(before[name], after[name]) for name in NAMES)


def test_other_grids_empty_masks_and_the_networks_range_are_refused() -> None:
    prediction, target, mask = make_slices()
    with pytest.raises(ValueError, match=r"\(18, 1, 24, 20\) of the mask"):
        slice_figures(prediction, target, mask[1:])
    with pytest.raises(ValueError, match=r"The prediction lies in \[-1"):
        slice_figures(2 * prediction - 1, target, mask)
    with pytest.raises(ValueError, match="is empty"):
        slice_figures(prediction, target, torch.zeros_like(mask))
    prediction[3, 0, 2, 2] = math.nan
    with pytest.raises(ValueError, match=r"The prediction lies in \[nan"):
        slice_figures(prediction, target, mask)

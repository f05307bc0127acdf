"""Multi-scale SSIM by hand, against MONAI's own figure and against SciPy's filters."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from monai.metrics.regression import compute_ms_ssim
from scipy.ndimage import gaussian_filter
from scripts.evaluation.multiscale import ms_ssim
from torch import Tensor

WEIGHTS = [0.0448, 0.2856, 0.3001, 0.2363]  # Wang et al. 2003, table 1, without the fifth


def make_pair(slices: int, height: int, width: int) -> tuple[Tensor, Tensor]:
    noise = np.random.default_rng(slices).normal(size=(2, slices, 1, height, width))
    target = gaussian_filter(noise[0], (0, 0, 2, 2))
    target = (target - target.min()) / np.ptp(target)
    prediction = (0.8 * target + 0.1 * noise[1] + 0.1).clip(0, 1)
    return torch.from_numpy(prediction).float(), torch.from_numpy(target).float()


def compute_in_scipy(prediction: Tensor, target: Tensor) -> float:
    """The mean over slices, from filters that are cropped to where the window fits."""

    def average(image: np.ndarray) -> np.ndarray:
        return gaussian_filter(image, 1.5, radius=5)[5:-5, 5:-5]

    def halve(image: np.ndarray) -> np.ndarray:
        height, width = (size // 2 for size in image.shape)
        parts = image[: 2 * height, : 2 * width].reshape(height, 2, width, 2)
        return parts.mean(axis=(1, 3))

    figures = []
    for x, y in zip(prediction[:, 0].double().numpy(), target[:, 0].double().numpy(), strict=True):
        product = 1.0
        for scale, weight in enumerate(WEIGHTS):
            mean_x, mean_y = average(x), average(y)
            variances = average(x * x) - mean_x**2 + average(y * y) - mean_y**2
            term = (2 * (average(x * y) - mean_x * mean_y) + 0.03**2) / (variances + 0.03**2)
            if scale == 3:
                term *= (2 * mean_x * mean_y + 0.01**2) / (mean_x**2 + mean_y**2 + 0.01**2)
            product *= max(term.mean(), 0.0) ** (weight / sum(WEIGHTS))
            x, y = halve(x), halve(y)
        figures.append(product)
    return float(np.mean(figures))


@pytest.mark.parametrize("size", [(88, 88), (90, 121), (128, 128)])
def test_figure_equals_that_of_scipys_filters(size: tuple[int, int]) -> None:
    pair = make_pair(3, *size)
    expected = compute_in_scipy(*pair)
    assert 0.05 < expected < 0.95
    assert ms_ssim(*pair) == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("slices", [1, 5, 17])
def test_figure_equals_monais(slices: int) -> None:
    pair = make_pair(slices, 128, 112)
    weights = [weight / sum(WEIGHTS) for weight in WEIGHTS]
    expected = compute_ms_ssim(*pair, spatial_dims=2, data_range=1.0, weights=weights)
    assert ms_ssim(*pair) == pytest.approx(float(expected.mean()), abs=1e-6)


def test_two_flat_images_by_hand() -> None:
    """Contrast is 1 at every scale; the means count once, at the coarsest."""
    prediction, target = torch.full((2, 1, 96, 96), 0.2), torch.full((2, 1, 96, 96), 0.6)
    luminance = (2 * 0.2 * 0.6 + 0.01**2) / (0.2**2 + 0.6**2 + 0.01**2)
    expected = luminance ** (0.2363 / sum(WEIGHTS))
    assert ms_ssim(prediction, target) == pytest.approx(expected, abs=1e-4)
    assert ms_ssim(torch.zeros_like(target), torch.zeros_like(target)) == pytest.approx(1)


def test_the_target_itself_is_ideal_and_slices_count_equally() -> None:
    prediction, target = make_pair(4, 96, 96)
    assert ms_ssim(target, target) == pytest.approx(1, abs=1e-6)
    each = [ms_ssim(prediction[row : row + 1], target[row : row + 1]) for row in range(4)]
    assert ms_ssim(prediction, target) == pytest.approx(np.mean(each), abs=1e-6)


def test_inverted_contrast_counts_as_zero_and_never_as_no_number() -> None:
    _, target = make_pair(2, 96, 96)
    assert ms_ssim(1 - target, target) == 0.0
    flat = torch.full_like(target, 0.5)
    for pair in ((flat, target), (target, flat), (torch.zeros_like(flat), target)):
        assert math.isfinite(ms_ssim(*pair))


def test_small_slices_other_grids_and_the_networks_range_are_refused() -> None:
    prediction, target = make_pair(2, 96, 87)
    with pytest.raises(ValueError, match=r"\(96, 87\) pixels.*at least 88 x 88"):
        ms_ssim(prediction, target)
    with pytest.raises(ValueError, match=r"\(2, 1, 96, 80\) of the target"):
        ms_ssim(prediction, target[..., :80])
    with pytest.raises(ValueError, match=r"The prediction lies in \[-"):
        ms_ssim(2 * prediction - 1, target)

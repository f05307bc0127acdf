"""Structural similarity (Wang et al. 2004, doi:10.1109/TIP.2003.819861) and its two terms."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

SSIM_SIGMA = 1.5  # pixels; Wang et al. 2004, sec. III-B, as are the three below
SSIM_RADIUS = 5  # pixels, for a window of 11 x 11
SSIM_K1 = 0.01
SSIM_K2 = 0.03


def ssim_map(prediction: Tensor, target: Tensor, *, data_range: float) -> Tensor:
    """Structural similarity of every pixel (Wang et al. 2004, eq. 13).

    Two-dimensional Gaussian window, population covariance, symmetric edges ("reflect" of scipy).

    Args:
        prediction: (slices, 1, height, width), height and width at least 11.
        target: the same shape.
        data_range: width of the range of intensities.

    Returns:
        Similarity in [-1, 1], float64, of the same shape.
    """
    terms = compute_ssim_terms(prediction, target, data_range=data_range)
    means = (terms.prediction_mean, terms.target_mean)
    return compute_luminance(*means, data_range=data_range) * terms.contrast


@dataclass(frozen=True, kw_only=True)
class SsimTerms:
    """What SSIM is made of, each (slices, 1, height, width), float64.

    Attributes:
        prediction_mean: in the window about each pixel.
        target_mean: likewise.
        contrast: second factor of eq. 13, in [-1, 1].
    """

    prediction_mean: Tensor
    target_mean: Tensor
    contrast: Tensor


def compute_ssim_terms(prediction: Tensor, target: Tensor, *, data_range: float) -> SsimTerms:
    """Compute the terms of `ssim_map`, which takes the same images."""
    _check_window(prediction)
    x, y = prediction.double(), target.double()
    c2 = (SSIM_K2 * data_range) ** 2
    mean_x, mean_y, mean_xx, mean_yy, mean_xy = (
        _filter_gaussian(image) for image in (x, y, x * x, y * y, x * y)
    )
    variances = (mean_xx - mean_x**2) + (mean_yy - mean_y**2)
    contrast = (2 * (mean_xy - mean_x * mean_y) + c2) / (variances + c2)
    return SsimTerms(prediction_mean=mean_x, target_mean=mean_y, contrast=contrast)


def compute_luminance(mean_x: Tensor, mean_y: Tensor, *, data_range: float) -> Tensor:
    """First factor of eq. 13: how alike two means are. Below 0 where their signs differ."""
    c1 = (SSIM_K1 * data_range) ** 2
    return (2 * mean_x * mean_y + c1) / (mean_x**2 + mean_y**2 + c1)


def _filter_gaussian(images: Tensor) -> Tensor:
    """Weighted mean in the window about each pixel of (slices, 1, height, width)."""
    along_height = _compute_window_matrix(images.shape[2], images.device)
    along_width = _compute_window_matrix(images.shape[3], images.device)
    return along_height @ images @ along_width.T  # a float64 convolution is slower


def _compute_window_matrix(size: int, device: torch.device) -> Tensor:
    """Row i of (size, size) weighs the pixels about i, mirrored at the edges as c b a | a b c."""
    offsets = torch.arange(-SSIM_RADIUS, SSIM_RADIUS + 1, device=device)
    weights = torch.exp(-0.5 * (offsets.double() / SSIM_SIGMA).square())
    places = torch.arange(size, device=device)[:, None] + offsets
    places = places.where(places >= 0, -1 - places)
    places = places.where(places < size, 2 * size - 1 - places)
    lies_at = places[..., None] == torch.arange(size, device=device)
    return ((weights / weights.sum())[:, None] * lies_at).sum(dim=1)


def _check_window(images: Tensor) -> None:
    window = 2 * SSIM_RADIUS + 1
    if min(images.shape[-2:]) < window:
        raise ValueError(
            f"Found slices of {tuple(images.shape[-2:])} pixels; SSIM expects at least "
            f"{window} x {window}."
        )

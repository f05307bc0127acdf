"""Figures of single slices: inside the brain mask, and whole as the earlier system measured."""

from __future__ import annotations

import torch
from torch import Tensor

from scripts.evaluation.image_checks import check_mask, check_ranges, check_shapes
from scripts.evaluation.metrics import EARLIER_SYSTEM_DATA_RANGE
from scripts.evaluation.ssim import compute_luminance, compute_ssim_terms

BLOCK = 8  # slices at a time, so that they stay in a processor's cache: twice as fast


def slice_figures(prediction: Tensor, target: Tensor, mask: Tensor) -> dict[str, Tensor]:
    """Figures of each slice. What lies outside the mask is taken for background, 0.

    `ssim`, `psnr` (dB) and `mae` are those of `SubjectSums` for the slice alone, NaN where it has
    no mask; `earlier_ssim` and `earlier_psnr` are those of `earlier_system_ssim` and `_psnr`: whole
    slices in [-1, 1], for reading that system's tables only. Best are 1 of both similarities,
    infinity of both PSNR and 0 of `mae`.

    Args:
        prediction: (slices, 1, height, width) in [0, 1].
        target: the same shape and range.
        mask: the same shape, boolean or 0 and 1.

    Returns:
        (slices,) of each figure, float64.
    """
    check_shapes(prediction=prediction, target=target, mask=mask)
    check_ranges(prediction=prediction, target=target, data_range=1.0)
    check_mask(mask)
    blocks = zip(*(each.split(BLOCK) for each in (prediction, target, mask)), strict=True)
    measured = [_measure(*block) for block in blocks]
    return {name: torch.cat([figures[name] for figures in measured]) for name in measured[0]}


def _measure(prediction: Tensor, target: Tensor, mask: Tensor) -> dict[str, Tensor]:
    inside = mask.bool()
    x, y = (image.double().where(inside, 0.0) for image in (prediction, target))
    ssim, earlier_ssim = _compare(x, y, inside)
    error, voxels, pixels = x - y, _sum_slices(inside), mask[0].numel()
    squared_error = _sum_slices(error.square())
    return {
        "ssim": ssim,
        "psnr": _to_decibels(squared_error / voxels),
        "mae": _sum_slices(error.abs()) / voxels,
        "earlier_ssim": earlier_ssim,
        "earlier_psnr": _to_decibels(squared_error / pixels),  # the same for any range
    }


def _compare(x: Tensor, y: Tensor, inside: Tensor) -> tuple[Tensor, Tensor]:
    """SSIM of each slice inside the mask on [0, 1], and of the whole on [-1, 1].

    The second factor of SSIM is the same on both ranges, since variances and constants grow alike.
    """
    terms = compute_ssim_terms(x, y, data_range=1.0)
    means = (terms.prediction_mean, terms.target_mean)
    similarity = compute_luminance(*means, data_range=1.0) * terms.contrast
    shifted = (2 * mean - 1 for mean in means)
    earlier = compute_luminance(*shifted, data_range=EARLIER_SYSTEM_DATA_RANGE) * terms.contrast
    masked = _sum_slices(similarity.where(inside, 0.0)) / _sum_slices(inside)
    return masked, earlier.mean(dim=(1, 2, 3))


def _sum_slices(values: Tensor) -> Tensor:
    return values.sum(dim=(1, 2, 3), dtype=torch.double)


def _to_decibels(mean_squared_error: Tensor) -> Tensor:
    """PSNR of images in [0, 1]."""
    return -10 * torch.log10(mean_squared_error)

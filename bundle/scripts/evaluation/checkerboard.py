"""Whether a synthetic image shows the pattern of its decoder's strides."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from scripts.evaluation.image_checks import check_ranges, check_shapes


def checkerboard_ratio(synthetic: Tensor, real: Tensor, *, stride: int) -> float:
    """Power of the spectrum at the frequencies of the decoder's strides, synthetic over real.

    Transposed convolutions of total stride s leave patterns of period s (Odena et al. 2016,
    doi:10.23915/distill.00003): frequencies of n / s cycles per pixel along both axes, all but
    (0, 0), summed over the slices. In [0, infinity), 1 is ideal and at most 1.05 the goal (rule 11
    of the evaluation). Noise adds its share of power; a blurred image has less and scores below 1,
    which can hide a faint pattern.

    Args:
        synthetic: (slices, 1, height, width) in [0, 1], background 0.
        real: the same shape and range.
        stride: total stride of the decoder, in pixels; height and width are multiples of it.

    Returns:
        The ratio; NaN where the real images have no power there.
    """
    check_shapes(synthetic=synthetic, real=real)
    check_ranges(synthetic=synthetic, real=real, data_range=1.0)
    height, width = real.shape[2:]
    if height % stride or width % stride:
        raise ValueError(
            f"Found slices of {height} x {width} pixels; expected multiples of the decoder's "
            f"stride {stride}. Pad them with background."
        )
    of_synthetic, of_real = (_compute_power(image, stride) for image in (synthetic, real))
    return of_synthetic / of_real if of_real > 0 else math.nan


def _compute_power(images: Tensor, stride: int) -> float:
    """Power at multiples of 1 / stride: the whole spectrum of the image folded to one period."""
    folded = images.double().unflatten(3, (-1, stride)).sum(dim=3)
    folded = folded.unflatten(2, (-1, stride)).sum(dim=2)
    power = torch.fft.fft2(folded).abs().square().sum(dim=(0, 1))
    power[0, 0] = 0
    return float(power.sum())

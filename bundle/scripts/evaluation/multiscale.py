"""Multi-scale structural similarity."""

from __future__ import annotations

import torch
from monai.metrics.regression import compute_ssim_and_cs
from torch import Tensor
from torch.nn import functional

from scripts.evaluation.image_checks import check_ranges, check_shapes
from scripts.evaluation.ssim import SSIM_K1, SSIM_K2, SSIM_RADIUS, SSIM_SIGMA

# Wang et al. 2003 give .1333 to a fifth scale, whose 8 pixels of 128 do not hold the window.
WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363)


def ms_ssim(prediction: Tensor, target: Tensor) -> float:
    """Multi-scale SSIM of whole slices, the mean over them (Wang et al. 2003, eq. 7).

    doi:10.1109/ACSSC.2003.1292216. Four scales, the paper's first four weights brought to a sum of
    1; the window moves only where it fits. In [0, 1], 1 is ideal. A slice whose mean term is below
    0 at any scale, which inverted contrast gives, counts as 0, since a power of that is no number;
    MONAI's `compute_ms_ssim` does the same, and these are its figures in a tenth of the time.

    Args:
        prediction: (slices, 1, height, width) in [0, 1], background 0.
        target: the same shape and range.
    """
    check_shapes(prediction=prediction, target=target)
    check_ranges(prediction=prediction, target=target, data_range=1.0)
    _check_size(prediction)
    x, y = (image.float().transpose(0, 1) for image in (prediction, target))
    result = torch.ones(len(prediction), device=x.device)
    for scale, weight in enumerate(WEIGHTS):
        similarity, contrast = _compare(x, y)
        term = similarity if scale == len(WEIGHTS) - 1 else contrast
        result = result * term.mean(dim=(0, 2, 3)).clamp(min=0) ** (weight / sum(WEIGHTS))
        x, y = functional.avg_pool2d(x, 2), functional.avg_pool2d(y, 2)
    return float(result.double().mean())


def _compare(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """SSIM and its second factor of (1, slices, height, width): slices as channels are faster."""
    similarity, contrast = compute_ssim_and_cs(
        y_pred=x,
        y=y,
        spatial_dims=2,
        data_range=1.0,
        kernel_type="gaussian",
        kernel_size=[2 * SSIM_RADIUS + 1] * 2,
        kernel_sigma=[SSIM_SIGMA] * 2,
        k1=SSIM_K1,
        k2=SSIM_K2,
    )
    return similarity, contrast


def _check_size(images: Tensor) -> None:
    least = (2 * SSIM_RADIUS + 1) * 2 ** (len(WEIGHTS) - 1)
    if min(images.shape[-2:]) < least:
        raise ValueError(
            f"Found slices of {tuple(images.shape[-2:])} pixels; MS-SSIM of {len(WEIGHTS)} scales "
            f"expects at least {least} x {least}. Pad them with background."
        )

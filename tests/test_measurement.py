"""Figures of a session: pooled as `SubjectSums` pools, whatever the slices weigh."""

from __future__ import annotations

import math

import pytest
import torch
from scripts.evaluation.measurement import pool_slices
from scripts.evaluation.metrics import (
    SubjectSums,
    earlier_system_psnr,
    earlier_system_ssim,
    mean_decibels,
)
from scripts.evaluation.slice_figures import slice_figures


def test_slices_pool_to_the_figures_of_the_whole() -> None:
    generator = torch.Generator().manual_seed(3)
    prediction, target = torch.rand(2, 5, 1, 24, 32, generator=generator)
    mask = torch.zeros(5, 1, 24, 32, dtype=torch.bool)
    for number in range(4):  # from little to much brain; the last slice has none
        mask[number, :, 3 : 6 + 5 * number, 4:20] = True
    prediction, target = prediction.where(mask, 0.0), target.where(mask, 0.0)
    found = pool_slices(slice_figures(prediction, target, mask), target, mask)
    sums = SubjectSums.from_slices(prediction, target, mask, data_range=1.0)
    for name in ("ssim", "psnr", "mae", "nmse"):
        assert found[name] == pytest.approx(getattr(sums, name), rel=1e-9)
    shifted = [2 * image - 1 for image in (prediction, target)]
    assert found["earlier_ssim"] == pytest.approx(earlier_system_ssim(*shifted), rel=1e-6)
    assert found["earlier_psnr"] == pytest.approx(earlier_system_psnr(*shifted), rel=1e-6)
    shown = [image[:4] for image in shifted]  # a slice without an error has no finite PSNR
    assert found["earlier_psnr"] == pytest.approx(earlier_system_psnr(*shown), rel=1e-9)


def test_slices_without_error_are_left_out_of_mean_decibels_and_broken_ones_are_not() -> None:
    assert mean_decibels(torch.tensor([20.0, math.inf, 30.0])) == 25.0
    assert mean_decibels(torch.tensor([math.inf, math.inf])) == math.inf
    assert math.isnan(mean_decibels(torch.tensor([20.0, math.nan])))


def test_a_perfect_prediction_has_no_error() -> None:
    target = torch.rand(2, 1, 16, 16, generator=torch.Generator().manual_seed(0))
    mask = torch.ones_like(target, dtype=torch.bool)
    found = pool_slices(slice_figures(target, target, mask), target, mask)
    assert (found["ssim"], found["mae"], found["nmse"]) == (pytest.approx(1.0), 0.0, 0.0)
    assert (found["psnr"], found["earlier_psnr"]) == (math.inf, math.inf)

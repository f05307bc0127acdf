"""Power at the decoder's frequencies against NumPy's spectrum, and what it finds."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter
from scripts.evaluation.checkerboard import checkerboard_ratio
from torch import Tensor

SIZE, SLICES, AMPLITUDE = 128, 6, 0.02


def make_heads() -> tuple[Tensor, Tensor]:
    """Textured ellipses on background 0 and their mask, each slice with another texture."""
    noise = np.random.default_rng(0).normal(size=(SLICES, 1, SIZE, SIZE))
    texture = gaussian_filter(noise, (0, 0, 1, 1))
    texture = 0.5 + 0.1 * texture / texture.std()
    steps = np.arange(SIZE) - SIZE / 2
    ellipse = (steps[:, None] / 52) ** 2 + (steps / 44) ** 2 < 1
    mask = torch.from_numpy(np.broadcast_to(ellipse, texture.shape).copy())
    return torch.from_numpy(texture).clamp(0.2, 0.8) * mask, mask


def make_pattern(period: int) -> Tensor:
    """Checkerboard of 1 and -1 whose squares are half a period wide."""
    square = torch.arange(SIZE) // (period // 2)
    return 1.0 - 2 * ((square[:, None] + square) % 2)


def compute_power_in_numpy(images: Tensor, stride: int) -> float:
    power = (np.abs(np.fft.fft2(images[:, 0].numpy())) ** 2).sum(axis=0)
    height, width = power.shape
    rows, columns = (
        [number * size // stride for number in range(stride)] for size in (height, width)
    )
    return float(power[np.ix_(rows, columns)].sum() - power[0, 0])


@pytest.mark.parametrize(("height", "width", "stride"), [(32, 32, 4), (24, 40, 4), (36, 32, 2)])
def test_power_is_that_of_numpys_whole_spectrum(height: int, width: int, stride: int) -> None:
    generator = torch.Generator().manual_seed(0)
    shape = (5, 1, height, width)
    synthetic, real = torch.rand(2, *shape, generator=generator, dtype=torch.double)
    expected = compute_power_in_numpy(synthetic, stride) / compute_power_in_numpy(real, stride)
    assert checkerboard_ratio(synthetic, real, stride=stride) == pytest.approx(expected, rel=1e-9)


def test_a_wave_by_hand_and_one_of_another_frequency() -> None:
    real = 0.5 + 0.1 * make_pattern(2).expand(1, 1, SIZE, SIZE)
    stronger = 0.5 + 0.3 * make_pattern(2).expand(1, 1, SIZE, SIZE)
    assert checkerboard_ratio(stronger, real, stride=4) == pytest.approx(9, rel=1e-5)
    wave = torch.cos(2 * math.pi * 5 * torch.arange(SIZE) / SIZE).expand(1, 1, SIZE, SIZE)
    found = checkerboard_ratio(real + 0.2 * wave, real, stride=4)
    assert found == pytest.approx(1, rel=1e-5)


@pytest.mark.parametrize("period", [2, 4])
def test_a_faint_checkerboard_is_found_with_the_power_that_it_has(period: int) -> None:
    real, mask = make_heads()
    pattern = AMPLITUDE * make_pattern(period) * mask
    found = checkerboard_ratio(real + pattern, real, stride=4)
    added = compute_power_in_numpy(pattern, 4) / compute_power_in_numpy(real, 4)
    assert added > 10
    assert abs(found - 1 - added) < 2 * math.sqrt(added)  # the triangle of both amplitudes
    assert found > 10


def test_stripes_of_one_axis_are_found() -> None:
    real, mask = make_heads()
    stripes = 1.0 - 2 * (torch.arange(SIZE) % 2)
    for direction in (stripes, stripes[:, None]):
        assert checkerboard_ratio(real + AMPLITUDE * direction * mask, real, stride=4) > 10


def test_a_shift_changes_nothing() -> None:
    real, _ = make_heads()
    moved = real.roll((3, 2), dims=(2, 3))
    assert checkerboard_ratio(moved, real, stride=4) == pytest.approx(1, abs=1e-9)


def test_noise_adds_its_own_share_of_power_only() -> None:
    real, mask = make_heads()
    generator = torch.Generator().manual_seed(0)
    noise = AMPLITUDE * torch.randn(real.shape, generator=generator, dtype=torch.double) * mask
    noise_power = 15 * AMPLITUDE**2 * float(mask.sum())  # equal at each of the 15 frequencies
    expected = 1 + noise_power / compute_power_in_numpy(real, 4)
    found = checkerboard_ratio(real + noise, real, stride=4)
    assert found == pytest.approx(expected, abs=0.1)
    assert found < 1.2


def test_blur_is_no_checkerboard_and_does_not_hide_one() -> None:
    real, mask = make_heads()
    blurred = torch.from_numpy(gaussian_filter(real.numpy(), (0, 0, 1, 1)))
    assert checkerboard_ratio(blurred, real, stride=4) < 1
    for period in (2, 4):
        pattern = AMPLITUDE * make_pattern(period) * mask
        assert checkerboard_ratio(blurred + pattern, real, stride=4) > 10


def test_a_flat_real_image_has_no_ratio() -> None:
    real, _ = make_heads()
    assert math.isnan(checkerboard_ratio(real, torch.full_like(real, 0.5), stride=4))


def test_sizes_that_the_stride_does_not_divide_and_the_networks_range_are_refused() -> None:
    real, _ = make_heads()
    with pytest.raises(ValueError, match="128 x 127 pixels; expected multiples of .* stride 4"):
        checkerboard_ratio(real[..., :127], real[..., :127], stride=4)
    with pytest.raises(ValueError, match=r"The synthetic lies in \[-1"):
        checkerboard_ratio(2 * real - 1, real, stride=4)

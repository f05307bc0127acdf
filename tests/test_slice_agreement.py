"""The ratio between neighbouring slices by hand and against NumPy."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scripts.evaluation.slice_agreement import neighbouring_slice_ratio
from torch import Tensor


def make_flat_slices(*values: float) -> Tensor:
    return torch.tensor(values).view(-1, 1, 1, 1).expand(-1, 1, 4, 4)


def make_volume(slices: int = 9) -> tuple[Tensor, Tensor, Tensor, list[int]]:
    """Synthetic, real, mask and indices with gaps."""
    generator = torch.Generator().manual_seed(0)
    synthetic, real, chance = torch.rand(3, slices, 1, 16, 12, generator=generator)
    indices = [3, 4, 5, 9, 10, 12, 15, 16, 17][:slices]
    return synthetic, real, chance > 0.3, indices


def test_ratio_by_hand_where_only_neighbours_count() -> None:
    synthetic = make_flat_slices(0.1, 0.4, 1.0, 0.9)
    real = make_flat_slices(0.1, 0.3, 0.9, 0.5)
    mask = torch.ones_like(real, dtype=torch.bool)
    found = neighbouring_slice_ratio(synthetic, real, mask, [10, 11, 13, 14])
    assert found == pytest.approx((0.3 + 0.1) / (0.2 + 0.4))


def test_only_voxels_in_both_neighbours_masks_count() -> None:
    real = make_flat_slices(0.2, 0.4)
    synthetic, mask = real.clone(), torch.zeros_like(real, dtype=torch.bool)
    mask[0, 0, 0, :3] = True
    mask[1, 0, 0, 1:] = True
    synthetic[1, 0, 0] = torch.tensor([0.9, 0.5, 0.5, 0.9])  # .3 instead of .2 in both voxels
    assert neighbouring_slice_ratio(synthetic, real, mask, [0, 1]) == pytest.approx(1.5)


def test_ratio_equals_numpys() -> None:
    synthetic, real, mask, indices = make_volume()
    inside, means = mask.numpy(), {}
    for name, image in (("synthetic", synthetic.numpy()), ("real", real.numpy())):
        differences = [
            np.abs(image[row + 1] - image[row])[inside[row] & inside[row + 1]]
            for row in range(len(indices) - 1)
            if indices[row + 1] == indices[row] + 1
        ]
        means[name] = np.concatenate(differences).astype(np.float64).mean()
    found = neighbouring_slice_ratio(synthetic, real, mask, indices)
    assert found == pytest.approx(means["synthetic"] / means["real"], rel=1e-6)


def test_the_real_volume_and_any_order_of_it_have_the_ratio_one() -> None:
    synthetic, real, mask, indices = make_volume()
    assert neighbouring_slice_ratio(real, real, mask, indices) == 1.0
    whole = neighbouring_slice_ratio(synthetic, real, mask, indices)
    order = torch.randperm(len(indices), generator=torch.Generator().manual_seed(1))
    shuffled = [each[order] for each in (synthetic, real, mask)]
    found = neighbouring_slice_ratio(*shuffled, [indices[row] for row in order])
    assert found == pytest.approx(whole, rel=1e-12)


def test_flicker_raises_and_smoothing_along_the_slices_lowers_the_ratio() -> None:
    real = make_flat_slices(*np.linspace(0.3, 0.6, 10))
    mask = torch.ones_like(real, dtype=torch.bool)
    flicker = 0.05 * (-1.0) ** torch.arange(10).view(-1, 1, 1, 1)
    indices = list(range(10))
    assert neighbouring_slice_ratio(real + flicker, real, mask, indices) > 2
    half = 0.45 + (real - 0.45) / 2
    assert neighbouring_slice_ratio(half, real, mask, indices) == pytest.approx(0.5)


def test_without_neighbours_or_differences_there_is_no_ratio() -> None:
    synthetic, real, mask, _ = make_volume(slices=3)
    assert math.isnan(neighbouring_slice_ratio(synthetic, real, mask, [1, 3, 5]))
    assert math.isnan(neighbouring_slice_ratio(synthetic[:1], real[:1], mask[:1], [4]))
    flat = torch.full_like(real, 0.5)
    assert math.isnan(neighbouring_slice_ratio(synthetic, flat, mask, [1, 2, 3]))


def test_indices_of_other_number_and_the_networks_range_are_refused() -> None:
    synthetic, real, mask, indices = make_volume()
    with pytest.raises(ValueError, match="8 slice indices for 9 slices"):
        neighbouring_slice_ratio(synthetic, real, mask, indices[:-1])
    with pytest.raises(ValueError, match=r"The synthetic lies in \[-"):
        neighbouring_slice_ratio(2 * synthetic - 1, real, mask, indices)

"""The trivial predictions by hand and against SciPy."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.stats import binned_statistic
from scripts.evaluation.baselines import (
    apply_lookup_table,
    copy_source,
    fit_lookup_table,
    fit_target_mean,
    mean_in_mask,
)
from torch import Tensor


def make_row(*values: float) -> Tensor:
    return torch.tensor(values).view(1, 1, 1, -1)


def make_pair() -> tuple[Tensor, Tensor, Tensor]:
    """Source, target and mask (3, 1, 32, 32) with a curved and noisy relation of contrasts."""
    generator = torch.Generator().manual_seed(5)
    source = torch.rand(3, 1, 32, 32, generator=generator)
    target = (0.5 - (source - 0.4) ** 2 + 0.1 * torch.rand(source.shape, generator=generator)).abs()
    return source, target, torch.rand(source.shape, generator=generator) > 0.5


def test_the_source_is_copied_inside_the_mask() -> None:
    mask = make_row(1, 0, 1).bool()
    assert copy_source(make_row(0.25, 0.5, 1.0), mask).flatten().tolist() == [0.25, 0, 1]


def test_the_mean_is_taken_and_put_inside_the_mask() -> None:
    mask = make_row(1, 0, 1).bool()
    mean = fit_target_mean(make_row(0.25, 0.9, 0.75), mask)
    assert mean_in_mask(mask, target_mean=mean).flatten().tolist() == [0.5, 0, 0.5]


def test_lookup_table_by_hand_with_gaps_on_the_line_between_neighbours() -> None:
    source = make_row(0.21, 0.29, 0.65, 0.95)
    target = make_row(0.25, 0.75, 0.9, 1.0)
    mask = make_row(1, 1, 1, 0).bool()
    table = fit_lookup_table(source, target, mask, bins=10)
    line = [0.5 + step * 0.1 for step in range(5)]
    expected = [0.5, 0.5, *line, 0.9, 0.9, 0.9]
    torch.testing.assert_close(
        table, torch.tensor(expected, dtype=torch.float64), atol=1e-7, rtol=0
    )


def test_a_table_is_applied_inside_the_mask_and_both_ends_belong_to_it() -> None:
    table = torch.tensor([0.1, 0.2, 0.3, 0.4])
    source, mask = make_row(0.0, 0.25, 0.74, 1.0, 0.5), make_row(1, 1, 1, 1, 0).bool()
    predicted = apply_lookup_table(source, mask, table=table)
    torch.testing.assert_close(predicted, make_row(0.1, 0.2, 0.3, 0.4, 0.0))


def test_lookup_table_equals_scipys_binned_mean() -> None:
    source, target, mask = make_pair()
    values = [each[mask].double().numpy() for each in (source, target)]
    expected = binned_statistic(*values, statistic="mean", bins=64, range=(0, 1)).statistic
    table = fit_lookup_table(source, target, mask, bins=64)
    np.testing.assert_allclose(table, expected, atol=1e-12)


def test_no_other_table_is_nearer_to_the_training_pairs() -> None:
    source, target, mask = make_pair()
    table = fit_lookup_table(source, target, mask, bins=16)

    def compute_error(candidate: Tensor) -> float:
        predicted = apply_lookup_table(source.double(), mask, table=candidate)
        return float((predicted - target)[mask].square().sum())

    best = compute_error(table)
    for entry in range(16):
        for step in (-0.003, 0.003):
            changed = table.clone()
            changed[entry] += step
            assert compute_error(changed) > best


def test_other_shapes_and_empty_masks_are_refused() -> None:
    source, target, mask = make_pair()
    with pytest.raises(ValueError, match=r"\(3, 1, 32, 32\) and masks of \(2, 1, 32, 32\)"):
        fit_lookup_table(source, target, mask[:2], bins=64)
    with pytest.raises(ValueError, match="are empty"):
        fit_target_mean(target, torch.zeros_like(mask))

"""Weights of the losses over the epochs, against values computed by hand."""

from __future__ import annotations

from typing import Any

import pytest
from scripts.loss_weights import LossWeights, WeightSchedule

CONSTANT: dict[str, Any] = {
    "adversarial": 1.0,
    "cycle_t1w": 10,
    "cycle_t2w": 5.5,
    "identity": 0,
    "structure": 1.0,
    "contrast": 0.0,
    "paired": 0.0,
    "paired_ssim": 0.0,
    "inversion": 0.0,
}


def test_numbers_stay_what_they_are() -> None:
    schedule = WeightSchedule(**CONSTANT)
    expected = LossWeights(**CONSTANT)
    assert schedule.at(1) == schedule.at(1000) == expected


@pytest.mark.parametrize(
    ("epoch", "weight"), [(1, 0.2), (10, 0.2), (12, 1.6), (14, 3.0), (15, 3.0), (200, 3.0)]
)
def test_points_are_joined_by_straight_lines(epoch: int, weight: float) -> None:
    points = [[2, 0.2], [10, 0.2], [14, 3]]
    schedule = WeightSchedule(**(CONSTANT | {"cycle_t1w": points}))
    assert schedule.at(epoch).cycle_t1w == pytest.approx(weight)
    assert schedule.at(epoch).cycle_t2w == 5.5


@pytest.mark.parametrize(
    "wrong",
    [
        -1,
        float("nan"),
        float("inf"),
        "ten",
        None,
        [],
        [1, 2],
        [[1, 2, 3]],
        [[1, 0.5], [1, 2]],
        [[5, 0.5], [4, 2]],
        [[0, 0.5]],
        [[1, -0.5]],
    ],
)
def test_other_values_are_refused_by_name(wrong: Any) -> None:
    with pytest.raises(ValueError, match=r"lambda_identity: found .*\[\[1, 0\.2\]"):
        WeightSchedule(**(CONSTANT | {"identity": wrong}))

"""How much each of the generators' losses counts, constant or over the epochs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields
from itertools import pairwise
from numbers import Real
from typing import Any

import numpy as np
from torch import Tensor

Weight = float | Sequence[Sequence[float]]


@dataclass(frozen=True, kw_only=True)
class LossWeights:
    """Weights of the generators' losses in one step.

    Attributes:
        cycle_t1w: of T1w against T1w -> T2w -> T1w.
        cycle_t2w: of T2w against T2w -> T1w -> T2w.
        identity: of images already of the target contrast; 0 saves their two passes.
        structure: of structure across contrasts; 0 does not compute it.
        adversarial: of the discriminators' decisions; at 0 these are not trained either.
        contrast: of the contrastive comparison of patches; 0 does not compute it.
        paired: of the distance from registered real images; 0 does not compute it.
        paired_ssim: of the structural dissimilarity from them; 0 does not compute it.
        inversion: of the distance from the inverted source; 0 does not compute it.
    """

    cycle_t1w: float
    cycle_t2w: float
    identity: float
    structure: float
    adversarial: float
    contrast: float
    paired: float
    paired_ssim: float
    inversion: float

    def to_tensors(self, like: Tensor) -> dict[str, Tensor]:
        """Return the weights above 0 by name, as numbers on the device and of the type of `like`.

        A compiled step takes them as input, where it would be compiled anew for other floats.
        """
        # filled there: a copy of a number would make the host wait for the device
        return {name: like.new_full((), value) for name, value in vars(self).items() if value}


class WeightSchedule:
    """The weights of each epoch.

    Each is a number, or a list of points [epoch, weight], epochs from 1 and ascending: between two
    points the weight goes linearly, before the first and after the last it stays. A small weight
    of the cycle at first lets the adversarial losses turn the contrast, of which a copy of the
    input, without any cycle error, would keep them; a larger one then brings the anatomy back.

    Args:
        weights: of all that `LossWeights` names.

    Raises:
        ValueError: a weight that is negative or not finite, or points out of order.
    """

    def __init__(self, **weights: Weight) -> None:
        names = {field.name for field in fields(LossWeights)}
        if names != set(weights):
            raise ValueError(f"found weights {sorted(weights)}; expected {sorted(names)}.")
        self._points = {name: _read_points(name, weight) for name, weight in weights.items()}

    def uses(self, name: str) -> bool:
        """Whether a weight is above 0 in any epoch."""
        return any(weight > 0 for _, weight in self._points[name])

    def at(self, epoch: int) -> LossWeights:
        """Return the weights of an epoch, the first of which is 1."""
        weights = {}
        for name, points in self._points.items():
            epochs, values = zip(*points, strict=True)
            weights[name] = float(np.interp(epoch, epochs, values))
        return LossWeights(**weights)


def _read_points(name: str, weight: Weight) -> list[tuple[float, float]]:
    pairs: Any = [(1, weight)] if isinstance(weight, Real) else weight
    try:
        points = [(float(epoch), float(value)) for epoch, value in pairs]
    except (TypeError, ValueError) as error:
        raise ValueError(_describe(name, weight)) from error
    epochs = [epoch for epoch, _ in points]
    weights = [value for _, value in points]
    ascending = all(left < right for left, right in pairwise(epochs))
    sound = all(math.isfinite(value) and value >= 0 for value in weights)
    if not (points and ascending and sound and epochs[0] >= 1):
        raise ValueError(_describe(name, weight))
    return points


def _describe(name: str, weight: Weight) -> str:
    return (
        f"lambda_{name}: found {weight!r}; expected a number from 0 on, or points [epoch, weight] "
        "with ascending epochs from 1 on, such as [[1, 0.2], [20, 0.2], [21, 3]]."
    )

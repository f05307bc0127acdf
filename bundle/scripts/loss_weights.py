"""How much each of the generators' losses counts, constant or over the epochs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from numbers import Real
from typing import Any

import numpy as np
from torch import Tensor

Weight = float | Sequence[Sequence[float]]


@dataclass(frozen=True, kw_only=True)
class LossWeights:
    """Weights of the generators' losses in one step; the adversarial losses have weight 1.

    Attributes:
        cycle_t1w: of T1w against T1w -> T2w -> T1w.
        cycle_t2w: of T2w against T2w -> T1w -> T2w.
        identity: of images already of the target contrast; 0 saves their two passes.
        structure: of structure across contrasts; 0 does not compute it.
    """

    cycle_t1w: float
    cycle_t2w: float
    identity: float
    structure: float

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
        cycle_t1w: see `LossWeights`, as the others.
        cycle_t2w: the same.
        identity: the same.
        structure: the same.

    Raises:
        ValueError: a weight that is negative or not finite, or points out of order.
    """

    def __init__(
        self, *, cycle_t1w: Weight, cycle_t2w: Weight, identity: Weight, structure: Weight
    ) -> None:
        self._points = {
            name: _read_points(name, weight)
            for name, weight in {
                "cycle_t1w": cycle_t1w,
                "cycle_t2w": cycle_t2w,
                "identity": identity,
                "structure": structure,
            }.items()
        }

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

"""How much the intensities of one volume tell of those of another."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def compute_normalised_mutual_information(
    first: NDArray[np.floating], second: NDArray[np.floating], *, bins: int
) -> float:
    """(H(a) + H(b)) / H(a, b): 1 for independent voxels, 2 for identical ones.

    Studholme 1999, doi:10.1016/S0031-3203(98)00091-0. Values beyond the 0.5 and 99.5 percentiles
    fall into the outer bins.
    """
    x, y = (np.clip(part, *np.percentile(part, [0.5, 99.5])) for part in (first, second))
    counts, _, _ = np.histogram2d(x, y, bins=bins)
    joint = counts / counts.sum()
    both = _entropy(joint)
    if both == 0:
        return 1.0  # two constants tell nothing of each other
    return (_entropy(joint.sum(axis=0)) + _entropy(joint.sum(axis=1))) / both


def _entropy(probabilities: NDArray[np.float64]) -> float:
    positive = probabilities[probabilities > 0]
    return float(-(positive * np.log(positive)).sum())

"""Whether a synthetic image keeps its source's anatomy: edges, and the order of tissues."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import torch
from scipy.cluster.vq import kmeans
from torch import Tensor
from torch.nn import functional

from scripts.evaluation.image_checks import check_mask, check_ranges, check_shapes
from scripts.losses import ngf_loss

CLASSES = {"csf": 1, "gm": 2, "wm": 3}  # of the truth labels, and dark to bright in T1w
BRIGHT_TO_DARK = {"T2w": ("csf", "gm", "wm"), "T1w": ("wm", "gm", "csf")}


def gradient_agreement(source: Tensor, synthetic: Tensor, mask: Tensor, *, edge: float) -> float:
    """Mean squared cosine between the edges of both images, whatever the sign of their contrast.

    One minus `ngf_loss` (Haber and Modersitzki 2006, doi:10.1007/11866763_89) in the mask without
    its outermost voxels, as a mean over the slices where any are left. In [0, 1], 1 where every
    edge is parallel. Flat places count as 0, so that a real target scores far below 1 and a copy
    of the source above it: read the figure beside those of the real image and of the copy.

    Args:
        source: (slices, 1, height, width) in [0, 1].
        synthetic: the same shape and range, in the other contrast.
        mask: the same shape, boolean or 0 and 1.
        edge: gradient that counts as an edge, in intensity per pixel on [-1, 1] as in training.
    """
    check_shapes(source=source, synthetic=synthetic, mask=mask)
    check_ranges(source=source, synthetic=synthetic, data_range=1.0)
    outside = functional.max_pool2d(1 - mask.float(), kernel_size=3, stride=1, padding=1)
    shown = (outside == 0).flatten(1).any(dim=1)
    if not shown.any():
        raise ValueError(
            f"The brain mask {tuple(mask.shape)} has no voxel whose neighbours lie in it; expected "
            "some, since gradients need them."
        )
    network = (2 * image[shown] - 1 for image in (source, synthetic))
    return 1 - float(ngf_loss(*network, edge=edge, mask=mask[shown]))


def classify_tissues(t1w: Tensor, mask: Tensor, labels: Tensor | None = None) -> Tensor:
    """Classes of `CLASSES` inside the mask, 0 outside: the truth, or three clusters of the T1w.

    Without truth, k-means of the intensities (Lloyd 1982) that starts from the quantiles 1/6, 1/2
    and 5/6: dark is CSF, bright white matter. Enough for `tissue_order`, but lesions and partial
    volumes fall into whatever is nearest.

    Args:
        t1w: real image, (slices, 1, height, width) in [0, 1].
        mask: the same shape, boolean or 0 and 1.
        labels: truth of the same shape, 1 CSF, 2 grey matter, 3 white matter, 0 else.

    Returns:
        The same shape, uint8.
    """
    check_shapes(t1w=t1w, mask=mask, labels=mask if labels is None else labels)
    check_mask(mask)
    classes = _cluster(t1w, mask.bool()) if labels is None else labels
    return classes.where(mask.bool(), 0).to(torch.uint8)


def tissue_means(image: Tensor, classes: Tensor) -> dict[str, float]:
    """Mean of an image in each class, by the names of `CLASSES`; NaN where a class has no voxel."""
    check_shapes(image=image, classes=classes)
    return {
        name: float(image[classes == number].mean(dtype=torch.double))
        for name, number in CLASSES.items()
    }


def tissue_order(image: Tensor, classes: Tensor, contrast: str) -> float:
    """1 if the tissues' means lie as the contrast demands, else 0; ideal is 1.

    T2w: CSF brightest, then grey, then white matter. T1w: the reverse. Rule 8 of the evaluation.

    Args:
        image: (slices, 1, height, width).
        classes: of `classify_tissues`.
        contrast: "T2w" or "T1w".

    Returns:
        1.0 or 0.0; NaN where a class has no voxel.
    """
    if contrast not in BRIGHT_TO_DARK:
        raise ValueError(f"contrast is {contrast!r}; expected one of {sorted(BRIGHT_TO_DARK)}.")
    means = tissue_means(image, classes)
    if any(math.isnan(mean) for mean in means.values()):
        return math.nan
    names = BRIGHT_TO_DARK[contrast]
    return float(all(means[brighter] > means[darker] for brighter, darker in pairwise(names)))


def _cluster(t1w: Tensor, mask: Tensor) -> Tensor:
    """1, 2, 3 for the dark, middle and bright third, by the nearest cluster."""
    values = t1w[mask].double().cpu().numpy()
    start = np.quantile(values, (1 / 6, 3 / 6, 5 / 6))
    centres, _ = kmeans(values[:, None], start[:, None])
    if len(centres) < len(CLASSES):
        raise ValueError(
            f"The T1w falls into {len(centres)} classes inside the brain mask; expected 3 (CSF, "
            "grey and white matter). Check the image and its mask."
        )
    borders = np.convolve(np.sort(centres[:, 0]), (0.5, 0.5), mode="valid")
    return torch.bucketize(t1w.double(), torch.from_numpy(borders).to(t1w.device)) + 1

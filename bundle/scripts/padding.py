"""Images made larger at their edges, as functional.pad does it.

By slices, since the gradients of functional.pad on a GPU differ from run to run.
"""

from __future__ import annotations

import torch
from torch import Tensor


def pad_reflecting(image: Tensor, width: int) -> Tensor:
    """Mirror (batch, channel, height, width) about its edge pixels, `width` (1 or more) of them."""
    for dim in (2, 3):
        before = image.narrow(dim, 1, width).flip(dim)
        after = image.narrow(dim, image.shape[dim] - width - 1, width).flip(dim)
        image = torch.cat([before, image, after], dim)
    return image


def pad_far_edges(image: Tensor, multiple: int) -> Tensor:
    """Mirror (batch, channel, height, width) at its far edges up to multiples of a number."""
    for dim in (2, 3):  # by places, since torch.export knows no slice that may be empty
        last = image.shape[dim] - 1
        places = torch.arange(last + 1 + -(last + 1) % multiple, device=image.device)
        image = image.index_select(dim, last - (last - places).abs())
    return image


def pad_repeating(image: Tensor, width: int) -> Tensor:
    """Repeat the edge pixels of (batch, channel, height, width) `width` times on each side."""
    for dim in (2, 3):
        first = image.narrow(dim, 0, 1)
        last = image.narrow(dim, image.shape[dim] - 1, 1)
        image = torch.cat([first] * width + [image] + [last] * width, dim)
    return image

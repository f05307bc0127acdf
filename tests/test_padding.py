"""Padding equals the library's, values and gradients."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from scripts.padding import pad_far_edges, pad_reflecting, pad_repeating
from torch import Tensor
from torch.nn import functional


@pytest.mark.parametrize("width", [1, 3])
@pytest.mark.parametrize(
    ("pad", "mode"), [(pad_reflecting, "reflect"), (pad_repeating, "replicate")]
)
def test_edges_are_those_of_the_library(
    width: int, pad: Callable[[Tensor, int], Tensor], mode: str
) -> None:
    torch.manual_seed(0)
    image = torch.randn(2, 3, 5, 6, dtype=torch.float64)
    images = [image.clone().requires_grad_() for _ in range(2)]
    padded = [pad(images[0], width), functional.pad(images[1], [width] * 4, mode=mode)]
    assert torch.equal(*padded)
    for each in padded:
        each.square().sum().backward()
    torch.testing.assert_close(images[0].grad, images[1].grad)


@pytest.mark.parametrize(("height", "width"), [(8, 12), (7, 9), (5, 6)])
def test_far_edges_are_mirrored_up_to_multiples(height: int, width: int) -> None:
    torch.manual_seed(0)
    image = torch.randn(2, 3, height, width)
    missing = [0, -width % 4, 0, -height % 4]
    assert torch.equal(pad_far_edges(image, 4), functional.pad(image, missing, mode="reflect"))

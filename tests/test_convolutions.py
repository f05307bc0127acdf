"""The generator's convolutions equal plain layers."""

from __future__ import annotations

import pytest
import torch
from scripts.convolutions import (
    ReflectConvolution,
    ResizeConvolution,
    RowConvolution,
)
from torch import Tensor, nn
from torch.nn import functional


def make_images(*shape: int) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(shape, dtype=torch.float64, generator=generator)


def convolve_plainly(layer: nn.Conv2d, image: Tensor) -> Tensor:
    padded = functional.pad(image, [layer.kernel_size[0] // 2] * 4, mode="reflect")
    return functional.conv2d(padded, layer.weight, layer.bias)


def test_a_reflecting_convolution_equals_the_plain_one() -> None:
    layer, image = ReflectConvolution(3, 4).double(), make_images(2, 3, 5, 8)
    torch.testing.assert_close(layer(image), convolve_plainly(layer, image))


def test_a_resize_convolution_equals_doubling_then_convolving() -> None:
    layer, features = ResizeConvolution(3, 2).double(), make_images(2, 3, 5, 8)
    doubled = features.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)
    torch.testing.assert_close(layer(features), convolve_plainly(layer.convolution, doubled))


def test_a_resize_convolution_with_a_centre_tap_repeats_each_pixel() -> None:
    layer = ResizeConvolution(1, 1)
    with torch.no_grad():
        layer.convolution.weight.zero_()[0, 0, 1, 1] = 1
        layer.convolution.bias.zero_()
    doubled = layer(torch.tensor([[[[1.0, 2.0], [3.0, 4.0]]]]))
    expected = [[1, 1, 2, 2], [1, 1, 2, 2], [3, 3, 4, 4], [3, 3, 4, 4]]
    assert doubled[0, 0].tolist() == expected


@pytest.mark.parametrize(("inside", "outside"), [(1, 6), (6, 1), (3, 8), (8, 3), (4, 4)])
def test_a_convolution_row_by_row_equals_the_plain_one(inside: int, outside: int) -> None:
    layer, image = RowConvolution(inside, outside).double(), make_images(2, inside, 9, 12)
    torch.testing.assert_close(layer(image), convolve_plainly(layer, image))

"""The convolutions of the generator: equal to plain layers, and faster or free of chance."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from scripts.padding import pad_reflecting, pad_repeating


class ReflectConvolution(nn.Conv2d):
    """3x3, stride 1, reflection padding."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__(in_channels, out_channels, kernel_size=3)

    def forward(self, features: Tensor) -> Tensor:
        """Map (batch, in_channels, height, width) to (batch, out_channels, height, width)."""
        return functional.conv2d(pad_reflecting(features, 1), self.weight, self.bias)


class ResizeConvolution(nn.Module):
    """Nearest-neighbour doubling, then a 3x3 convolution: no checkerboard (Odena et al. 2016).

    Computed without the doubled image: of the nine taps that a pixel sees, those that fall on one
    source pixel are added first, which leaves a 2x2 convolution for each of the four pixels that
    come of one (4/9 of the products, the same result to rounding). Reflecting the doubled image
    at its edge repeats the source's edge pixel.
    """

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.convolution = ReflectConvolution(in_channels, out_channels)

    def forward(self, features: Tensor) -> Tensor:
        """Map (batch, channel, height, width) to (batch, channel, 2 height, 2 width)."""
        height, width = features.shape[2], features.shape[3]
        padded = pad_repeating(features, 1)
        bias = self.convolution.bias
        parts: list[Tensor] = []
        for i, rows in enumerate(_fold_taps(self.convolution.weight, 2)):
            for j, kernel in enumerate(_fold_taps(rows, 3)):
                seen = padded[:, :, i : i + height + 1, j : j + width + 1]
                parts.append(functional.conv2d(seen, kernel, bias))
        return functional.pixel_shuffle(torch.stack(parts, 2).flatten(1, 2), 2)


def _fold_taps(weight: Tensor, dim: int) -> list[Tensor]:
    """Three taps along a direction as two: for the first, then for the second pixel of a pair."""
    first, middle, last = weight.unbind(dim)
    return [torch.stack([first, middle + last], dim), torch.stack([first + middle, last], dim)]


class RowConvolution(nn.Conv2d):
    """c7s1 with one or a few channels on one side: 7x7, stride 1, reflection padding.

    Libraries compute 8 or 16 channels at once, and a single one leaves most of that idle. So the
    seven rows of the kernel become channels of a 1x7 convolution, on the side that has fewer
    (bf16, one core, 128 x 128: 64 to 1 channel from 7.8 to 1.6 ms, backward 17.3 to 4.2 ms).
    """

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__(in_channels, out_channels, kernel_size=7)

    def forward(self, image: Tensor) -> Tensor:
        """Map (batch, in_channels, height, width) to (batch, out_channels, height, width)."""
        if image.shape[1] != self.in_channels:
            raise ValueError(
                f"expected an image to have {self.in_channels} channels, got {image.shape[1]}"
            )
        padded = pad_reflecting(image, 3)
        if self.in_channels < self.out_channels:
            return self._gather_rows(padded, image.shape[2])
        return self._add_rows(padded, image.shape[2])

    def _gather_rows(self, padded: Tensor, height: int) -> Tensor:
        rows = torch.cat([padded[:, :, row : row + height] for row in range(7)], 1)
        kernel = self.weight.transpose(1, 2).flatten(1, 2).unsqueeze(2)
        return functional.conv2d(rows, kernel, self.bias)

    def _add_rows(self, padded: Tensor, height: int) -> Tensor:
        kernel = self.weight.permute(2, 0, 1, 3).flatten(0, 1).unsqueeze(2)
        parts = functional.conv2d(padded, kernel).chunk(7, dim=1)
        total = parts[0][:, :, :height]
        for row in range(1, 7):
            total = total + parts[row][:, :, row : row + height]
        bias = self.bias
        return total if bias is None else total + bias.to(total.dtype).view(1, -1, 1, 1)

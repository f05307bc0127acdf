"""The generator out of plain layers, as anyone would write it from the papers.

Independent of the bundle's networks, whose parameters it takes over in their order.
"""

from __future__ import annotations

import torch
from scripts.networks import ResnetGenerator
from torch import Tensor, nn


def convolve(inside: int, outside: int, kernel: int) -> list[nn.Module]:
    """Reflection padding and a convolution that keeps the size."""
    return [nn.ReflectionPad2d(kernel // 2), nn.Conv2d(inside, outside, kernel)]


class PlainBlock(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            *convolve(channels, channels, 3),
            nn.InstanceNorm2d(channels),
            nn.ReLU(),
            *convolve(channels, channels, 3),
            nn.InstanceNorm2d(channels),
        )

    def forward(self, features: Tensor) -> Tensor:
        return features + self.layers(features)


def double(channels: int, upsampling: str) -> list[nn.Module]:
    if upsampling == "transposed":
        options = {"stride": 2, "padding": 1, "output_padding": 1}
        return [nn.ConvTranspose2d(channels, channels // 2, 3, **options)]
    return [nn.Upsample(scale_factor=2, mode="nearest"), *convolve(channels, channels // 2, 3)]


def make_plain_generator(
    channels: int, features: int, blocks: int, upsampling: str
) -> nn.Sequential:
    """c7s1-F, d2F, d4F, R4F, u2F, uF, c7s1, tanh."""
    layers: list[nn.Module] = [*convolve(channels, features, 7)]
    layers += [nn.InstanceNorm2d(features), nn.ReLU()]
    for width in (features, 2 * features):
        layers += [nn.Conv2d(width, 2 * width, 3, stride=2, padding=1)]
        layers += [nn.InstanceNorm2d(2 * width), nn.ReLU()]
    layers += [PlainBlock(4 * features) for _ in range(blocks)]
    for width in (4 * features, 2 * features):
        layers += [*double(width, upsampling), nn.InstanceNorm2d(width // 2), nn.ReLU()]
    return nn.Sequential(*layers, *convolve(features, channels, 7), nn.Tanh())


def copy_plainly(network: ResnetGenerator, *, upsampling: str) -> nn.Sequential:
    """Return the plain network with the same parameters."""
    first = network.encoder[0]
    plain = make_plain_generator(
        first.in_channels, first.out_channels, len(network.blocks), upsampling
    )
    with torch.no_grad():
        for ours, theirs in zip(network.parameters(), plain.parameters(), strict=True):
            theirs.copy_(ours)
    return plain.to(next(network.parameters()))

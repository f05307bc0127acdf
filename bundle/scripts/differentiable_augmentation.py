"""Augmentation of all that a discriminator sees, through which gradients reach the generator."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from scripts.config_options import is_on
from scripts.intensity import BACKGROUND

DRAWS = 6  # random numbers for one image


@dataclass(frozen=True, kw_only=True)
class DifferentiableAugmentation:
    """The same kinds of change for real images and fakes (Zhao et al. 2020, arXiv:2006.10738).

    With few images a discriminator learns them by heart. Augmenting the real ones alone would
    teach the generator to make augmented images; augmenting both does not.

    Attributes:
        brightness: added, uniform within plus and minus this.
        contrast: factor about the image's mean, uniform within 1 plus and minus this.
        translation: of both axes, uniform within plus and minus this part of their length.
        cutout: side of the square that is set to the background, as part of the image's.
    """

    brightness: float
    contrast: float
    translation: float
    cutout: float

    def __call__(self, image: Tensor, draws: Tensor) -> Tensor:
        """Augment (batch, channel, height, width) in [-1, 1].

        Args:
            image: real images or fakes.
            draws: (batch, DRAWS), uniform in [0, 1).
        """
        draws = draws.to(image.dtype)
        brightness, contrast = (2 * draws[:, :2] - 1).unbind(dim=1)
        image = image + self.brightness * _spread(brightness)
        mean = image.mean(dim=(1, 2, 3), keepdim=True)
        image = (image - mean) * (1 + self.contrast * _spread(contrast)) + mean
        above_background = _translate(image - BACKGROUND, draws[:, 2:4], self.translation)
        return above_background * _cut_out(image, draws[:, 4:6], self.cutout) + BACKGROUND


def make_differentiable_augmentation(
    *, enabled: bool | str, **amounts: float
) -> DifferentiableAugmentation | None:
    """Return the augmentation, or None where it is switched off."""
    return DifferentiableAugmentation(**amounts) if is_on(enabled) else None


def _spread(values: Tensor) -> Tensor:
    return values.view(-1, 1, 1, 1)


def _translate(image: Tensor, draws: Tensor, part: float) -> Tensor:
    """Move each image by whole pixels; what comes in is 0.

    By products with matrices that hold a single 1 in each row: unlike an index, these have a
    gradient that is the same sum on every device.
    """
    moved = image
    with torch.autocast(image.device.type, enabled=False):
        for axis, draw in ((2, draws[:, 0]), (3, draws[:, 1])):
            size = image.shape[axis]
            reach = int(part * size)
            shift = (draw * (2 * reach + 1)).floor() - reach
            places = torch.arange(size, device=image.device, dtype=image.dtype)
            source = places[None, :, None] + shift[:, None, None]
            matrix = (source == places).to(image.dtype)[:, None]
            moved = matrix @ moved if axis == 2 else moved @ matrix.transpose(2, 3)
    return moved


def _cut_out(image: Tensor, draws: Tensor, part: float) -> Tensor:
    """0 in a square whose centre is anywhere in the image, 1 beside it: (batch, 1, ...)."""
    inside = torch.ones((), dtype=torch.bool, device=image.device)
    for axis, draw in ((2, draws[:, 0]), (3, draws[:, 1])):
        size = image.shape[axis]
        shape = [1, 1, 1, 1]
        shape[axis] = size
        places = torch.arange(size, device=image.device, dtype=image.dtype).view(shape)
        centre = (_spread(draw) * size).floor()
        half = int(part * size) / 2
        inside = inside & (places >= centre - half) & (places < centre + half)
    return 1 - inside.to(image.dtype)

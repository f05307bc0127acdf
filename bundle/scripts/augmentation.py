"""Augmentation of batches of slices on their device, reproducible sample by sample."""

from __future__ import annotations

import logging
import math
import zlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from scripts.intensity import BACKGROUND

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class SliceAugmentation:
    """Random geometry, intensity and noise for slices in [-1, 1]; the background stays at -1.

    Attributes:
        rotation_degrees: rotation is uniform within plus and minus this.
        scale: magnification is uniform within 1 plus and minus this.
        flip_probability: of a left-right flip, along height (the first image axis, to the right).
        plane: of the slices. Sagittal ones are never flipped: their first axis runs from the back
            to the front of the head, and no patient is the other way round.
        intensity: gain and gamma, applied on [0, 1], are each uniform within 1 plus and minus this.
        noise_sigma: standard deviation on [-1, 1] of Gaussian noise inside the brain.
    """

    rotation_degrees: float
    scale: float
    flip_probability: float
    plane: str
    intensity: float
    noise_sigma: float

    def __post_init__(self) -> None:
        for name, value in (("scale", self.scale), ("intensity", self.intensity)):
            if not 0 <= value < 1:
                raise ValueError(f"{name} is {value}; expected at least 0 and less than 1.")
        if not 0 <= self.flip_probability <= 1:
            raise ValueError(f"flip_probability is {self.flip_probability}; expected 0 to 1.")
        if self.plane == "sagittal" and self.flip_probability > 0:
            logger.info("Sagittal slices are not flipped: front is not back.")

    @torch.no_grad()
    def __call__(
        self, images: Tensor, masks: Tensor, *, seeds: Sequence[int], stream: str = ""
    ) -> tuple[Tensor, Tensor]:
        """Augment a batch; sample i depends on seeds[i] and `stream` and on nothing else.

        Args:
            images: (batch, channel, height, width) in [-1, 1].
            masks: brain, boolean, (batch, 1 or channel, height, width).
            seeds: one per sample, 0 or more; equal seeds give equal geometry.
            stream: name for which intensity and noise are drawn, such as the contrast, so that
                the images of a pair share their geometry and nothing else.

        Returns:
            Images and masks of the same shapes.
        """
        if not len(images) == len(masks) == len(seeds):
            raise ValueError(
                f"Found {len(images)} images, {len(masks)} masks and {len(seeds)} seeds; "
                "expected one of each per sample."
            )
        images, masks = self._warp(images, masks, seeds)
        rngs = [_make_rng(seed, stream) for seed in seeds]
        images = self._change_intensity(images, rngs)
        noisy = images + self.noise_sigma * _draw_noise(images, rngs)
        return noisy.clamp(-1.0, 1.0).where(masks, BACKGROUND), masks

    def _warp(self, images: Tensor, masks: Tensor, seeds: Sequence[int]) -> tuple[Tensor, Tensor]:
        """Rotate, scale and flip; cubic, since linear interpolation would blur what is learned.

        Divided by the mask that went the same way, so that no background darkens the brain's rim.
        """
        grid = self._draw_grid(images, [_make_rng(seed, "geometry") for seed in seeds])
        covered = masks.to(images)
        stacked = torch.cat([(images - BACKGROUND) * covered, covered], dim=1)
        warped = functional.grid_sample(
            stacked, grid, mode="bicubic", padding_mode="zeros", align_corners=False
        )
        above_background, covered = warped.split([images.shape[1], masks.shape[1]], dim=1)
        images = above_background / covered.clamp(min=0.5) + BACKGROUND
        return images.clamp(-1.0, 1.0), covered > 0.5

    def _draw_grid(self, images: Tensor, rngs: Sequence[np.random.Generator]) -> Tensor:
        """Where each output pixel is read, (batch, height, width, 2), as grid_sample wants it.

        Not by affine_grid, whose matrix product autocast and TF32 would round to tenths of pixels.
        """
        height, width = images.shape[-2:]
        factors = torch.from_numpy(np.stack([self._draw_geometry(rng) for rng in rngs]))
        cosine, sine, flip = factors.to(images, non_blocking=True)[:, :, None, None].unbind(dim=1)
        i = torch.arange(height, device=images.device)[:, None] - (height - 1) / 2
        j = torch.arange(width, device=images.device) - (width - 1) / 2
        source_i = flip * (cosine * i + sine * j)
        source_j = cosine * j - sine * i
        return torch.stack([2 / width * source_j, 2 / height * source_i], dim=-1)

    def _draw_geometry(self, rng: np.random.Generator) -> np.ndarray:
        """Cosine and sine of the rotation, both over the magnification, and the sign of a flip."""
        angle = math.radians(self.rotation_degrees) * rng.uniform(-1, 1)
        magnification = 1 + self.scale * rng.uniform(-1, 1)
        is_flipped = rng.random() < self.flip_probability and self.plane != "sagittal"
        flip = -1.0 if is_flipped else 1.0
        return np.array([math.cos(angle) / magnification, math.sin(angle) / magnification, flip])

    def _change_intensity(self, images: Tensor, rngs: Sequence[np.random.Generator]) -> Tensor:
        factors = np.stack([1 + self.intensity * rng.uniform(-1, 1, size=2) for rng in rngs])
        gain, gamma = torch.from_numpy(factors).to(images, non_blocking=True).unbind(dim=1)
        unit = (images + 1) / 2
        unit = gain.view(-1, 1, 1, 1) * unit.pow(gamma.view(-1, 1, 1, 1))
        return (2 * unit - 1).clamp(-1.0, 1.0)


def _make_rng(seed: int, stream: str) -> np.random.Generator:
    return np.random.default_rng([seed, zlib.crc32(stream.encode())])


def _draw_noise(images: Tensor, rngs: Sequence[np.random.Generator]) -> Tensor:
    """Standard normal noise like `images`, drawn on their device, sample by sample."""
    generator = torch.Generator(images.device)
    noise = torch.empty_like(images)
    for sample, rng in zip(noise, rngs, strict=True):
        generator.manual_seed(int(rng.integers(2**63)))
        sample.normal_(generator=generator)
    return noise

"""One CycleGAN step's passes: the four networks, and the images that the generators make."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from scripts.differentiable_augmentation import DifferentiableAugmentation

Images = dict[str, Tensor]


@dataclass(frozen=True)
class Generators:
    """The two ways of a translation."""

    t1w_to_t2w: nn.Module
    t2w_to_t1w: nn.Module


@dataclass(frozen=True)
class Discriminators:
    """The judges, each named after the contrast that it knows, and what is done to all they see."""

    t1w: nn.Module
    t2w: nn.Module
    augmentation: DifferentiableAugmentation | None = None

    def judge(self, name: str, image: Tensor, draws: Tensor | None) -> Tensor:
        """Return the decisions about images of a contrast, augmented where that is configured."""
        if self.augmentation is not None and draws is not None:
            image = self.augmentation(image, draws)
        network: nn.Module = getattr(self, name)
        decision: Tensor = network(image)
        return decision


def translate_cycles(
    generators: Generators,
    real: Images,
    *,
    with_identity: bool,
    with_cycle: bool = True,
) -> Images:
    """Translate both ways and back: four calls, in which every image is computed once.

    The first two calls also take the images of the other contrast (for the identity loss) and
    those of registered pairs, joined into one batch, which instance normalisation allows: it
    knows one image only.

    Args:
        generators: both.
        real: `t1w` and `t2w`, (batch, channel, height, width) in [-1, 1]; `pair_t1w` and
            `pair_t2w` where some pairs are drawn beside them.
        with_identity: whether `identity_t1w` and `identity_t2w` are among the images.
        with_cycle: whether `reconstructed_t1w` and `reconstructed_t2w` are among the images.

    Returns:
        `real_` and `fake_` (and `reconstructed_`, `identity_`, and `paired_` for the translations
        of pairs) `t1w` and `t2w`, float32 or wider.
    """
    images = {"real_t1w": real["t1w"], "real_t2w": real["t2w"]}
    for source, target, generator in (
        ("t1w", "t2w", generators.t1w_to_t2w),
        ("t2w", "t1w", generators.t2w_to_t1w),
    ):
        parts = {f"fake_{target}": real[source]}
        if with_identity:
            parts[f"identity_{target}"] = real[target]
        if f"pair_{source}" in real:
            parts[f"paired_{target}"] = real[f"pair_{source}"]
        images |= _translate_joined(generator, parts)
    if with_cycle:
        images["reconstructed_t1w"] = generators.t2w_to_t1w(images["fake_t2w"])
        images["reconstructed_t2w"] = generators.t1w_to_t2w(images["fake_t1w"])
    return {name: _widen(image) for name, image in images.items()}


def _translate_joined(generator: nn.Module, parts: Images) -> Images:
    """Translate several batches in one call."""
    if len(parts) == 1:
        return {name: generator(image) for name, image in parts.items()}
    translated = generator(torch.cat(list(parts.values())))
    sizes = [len(image) for image in parts.values()]
    return dict(zip(parts, translated.split(sizes), strict=True))


def _widen(image: Tensor) -> Tensor:
    return image.float() if image.dtype in (torch.float16, torch.bfloat16) else image


@contextmanager
def frozen(*networks: nn.Module) -> Iterator[None]:
    """Compute no gradients of these networks' parameters; those of their input pass through."""
    for network in networks:
        network.requires_grad_(False)
    try:
        yield
    finally:
        for network in networks:
            network.requires_grad_(True)

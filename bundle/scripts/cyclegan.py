"""One CycleGAN step in parts: the passes of the generators, and what both sides pay for them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from scripts.losses import (
    adversarial_loss,
    cycle_consistency_loss,
    discriminator_loss,
    identity_loss,
)

Images = dict[str, Tensor]
Weights = dict[str, Tensor]
StructureLoss = Callable[..., Tensor]


@dataclass(frozen=True)
class Generators:
    """The two ways of a translation."""

    t1w_to_t2w: nn.Module
    t2w_to_t1w: nn.Module


@dataclass(frozen=True)
class Discriminators:
    """The judges, each named after the contrast that it knows."""

    t1w: nn.Module
    t2w: nn.Module


def translate_cycles(
    generators: Generators, real_t1w: Tensor, real_t2w: Tensor, *, with_identity: bool
) -> Images:
    """Translate both ways and back: four calls, in which every image is computed once.

    With identity the first two calls also take the images of the other contrast, joined into one
    batch, which instance normalisation allows: it knows one image only.

    Args:
        generators: both.
        real_t1w: (batch, channel, height, width) in [-1, 1].
        real_t2w: the same shape.
        with_identity: whether `identity_t1w` and `identity_t2w` are among the images.

    Returns:
        `real_`, `fake_`, `reconstructed_` (and `identity_`) `t1w` and `t2w`, float32 or wider.
    """
    fake_t2w, identity_t2w = _translate(generators.t1w_to_t2w, real_t1w, real_t2w, with_identity)
    fake_t1w, identity_t1w = _translate(generators.t2w_to_t1w, real_t2w, real_t1w, with_identity)
    images = {
        "real_t1w": real_t1w,
        "real_t2w": real_t2w,
        "fake_t1w": fake_t1w,
        "fake_t2w": fake_t2w,
        "reconstructed_t1w": generators.t2w_to_t1w(fake_t2w),
        "reconstructed_t2w": generators.t1w_to_t2w(fake_t1w),
    }
    if with_identity:
        images |= {"identity_t1w": identity_t1w, "identity_t2w": identity_t2w}
    return {name: _widen(image) for name, image in images.items()}


def _widen(image: Tensor) -> Tensor:
    return image.float() if image.dtype in (torch.float16, torch.bfloat16) else image


def _translate(
    generator: nn.Module, source: Tensor, target: Tensor, with_identity: bool
) -> tuple[Tensor, Tensor]:
    """Return the fake of `source`, and `target` after the same generator (or as it is)."""
    if not with_identity:
        return generator(source), target
    fake, identity = generator(torch.cat([source, target])).chunk(2)
    return fake, identity


def compute_generators(
    generators: Generators,
    discriminators: Discriminators,
    real: Images,
    masks: Images,
    weights: Weights,
    structure_loss: StructureLoss,
) -> tuple[Images, dict[str, Tensor]]:
    """Translate a batch both ways and back, and compute what the generators pay for it.

    Args:
        generators: both.
        discriminators: frozen by the caller.
        real: `t1w` and `t2w`, (batch, channel, height, width) in [-1, 1].
        masks: `t1w` and `t2w`, the brain masks of the real images.
        weights: of `LossWeights.to_tensors`; losses without one are left out.
        structure_loss: compares a real image (first) with its fake in the other contrast.

    Returns:
        The images of `translate_cycles`, and the losses, not weighted; `generator_loss` is their
        weighted sum.
    """
    images = translate_cycles(
        generators, real["t1w"], real["t2w"], with_identity="identity" in weights
    )
    losses = compute_generator_losses(
        images, masks, discriminators, weights=weights, structure_loss=structure_loss
    )
    return images, losses | {"generator_loss": sum_losses(losses, weights)}


def compute_generator_losses(
    images: Images,
    masks: Images,
    discriminators: Discriminators,
    *,
    weights: Weights,
    structure_loss: StructureLoss,
) -> dict[str, Tensor]:
    """Return each of the generators' losses, not yet weighted; see `compute_generators`."""
    losses = {}
    for name, judge in (("t1w", discriminators.t1w), ("t2w", discriminators.t2w)):
        real, fake = images[f"real_{name}"], images[f"fake_{name}"]
        losses[f"adversarial_loss_{name}"] = adversarial_loss(judge(fake), is_real=True)
        losses[f"cycle_consistency_loss_{name}"] = cycle_consistency_loss(
            images[f"reconstructed_{name}"], real
        )
        if "identity" in weights:
            losses[f"identity_loss_{name}"] = identity_loss(images[f"identity_{name}"], real)
        if "structure" in weights:
            source = {"t1w": "t2w", "t2w": "t1w"}[name]
            losses[f"structure_loss_{name}"] = structure_loss(
                images[f"real_{source}"], fake, mask=masks[source]
            )
    return losses


def sum_losses(losses: dict[str, Tensor], weights: Weights) -> Tensor:
    """Return what the generators minimise: the weighted sum of `compute_generator_losses`."""
    total = torch.zeros_like(losses["adversarial_loss_t1w"])
    for name in ("t1w", "t2w"):
        total = total + losses[f"adversarial_loss_{name}"]
        if f"cycle_{name}" in weights:
            total = total + weights[f"cycle_{name}"] * losses[f"cycle_consistency_loss_{name}"]
        for kind in ("identity", "structure"):
            if kind in weights:
                total = total + weights[kind] * losses[f"{kind}_loss_{name}"]
    return total


def compute_discriminators(
    discriminators: Discriminators, real: Images, fake: Images
) -> dict[str, Tensor]:
    """Return what each discriminator pays for its decisions on real images and (pooled) fakes.

    Real and fake are judged in one joined batch.
    """
    losses = {}
    for name in ("t1w", "t2w"):
        judge: nn.Module = getattr(discriminators, name)
        decision_real, decision_fake = judge(torch.cat([real[name], fake[name]])).chunk(2)
        losses[f"discriminator_{name}_loss"] = discriminator_loss(decision_real, decision_fake)
    return losses


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

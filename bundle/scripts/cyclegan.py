"""One CycleGAN step in parts: the passes of the generators, and what both sides pay for them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from scripts.loss_weights import LossWeights
from scripts.losses import (
    adversarial_loss,
    cycle_consistency_loss,
    discriminator_loss,
    identity_loss,
)

Images = dict[str, Tensor]
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


def compute_generator_losses(
    images: Images,
    masks: Images,
    discriminators: Discriminators,
    *,
    weights: LossWeights,
    structure_loss: StructureLoss,
) -> dict[str, Tensor]:
    """Return each of the generators' losses, not yet weighted; those of weight 0 are left out.

    Args:
        images: of `translate_cycles`.
        masks: `t1w` and `t2w`, the brain masks of the real images.
        discriminators: frozen by the caller.
        weights: say which are left out.
        structure_loss: compares a real image (first) with its fake in the other contrast.
    """
    losses = {}
    for name, judge in (("t1w", discriminators.t1w), ("t2w", discriminators.t2w)):
        real, fake = images[f"real_{name}"], images[f"fake_{name}"]
        losses[f"adversarial_loss_{name}"] = adversarial_loss(judge(fake), is_real=True)
        losses[f"cycle_consistency_loss_{name}"] = cycle_consistency_loss(
            images[f"reconstructed_{name}"], real
        )
        if weights.identity:
            losses[f"identity_loss_{name}"] = identity_loss(images[f"identity_{name}"], real)
        if weights.structure:
            source = {"t1w": "t2w", "t2w": "t1w"}[name]
            losses[f"structure_loss_{name}"] = structure_loss(
                images[f"real_{source}"], fake, mask=masks[source]
            )
    return losses


def sum_losses(losses: dict[str, Tensor], weights: LossWeights) -> Tensor:
    """Return what the generators minimise: the weighted sum of `compute_generator_losses`."""
    factors = {
        "cycle_consistency_loss_t1w": weights.cycle_t1w,
        "cycle_consistency_loss_t2w": weights.cycle_t2w,
    }
    for name in ("t1w", "t2w"):
        factors[f"adversarial_loss_{name}"] = 1.0
        factors[f"identity_loss_{name}"] = weights.identity
        factors[f"structure_loss_{name}"] = weights.structure
    return torch.stack([factors[name] * loss for name, loss in losses.items()]).sum()


def compute_discriminator_loss(discriminator: nn.Module, real: Tensor, fake: Tensor) -> Tensor:
    """Judge real images and (pooled) fakes in one joined batch."""
    decision_real, decision_fake = discriminator(torch.cat([real, fake])).chunk(2)
    return discriminator_loss(decision_real, decision_fake)


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

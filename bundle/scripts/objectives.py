"""What both sides of a CycleGAN minimise in one step, and the images they need for it."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from scripts.cyclegan import Discriminators, Generators, Images, translate_cycles
from scripts.losses import (
    adversarial_loss,
    cycle_consistency_loss,
    discriminator_loss,
    identity_loss,
    inversion_loss,
    paired_loss,
    ssim_loss,
)
from scripts.patch_contrast import PatchContrast

Losses = dict[str, Tensor]
Weights = dict[str, Tensor]
StructureLoss = Callable[..., Tensor]

OTHER = {"t1w": "t2w", "t2w": "t1w"}
TO_REAL, TO_FAKE, TO_FOOL = range(3)  # draws of a sample's differentiable augmentation


def compute_generators(
    generators: Generators,
    discriminators: Discriminators,
    real: Images,
    masks: Images,
    weights: Weights,
    structure_loss: StructureLoss,
    patch_contrast: PatchContrast | None = None,
) -> tuple[Images, Losses]:
    """Translate a batch both ways and back, and compute what the generators pay for it.

    Args:
        generators: both.
        discriminators: frozen by the caller.
        real: as `PrepareBatch` makes it: `t1w` and `t2w`, (batch, channel, height, width) in
            [-1, 1], `pair_t1w` and `pair_t2w` of some registered pairs, and draws.
        masks: brain masks of these images.
        weights: of `LossWeights.to_tensors`; losses without one are left out.
        structure_loss: compares a real image (first) with its fake in the other contrast.
        patch_contrast: compares their features, patch by patch.

    Returns:
        The images of `translate_cycles`, and the losses, not weighted; `generator_loss` is their
        weighted sum.
    """
    images = translate_cycles(
        generators,
        real,
        with_identity="identity" in weights,
        with_cycle="cycle_t1w" in weights or "cycle_t2w" in weights,
    )
    losses: Losses = {}
    for name in ("t1w", "t2w"):
        losses |= _compute_plain_losses(name, images, real, discriminators, weights)
        losses |= _compute_paired_losses(name, images, real, masks, weights)
        source, fake, mask = (
            images[f"real_{OTHER[name]}"],
            images[f"fake_{name}"],
            masks[OTHER[name]],
        )
        if "structure" in weights:
            losses[f"structure_loss_{name}"] = structure_loss(source, fake, mask=mask)
        if "contrast" in weights and patch_contrast is not None:
            losses[f"contrast_loss_{name}"] = patch_contrast(generators, source, fake, mask, name)
        if "inversion" in weights:
            losses[f"inversion_loss_{name}"] = inversion_loss(fake, source, mask=mask)
    return images, losses | {"generator_loss": sum_losses(losses, weights)}


def _compute_plain_losses(
    name: str, images: Images, real: Images, discriminators: Discriminators, weights: Weights
) -> Losses:
    """The losses of Zhu et al. 2017 for the generator that makes a contrast."""
    losses: Losses = {}
    target = images[f"real_{name}"]
    if "adversarial" in weights:
        decision = discriminators.judge(name, images[f"fake_{name}"], _draws(real, name, TO_FOOL))
        losses[f"adversarial_loss_{name}"] = adversarial_loss(decision, is_real=True)
    if (reconstructed := images.get(f"reconstructed_{name}")) is not None:
        losses[f"cycle_consistency_loss_{name}"] = cycle_consistency_loss(reconstructed, target)
    if "identity" in weights:
        losses[f"identity_loss_{name}"] = identity_loss(images[f"identity_{name}"], target)
    return losses


def _compute_paired_losses(
    name: str, images: Images, real: Images, masks: Images, weights: Weights
) -> Losses:
    """Of the pairs beside the batch, or of the batch itself where it consists of pairs."""
    if not {"paired", "paired_ssim"} & weights.keys():
        return {}
    prefix, fake = ("pair_", "paired_") if "pair_t1w" in real else ("", "fake_")
    brain_t1w, brain_t2w = masks[f"{prefix}t1w"], masks[f"{prefix}t2w"]
    synthetic, target = images[f"{fake}{name}"], real[f"{prefix}{name}"]
    known = brain_t2w | ~brain_t1w
    losses: Losses = {}
    if "paired" in weights:
        losses[f"paired_loss_{name}"] = paired_loss(synthetic, target, known=known)
    if "paired_ssim" in weights:
        target = target.where(known, synthetic.detach())  # windows reach beyond what both show
        shared = brain_t1w & brain_t2w
        losses[f"paired_ssim_loss_{name}"] = ssim_loss(synthetic, target, mask=shared)
    return losses


def sum_losses(losses: Losses, weights: Weights) -> Tensor:
    """Return what the generators minimise: the weighted sum of `compute_generators`' losses."""
    total = torch.zeros_like(next(iter(losses.values())))
    for name in ("t1w", "t2w"):
        for kind, loss in (
            ("adversarial", f"adversarial_loss_{name}"),
            (f"cycle_{name}", f"cycle_consistency_loss_{name}"),
            ("identity", f"identity_loss_{name}"),
            ("structure", f"structure_loss_{name}"),
            ("contrast", f"contrast_loss_{name}"),
            ("paired", f"paired_loss_{name}"),
            ("paired_ssim", f"paired_ssim_loss_{name}"),
            ("inversion", f"inversion_loss_{name}"),
        ):
            if kind in weights:
                total = total + weights[kind] * losses[loss]
    return total


def compute_discriminators(discriminators: Discriminators, real: Images, fake: Images) -> Losses:
    """Return what each discriminator pays for its decisions on real images and (pooled) fakes.

    Real and fake are judged in one joined batch.
    """
    losses = {}
    for name in ("t1w", "t2w"):
        draws = _draws(real, name, slice(TO_REAL, TO_FAKE + 1))
        if draws is not None:
            draws = draws.transpose(0, 1).flatten(0, 1)  # first all of the real images
        decision = discriminators.judge(name, torch.cat([real[name], fake[name]]), draws)
        losses[f"discriminator_{name}_loss"] = discriminator_loss(*decision.chunk(2))
    return losses


def _draws(real: Images, name: str, use: int | slice) -> Tensor | None:
    """The random numbers for an augmentation of what a discriminator sees; None without any."""
    draws = real.get(f"draws_{name}")
    return None if draws is None else draws[:, use]

"""The losses of CycleGAN and of structure across contrasts, as pure functions.

All are computed in float32 or wider, also where autocast hands them half precision.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from scripts.evaluation.ssim import ssim_map
from scripts.intensity import BACKGROUND
from scripts.padding import pad_repeating


def _widen(values: Tensor) -> Tensor:
    return values.float() if values.dtype in (torch.float16, torch.bfloat16) else values


def adversarial_loss(decision: Tensor, *, is_real: bool) -> Tensor:
    """Least-squares loss of decisions against 1 (real) or 0 (Mao et al. 2017, eq. 2)."""
    return (_widen(decision) - float(is_real)).square().mean()


def discriminator_loss(decision_real: Tensor, decision_fake: Tensor) -> Tensor:
    """Half the sum of both least-squares terms, which slows the discriminator (Zhu 2017, 7.1)."""
    real = adversarial_loss(decision_real, is_real=True)
    return 0.5 * (real + adversarial_loss(decision_fake, is_real=False))


def cycle_consistency_loss(reconstructed: Tensor, real: Tensor) -> Tensor:
    """Mean absolute difference after the way there and back (Zhu et al. 2017, eq. 2)."""
    return (_widen(reconstructed) - _widen(real)).abs().mean()


def identity_loss(identity: Tensor, real: Tensor) -> Tensor:
    """Mean absolute change of an image already of the target contrast (Zhu et al. 2017, 5.2)."""
    return (_widen(identity) - _widen(real)).abs().mean()


def paired_loss(synthetic: Tensor, real: Tensor, *, known: Tensor) -> Tensor:
    """Mean absolute difference from the registered real image, where that is known.

    Args:
        synthetic: (batch, channel, height, width) in [-1, 1].
        real: the same shape, registered to what was translated.
        known: boolean, (batch, 1 or channel, height, width): all but the brain beyond the other
            image's field of view. The background counts.
    """
    difference = (_widen(synthetic) - _widen(real)).abs()
    return _compute_masked_mean(difference, known.to(difference.dtype))


def ssim_loss(synthetic: Tensor, real: Tensor, *, mask: Tensor) -> Tensor:
    """One minus the structural similarity with the registered real image, inside the brain.

    Zhao et al. 2017 (doi:10.1109/TCI.2016.2644865), eq. 5 and 8, with the window and the constants
    by which results are measured. L1 alone flattens what it is unsure of; this pays for contrast.

    Args:
        synthetic: (batch, channel, height, width) in [-1, 1].
        real: the same shape, registered to what was translated.
        mask: brain that both images show, boolean, (batch, 1 or channel, height, width).
    """
    images = (0.5 * (_widen(image) + 1) for image in (synthetic, real))
    return _compute_masked_mean(1 - ssim_map(*images, data_range=1.0), mask).to(_widen(real).dtype)


def inversion_loss(synthetic: Tensor, source: Tensor, *, mask: Tensor) -> Tensor:
    """Mean absolute difference from the source with dark and bright exchanged inside the brain.

    White matter, grey matter and fluid are ordered one way in T1w and the other way in T2w. So
    the inverted source is a coarse first guess, and one that the cycle leaves as it is, like a
    copy: a training that has begun there need not leave the copy first.

    Args:
        synthetic: (batch, channel, height, width) in [-1, 1].
        source: the same shape, in the other contrast.
        mask: brain of the source, boolean, (batch, 1 or channel, height, width).
    """
    return (_widen(synthetic) - torch.where(mask, -_widen(source), BACKGROUND)).abs().mean()


def structure_loss(
    source: Tensor, synthetic: Tensor, *, mask: Tensor, method: str, **options: float
) -> Tensor:
    """Compare structure across contrasts by `method`, "ngf" or "mind", with that loss's options."""
    if method not in STRUCTURE_LOSSES:
        raise ValueError(f"method is {method!r}; expected one of {sorted(STRUCTURE_LOSSES)}.")
    return STRUCTURE_LOSSES[method](source, synthetic, mask=mask, **options)


def ngf_loss(source: Tensor, synthetic: Tensor, *, edge: float, mask: Tensor) -> Tensor:
    """One minus the squared cosine of normalised gradient fields, 0 where edges are parallel.

    Haber and Modersitzki 2006 (doi:10.1007/11866763_89), eq. 3 and 5: n = grad / sqrt(|grad|^2 +
    edge^2) and 1 - (n . n')^2, so the sign of a contrast does not matter and a flat place costs 1.

    Args:
        source: (batch, channel, height, width) in [-1, 1].
        synthetic: the same shape, in the other contrast.
        edge: gradient in intensity per pixel that counts as an edge; below it is noise.
        mask: brain, (batch, 1 or channel, height, width); its outermost pixels are left out.
    """
    (source_i, source_j), (synthetic_i, synthetic_j) = (
        _compute_gradient(_widen(image)) for image in (source, synthetic)
    )
    product = source_i * synthetic_i + source_j * synthetic_j
    source_energy = source_i.square() + source_j.square() + edge**2
    synthetic_energy = synthetic_i.square() + synthetic_j.square() + edge**2
    dissimilarity = 1 - product.square() / (source_energy * synthetic_energy)
    return _compute_masked_mean(dissimilarity, _erode(mask, 1))


def mind_loss(
    source: Tensor,
    synthetic: Tensor,
    *,
    distance: int,
    patch_radius: int,
    noise: float,
    mask: Tensor,
) -> Tensor:
    """Mean absolute difference of modality independent neighbourhood descriptors.

    Heinrich et al. 2012 (doi:10.1016/j.media.2012.05.008), eq. 2 to 6, in two dimensions, with the
    four neighbours at `distance` as search region and a square patch.

    Args:
        source: (batch, channel, height, width) in [-1, 1].
        synthetic: the same shape, in the other contrast.
        distance: pixels to the neighbours whose patches are compared.
        patch_radius: a patch is 2 patch_radius + 1 pixels wide.
        noise: standard deviation on [-1, 1]; its square is the least variance to divide by.
        mask: brain, (batch, 1 or channel, height, width); a rim of `distance` is left out.
    """
    source_mind, synthetic_mind = (
        _compute_mind(_widen(image), distance, patch_radius, noise) for image in (source, synthetic)
    )
    difference = (source_mind - synthetic_mind).abs().mean(dim=0)
    return _compute_masked_mean(difference, _erode(mask, distance))


STRUCTURE_LOSSES: dict[str, Callable[..., Tensor]] = {"ngf": ngf_loss, "mind": mind_loss}


def _compute_gradient(image: Tensor) -> tuple[Tensor, Tensor]:
    """Central differences along height and width, per pixel, edges repeated."""
    padded = pad_repeating(image, 1)
    along_height = padded[..., 2:, 1:-1] - padded[..., :-2, 1:-1]
    along_width = padded[..., 1:-1, 2:] - padded[..., 1:-1, :-2]
    return along_height / 2, along_width / 2


def _compute_mind(image: Tensor, distance: int, patch_radius: int, noise: float) -> Tensor:
    """Descriptors in (0, 1] of an image, (neighbour, batch, channel, height, width)."""
    height, width = image.shape[-2:]
    padded = pad_repeating(image, distance)
    offsets = ((0, distance), (2 * distance, distance), (distance, 0), (distance, 2 * distance))
    patch_distances = torch.stack(
        [
            _average_patch(
                (image - padded[..., i : i + height, j : j + width]).square(), patch_radius
            )
            for i, j in offsets
        ]
    )
    variance = patch_distances.mean(dim=0).clamp(min=noise**2)
    similarity = torch.exp(-patch_distances / variance)
    return similarity / similarity.amax(dim=0)


def _average_patch(values: Tensor, radius: int) -> Tensor:
    padded = pad_repeating(values, radius)
    return functional.avg_pool2d(padded, kernel_size=2 * radius + 1, stride=1)


def _erode(mask: Tensor, radius: int) -> Tensor:
    """1 where the whole square of `radius` lies in the mask, else 0."""
    outside = 1 - mask.float()
    return 1 - functional.max_pool2d(outside, 2 * radius + 1, stride=1, padding=radius)


def _compute_masked_mean(values: Tensor, mask: Tensor) -> Tensor:
    """Mean inside each image's mask, over the images; 0 for an empty mask.

    Image by image, so that parts of a batch, as of several processes, average to the whole. (A
    check for emptiness would wait for the device.)
    """
    weights = mask.expand_as(values)
    sums = (values * weights).flatten(1).sum(1)
    return (sums / weights.flatten(1).sum(1).clamp(min=1)).mean()

"""How far apart the patches of two sets of images are, paired or not."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from scripts.evaluation.image_checks import check_mask, check_ranges, check_shapes


def sliced_wasserstein_distance(
    images_a: Tensor,
    images_b: Tensor,
    masks_a: Tensor,
    masks_b: Tensor,
    *,
    patch_size: int,
    patches: int,
    projections: int,
    seed: int,
) -> float:
    """Sliced Wasserstein distance between the patches of two sets of images.

    As many patches from each set, centred on voxels drawn from its masks, are projected on random
    unit vectors; the mean over these of the one-dimensional distance between the projections
    (Rabin et al. 2011, doi:10.1007/978-3-642-24785-9_37; Karras et al. 2018, arXiv:1710.10196, sec.
    5, there on several scales and with intensities brought to mean 0 and variance 1, which would
    hide a wrong contrast). In units of the images, 0 is ideal; a finite sample of the same
    distribution gives a little more, which two halves of the real images show.

    Args:
        images_a: (slices, 1, height, width) in [0, 1], background 0.
        images_b: likewise, of any number and size.
        masks_a: shaped as images_a, boolean or 0 and 1.
        masks_b: shaped as images_b.
        patch_size: in pixels, odd. Beyond the image's border there is background.
        patches: drawn from each set, or as many as the smaller mask has voxels.
        projections: random directions.
        seed: of patches and directions.
    """
    _check(images_a, masks_a, "a")
    _check(images_b, masks_b, "b")
    if patch_size % 2 == 0:
        raise ValueError(f"patch_size is {patch_size}; expected an odd number of pixels.")
    count = min(patches, int(masks_a.bool().sum()), int(masks_b.bool().sum()))
    generator = torch.Generator().manual_seed(seed)
    directions = torch.randn(projections, patch_size**2, generator=generator)
    directions = directions / directions.norm(dim=1, keepdim=True)
    of_a, of_b = (
        _sort(directions @ _draw_patches(images, masks, patch_size, count, seed).T)
        for images, masks in ((images_a, masks_a), (images_b, masks_b))
    )
    return float(np.abs(of_a - of_b).mean(dtype=np.float64))


def _sort(projected: Tensor) -> NDArray[np.float32]:
    """Sort each row; NumPy is four times as fast as torch, which keeps the places too."""
    return np.sort(projected.numpy(), axis=1)


def _draw_patches(images: Tensor, masks: Tensor, size: int, count: int, seed: int) -> Tensor:
    """Return patches (count, size * size) about voxels of the masks; equal masks, equal places."""
    generator = torch.Generator().manual_seed(seed)
    centres = torch.nonzero(masks[:, 0].cpu())
    chosen = centres[torch.randperm(len(centres), generator=generator)[:count]]
    number, row, column = chosen[:, :, None, None].unbind(dim=1)
    padded = functional.pad(images[:, 0].cpu().float(), (size // 2,) * 4)
    steps = torch.arange(size)
    return padded[number, row + steps[:, None], column + steps].flatten(start_dim=1)


def _check(images: Tensor, masks: Tensor, name: str) -> None:
    check_shapes(**{f"images_{name}": images, f"masks_{name}": masks})
    check_ranges(data_range=1.0, **{f"images_{name}": images})
    check_mask(masks)

"""Contrastive comparison of patches: a place of the fake is to resemble that place of its source.

Park et al. 2020, "Contrastive Learning for Unpaired Image-to-Image Translation", arXiv:2007.15651.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from scripts.cyclegan import Generators


class PatchContrast(nn.Module):
    """PatchNCE: of all places of the source, the same one is to be the most similar (eq. 3, 4).

    Features are those of the encoder that translates, after each of its three stages, through a
    small network of two layers; the source's are not learned from. Places lie on a fixed grid:
    the augmentation of the images moves the heads beneath it. Places outside the brain are left
    out, as questions and as answers.

    Args:
        features: channels of the generators' first layer.
        width: of the small networks' layers.
        stride: pixels of the image from one place to the next, a multiple of 4.
        temperature: of the softmax.
    """

    def __init__(self, *, features: int, width: int, stride: int, temperature: float) -> None:
        super().__init__()
        if stride < 4 or stride % 4:
            raise ValueError(f"stride is {stride}; expected a multiple of 4, the encoder's own.")
        self.stride = stride
        self.temperature = temperature
        self.heads = nn.ModuleDict(
            {
                name: nn.ModuleList(_make_head(features * 2**stage, width) for stage in range(3))
                for name in ("t1w", "t2w")
            }
        )

    def forward(
        self, generators: Generators, source: Tensor, fake: Tensor, mask: Tensor, name: str
    ) -> Tensor:
        """Return the mean cross entropy over the stages and the places in the brain.

        Args:
            generators: both.
            source: (batch, channel, height, width) in [-1, 1].
            fake: of the same shape, in the other contrast.
            mask: brain of the source, (batch, 1 or channel, height, width); the middle one counts.
            name: contrast of the fake, "t1w" or "t2w".
        """
        generator: Any = generators.t1w_to_t2w if name == "t2w" else generators.t2w_to_t1w
        heads: Any = self.heads[name]
        inside = self._take_places(mask, 1)[..., mask.shape[1] // 2] > 0
        # Queries first: older releases of PyTorch keep what autocast made of a weight without a
        # gradient for later calls, which then learn nothing (pytorch#112583, pytorch#142234).
        queries = list(self._encode(generator.encoder, heads, fake))
        with torch.no_grad():
            keys = list(self._encode(generator.encoder, heads, source))
        losses = [
            compute_contrast(query, key, inside, self.temperature)
            for query, key in zip(queries, keys, strict=True)
        ]
        return torch.stack(losses).mean()

    def _encode(
        self, encoder: nn.Sequential, heads: Sequence[nn.Module], image: Tensor
    ) -> Iterator[Tensor]:
        """Yield unit vectors (batch, place, width) after each stage, which ends with a ReLU."""
        values, stage = image, 0
        for layer in encoder:
            values = layer(values)
            if isinstance(layer, nn.ReLU):
                vectors = heads[stage](self._take_places(values, 2**stage))
                yield functional.normalize(vectors.float(), dim=-1)
                stage += 1

    def _take_places(self, values: Tensor, scale: int) -> Tensor:
        """Take the grid's places of (batch, channel, ...) at 1/scale: (batch, place, channel)."""
        step = self.stride // scale
        taken = values[:, :, step // 2 :: step, step // 2 :: step]
        return taken.flatten(2).transpose(1, 2)


def _make_head(channels: int, width: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(channels, width), nn.ReLU(), nn.Linear(width, width))


def compute_contrast(query: Tensor, key: Tensor, inside: Tensor, temperature: float) -> Tensor:
    """Mean cross entropy of finding each place again; 0 for an empty mask.

    Args:
        query: (batch, place, width), unit vectors of the fake.
        key: the same of the source.
        inside: (batch, place), places that count.
        temperature: by which similarities are divided.
    """
    with torch.autocast(query.device.type, enabled=False):
        similarity = query @ key.transpose(1, 2) / temperature
    lowest = torch.finfo(similarity.dtype).min
    similarity = similarity.masked_fill(~inside[:, None, :], lowest)
    own = similarity.diagonal(dim1=1, dim2=2)
    loss = torch.where(inside, similarity.logsumexp(dim=2) - own, 0.0)
    return (loss.sum(1) / inside.sum(1).clamp(min=1)).mean()


def make_patch_contrast(
    *, weight: Any, seed: int, device: torch.device | str, **options: Any
) -> PatchContrast | None:
    """Return the networks of the loss on a device, or None where its weight is 0 throughout.

    Args:
        weight: a number, or points [epoch, weight].
        seed: of their weights, drawn on the CPU from N(0, 0.02) as in the authors' code.
        device: where the generators are.
        options: of `PatchContrast`.
    """
    values = [point[1] for point in weight] if isinstance(weight, Sequence) else [weight]
    if not any(values):
        return None
    contrast = PatchContrast(**options)
    random = torch.Generator().manual_seed(seed)
    for parameter in contrast.parameters():
        with torch.no_grad():
            parameter.zero_() if parameter.ndim == 1 else parameter.normal_(
                0, 0.02, generator=random
            )
    return contrast.to(device)

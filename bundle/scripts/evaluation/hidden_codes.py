"""Whether a synthetic image hides its source in a pattern that nobody sees.

A CycleGAN can satisfy its cycle that way instead of keeping anatomy (Chu et al. 2017,
arXiv:1712.02950). Noise too weak to see destroys such a code: then the cycle gets worse.
"""

from __future__ import annotations

import torch
from torch import Tensor

from scripts.evaluation.evaluator import CycleGanEvaluator


def reconstruct_with_noise(
    evaluator: CycleGanEvaluator, images: dict[str, Tensor], *, sigma: float, seed: int
) -> dict[str, Tensor]:
    """Translate fakes back after adding noise.

    Args:
        evaluator: holds the generators.
        images: `fake_t1w` and `fake_t2w`, (batch, channel, height, width) in [-1, 1].
        sigma: standard deviation of the normal noise, on [-1, 1].
        seed: of the noise, which is the same for every image, however batches are cut.

    Returns:
        `noisy_reconstructed_t1w` and `noisy_reconstructed_t2w`.
    """
    return {
        f"noisy_reconstructed_{name}": evaluator.apply(
            direction, images[fake] + sigma * _draw_noise(images[fake], seed)
        )
        for name, fake, direction in (
            ("t1w", "fake_t2w", "t2w_to_t1w"),
            ("t2w", "fake_t1w", "t1w_to_t2w"),
        )
    }


def _draw_noise(images: Tensor, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(images.shape[1:], generator=generator).to(images)

"""Whether a synthetic image hides its source in a pattern that nobody sees.

A CycleGAN can satisfy its cycle that way instead of keeping anatomy (Chu et al. 2017,
arXiv:1712.02950). Noise too weak to see destroys such a code: then the cycle gets worse.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from scripts.evaluation.evaluator import CycleGanEvaluator


@dataclass(frozen=True, kw_only=True)
class HiddenCodeTest:
    """How it is tested.

    Attributes:
        sigma: standard deviation of the normal noise, on [-1, 1].
        slice_step: every so many slices of a volume are tested.
        seed: of the noise, which is the same for every image, however batches are cut.
    """

    sigma: float
    slice_step: int
    seed: int

    def select_rows(self, first: int, count: int) -> list[int]:
        """Rows of a batch of `count` slices, the first of which is number `first` of its volume."""
        return [row for row in range(count) if (first + row) % self.slice_step == 0]


def reconstruct_with_noise(
    evaluator: CycleGanEvaluator,
    images: dict[str, Tensor],
    test: HiddenCodeTest,
    *,
    rows: list[int],
) -> dict[str, Tensor]:
    """Translate fakes back after adding noise.

    Args:
        evaluator: holds the generators.
        images: `fake_t1w` and `fake_t2w`, (batch, channel, height, width) in [-1, 1].
        test: settings.
        rows: of the batch that are tested.

    Returns:
        `noisy_reconstructed_t1w` and `noisy_reconstructed_t2w` of these rows.
    """
    fakes = {name: images[name][rows] for name in ("fake_t1w", "fake_t2w")}
    noisy = {name: fake + test.sigma * _draw_noise(fake, test.seed) for name, fake in fakes.items()}
    return {
        "noisy_reconstructed_t1w": evaluator.apply("t2w_to_t1w", noisy["fake_t2w"]),
        "noisy_reconstructed_t2w": evaluator.apply("t1w_to_t2w", noisy["fake_t1w"]),
    }


def _draw_noise(images: Tensor, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(images.shape[1:], generator=generator).to(images)

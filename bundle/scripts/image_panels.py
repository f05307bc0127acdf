"""Pictures of both cycles, the head upright, to watch a training."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from scripts.cyclegan import Images
from scripts.evaluation.evaluator import select_centre, to_unit_range
from scripts.slice_tables import SliceImage

PANEL_ROWS = (
    ("real_t1w", "fake_t2w", "reconstructed_t1w"),
    ("real_t2w", "fake_t1w", "reconstructed_t2w"),
)


def turn_upright(images: Tensor) -> Tensor:
    """Turn (..., i, j) to (..., row, column): the second axis up, the first to the right.

    Of an axial slice, whose axes point right and forward, the nose is up and the patient's right
    is on the right.
    """
    return torch.rot90(images, dims=(-2, -1))


def make_panel(images: Images, *, count: int) -> Tensor:
    """Join the first `count` images of a batch to one picture (1, height, width) in [0, 1].

    Each takes two rows, real, fake and, where there are cycles, reconstructed: from T1w, then from
    T2w.
    """
    rows = [
        torch.cat([prepare_display(images[name][:count]) for name in row if name in images], dim=-1)
        for row in PANEL_ROWS
    ]
    samples = torch.cat(rows, dim=-2)  # (batch, 1, 2 height, 2 or 3 width)
    return torch.cat(list(samples), dim=-2)


def prepare_display(images: Tensor) -> Tensor:
    """Turn images in [-1, 1] upright on the CPU: (batch, 1, rows, columns) in [0, 1]."""
    centre = select_centre(images.detach()).float().cpu()
    return turn_upright(to_unit_range(centre).clamp(0, 1))


def choose_fullest_slices(slices: Sequence[SliceImage], *, count: int) -> list[int]:
    """Return the number of the slice with the most brain for each of `count` subjects, evenly."""
    fullest: dict[str, int] = {}
    for number, each in enumerate(slices):
        best = fullest.setdefault(each.subject_id, number)
        if each.brain_fraction > slices[best].brain_fraction:
            fullest[each.subject_id] = number
    numbers = list(fullest.values())
    step = max(1, len(numbers) // max(1, count))
    return numbers[::step][:count]

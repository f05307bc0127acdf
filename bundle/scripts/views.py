"""A slice translated in several views, moved and mirrored, whose mean is taken."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from scripts.config_references import load_config
from scripts.cyclegan import Generators


@dataclass(frozen=True)
class View:
    """One way to show a slice: moved by some pixels, and mirrored left to right or not.

    Attributes:
        shift: pixels along both in-plane axes. What leaves at one edge enters at the other, where
            there is background.
        is_mirrored: along the first in-plane axis, which runs from left to right in axial and
            coronal slices.
    """

    shift: tuple[int, int]
    is_mirrored: bool

    def show(self, images: Tensor) -> Tensor:
        """Change (..., height, width)."""
        moved = torch.roll(images, self.shift, dims=(-2, -1))
        return moved.flip(-2) if self.is_mirrored else moved

    def undo(self, images: Tensor) -> Tensor:
        """Change them back."""
        straight = images.flip(-2) if self.is_mirrored else images
        return torch.roll(straight, [-pixels for pixels in self.shift], dims=(-2, -1))


def choose_views(view_list: Sequence[Sequence[int]], count: int, plane: str) -> list[View]:
    """Return the first `count` that differ; sagittal slices are not mirrored, front is not back.

    Args:
        view_list: (shift along the first axis, along the second, 1 where mirrored).
        count: how many.
        plane: of the slices.

    Raises:
        ValueError: there are not that many.
    """
    views = [
        View((int(rows), int(columns)), bool(mirrored) and plane != "sagittal")
        for rows, columns, mirrored in view_list
    ]
    distinct = list(dict.fromkeys(views))
    if not 1 <= count <= len(distinct):
        raise ValueError(f"views is {count}; expected 1 to {len(distinct)}.")
    return distinct[:count]


class ViewedGenerator(nn.Module):
    """A generator that translates each slice in several views, and gives their mean.

    Args:
        generator: whose weights are used, whenever they change.
        views: of each slice.
    """

    def __init__(self, generator: nn.Module, views: Sequence[View]) -> None:
        super().__init__()
        self.generator = generator
        self.views = list(views)

    def forward(self, images: Tensor) -> Tensor:
        """Translate (batch, slices, height, width) to the same shape, in float32."""
        results = [view.undo(self.generator(view.show(images))).float() for view in self.views]
        return torch.stack(results).mean(dim=0)


def view_generators(
    generators: Generators, *, views: int, inference_config: str, plane: str
) -> Generators:
    """Let both generators translate as inference does, see `choose_views`.

    Args:
        generators: both.
        views: how many.
        inference_config: the bundle's `configs/inference.json`, whose `view_list` is taken.
        plane: of the slices.
    """
    chosen = choose_views(load_config(inference_config)["view_list"], views, plane)
    return Generators(
        ViewedGenerator(generators.t1w_to_t2w, chosen),
        ViewedGenerator(generators.t2w_to_t1w, chosen),
    )

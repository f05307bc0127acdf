"""A volume through a 2-D generator, slice by slice, once or in several views of each slice."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from monai.data import MetaTensor
from monai.inferers import Inferer
from torch import Tensor, nn
from tqdm import tqdm

from scripts.config_options import is_on
from scripts.intensity import BACKGROUND
from scripts.neighbouring_slices import count_steps, find_neighbours
from scripts.views import View, choose_views

Network = Callable[..., Tensor]


@dataclass(frozen=True)
class Translation:
    """What the networks make of a volume.

    Attributes:
        mean: over all passes, (1, 1, height, width, slices) in [-1, 1].
        spread: standard deviation over them, the same shape; None after a single pass.
    """

    mean: Tensor
    spread: Tensor | None


def compute_slice_spacing_mm(volumes: Tensor) -> float:
    """Distance along the last axis of a batch of one volume; 1 for a tensor without an affine."""
    if not isinstance(volumes, MetaTensor):
        return 1.0
    affine = volumes.affine.reshape(-1, 4, 4)[0]
    return float(torch.linalg.vector_norm(affine[:3, 2]))


class NeighbouringSliceInferer(Inferer):
    """Volume in, volume out, with any number of slices per input of the network.

    Slices of background alone are not computed, they stay background.

    Args:
        slices: channels of the generator, 1 or 3; of what comes out, the middle one is kept.
        distance_mm: between the slices of one input, see `count_steps`; at the ends of the brain
            the outermost slice with brain is taken again.
        batch_size: slices translated at once.
        views: of each slice, see `choose_views`; their results are averaged.
        view_list: all views that can be chosen.
        plane: of the slices.
        average_neighbours: average the three results of a slice, as the middle and as either
            neighbour; needs a generator of three slices, and costs no further pass.
        progress: whether a bar counts the slices.

    Raises:
        ValueError: not that many views, or nothing to average neighbours of.
    """

    def __init__(
        self,
        *,
        slices: int,
        distance_mm: float,
        batch_size: int,
        views: int,
        view_list: Sequence[Sequence[int]],
        plane: str,
        average_neighbours: bool | str,
        progress: bool | str,
    ) -> None:
        if batch_size < 1:
            raise ValueError(f"batch_size is {batch_size}; expected 1 or more.")
        self.slices = slices
        self.distance_mm = distance_mm
        self.batch_size = batch_size
        self.views = choose_views(view_list, views, plane)
        self.average_neighbours = is_on(average_neighbours)
        self.progress = is_on(progress)
        if self.average_neighbours and slices == 1:
            raise ValueError(
                "average_neighbours needs a generator that translates three slices at once; this "
                "one has slices 1. Average shifted views instead: --views 4."
            )

    def __call__(self, inputs: Tensor, network: Network, *args: Any, **kwargs: Any) -> Tensor:
        """Translate (1, 1, height, width, slices) to the same shape."""
        return self.translate(inputs, [network]).mean

    def translate(self, inputs: Tensor, networks: Sequence[Network]) -> Translation:
        """Translate one volume by every network in every view.

        Args:
            inputs: (1, 1, height, width, slices) in [-1, 1].
            networks: generators of one direction; from the second on an ensemble.
        """
        images = torch.moveaxis(torch.as_tensor(inputs)[0, 0], -1, 0)
        step = count_steps(self.distance_mm, compute_slice_spacing_mm(inputs))
        passes = [(network, view) for network in networks for view in self.views]
        total, squares = torch.zeros_like(images), torch.zeros_like(images)
        shown = tqdm(
            passes, desc="passes", leave=False, disable=not self.progress or len(passes) == 1
        )
        for network, view in shown:
            result = self._translate_once(images, network, view, step)
            total += result
            squares += result**2
        mean = total / len(passes)
        variance = (squares / len(passes) - mean**2).clamp(min=0)
        spread = None if len(passes) == 1 else _as_volume(variance.sqrt())
        return Translation(_as_volume(mean), spread)

    def _translate_once(self, images: Tensor, network: Network, view: View, step: int) -> Tensor:
        """Return (slices, height, width)."""
        shown = torch.flatten(images > BACKGROUND, 1).any(1).nonzero().flatten().cpu().numpy()
        places = find_neighbours(shown, slices=self.slices, step=step)
        rows = torch.from_numpy(shown[places])
        total = torch.zeros_like(images)
        counts = torch.zeros(len(images), device=images.device)
        dtype = _find_dtype(network)
        bar = tqdm(total=len(rows), desc="slices", leave=False, disable=not self.progress)
        for part in rows.split(self.batch_size):
            stack = view.show(images[part]).to(dtype)
            self._collect(view.undo(network(stack).to(images.dtype)), part, step, total, counts)
            bar.update(len(part))
        bar.close()
        mean = total / counts.clamp(min=1)[:, None, None]
        return torch.where(counts[:, None, None] > 0, mean, BACKGROUND)

    def _collect(
        self, results: Tensor, rows: Tensor, step: int, total: Tensor, counts: Tensor
    ) -> None:
        """Add the middle results, or all three, to the slices that they show.

        A slice that stands in for one beyond the brain is no neighbour, and does not count.
        """
        middle = self.slices // 2
        channels = range(self.slices) if self.average_neighbours else [middle]
        for channel in channels:
            is_neighbour = rows[:, channel] == rows[:, middle] + step * (channel - middle)
            places = rows[is_neighbour, channel].to(total.device)
            total.index_add_(0, places, results[is_neighbour.to(results.device), channel])
            counts.index_add_(0, places, torch.ones(len(places), device=total.device))


def _as_volume(images: Tensor) -> Tensor:
    return torch.moveaxis(images, 0, -1)[None, None]


def _find_dtype(network: Network) -> torch.dtype:
    """Return the format of a network's weights, in which it wants its input."""
    if isinstance(network, nn.Module):
        for parameter in network.parameters():
            return parameter.dtype
    return torch.float32

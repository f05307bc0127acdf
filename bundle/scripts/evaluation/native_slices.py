"""Slices as they were scanned, unregistered, by which a translation is measured without pairs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from scripts.datasets import read_image
from scripts.evaluation.evaluator import select_centre, to_unit_range
from scripts.slice_tables import SliceImage, list_images, read_slices


@dataclass(frozen=True)
class ContrastSlices:
    """Slices of one contrast.

    Attributes:
        images: (slices, channel, height, width) in [-1, 1].
        masks: (slices, 1, height, width).
        subject_ids: of each slice.
        datasets: likewise.
    """

    images: Tensor
    masks: Tensor
    subject_ids: tuple[str, ...]
    datasets: tuple[str, ...]

    def show(self, images: Tensor) -> Tensor:
        """The middle channel of images of these slices, in [0, 1], 0 outside the masks."""
        return to_unit_range(select_centre(images)).where(self.masks, 0.0)


def list_native_slices(
    dataset_dir: str, *, split: str, max_slices: int, slices: int, slice_distance_mm: float
) -> dict[str, list[SliceImage]]:
    """List native slices with brain of both contrasts, spread evenly over all of a split.

    Args:
        dataset_dir: slice dataset.
        split: part of it.
        max_slices: of each contrast; 0 for none.
        slices: see `list_images`.
        slice_distance_mm: see `list_images`.

    Returns:
        Of "T1w" and "T2w"; empty where either is missing.
    """
    if max_slices == 0:
        return {}
    table = read_slices(dataset_dir, split=split)
    table = table[(table["space"] == "native") & (table["brain_fraction"] > 0)]
    found = {
        contrast: list_images(
            table[table["contrast"] == contrast],
            dataset_dir=dataset_dir,
            slices=slices,
            slice_distance_mm=slice_distance_mm,
        )
        for contrast in ("T1w", "T2w")
    }
    if not all(found.values()):
        return {}
    return {contrast: _spread(images, max_slices) for contrast, images in found.items()}


def _spread(images: list[SliceImage], max_slices: int) -> list[SliceImage]:
    step = -(-len(images) // max_slices)
    return images[step // 2 :: step]


def read_native_slices(images: Sequence[SliceImage]) -> ContrastSlices:
    """Read slices of one contrast into memory."""
    read = [read_image(image) for image in images]
    return ContrastSlices(
        torch.stack([image for image, _ in read]),
        torch.stack([mask for _, mask in read]),
        tuple(image.subject_id for image in images),
        tuple(image.dataset for image in images),
    )

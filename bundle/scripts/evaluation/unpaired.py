"""What can be measured of a translation without pairs: distributions, cycles and structure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from scripts.datasets import read_image
from scripts.evaluation.evaluator import CycleGanEvaluator, select_centre, to_unit_range
from scripts.evaluation.measurement import FigureSettings
from scripts.evaluation.metrics import SubjectSums
from scripts.evaluation.patch_distance import sliced_wasserstein_distance
from scripts.evaluation.structure import gradient_agreement
from scripts.slice_tables import SliceImage, list_images, read_slices

WAYS = {"t2w": ("T1w", "T2w", "t1w_to_t2w"), "t1w": ("T2w", "T1w", "t2w_to_t1w")}


@dataclass(frozen=True, kw_only=True)
class UnpairedSettings:
    """How much is compared.

    Attributes:
        max_slices: of each contrast, spread evenly over all; 0 measures nothing.
        patches: that are drawn from each set of images.
        patch_size: in pixels.
        projections: random directions in the space of patches.
    """

    max_slices: int
    patches: int
    patch_size: int
    projections: int


@dataclass(frozen=True)
class ContrastSlices:
    """Slices of one contrast.

    Attributes:
        images: (slices, channel, height, width) in [-1, 1].
        masks: (slices, 1, height, width).
        subject_ids: of each slice.
    """

    images: Tensor
    masks: Tensor
    subject_ids: tuple[str, ...]

    def show(self, images: Tensor) -> Tensor:
        """The middle channel of images of these slices, in [0, 1], 0 outside the masks."""
        return to_unit_range(select_centre(images)).where(self.masks, 0.0)


def measure_unpaired(
    evaluator: CycleGanEvaluator,
    *,
    dataset_dir: str,
    split: str,
    label: str,
    slices: int,
    slice_distance_mm: float,
    figures: FigureSettings,
    settings: UnpairedSettings,
) -> list[dict[str, Any]]:
    """Measure both directions on the native images of a split, whether or not they have pairs.

    Args:
        evaluator: holds the generators.
        dataset_dir: slice dataset.
        split: part of it.
        label: of the model.
        slices: see `list_images`.
        slice_distance_mm: see `list_images`.
        figures: shared settings.
        settings: of this comparison.

    Returns:
        One row a figure: model, kind, direction, figure, value. "real" is the distance between two
        halves of the real subjects, which a perfect model has too.
    """
    if settings.max_slices == 0:
        return []
    table = read_slices(dataset_dir, split=split)
    table = table[(table["space"] == "native") & (table["brain_fraction"] > 0)]
    found = {}
    for contrast in ("T1w", "T2w"):
        of_contrast = table[table["contrast"] == contrast]
        images = list_images(
            of_contrast,
            dataset_dir=dataset_dir,
            slices=slices,
            slice_distance_mm=slice_distance_mm,
        )
        if not images:
            return []
        found[contrast] = _read(images, settings.max_slices)
    return [
        {"model": model, "kind": kind, "direction": name, "figure": figure, "value": value}
        for name in WAYS
        for model, kind, figure, value in _measure_way(
            evaluator, name, found, label=label, figures=figures, settings=settings
        )
    ]


def _read(images: list[SliceImage], max_slices: int) -> ContrastSlices:
    step = -(-len(images) // max_slices)
    chosen = images[step // 2 :: step]
    read = [read_image(image) for image in chosen]
    return ContrastSlices(
        torch.stack([image for image, _ in read]),
        torch.stack([mask for _, mask in read]),
        tuple(image.subject_id for image in chosen),
    )


def _measure_way(
    evaluator: CycleGanEvaluator,
    name: str,
    found: dict[str, ContrastSlices],
    *,
    label: str,
    figures: FigureSettings,
    settings: UnpairedSettings,
) -> Iterator[tuple[str, str, str, float]]:
    source_name, target_name, direction = WAYS[name]
    source, target = found[source_name], found[target_name]
    real, wanted = source.show(source.images), target.show(target.images)
    fake, cycle = (
        source.show(images)
        for images in _translate(evaluator, direction, source.images, figures.batch_size)
    )
    compare = partial(_compute_distance, settings=settings, seed=figures.seed)
    figure = "sliced_wasserstein"
    yield label, "model", figure, compare(fake, source.masks, wanted, target.masks)
    yield "copy", "trivial", figure, compare(real, source.masks, wanted, target.masks)
    half = _select_first_subjects(target.subject_ids)
    if bool(half.any()):
        parts = (wanted[half], target.masks[half], wanted[~half], target.masks[~half])
        yield "real", "real", figure, compare(*parts)
    yield label, "model", "ngf", gradient_agreement(real, fake, source.masks, edge=figures.edge)
    sums = SubjectSums.from_slices(cycle, real, source.masks, data_range=1.0)
    for figure in ("ssim", "psnr", "mae"):
        yield label, "model", f"cycle_{figure}", getattr(sums, figure)


def _translate(
    evaluator: CycleGanEvaluator, direction: str, images: Tensor, batch_size: int
) -> tuple[Tensor, Tensor]:
    """Return fakes and cycles, shaped as the images, on the CPU."""
    back = {"t1w_to_t2w": "t2w_to_t1w", "t2w_to_t1w": "t1w_to_t2w"}[direction]
    fakes = [evaluator.apply(direction, batch).cpu() for batch in images.split(batch_size)]
    cycles = [evaluator.apply(back, fake).cpu() for fake in fakes]
    return torch.cat(fakes), torch.cat(cycles)


def _select_first_subjects(subject_ids: tuple[str, ...]) -> Tensor:
    subjects = sorted(set(subject_ids))
    first = set(subjects[: len(subjects) // 2])
    return torch.tensor([subject_id in first for subject_id in subject_ids])


def _compute_distance(
    images: Tensor,
    masks: Tensor,
    others: Tensor,
    other_masks: Tensor,
    *,
    settings: UnpairedSettings,
    seed: int,
) -> float:
    return sliced_wasserstein_distance(
        images,
        others,
        masks,
        other_masks,
        patch_size=settings.patch_size,
        patches=settings.patches,
        projections=settings.projections,
        seed=seed,
    )

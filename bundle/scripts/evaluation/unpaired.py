"""What can be measured of a translation without pairs: distributions, cycles and structure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from scripts.evaluation.evaluator import CycleGanEvaluator
from scripts.evaluation.key_metric import CYCLE_FIGURES
from scripts.evaluation.measurement import FigureSettings
from scripts.evaluation.metrics import SubjectSums
from scripts.evaluation.native_slices import (
    ContrastSlices,
    list_native_slices,
    read_native_slices,
)
from scripts.evaluation.patch_distance import sliced_wasserstein_distance
from scripts.evaluation.structure import gradient_agreement
from scripts.evaluation.trivial_rows import TrivialFit, predict_trivially

WAYS = {"t2w": ("T1w", "T2w", "t1w_to_t2w"), "t1w": ("T2w", "T1w", "t2w_to_t1w")}
# Trivial rows: the look-up table needs pairs, and the mean has no edges.
DISTANT_ROWS, STRUCTURED_ROWS = ("copy", "inverted", "mean"), ("copy", "inverted")


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
    fits: Mapping[str, TrivialFit],
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
        fits: of the trivial rows, by target.

    Returns:
        One row a figure: model, kind, direction, figure, value. Trivial rows are those that need
        no pairs, "mean" where training slices of the target fitted it. "real" is the distance
        between two halves of the real subjects. A perfect model of other people has as much; one
        whose sources are the people of the target lies nearer.
    """
    images = list_native_slices(
        dataset_dir,
        split=split,
        max_slices=settings.max_slices,
        slices=slices,
        slice_distance_mm=slice_distance_mm,
    )
    if not images:
        return []
    found = {contrast: read_native_slices(each) for contrast, each in images.items()}
    return [
        {"model": model, "kind": kind, "direction": name, "figure": figure, "value": value}
        for name in WAYS
        for model, kind, figure, value in _measure_way(
            evaluator, name, found, label=label, figures=figures, settings=settings, fit=fits[name]
        )
    ]


def _measure_way(
    evaluator: CycleGanEvaluator,
    name: str,
    found: Mapping[str, ContrastSlices],
    *,
    label: str,
    figures: FigureSettings,
    settings: UnpairedSettings,
    fit: TrivialFit,
) -> Iterator[tuple[str, str, str, float]]:
    of_model = measure_direction(
        evaluator,
        name,
        found,
        batch_size=figures.batch_size,
        edge=figures.edge,
        seed=figures.seed,
        settings=settings,
    )
    source, target = (found[contrast] for contrast in WAYS[name][:2])
    real, wanted = source.show(source.images), target.show(target.images)
    compare = partial(_compute_distance, settings=settings, seed=figures.seed)
    figure = "sliced_wasserstein"
    yield label, "model", figure, of_model.pop(figure)
    trivial = predict_trivially(fit, real, source.masks)
    for row in (row for row in DISTANT_ROWS if row in trivial):
        yield row, "trivial", figure, compare(trivial[row], source.masks, wanted, target.masks)
    for row in STRUCTURED_ROWS:
        structure = gradient_agreement(real, trivial[row], source.masks, edge=figures.edge)
        yield row, "trivial", "ngf", structure
    half = select_half(target, seed=figures.seed)
    if bool(half.any()):
        parts = (wanted[half], target.masks[half], wanted[~half], target.masks[~half])
        yield "real", "real", figure, compare(*parts)
    for figure, value in of_model.items():
        yield label, "model", figure, value


def measure_direction(
    evaluator: CycleGanEvaluator,
    name: str,
    found: Mapping[str, ContrastSlices],
    *,
    batch_size: int,
    edge: float,
    seed: int,
    settings: UnpairedSettings,
) -> dict[str, float]:
    """Measure the generators on the way to one contrast, "t2w" or "t1w", and back.

    Args:
        evaluator: holds the generators.
        name: key of `WAYS`.
        found: slices of "T1w" and "T2w".
        batch_size: slices that are translated together.
        edge: see `gradient_agreement`.
        seed: of patches and directions.
        settings: of the distance.

    Returns:
        `sliced_wasserstein` (0 is ideal) and `ngf` of the synthetic images; `cycle_ssim`,
        `cycle_psnr` and `cycle_mae` of the source's cycle.
    """
    source_name, target_name, direction = WAYS[name]
    source, target = found[source_name], found[target_name]
    real = source.show(source.images)
    fake, cycle = (
        source.show(images)
        for images in _translate(evaluator, direction, source.images, batch_size)
    )
    wanted = target.show(target.images)
    sums = SubjectSums.from_slices(cycle, real, source.masks, data_range=1.0)
    return {
        "sliced_wasserstein": _compute_distance(
            fake, source.masks, wanted, target.masks, settings=settings, seed=seed
        ),
        "ngf": gradient_agreement(real, fake, source.masks, edge=edge),
    } | {f"cycle_{figure}": getattr(sums, figure) for figure in CYCLE_FIGURES}


def _translate(
    evaluator: CycleGanEvaluator, direction: str, images: Tensor, batch_size: int
) -> tuple[Tensor, Tensor]:
    """Return fakes and cycles, shaped as the images, on the CPU."""
    back = {"t1w_to_t2w": "t2w_to_t1w", "t2w_to_t1w": "t1w_to_t2w"}[direction]
    fakes = [evaluator.apply(direction, batch).cpu() for batch in images.split(batch_size)]
    cycles = [evaluator.apply(back, fake).cpu() for fake in fakes]
    return torch.cat(fakes), torch.cat(cycles)


def select_half(slices: ContrastSlices, *, seed: int) -> Tensor:
    """Draw half of the subjects of each dataset; which slices are theirs, (slices,).

    Datasets of one subject take turns, so that neither half is a dataset of its own.
    """
    subjects_of: dict[str, set[str]] = {}
    for dataset, subject_id in zip(slices.datasets, slices.subject_ids, strict=True):
        subjects_of.setdefault(dataset, set()).add(subject_id)
    random = np.random.default_rng(seed)
    dealt = [
        subject_id
        for _, subjects in sorted(subjects_of.items())
        for subject_id in random.permutation(sorted(subjects)).tolist()
    ]
    half = set(dealt[1::2])  # every second one, from a dataset into the next
    return torch.tensor([subject_id in half for subject_id in slices.subject_ids])


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

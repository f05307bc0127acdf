"""Figures that need no pairs, for a validation while a model trains."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from functools import cached_property

from scripts.evaluation.evaluator import CycleGanEvaluator
from scripts.evaluation.key_metric import CYCLE_FIGURES, UNPAIRED_FIGURE_NAMES
from scripts.evaluation.native_slices import (
    ContrastSlices,
    list_native_slices,
    read_native_slices,
)
from scripts.evaluation.unpaired import WAYS, UnpairedSettings, measure_direction
from scripts.slice_tables import SliceImage

logger = logging.getLogger(__name__)


class UnpairedValidation:
    """Measures generators on the same native slices each time, which are read once.

    Args:
        images: of "T1w" and "T2w".
        batch_size: slices that are translated together.
        edge: see `gradient_agreement`.
        seed: of patches and directions, the same at every validation and in every process.
        settings: of the distance.
    """

    def __init__(
        self,
        images: Mapping[str, Sequence[SliceImage]],
        *,
        batch_size: int,
        edge: float,
        seed: int,
        settings: UnpairedSettings,
    ) -> None:
        self.images = images
        self.batch_size = batch_size
        self.edge = edge
        self.seed = seed
        self.settings = settings

    @cached_property
    def _slices(self) -> dict[str, ContrastSlices]:
        return {contrast: read_native_slices(images) for contrast, images in self.images.items()}

    def measure(self, evaluator: CycleGanEvaluator) -> dict[str, float]:
        """Return every figure of `UNPAIRED_FIGURE_NAMES`."""
        found = {}
        for target, (source, _, _) in WAYS.items():
            figures = measure_direction(
                evaluator,
                target,
                self._slices,
                batch_size=self.batch_size,
                edge=self.edge,
                seed=self.seed,
                settings=self.settings,
            )
            for name in ("sliced_wasserstein", "ngf"):
                found[f"{target}_{name}"] = figures[name]
            found[f"{target}_unpaired_error"] = compute_unpaired_error(figures)
            for name in CYCLE_FIGURES:
                found[f"{source.lower()}_native_cycle_{name}"] = figures[f"cycle_{name}"]
        return {name: found[name] for name in UNPAIRED_FIGURE_NAMES}


def compute_unpaired_error(figures: Mapping[str, float]) -> float:
    """Combine what a distribution and a cycle miss: their errors' sum, in units of intensity.

    It is what CycleGAN minimises (Zhu et al. 2017, arXiv:1703.10593, eq. 3), measured on images
    that did not train: the distance of patches stands for the adversarial losses, which compare
    with discriminators that change, and the cycle's mean absolute error is its own. Alone, the
    first is won by any anatomy of the right contrast, the second by a copy. Both are intensities
    on [0, 1], so they are added as they are: an offset c of every pixel costs sqrt(2 / pi) c in
    the first, since a random unit vector in n dimensions has a mean part of about
    sqrt(2 / (pi n)) along a patch of length sqrt(n) c, and c in the second.

    Args:
        figures: of `measure_direction`.
    """
    return figures["sliced_wasserstein"] + figures["cycle_mae"]


def load_unpaired_validation(
    dataset_dir: str,
    *,
    split: str,
    slices: int,
    slice_distance_mm: float,
    batch_size: int,
    edge: float,
    seed: int,
    settings: UnpairedSettings,
) -> UnpairedValidation | None:
    """Find what is measured of a split; None where it lacks a contrast, or nothing is wanted.

    Args:
        dataset_dir: slice dataset.
        split: part of it.
        slices: see `list_images`.
        slice_distance_mm: see `list_images`.
        batch_size: see `UnpairedValidation`.
        edge: see `UnpairedValidation`.
        seed: see `UnpairedValidation`.
        settings: see `UnpairedValidation`.
    """
    images = list_native_slices(
        dataset_dir,
        split=split,
        max_slices=settings.max_slices,
        slices=slices,
        slice_distance_mm=slice_distance_mm,
    )
    if not images:
        return None
    return UnpairedValidation(
        images, batch_size=batch_size, edge=edge, seed=seed, settings=settings
    )


def check_key_metric(evaluator: CycleGanEvaluator) -> None:
    """Say how a training without registered pairs chooses its models, before it begins.

    Raises:
        ValueError: the key metric needs no pairs, yet cannot be measured.
    """
    name = evaluator.state.key_metric_name
    if not evaluator.measures_key_metric:
        if name in UNPAIRED_FIGURE_NAMES:
            raise ValueError(
                f"key_metric is {name!r}, which is measured on native slices of both contrasts, "
                "but the validated part lacks one, or --val_unpaired_slices is 0. Choose another "
                "part with --evaluated_split, or another --key_metric."
            )
        logger.warning(
            "The validated part has no registered pairs to measure %s with, and nothing else is "
            "measured, since it lacks native slices of one contrast or --key_metric or "
            "--val_unpaired_slices forbids it: every validation is taken for the best, so that "
            "the latest model is shipped. Parts are dealt out input by input; an input of three "
            "subjects or more gives validation one of them.",
            name,
        )
    elif not evaluator.state.epoch_length:
        logger.info("No registered pairs to validate with: %s chooses the models.", name)

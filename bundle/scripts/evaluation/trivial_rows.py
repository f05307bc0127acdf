"""The rows of a results table that every model must beat, measured as the model is."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from ignite.metrics import Metric
from torch import Tensor

from scripts.datasets import load_training_slices, read_image
from scripts.evaluation.baselines import (
    apply_lookup_table,
    copy_source,
    fit_lookup_table,
    fit_target_mean,
    mean_in_mask,
)
from scripts.evaluation.evaluator import select_centre, to_unit_range
from scripts.evaluation.metrics import SubjectMetrics
from scripts.slice_tables import SliceImage, load_pairs

DIRECTIONS = {"t2w": ("real_t1w", "real_t2w"), "t1w": ("real_t2w", "real_t1w")}
LOOKUP_BINS = 64  # EVALUATION: the conditional mean in 64 bins


@dataclass(frozen=True)
class TrivialFit:
    """What the training split says of a target contrast without a network.

    Attributes:
        target_mean: inside the masks, on [0, 1].
        table: conditional mean of the target given the source; None without registered pairs.
    """

    target_mean: float
    table: Tensor | None


def fit_trivial_rows(
    dataset_dir: str, *, max_subjects: int, max_slices: int
) -> dict[str, TrivialFit]:
    """Fit the rows for both targets on training slices.

    Args:
        dataset_dir: slice dataset.
        max_subjects: as many subjects with registered pairs.
        max_slices: as many slices of each contrast where there are no pairs.
    """
    pairs = load_pairs(
        dataset_dir,
        split="train",
        training_slices=True,
        max_subjects=max_subjects,
        slice_step=1,
        slices=1,
        slice_distance_mm=0.0,
    )
    if not pairs:
        return _fit_means(dataset_dir, max_slices)
    t1w, _ = _read([pair.t1w for pair in pairs])
    t2w, masks = _read([pair.t2w for pair in pairs])  # the brain as far as the T2w shows it
    return {
        "t2w": TrivialFit(
            fit_target_mean(t2w, masks), fit_lookup_table(t1w, t2w, masks, bins=LOOKUP_BINS)
        ),
        "t1w": TrivialFit(
            fit_target_mean(t1w, masks), fit_lookup_table(t2w, t1w, masks, bins=LOOKUP_BINS)
        ),
    }


def _fit_means(dataset_dir: str, max_slices: int) -> dict[str, TrivialFit]:
    training = load_training_slices(
        dataset_dir, sampling="shuffled", seed=0, slices=1, slice_distance_mm=0.0
    )
    fits = {}
    for name, images in (("t2w", training.t2w), ("t1w", training.t1w)):
        step = max(1, len(images) // max_slices)
        fits[name] = TrivialFit(fit_target_mean(*_read(images[::step])), None)
    return fits


def _read(images: Sequence[SliceImage]) -> tuple[Tensor, Tensor]:
    """Return images (slices, 1, height, width) in [0, 1] and their masks."""
    read = [read_image(image) for image in images]
    return to_unit_range(torch.stack([image for image, _ in read])), torch.stack(
        [mask for _, mask in read]
    )


class TrivialMetrics(Metric):
    """Figures of the source copied, of the target's mean and of the look-up table."""

    def __init__(self, *, fits: dict[str, TrivialFit]) -> None:
        self.fits = fits
        super().__init__()

    def reset(self) -> None:
        """Forget every subject."""
        self.rows: dict[tuple[str, str], SubjectMetrics] = {}

    def update(self, output: Sequence[dict[str, Any]]) -> None:
        """Add one batch, the output of `CycleGanEvaluator`."""
        images, mask = output[0], output[0]["mask"]
        for name, keys in DIRECTIONS.items():
            source, target = (to_unit_range(select_centre(images[key])) for key in keys)
            for row, prediction in _predict(self.fits[name], source, mask).items():
                metrics = self.rows.setdefault((row, name), SubjectMetrics(data_range=1.0))
                metrics.update(images["subject_id"], prediction, target, mask)

    def compute(self) -> dict[str, float]:
        """Return means over the subjects by name, such as `copy_t2w_ssim`."""
        return {
            f"{row}_{name}_{figure}": value
            for (row, name), metrics in self.rows.items()
            for figure, value in metrics.mean().items()
        }

    def list_subjects(self) -> Iterator[tuple[str, str, str, dict[str, float]]]:
        """Yield the row, the comparison, the subject and its figures."""
        for (row, name), metrics in self.rows.items():
            for subject_id, figures in metrics.compute().items():
                yield row, name, subject_id, figures


def _predict(fit: TrivialFit, source: Tensor, mask: Tensor) -> dict[str, Tensor]:
    predictions = {
        "copy": copy_source(source, mask),
        "mean": mean_in_mask(mask, target_mean=fit.target_mean),
    }
    if fit.table is not None:
        predictions["lookup"] = apply_lookup_table(source, mask, table=fit.table)
    return predictions

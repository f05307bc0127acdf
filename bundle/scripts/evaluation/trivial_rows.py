"""The rows of a results table that every model must beat, measured as the model is."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from scripts.datasets import read_image
from scripts.evaluation.baselines import (
    apply_lookup_table,
    copy_source,
    fit_lookup_table,
    fit_target_mean,
    invert_source,
    mean_in_mask,
)
from scripts.evaluation.evaluator import to_unit_range
from scripts.slice_tables import SliceImage, list_images, load_training_pairs, read_slices

logger = logging.getLogger(__name__)

DIRECTIONS = {"t2w": ("real_t1w", "real_t2w"), "t1w": ("real_t2w", "real_t1w")}
ROWS = ("copy", "inverted", "mean", "lookup")
LOOKUP_BINS = 64  # EVALUATION: the conditional mean in 64 bins


@dataclass(frozen=True)
class TrivialFit:
    """What the training split says of a target contrast without a network.

    Attributes:
        target_mean: inside the masks, on [0, 1]; None without training slices of the target.
        table: conditional mean of the target given the source; None without registered pairs.
    """

    target_mean: float | None
    table: Tensor | None


def fit_trivial_rows(
    dataset_dir: str, *, max_subjects: int, max_slices: int
) -> dict[str, TrivialFit]:
    """Fit the rows for both targets on training slices, as far as there are any.

    Args:
        dataset_dir: slice dataset.
        max_subjects: as many subjects with registered pairs.
        max_slices: as many slices of each contrast where there are no pairs.
    """
    pairs = load_training_pairs(dataset_dir, max_subjects=max_subjects)
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
    table = read_slices(dataset_dir, split="train")
    table = table[table["train"] & (table["space"] == "native")]
    images = list_images(table, dataset_dir=dataset_dir, slices=1, slice_distance_mm=0.0)
    fits = {}
    for name, contrast in (("t2w", "T2w"), ("t1w", "T1w")):
        of_target = [image for image in images if image.contrast == contrast]
        if not of_target:
            logger.warning(
                "%s: no %s slices train, so neither mean nor look-up table of %s is fitted.",
                *(dataset_dir, contrast, contrast),
            )
        fits[name] = TrivialFit(_fit_mean(of_target, max_slices), None)
    return fits


def _fit_mean(images: Sequence[SliceImage], max_slices: int) -> float | None:
    step = max(1, len(images) // max_slices)
    return fit_target_mean(*_read(images[::step])) if images else None


def _read(images: Sequence[SliceImage]) -> tuple[Tensor, Tensor]:
    """Return images (slices, 1, height, width) in [0, 1] and their masks."""
    read = [read_image(image) for image in images]
    return to_unit_range(torch.stack([image for image, _ in read])), torch.stack(
        [mask for _, mask in read]
    )


def predict_trivially(fit: TrivialFit, source: Tensor, mask: Tensor) -> dict[str, Tensor]:
    """Return "copy", "inverted" and, as far as they were fitted, "mean" and "lookup".

    Each is shaped as the source.
    """
    predictions = {
        "copy": copy_source(source, mask),
        "inverted": invert_source(source, mask),
    }
    if fit.target_mean is not None:
        predictions["mean"] = mean_in_mask(mask, target_mean=fit.target_mean)
    if fit.table is not None:
        predictions["lookup"] = apply_lookup_table(source, mask, table=fit.table)
    return predictions

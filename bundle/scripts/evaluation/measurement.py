"""Every figure of one session, for the model and for the rows that it must beat."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from scripts.evaluation.checkerboard import checkerboard_ratio
from scripts.evaluation.evaluator import COMPARISONS
from scripts.evaluation.hidden_codes import HiddenCodeTest
from scripts.evaluation.metrics import masked_ssim, mean_decibels
from scripts.evaluation.multiscale import ms_ssim
from scripts.evaluation.segmenter import measure_dice
from scripts.evaluation.session_volume import SessionVolume
from scripts.evaluation.slice_agreement import neighbouring_slice_ratio
from scripts.evaluation.slice_figures import slice_figures
from scripts.evaluation.structure import classify_tissues, gradient_agreement, tissue_order
from scripts.evaluation.trivial_rows import DIRECTIONS, TrivialFit, predict_trivially
from scripts.evaluation.white_matter_spots import Spots, compare_spots, find_spots

PAIRED_FIGURES = ("ssim", "psnr", "mae", "nmse", "ms_ssim", "earlier_ssim", "earlier_psnr")
STRUCTURE_FIGURES = ("ngf", "tissue_order", "slice_ratio", "checkerboard")
LABELLED_FIGURES = ("dice", "spots_kept", "spots_invented")  # of sessions with true tissues
FIGURES = (*PAIRED_FIGURES, *STRUCTURE_FIGURES, *LABELLED_FIGURES, "hidden_code_drop")
CONTRASTS = {"t2w": "T2w", "t1w": "T1w"}

Row = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class FigureSettings:
    """What the figures depend on besides the images.

    Attributes:
        batch_size: slices that are translated together.
        edge: gradient below which an edge counts little, see `gradient_agreement`.
        stride: of the decoder, in pixels, see `checkerboard_ratio`.
        hidden_codes: the test for them.
        dice_slice_step: every so many slices of a volume are segmented.
        seed: of everything random.
    """

    batch_size: int
    edge: float
    stride: int
    hidden_codes: HiddenCodeTest
    dice_slice_step: int
    seed: int


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """An image of a session that is measured.

    Attributes:
        model: label of a row: the model's, or "copy", "inverted", "mean", "lookup" or "real".
        kind: "model", "trivial" or "real".
        image: (slices, 1, height, width) in [0, 1].
    """

    model: str
    kind: str
    image: Tensor


def list_predictions(
    volume: SessionVolume, comparison: str, *, label: str, fit: TrivialFit | None
) -> list[Prediction]:
    """The model's image, and for translations what it must beat and the real image itself."""
    name, target = COMPARISONS[comparison]
    predictions = [Prediction(model=label, kind="model", image=volume.images[name])]
    if fit is not None:
        source = volume.images[DIRECTIONS[comparison][0]]
        trivial = predict_trivially(fit, source, volume.mask)
        predictions += [
            Prediction(model=row, kind="trivial", image=image) for row, image in trivial.items()
        ]
        predictions.append(Prediction(model="real", kind="real", image=volume.images[target]))
    return predictions


def measure_session(
    volume: SessionVolume,
    *,
    label: str,
    fits: Mapping[str, TrivialFit],
    segmenters: Mapping[str, nn.Module],
    settings: FigureSettings,
) -> tuple[list[Row], list[Row]]:
    """Measure one session.

    Args:
        volume: the session.
        label: of the model.
        fits: of the trivial rows, by target.
        segmenters: by target; may be empty.
        settings: of the figures.

    Returns:
        Rows of the session (one a prediction) and of its slices.
    """
    rows, slice_rows = [], []
    classes = classify_tissues(volume.images["real_t1w"], volume.mask, volume.labels)
    real_spots = _find_real_spots(volume, classes)
    for comparison, (_, target) in COMPARISONS.items():
        for each in list_predictions(volume, comparison, label=label, fit=fits.get(comparison)):
            keys = _make_keys(volume, each, comparison)
            figures: dict[str, float] = {}
            if each.kind != "real":
                by_slice = slice_figures(each.image, volume.images[target], volume.mask)
                slice_rows += list(_list_slices(volume, by_slice, keys))
                figures |= pool_slices(by_slice, volume.images[target], volume.mask)
                figures["ms_ssim"] = ms_ssim(each.image, volume.images[target])
            if comparison in DIRECTIONS:
                figures |= measure_structure(volume, each.image, comparison, classes, settings)
                figures |= _measure_dice(
                    volume, each.image, segmenters.get(comparison), settings.dice_slice_step
                )
                figures |= _measure_spots(each.image, comparison, classes, real_spots)
            else:
                figures["hidden_code_drop"] = measure_hidden_code_drop(
                    volume, comparison, step=settings.hidden_codes.slice_step
                )
            rows.append(keys | figures)
    return rows, slice_rows


def _make_keys(volume: SessionVolume, prediction: Prediction, comparison: str) -> Row:
    return {
        "model": prediction.model,
        "kind": prediction.kind,
        "comparison": comparison,
        "dataset": volume.dataset,
        "subject_id": volume.subject_id,
        "session": volume.session,
    }


def pool_slices(by_slice: Mapping[str, Tensor], target: Tensor, mask: Tensor) -> dict[str, float]:
    """Figures of a volume from those of its slices, pooled over the mask's voxels.

    Args:
        by_slice: of `slice_figures`.
        target: the real images, (slices, 1, height, width) in [0, 1].
        mask: of the same shape.

    Returns:
        The same as `SubjectSums` gives, and the means over slices of the earlier system's figures.
    """
    voxels = mask.sum(dim=(1, 2, 3)).double()
    weights = voxels / voxels.sum()
    squared_error = float(((10 ** (-by_slice["psnr"] / 10)) * weights).nansum())
    energy = float((target.double().square() * mask).sum() / voxels.sum())
    return {
        "ssim": float((by_slice["ssim"] * weights).nansum()),
        "psnr": -10 * math.log10(squared_error) if squared_error else math.inf,
        "mae": float((by_slice["mae"] * weights).nansum()),
        "nmse": squared_error / energy if energy else math.inf,
        "earlier_ssim": float(by_slice["earlier_ssim"].mean()),
        "earlier_psnr": mean_decibels(by_slice["earlier_psnr"]),
    }


def _list_slices(volume: SessionVolume, by_slice: Mapping[str, Tensor], keys: Row) -> Iterator[Row]:
    values = {name: figure.tolist() for name, figure in by_slice.items()}
    for number, index in enumerate(volume.slice_indices):
        yield keys | {"slice_index": index} | {name: row[number] for name, row in values.items()}


def measure_structure(
    volume: SessionVolume,
    image: Tensor,
    comparison: str,
    classes: Tensor,
    settings: FigureSettings,
) -> dict[str, float]:
    """Figures that ask whether anatomy is kept, not whether pixels agree.

    Args:
        volume: the session.
        image: that is measured, (slices, 1, height, width) in [0, 1].
        comparison: "t2w" or "t1w".
        classes: tissues, see `classify_tissues`.
        settings: of the figures.
    """
    source, target = (volume.images[key] for key in DIRECTIONS[comparison])
    indices = volume.slice_indices
    return {
        "ngf": gradient_agreement(source, image, volume.mask, edge=settings.edge),
        "tissue_order": tissue_order(image, classes, CONTRASTS[comparison]),
        "slice_ratio": neighbouring_slice_ratio(image, target, volume.mask, indices),
        "checkerboard": checkerboard_ratio(image, target, stride=settings.stride),
    }


def _measure_dice(
    volume: SessionVolume, image: Tensor, segmenter: nn.Module | None, step: int
) -> dict[str, float]:
    if segmenter is None or volume.labels is None:
        return {}
    parts = (each[::step] for each in (image, volume.labels, volume.mask))
    return {"dice": measure_dice(segmenter, *parts)}


def _find_real_spots(volume: SessionVolume, classes: Tensor) -> dict[str, Spots | None]:
    """Of both real images, by their names; empty where true tissues are not known."""
    if volume.labels is None:
        return {}
    return {
        target: find_spots(volume.images[target], classes, CONTRASTS[comparison])
        for comparison, (_, target) in DIRECTIONS.items()
    }


def _measure_spots(
    image: Tensor, comparison: str, classes: Tensor, real: Mapping[str, Spots | None]
) -> dict[str, float]:
    if not real:
        return {}
    source, target = (real[name] for name in DIRECTIONS[comparison])
    shown = find_spots(image, classes, CONTRASTS[comparison])
    return compare_spots(shown, target=target, source=source)


def measure_hidden_code_drop(volume: SessionVolume, comparison: str, *, step: int) -> float:
    """SSIM of the cycle, in every so many slices, that noise in the synthetic image costs."""
    name, target = COMPARISONS[comparison]
    real, mask = volume.images[target][::step], volume.mask[::step]
    clean, noisy = (
        masked_ssim(image, real, mask, data_range=1.0)
        for image in (volume.images[name][::step], volume.images[f"noisy_{name}"])
    )
    return clean - noisy

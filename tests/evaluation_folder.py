"""An invented evaluation on disk: three small heads, two directions, a model and trivial rows."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pandas as pd

SHAPE = (32, 32, 12)
RANKS = ("best", "median", "worst")
DIRECTIONS = ("t2w", "t1w")
# What the model's SSIM is above each trivial row, for every subject alike.
GAINS = {"copy": 0.07, "mean": 0.20, "lookup": 0.03}
PSNR_PER_SSIM = 20.0
STRUCTURE = {"ngf": 0.8, "tissue_order": 1.0, "slice_ratio": 1.04, "checkerboard": 1.01}


def write_evaluation(
    folder: Path,
    *,
    label: str = "model",
    subjects: int = 3,
    gains: Mapping[str, Sequence[float] | float] = GAINS,
    psnr_gains: Mapping[str, float] | None = None,
    paired: bool = True,
    **changes: Any,
) -> Path:
    """Write `summary.json`, `metrics.csv` and `volumes`.

    Args:
        folder: to write to.
        label: of the model.
        subjects: number of them.
        gains: SSIM of the model minus that of each trivial row, for all subjects or for each.
        psnr_gains: the same of PSNR in dB; `PSNR_PER_SSIM` times the gain of SSIM by default.
        paired: whether there are registered pairs.
        changes: entries of `summary.json` that replace others.
    """
    folder.mkdir(parents=True, exist_ok=True)
    metrics = make_metrics(label, subjects, gains, psnr_gains or {}) if paired else None
    summary = make_summary(folder, label, subjects, metrics) | changes
    (folder / "summary.json").write_text(json.dumps(summary, indent=4))
    if metrics is not None:
        metrics.to_csv(folder / "metrics.csv", index=False)
    return folder


def make_metrics(
    label: str,
    subjects: int,
    gains: Mapping[str, Sequence[float] | float],
    psnr_gains: Mapping[str, float],
) -> pd.DataFrame:
    """One row a (model, comparison, subject); subject number i scores .60 + i / 100."""
    rows = []
    for number in range(subjects):
        keys = {"dataset": "heads", "subject_id": name_subject(number), "session": ""}
        ssim = 0.60 + number / 100
        for comparison in DIRECTIONS:
            base = {"comparison": comparison, **keys, **STRUCTURE}
            rows.append({"model": label, "kind": "model", **base, **make_figures(ssim, 22.0)})
            for other, gain in gains.items():
                mine = float(np.broadcast_to(gain, subjects)[number])
                psnr = 22.0 - psnr_gains.get(other, PSNR_PER_SSIM * mine)
                figures = make_figures(ssim - mine, psnr)
                rows.append({"model": other, "kind": "trivial", **base, **figures})
            rows.append({"model": "real", "kind": "real", **base, "dice": 0.9})
        for comparison in ("t1w_cycle", "t2w_cycle"):
            base = {"comparison": comparison, **keys, "hidden_code_drop": 0.01}
            rows.append({"model": label, "kind": "model", **base, **make_figures(0.9, 30.0)})
    return pd.DataFrame(rows)


def name_subject(number: int) -> str:
    return f"heads_sub-{number + 1:02d}"


def make_figures(ssim: float, psnr: float) -> dict[str, float]:
    error = 10 ** (-psnr / 20)
    return {
        "ssim": ssim,
        "psnr": psnr,
        "mae": error,
        "nmse": error**2,
        "ms_ssim": ssim + 0.1,
        "earlier_ssim": ssim + 0.2,
        "earlier_psnr": psnr + 6.02,
    }


def make_summary(
    folder: Path, label: str, subjects: int, metrics: pd.DataFrame | None
) -> dict[str, Any]:
    paired = metrics is not None
    return {
        "format_version": 1,
        "split": "test",
        "datasets": ["heads"],
        "subjects": subjects,
        "sessions": subjects,
        "slices": subjects * SHAPE[2],
        "paired": paired,
        "seed": 0,
        "registration": {"mutual_information_before": 1.07, "mutual_information_after": 1.12}
        if paired
        else None,
        "key_metric": "t2w_ssim",
        "chosen": label,
        "candidates": [
            {"model": label, "validation": {"t2w_ssim": 0.61}, "sha256": {"model.pt": "ab" * 32}},
            {"model": "older", "validation": {"t2w_ssim": 0.55}, "sha256": {"model.pt": "cd" * 32}},
        ],
        "openings": [
            {"when": "2026-11-23T02:00:00+00:00", "split": "test", "sha256": "ab" * 32},
        ],
        "rows": summarise(metrics) if paired else [],
        "differences": compare(metrics, label) if paired else [],
        "smallest_for_p": 8,
        "unpaired": make_unpaired(label),
        "shown": [
            write_volumes(folder, comparison, place, paired=paired)
            for comparison in DIRECTIONS
            for place in range(len(RANKS))
        ],
        "models_note": "" if paired else "The dataset has no registered pairs.",
    }


def summarise(metrics: pd.DataFrame) -> list[dict[str, Any]]:
    """Means with the smallest and the largest value as the interval."""
    rows = []
    keys = ["model", "kind", "comparison"]
    figures = [name for name in metrics.columns if metrics[name].dtype == float]
    for key, group in metrics.groupby(keys, sort=False):
        for figure in figures:
            values = group[figure].dropna()
            if len(values):
                entry = dict(zip(keys, key, strict=True)) | {"figure": figure}
                rows.append(entry | describe(values) | {"subjects": len(values)})
    return rows


def compare(metrics: pd.DataFrame, label: str) -> list[dict[str, Any]]:
    """The model minus each trivial row, with the smallest and the largest as the interval."""
    rows = []
    for comparison in DIRECTIONS:
        for figure in ("ssim", "psnr"):
            part = metrics[metrics["comparison"] == comparison]
            values = part.pivot_table(index="subject_id", columns="model", values=figure)
            for other in [name for name in GAINS if name in values]:
                gains = values[label] - values[other]
                key = {"comparison": comparison, "figure": figure, "model": label, "other": other}
                p = 0.004 if len(gains) >= 8 else None
                rows.append(key | describe(gains) | {"p": p, "p_holm": p, "subjects": len(gains)})
    return rows


def describe(values: pd.Series) -> dict[str, float]:
    rounded = values.round(9)
    return {
        name: float(getattr(rounded, how)())
        for name, how in (("mean", "mean"), ("low", "min"), ("high", "max"))
    }


def make_unpaired(label: str) -> list[dict[str, Any]]:
    values = [
        (label, "model", "sliced_wasserstein", 0.02),
        ("copy", "trivial", "sliced_wasserstein", 0.2),
        ("real", "real", "sliced_wasserstein", 0.01),
        (label, "model", "cycle_ssim", 0.93),
    ]
    return [
        {"model": model, "kind": kind, "direction": direction, "figure": figure, "value": value}
        for direction in DIRECTIONS
        for model, kind, figure, value in values
    ]


def write_volumes(folder: Path, comparison: str, place: int, *, paired: bool) -> dict[str, Any]:
    """Write the volumes of one shown session and describe them as `summary.json` does."""
    volumes = make_volumes(seed=place, inverted=comparison == "t1w")
    wanted = volumes if paired else {name: volumes[name] for name in ("source", "synthetic")}
    files = {}
    for name, volume in wanted.items():
        files[name] = f"volumes/{comparison}_{RANKS[place]}_{name}.nii.gz"
        (folder / files[name]).parent.mkdir(exist_ok=True)
        nib.save(nib.Nifti1Image(volume, np.diag([1.5, 1.5, 3.0, 1.0])), folder / files[name])
    return {
        "comparison": comparison,
        "rank": RANKS[place],
        "dataset": "heads",
        "subject_id": name_subject(2 - place),
        "session": "",
        "figure": "ssim",
        "value": 0.62 - place / 100,
        "files": files,
    }


def turn_volumes(folder: Path, axes: str) -> None:
    """Say that the axes of all volumes run along others than RAS, such as RSA."""
    for path in sorted((folder / "volumes").glob("*.nii.gz")):
        image = nib.load(path)
        affine = np.zeros((4, 4))
        for axis, size in enumerate(image.header.get_zooms()):
            affine["RAS".index(axes[axis]), axis] = size
        affine[3, 3] = 1
        nib.save(nib.Nifti1Image(np.asarray(image.dataobj), affine), path)


def make_volumes(*, seed: int, inverted: bool) -> dict[str, np.ndarray]:
    """A head of three tissues and its translations, uint8, 0 outside."""
    random = np.random.default_rng(seed)
    radii = np.array([13.0, 15.0, 5.5]) - seed
    place = (np.indices(SHAPE).T - (np.array(SHAPE) - 1) / 2).T
    distance = np.sqrt(((place.T / radii) ** 2).sum(axis=-1)).T
    inside = distance < 1
    source = np.select([distance < 0.35, distance < 0.8, inside], [0.2, 0.9, 0.6], 0.0)
    source = np.where(inside, source + random.normal(0, 0.02, SHAPE), 0)
    real = np.where(inside, 1.1 - source, 0)
    if inverted:
        source, real = real, source
    synthetic = np.where(inside, real + random.normal(0, 0.08, SHAPE), 0)
    images = {
        "source": source,
        "real": real,
        "synthetic": synthetic,
        "error": np.abs(synthetic - real),
        "cycle": source * 0.95,
    }
    return {name: (np.clip(image, 0, 1) * 255).astype(np.uint8) for name, image in images.items()}

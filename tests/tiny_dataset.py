"""A slice dataset of a few kilobytes, written straight from the contract, without data_prep."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

SIZE, SLICES, SPACING_MM = 32, 6, (1.5, 1.5, 3.0)
SPLITS = ("train", "train", "train", "validation", "test")
REGISTRATION = {
    "mutual_information_before": 0.5,
    "mutual_information_after": 0.75,
    "translation_mm": [3.0, 4.0, 0.0],
    "rotation_degrees": [0.0, 0.0, 2.0],
    "flags": [],
}


def write_tiny_dataset(folder: Path) -> Path:
    """Five paired subjects in `pairs`, one T1w-only and one T2w-only in `singles`."""
    random = np.random.default_rng(7)
    rows: list[dict[str, Any]] = []
    for number, split in enumerate(SPLITS, start=1):
        subject = {"dataset": "pairs", "subject": f"sub-{number:02}", "session": "", "split": split}
        mask, t1w = draw_brain(random)
        rows += write_series(folder, subject, "T1w", "native", mask, t1w)
        rows += write_series(folder, subject, "T2w", "native", mask, 1 - t1w)
        rows += write_series(folder, subject, "T2w", "T1w", mask, 1 - t1w)
    for number, contrast in enumerate(("T1w", "T2w"), start=1):
        subject = {"dataset": "singles", "subject": f"sub-{number:02}", "session": "ses-1"}
        mask, image = draw_brain(random)
        rows += write_series(folder, {**subject, "split": "train"}, contrast, "native", mask, image)
    write_tables(folder, pd.DataFrame(rows))
    return folder


def draw_brain(random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """A mask that is longer from back (low j) to front, and intensities in [0, 1]."""
    i, j = np.meshgrid(np.arange(SIZE) - 16, np.arange(SIZE) - 16, indexing="ij")
    mask = np.repeat(((i / 9) ** 2 + (j / 13) ** 2 < 1)[None], SLICES, axis=0)
    return mask.astype(np.uint8), random.uniform(0.1, 0.9, mask.shape)


def write_series(
    folder: Path, subject: dict[str, str], contrast: str, space: str, mask: Any, intensity: Any
) -> list[dict[str, Any]]:
    """One shard with its mask and JSON; returns its rows of slices.parquet."""
    parts = (subject["subject"], subject["session"], "space-T1w" * (space == "T1w"), contrast)
    stem = folder / "shards" / subject["dataset"] / "_".join(filter(None, parts))
    stem.parent.mkdir(parents=True, exist_ok=True)
    image = np.round(65535 * intensity * mask).astype(np.uint16)
    subject_id = f"{subject['dataset']}_{subject['subject']}"
    common = {
        "subject_id": subject_id,
        "session": subject["session"],
        "dataset": subject["dataset"],
        "contrast": contrast,
        "space": space,
    }
    side = {
        **common,
        "affine": np.diag([*SPACING_MM, 1.0]).tolist(),
        "slice_indices": list(range(10, 10 + SLICES)),
        "percentiles": [3.0, 900.0],
        "source_spacing_mm": [1.0, 1.0, 3.0],
        "effective_resolution_mm": [1.5, 1.5, 3.0],
        "brain_extraction": "none",
        "registration": REGISTRATION if space == "T1w" else None,
        "inputs": {contrast: "0" * 64},
        "key": "1" * 64,
    }
    np.save(stem.with_name(f"{stem.name}.npy"), image)
    np.save(stem.with_name(f"{stem.name}_mask.npy"), mask)
    stem.with_name(f"{stem.name}.json").write_text(json.dumps(side))
    return [
        {
            **common,
            "group": subject_id,
            "split": subject["split"],
            "slice_index": 10 + row,
            "position_mm": 3.0 * (10 + row),
            "brain_fraction": mask[row].mean(),
            "train": row % 2 == 0,
            "shard": f"shards/{subject['dataset']}/{stem.name}.npy",
            "row": row,
            "sha256": hashlib.sha256(image[row].tobytes()).hexdigest(),
        }
        for row in range(SLICES)
    ]


def write_tables(folder: Path, slices: pd.DataFrame) -> None:
    """The tables and dataset.json."""
    slices = slices.astype({"slice_index": "int32", "row": "int32", "brain_fraction": "float32"})
    order = ["subject_id", "session", "contrast", "space", "row"]
    slices.sort_values(order, ignore_index=True).to_parquet(folder / "slices.parquet")
    subjects = [
        {
            **own[["subject_id", "group", "dataset", "split"]].iloc[0],
            "sessions": own["session"].nunique(),
            "has_t1w": str((own["contrast"] == "T1w").any()).lower(),
            "has_t2w": str((own["contrast"] == "T2w").any()).lower(),
            "has_pair": str((own["space"] == "T1w").any()).lower(),
        }
        for _, own in slices.groupby("subject_id")
    ]
    write_tsv(folder / "subjects.tsv", subjects)
    write_tsv(folder / "splits.tsv", slices[["dataset", "group", "split"]].drop_duplicates())
    left_out = {"dataset": "pairs", "subject_id": "pairs_sub-06", "session": "ses-2"}
    files = {
        "sub-06_ses-2_T1w.nii.gz": "truncated file: 10 of 20 voxels",
        "sub-06_ses-2_FLAIR.nii.gz": "neither T1w nor T2w <but FLAIR>",
    }
    write_tsv(
        folder / "exclusions.tsv",
        [{**left_out, "file": file, "reason": reason} for file, reason in files.items()],
    )
    source = {"version": "1.0.0", "doi": "10.18112/example", "license": "CC0"}
    about = {
        "format_version": 1,
        "preprocessing": {"spacing_mm": 1.5},
        "sources": {name: {"name": f"The {name}", **source} for name in ("pairs", "singles")},
        "software": {"monai": "1.6.1"},
        "counts": {"slices": len(slices)},
    }
    (folder / "dataset.json").write_text(json.dumps(about))


def write_tsv(file: Path, rows: Any) -> None:
    """Write rows as a tab-separated table."""
    pd.DataFrame(rows).to_csv(file, sep="\t", index=False, lineterminator="\n")

"""A slice dataset of smooth blobs whose T2w is the T1w inverted, as small as training allows."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scripts.config_references import load_config, resolve_references

BUNDLE = Path(__file__).resolve().parents[1] / "bundle"
SPLITS = ("train", "train", "train", "train", "validation", "test")
SIZE, SLICES = 128, 12
CONTRASTS = ("T1w", "T2w")


def write_slice_dataset(
    folder: Path,
    *,
    splits: tuple[str, ...] = SPLITS,
    contrasts: dict[int, tuple[str, ...]] | None = None,
    registered: bool = True,
    labelled: bool = False,
    first_seed: int = 0,
    slices: int = SLICES,
) -> Path:
    """Write subjects sub-01, sub-02, ..., one a split.

    Args:
        folder: becomes the slice dataset.
        splits: of each subject.
        contrasts: of subjects (counted from 0) that have not both.
        registered: whether subjects with both have the T2w on the T1w's grid too.
        labelled: whether true tissues lie beside the T1w, as thresholds on it.
        first_seed: of the first subject's blobs; others follow.
        slices: of each volume.
    """
    rows: list[dict[str, Any]] = []
    for number, split in enumerate(splits):
        subject = {"subject_id": f"blobs_sub-{number + 1:02}", "split": split}
        names = (contrasts or {}).get(number, CONTRASTS)
        mask, t1w = draw_head(first_seed + number, slices)
        images = {"T1w": t1w, "T2w": np.where(mask, 1 - 0.8 * t1w, 0)}
        for name in names:
            rows += write_shard(folder, subject, name, "native", images[name], mask)
        if registered and set(names) == set(CONTRASTS):
            rows += write_shard(folder, subject, "T2w", "T1w", images["T2w"], mask)
        if labelled:
            labels = np.where(mask, 1 + np.digitize(t1w, [0.3, 0.5]), 0).astype(np.uint8)
            np.save(folder / f"shards/blobs/sub-{number + 1:02}_T1w_dseg.npy", labels)
    pd.DataFrame(rows).to_parquet(folder / "slices.parquet", index=False)
    write_description(folder)
    return folder


def write_description(folder: Path, *, format_version: int = 1) -> None:
    """Write dataset.json as of the bundle's own preprocessing."""
    config = load_config(BUNDLE / "configs" / "inference.json")
    description = {
        "format_version": format_version,
        "preprocessing": resolve_references(config, "preprocessing"),
        "sources": {},
        "software": {},
        "counts": {},
    }
    (folder / "dataset.json").write_text(json.dumps(description))


def draw_head(seed: int, slices: int = SLICES) -> tuple[np.ndarray, np.ndarray]:
    """Return an elliptic mask and intensities in [0, 1], both (slices, SIZE, SIZE)."""
    rng = np.random.default_rng(seed)
    i, j = np.meshgrid(np.arange(SIZE) - 63.5, np.arange(SIZE) - 63.5, indexing="ij")
    mask = np.repeat(((i / 40) ** 2 + (j / 50) ** 2 < 1)[None], slices, axis=0)
    image = np.full(mask.shape, 0.2)
    for _ in range(12):
        centre, width = rng.uniform(-35, 35, size=2), rng.uniform(5, 14)
        image += 0.5 * np.exp(-((i - centre[0]) ** 2 + (j - centre[1]) ** 2) / (2 * width**2))
    image *= 1 + 0.24 / slices * np.arange(slices)[:, None, None]
    return mask, np.where(mask, image.clip(0, 1), 0)


def write_shard(
    folder: Path,
    subject: dict[str, str],
    contrast: str,
    space: str,
    image: np.ndarray,
    mask: np.ndarray,
) -> list[dict[str, Any]]:
    """Write one volume and return its rows of slices.parquet."""
    prefix = "space-T1w_" if space == "T1w" else ""
    shard = f"shards/blobs/{subject['subject_id'][6:]}_{prefix}{contrast}.npy"
    path = folder / shard
    path.parent.mkdir(parents=True, exist_ok=True)
    stored = np.round(65535 * image).astype(np.uint16)
    np.save(path, stored)
    np.save(path.with_name(f"{path.stem}_mask.npy"), mask.astype(np.uint8))
    information = {"mutual_information_before": 1.0, "mutual_information_after": 1.25}
    side = {
        "affine": np.diag([1.5, 1.5, 1.0, 1.0]).tolist(),
        "slice_indices": list(range(5, 5 + len(stored))),
        "registration": information if space == "T1w" else None,
    }
    path.with_suffix(".json").write_text(json.dumps(side))
    return [
        {
            **subject,
            "group": subject["subject_id"],
            "session": "",
            "dataset": "blobs",
            "contrast": contrast,
            "space": space,
            "slice_index": np.int32(row + 5),
            "position_mm": 1.0 * row,
            "brain_fraction": np.float32(mask[row].mean()),
            "train": row % 2 == 0,
            "shard": shard,
            "row": np.int32(row),
            "sha256": hashlib.sha256(stored[row].tobytes()).hexdigest(),
        }
        for row in range(len(stored))
    ]

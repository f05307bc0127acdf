"""The tables of a slice dataset: which slices there are, and which of them train or are a pair."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from scripts.config_references import list_differences, load_config, resolve_references
from scripts.neighbouring_slices import count_steps, find_neighbours

FORMAT_VERSION = 1
SPLITS = ("train", "validation", "test", "external", "all")
HOW_TO_BUILD = (
    "Build one with `python -m data_prep bids OUT --inputs ...` (or `phantom OUT`) "
    "and pass `--dataset_dir OUT`."
)
MOST_DIFFERENCES = 8  # lines of an error message


@dataclass(frozen=True, slots=True)
class SliceImage:
    """Where one image that a network sees lies in a slice dataset.

    Attributes:
        subject_id: unique across datasets.
        session: "" where there is none.
        group: subjects that must not be told apart, such as one patient scanned twice.
        dataset: name.
        contrast: "T1w" or "T2w".
        shard: path of the `.npy` file.
        rows: in the shard, one a channel, from the lowest position to the highest.
        slice_index: of the middle channel, in the volume.
        brain_fraction: part of the middle channel that the mask covers.
    """

    subject_id: str
    session: str
    group: str
    dataset: str
    contrast: str
    shard: str
    rows: tuple[int, ...]
    slice_index: int
    brain_fraction: float


@dataclass(frozen=True, slots=True)
class SlicePair:
    """The same slice in both contrasts, on the T1w's grid."""

    t1w: SliceImage
    t2w: SliceImage


def read_description(dataset_dir: str | Path) -> dict[str, Any]:
    """Read `dataset.json`, or say what stands in its place."""
    path = Path(dataset_dir) / "dataset.json"
    if not path.is_file():
        state = "no finished slice dataset" if path.parent.is_dir() else "no such folder"
        raise FileNotFoundError(f"{path.parent}: {state} (dataset.json not found). {HOW_TO_BUILD}")
    description: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    version = description.get("format_version")
    if version != FORMAT_VERSION:
        raise ValueError(
            f"{path.parent}: a slice dataset of format_version {version}, expected "
            f"{FORMAT_VERSION}. {HOW_TO_BUILD}"
        )
    return description


def check_preprocessing(dataset_dir: str, inference_config: str) -> None:
    """Fail when the dataset was made with another preprocessing than inference will apply.

    Args:
        dataset_dir: slice dataset.
        inference_config: the bundle's `configs/inference.json`.
    """
    found = read_description(dataset_dir)["preprocessing"]
    expected = resolve_references(load_config(inference_config), "preprocessing")
    differences = list(list_differences(found, expected, at="preprocessing"))
    if differences:
        left_out = len(differences) - MOST_DIFFERENCES
        more = f"\n  and {left_out} more" if left_out > 0 else ""
        raise ValueError(
            f"{dataset_dir}: made with another preprocessing than {inference_config} declares:\n  "
            + "\n  ".join(differences[:MOST_DIFFERENCES])
            + f"{more}\nMake the two equal: build the dataset again, or restore that config."
        )


def read_plane(dataset_dir: str) -> str:
    """Read from a dataset's preprocessing in which plane its slices lie."""
    found = _list_planes(read_description(dataset_dir)["preprocessing"])
    if len(found) != 1:
        raise ValueError(
            f"{dataset_dir}: found {len(found)} planes in the preprocessing that dataset.json "
            "declares; expected one transform with a plane, as in configs/inference.json. Where "
            "there is another, say it: --augmentation#plane axial."
        )
    return found[0]


def _list_planes(transform: dict[str, Any]) -> list[str]:
    inner = [plane for each in transform.get("transforms", []) for plane in _list_planes(each)]
    return [*inner, str(transform["plane"])] if "plane" in transform else inner


def read_slices(dataset_dir: str | Path, *, split: str) -> pd.DataFrame:
    """Read the rows of `slices.parquet` of one split, or "all", by subject, session and row."""
    if split not in SPLITS:
        raise ValueError(f"split is {split!r}; expected one of {', '.join(SPLITS)}.")
    read_description(dataset_dir)
    path = Path(dataset_dir) / "slices.parquet"
    if not path.is_file():
        raise FileNotFoundError(f"{path}: the dataset's table is missing. {HOW_TO_BUILD}")
    table = pd.read_parquet(path)
    of_split = table if split == "all" else table[table["split"] == split]
    return of_split.sort_values(["subject_id", "session", "contrast", "space", "row"])


def list_images(
    table: pd.DataFrame, *, dataset_dir: str | Path, slices: int, slice_distance_mm: float
) -> list[SliceImage]:
    """Turn whole volumes of a table into images, one a row and in its order.

    Args:
        table: every row of the shards that it names, or neighbours are missed.
        dataset_dir: folder that the shards' paths are relative to.
        slices: channels of an image, an odd number: the slice and its neighbours.
        slice_distance_mm: from one channel to the next, see `count_steps`; at the ends of the
            brain the outermost slice is taken again.
    """
    if slices % 2 == 0:
        raise ValueError(f"slices is {slices}; expected an odd number, such as 1 or 3.")
    rows: dict[Any, tuple[int, ...]] = {}
    for _, volume in table.groupby("shard", sort=False):
        neighbours = _find_neighbours(volume, slices, slice_distance_mm)
        rows.update(zip(volume.index, neighbours, strict=True))
    names = ("subject_id", "session", "group", "dataset", "contrast", "slice_index")
    return [
        SliceImage(
            **{name: record[name] for name in names},
            shard=str(Path(dataset_dir) / record["shard"]),
            rows=rows[index],
            brain_fraction=float(record["brain_fraction"]),
        )
        for index, record in zip(table.index, table.to_dict("records"), strict=True)
    ]


def _find_neighbours(
    volume: pd.DataFrame, slices: int, slice_distance_mm: float
) -> list[tuple[int, ...]]:
    indices, positions = (volume[name].to_numpy() for name in ("slice_index", "position_mm"))
    step = 1
    if len(volume) > 1:
        spacing_mm = np.ptp(positions) / np.ptp(indices)
        step = count_steps(slice_distance_mm, float(spacing_mm))
    places = find_neighbours(indices, slices=slices, step=step)
    return [tuple(rows) for rows in volume["row"].to_numpy()[places].tolist()]


def load_pairs(
    dataset_dir: str,
    *,
    split: str,
    training_slices: bool,
    max_subjects: int | None,
    slice_step: int,
    slices: int,
    slice_distance_mm: float,
    datasets: Sequence[str] | None = None,
) -> list[SlicePair]:
    """List the slices that a split has in both contrasts, subject by subject.

    Args:
        dataset_dir: slice dataset.
        split: "train", "validation", "test", "external" or "all".
        training_slices: only those that the dataset marks for training, else all with brain.
        max_subjects: that many, chosen by a hash of their names; None for all.
        slice_step: every so many slices of a volume, 1 for all.
        slices: see `list_images`.
        slice_distance_mm: see `list_images`.
        datasets: names of those to take; None for all.
    """
    table = read_slices(dataset_dir, split=split)
    if datasets is not None:
        table = table[table["dataset"].isin(datasets)]
    table = _choose_subjects(table, max_subjects)
    images = list_images(
        table, dataset_dir=dataset_dir, slices=slices, slice_distance_mm=slice_distance_mm
    )
    table = table.assign(number=range(len(images)))
    native = table[(table["contrast"] == "T1w") & (table["space"] == "native")]
    registered = table[(table["contrast"] == "T2w") & (table["space"] == "T1w")]
    used = native["train"] | (not training_slices)
    pairs = native[used & (native["row"] % slice_step == 0)].merge(
        # Where the T2w shows nothing of the brain there is no pair.
        registered[registered["brain_fraction"] > 0],
        on=["subject_id", "session", "row"],
        validate="one_to_one",
    )
    numbers = zip(pairs["number_x"], pairs["number_y"], strict=True)
    return [SlicePair(images[t1w], images[t2w]) for t1w, t2w in numbers]


def load_training_pairs(
    dataset_dir: str,
    *,
    max_subjects: int | None = None,
    slices: int = 1,
    slice_distance_mm: float = 0.0,
    datasets: Sequence[str] | None = None,
) -> list[SlicePair]:
    """List the pairs that train, by `load_pairs`; single slices unless asked for neighbours."""
    return load_pairs(
        dataset_dir,
        split="train",
        training_slices=True,
        max_subjects=max_subjects,
        slice_step=1,
        slices=slices,
        slice_distance_mm=slice_distance_mm,
        datasets=datasets,
    )


def _choose_subjects(table: pd.DataFrame, max_subjects: int | None) -> pd.DataFrame:
    paired = table.loc[table["space"] == "T1w", "subject_id"].unique()
    ranked = sorted(paired, key=lambda name: hashlib.sha256(name.encode()).hexdigest())
    return table[table["subject_id"].isin(ranked[:max_subjects])]

"""The slices of a slice dataset as training and evaluation see them."""

from __future__ import annotations

import signal
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from scripts.sampling import assign_sides, draw_position
from scripts.shard_volumes import LARGEST_UINT16
from scripts.slice_tables import (
    SliceImage,
    SlicePair,
    list_images,
    load_training_pairs,
    read_slices,
)

SECONDS_TO_OUTLIVE = 600  # longer than schedulers wait; a validation may come before the save
OPEN_SHARDS = 128  # files; images and masks together stay below the usual limit of 1024


def outlive_termination(worker: int) -> None:
    """Let a worker go on after SIGTERM, which schedulers send to all: its parent saves and ends.

    Not for ever: a parent that waits for the end of a worker sends the same signal.
    """
    signal.signal(signal.SIGTERM, lambda number, frame: signal.alarm(SECONDS_TO_OUTLIVE))


def stop_workers(loader: DataLoader[Any]) -> None:
    """End the workers that a loader keeps for the next epoch."""
    iterator = loader._iterator
    if iterator is not None and loader.num_workers > 0:
        iterator._shutdown_workers()  # type: ignore[attr-defined]
        loader._iterator = None


@lru_cache(maxsize=2 * OPEN_SHARDS)
def open_shard(path: str) -> np.ndarray:
    """Map a file (slices, height, width) into memory.

    By path, since a map that is pickled for a worker is copied whole.
    """
    try:
        return np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError) as error:
        raise ValueError(
            f"{path}: this shard cannot be read ({error}). `python -m data_prep verify` lists what "
            "is damaged; build the dataset again to repair it."
        ) from error


def open_mask(shard: str) -> np.ndarray:
    """Map the masks (slices, height, width) beside a shard into memory."""
    return open_shard(str(Path(shard).with_name(f"{Path(shard).stem}_mask.npy")))


def read_image(image: SliceImage) -> tuple[Tensor, Tensor]:
    """Read an image (channel, height, width) in [-1, 1] and its boolean mask (1, height, width)."""
    stored = open_shard(image.shard)[list(image.rows)]
    middle = image.rows[len(image.rows) // 2]
    mask = open_mask(image.shard)[middle] > 0
    values = stored.astype(np.float32) / LARGEST_UINT16 * 2 - 1
    return torch.from_numpy(values), torch.from_numpy(mask[None])


def read_labels(images: Sequence[SliceImage]) -> Tensor | None:
    """Read the true tissues (slices, 1, height, width) beside some slices; None if unknown.

    1 is cerebrospinal fluid, 2 grey matter, 3 white matter, 0 anything else.
    """
    labels = []
    for image in images:
        path = Path(image.shard).with_name(f"{Path(image.shard).stem}_dseg.npy")
        if not path.is_file():
            return None
        labels.append(open_shard(str(path))[image.rows[len(image.rows) // 2]])
    return torch.from_numpy(np.stack(labels)[:, None])


@dataclass(frozen=True)
class TrainingSlices:
    """The slices that are drawn for each contrast.

    Attributes:
        t1w: every T1w slice to draw from.
        t2w: every T2w slice to draw from; where paired, number i belongs to T1w number i.
        paired: whether both contrasts are drawn at the same position.
        pairs: registered pairs that are drawn beside them.
    """

    t1w: list[SliceImage]
    t2w: list[SliceImage]
    paired: bool
    pairs: list[SlicePair] = field(default_factory=list)

    def by_name(self) -> dict[str, list[SliceImage]]:
        """Every list of images to draw from, by the name of the image in a sample."""
        images = {"t1w": self.t1w, "t2w": self.t2w}
        if self.pairs:
            images["pair_t1w"] = [pair.t1w for pair in self.pairs]
            images["pair_t2w"] = [pair.t2w for pair in self.pairs]
        return images

    def __len__(self) -> int:
        return max(len(self.t1w), len(self.t2w))


def load_training_slices(
    dataset_dir: str,
    *,
    sampling: str,
    pair_subjects: int,
    seed: int,
    slices: int,
    slice_distance_mm: float,
) -> TrainingSlices:
    """List the slices of the training split that a training draws from.

    Args:
        dataset_dir: slice dataset.
        sampling: "disjoint", T1w and T2w from two halves of the subjects; "shuffled", each from
            all of them; "paired", the same slice in both contrasts.
        pair_subjects: subjects whose registered pairs are drawn too, beside an unpaired sampling.
        seed: decides the halves.
        slices: see `list_images`.
        slice_distance_mm: see `list_images`.
    """
    if sampling not in ("disjoint", "shuffled", "paired"):
        raise ValueError(f"sampling is {sampling!r}; expected 'disjoint', 'shuffled' or 'paired'.")
    channels: dict[str, Any] = {"slices": slices, "slice_distance_mm": slice_distance_mm}
    if sampling == "paired":
        pairs = _load_pairs(dataset_dir, None, **channels)
        return TrainingSlices([pair.t1w for pair in pairs], [pair.t2w for pair in pairs], True)
    pairs = _load_pairs(dataset_dir, pair_subjects, **channels) if pair_subjects else []
    table = read_slices(dataset_dir, split="train")
    table = table[table["space"] == "native"]
    images = dict(
        zip(table.index, list_images(table, dataset_dir=dataset_dir, **channels), strict=True)
    )
    parts = {name: table[table["train"] & (table["contrast"] == name)] for name in ("T1w", "T2w")}
    _check_counts(dataset_dir, parts)
    if sampling == "disjoint":
        parts = _keep_sides(dataset_dir, parts, seed)
    t1w, t2w = ([images[index] for index in part.index] for part in parts.values())
    return TrainingSlices(t1w, t2w, False, pairs)


def _load_pairs(dataset_dir: str, subjects: int | None, **channels: Any) -> list[SlicePair]:
    pairs = load_training_pairs(dataset_dir, max_subjects=subjects, **channels)
    found = len({pair.t1w.subject_id for pair in pairs})
    if not found:
        raise ValueError(
            f"{dataset_dir}: no T1w slice of the training split has a registered T2w, which "
            "sampling 'paired' and --pair_subjects need. Use --sampling disjoint or --sampling "
            "shuffled, and --pair_subjects 0."
        )
    if subjects is not None and found < subjects:
        raise ValueError(
            f"{dataset_dir}: pair_subjects is {subjects}, but {found} subjects of the training "
            "split have registered pairs. Expected at most as many."
        )
    return pairs


def _check_counts(dataset_dir: str, parts: dict[str, pd.DataFrame]) -> None:
    missing = [name for name, part in parts.items() if part.empty]
    if missing:
        found = ", ".join(f"{len(part)} {name}" for name, part in parts.items())
        raise ValueError(
            f"{dataset_dir}: the training split has no {' and no '.join(missing)} slices (found "
            f"{found}). Add a folder that has them: `python -m data_prep bids OUT --inputs ...`."
        )


def _keep_sides(
    dataset_dir: str, parts: dict[str, pd.DataFrame], seed: int
) -> dict[str, pd.DataFrame]:
    sides = assign_sides(parts["T1w"], parts["T2w"], seed=seed)
    kept = {name: part[part["group"].map(sides) == name] for name, part in parts.items()}
    for name, part in kept.items():
        if part.empty:
            raise ValueError(
                f"{dataset_dir}: sampling 'disjoint' leaves no subject for {name}, since the "
                f"training split has {len(sides)} group(s) of subjects. Use --sampling shuffled, "
                "or add subjects."
            )
    return kept


class UnpairedSlices(Dataset[dict[str, Any]]):
    """Sample n of a training: a T1w and a T2w slice, a pure function of the seed and n.

    Args:
        data: the slices to draw from.
        seed: of the permutations.
        reads: False for positions alone, of slices that lie on the device already.
    """

    def __init__(self, data: TrainingSlices, *, seed: int, reads: bool) -> None:
        self.data = data
        self.seed = seed
        self.reads = reads

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, number: int) -> dict[str, Any]:
        sample: dict[str, Any] = {"sample": number}
        for name, images in self.data.by_name().items():
            stream = self._name_stream(name)
            position = draw_position(number, length=len(images), seed=self.seed, stream=stream)
            sample[f"{name}_position"] = position
            sample[f"{name}_subject_id"] = images[position].subject_id
            if self.reads:
                sample[name], sample[f"{name}_mask"] = read_image(images[position])
        return sample

    def _name_stream(self, name: str) -> str:
        """The permutations by which an image is drawn; the images of a pair share theirs."""
        if name.startswith("pair_"):
            return "few_pairs"
        return "pair" if self.data.paired else {"t1w": "T1w", "t2w": "T2w"}[name]


class EvaluationSlices(Dataset[dict[str, Any]]):
    """The pairs of a split in order: real T1w, real T2w on its grid, and the mask of both.

    That is the mask stored with the registered T2w: the T1w's brain as far as the T2w shows it.
    """

    def __init__(self, data: list[SlicePair]) -> None:
        self.data = data

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, index: int) -> dict[str, Any]:
        pair = self.data[index]
        t1w, _ = read_image(pair.t1w)
        t2w, mask = read_image(pair.t2w)
        if t1w.shape != t2w.shape:
            raise ValueError(
                f"{pair.t2w.shard}: found images {tuple(t2w.shape)}, but those of "
                f"{Path(pair.t1w.shard).name} are {tuple(t1w.shape)}; expected one grid. "
                "`python -m data_prep verify` lists what is damaged; build the dataset again."
            )
        return {
            "t1w": t1w,
            "t2w": t2w,
            "mask": mask,
            "subject_id": pair.t1w.subject_id,
            "session": pair.t1w.session,
            "slice_index": pair.t1w.slice_index,
        }

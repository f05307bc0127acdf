"""The slices of a slice dataset as training and evaluation see them."""

from __future__ import annotations

import signal
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from scripts.sampling import draw_position
from scripts.shard_volumes import LARGEST_UINT16
from scripts.slice_tables import SliceImage, SlicePair
from scripts.training_slices import TrainingSlices

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
    """Read an image (channel, height, width) in [-1, 1] and the middle's boolean mask (1, ...)."""
    middle = len(image.rows) // 2
    return read_values(image), read_masks(image)[middle : middle + 1]


def read_values(image: SliceImage) -> Tensor:
    """Read an image (channel, height, width) in [-1, 1]."""
    stored = open_shard(image.shard)[list(image.rows)]
    return torch.from_numpy(stored.astype(np.float32) / LARGEST_UINT16 * 2 - 1)


def read_masks(image: SliceImage) -> Tensor:
    """Read the boolean mask of each channel, (channel, height, width)."""
    return torch.from_numpy(open_mask(image.shard)[list(image.rows)] > 0)


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
                sample[name] = read_values(images[position])
                sample[f"{name}_mask"] = read_masks(images[position])
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

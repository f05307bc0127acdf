"""Size and random access of a slice dataset, against a file for each slice as it was saved before.

The earlier system took a view of its volume for each slice and saved that: PyTorch writes the
whole storage behind a view, so that every file held the volume.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import torch
from scripts.datasets import read_image
from scripts.slice_tables import SliceImage, list_images, read_slices

from data_prep.bids_inputs import BidsInputs, build_from_bids
from data_prep.build import BuildOptions
from data_prep.cluster import Workers
from data_prep.dataset_options import DatasetOptions
from data_prep.phantom import build_phantom
from data_prep.stages import DEFAULT_BUNDLE

READS = 400
SAVED_AS_BEFORE = 40  # slices; each takes as much as its volume


def write_as_before(volume: np.ndarray, folder: Path) -> list[Path]:
    """A file for each slice of the middle of a volume, in the earlier way."""
    folder.mkdir()
    values = torch.from_numpy(volume)
    first = (volume.shape[2] - SAVED_AS_BEFORE) // 2
    paths = []
    for index in range(first, first + SAVED_AS_BEFORE):
        paths.append(folder / f"phantom_sub-01_{index}_T1w.pt")
        torch.save(values[16:144, 16:144, index], paths[-1])
    return paths


def measure_reads(read: Callable[[Any], Any], items: Sequence[Any], count: int) -> float:
    """Reads a second, in random order, from warm files."""
    order = np.random.default_rng(0).integers(len(items), size=count)
    for item in items[:5]:
        read(item)
    start = time.perf_counter()
    for index in order:
        read(items[index])
    return count / (time.perf_counter() - start)


def read_training_images(dataset_dir: Path) -> list[SliceImage]:
    table = read_slices(dataset_dir, split="train")
    images = list_images(table, dataset_dir=dataset_dir, slices=1, slice_distance_mm=3.0)
    return [image for image, drawn in zip(images, table["train"], strict=True) if drawn]


def measure() -> list[dict[str, object]]:
    """Megabytes of 1,000 slices, and random reads a second."""
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        build_phantom(root / "phantom", subjects=1, seed=0, spacing_mm=1.0)
        inputs = BidsInputs(
            {"phantom": root / "phantom"}, DatasetOptions({"phantom": "deepbet"}, (), {})
        )
        build_from_bids(root / "out", inputs, BuildOptions(DEFAULT_BUNDLE, Workers(1)))
        images = read_training_images(root / "out")
        stored = sum(path.stat().st_size for path in (root / "out" / "shards").rglob("*.*"))
        slices = sum(len(np.load(p, mmap_mode="r")) for p in (root / "out").rglob("*w.npy"))
        volume = nib.load(root / "phantom/sub-01/anat/sub-01_T1w.nii.gz").get_fdata(
            dtype=np.float32
        )
        before = write_as_before(volume, root / "before")
        saved = sum(path.stat().st_size for path in before)
        ours = measure_reads(read_image, images, READS * 25)
        theirs = measure_reads(lambda path: torch.load(path, weights_only=True), before, READS)
    return [
        {
            "name": "1,000 slices on the disk, images, masks and side-cars",
            "value": round(stored / slices * 1000 / 1e6, 1),
            "unit": "MB",
            "reference": f"{saved / len(before) * 1000 / 1e6:.0f} MB of images as saved before",
        },
        {
            "name": "random reads a second of a training slice with its mask",
            "value": round(ours),
            "unit": "reads a second",
            "reference": f"{theirs:.0f} of the files as saved before, without a mask; warm files",
        },
    ]

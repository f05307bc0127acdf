"""Slices on the device are the same as those from the disk."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scripts.datasets import read_image, read_masks
from scripts.device_slices import load_device_slices
from scripts.training_slices import TrainingSlices, load_training_slices

from tests.slice_dataset_fixture import write_slice_dataset
from tests.training_runs import find_error, make_workflow, train


@pytest.fixture(scope="module")
def dataset_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = write_slice_dataset(tmp_path_factory.mktemp("blobs"))
    shard = folder / "shards/blobs/sub-01_T1w.npy"  # as large as 16 bits allow
    values = np.load(shard)
    values[:, 60:62, 60:62] = [[0, 65535], [32767, 32768]]
    np.save(shard, values)
    return folder


def load(dataset_dir: Path, **options: Any) -> TrainingSlices:
    settings = {
        "sampling": "shuffled",
        "pair_subjects": 0,
        "pair_datasets": None,
        "seed": 0,
        "slices": 1,
        "slice_distance_mm": 3.0,
    }
    return load_training_slices(str(dataset_dir), **(settings | options))


@pytest.mark.parametrize("slices", [1, 3])
def test_every_image_and_mask_is_that_of_the_disk_to_the_bit(
    dataset_dir: Path, slices: int
) -> None:
    data = load(dataset_dir, slices=slices)
    kept = load_device_slices(data, device="cpu", place="device")
    for name in ("t1w", "t2w"):
        images = getattr(data, name)
        found = kept[name].read(torch.arange(len(images)))
        assert torch.equal(found[0], torch.stack([read_image(image)[0] for image in images]))
        assert torch.equal(found[1], torch.stack([read_masks(image) for image in images]))


def test_a_training_from_the_device_is_the_one_from_the_disk(
    tmp_path: Path, dataset_dir: Path
) -> None:
    for place in ("disk", "device"):
        train(dataset_dir, tmp_path / place, max_epochs=1, slices_on=place, workers=0)
    both = [
        torch.load(tmp_path / place / "model.pt", weights_only=True) for place in ("disk", "device")
    ]
    assert all(torch.equal(both[0][name], both[1][name]) for name in both[0])


def test_slices_on_the_device_need_no_workers(dataset_dir: Path) -> None:
    workflow = make_workflow(dataset_dir=str(dataset_dir), workers=2, slices_on="device")
    assert workflow.parser.get_parsed_content("train#dataloader").num_workers == 0


def test_slices_go_to_a_gpu_with_room_by_themselves(
    dataset_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = load(dataset_dir)
    assert load_device_slices(data, device="cpu", place="auto") is None
    slices = 2 * 4 * 6  # contrasts, subjects, every second of twelve
    monkeypatch.setattr("scripts.device_slices._load", lambda images, device: len(images))
    for free, fits in ((2 * 3 * slices * 128**2, False), (2 * 3 * slices * 128**2 + 2, True)):
        monkeypatch.setattr("torch.cuda.mem_get_info", lambda _, found=free: (found, found))
        kept = load_device_slices(data, device="cuda", place="auto")
        assert (kept is not None) == fits


def test_an_unknown_place_is_an_error(dataset_dir: Path) -> None:
    with pytest.raises(RuntimeError) as error:
        make_workflow(dataset_dir=str(dataset_dir), slices_on="gpu").parser.get_parsed_content(
            "train#dataset"
        )
    assert "slices_on is 'gpu'; expected one of ('auto', 'disk', 'device')" in find_error(error)

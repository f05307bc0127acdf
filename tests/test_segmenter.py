"""Dice against hand arithmetic, and a segmenter that learns what thresholds can tell."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from scripts.datasets import read_image, read_labels
from scripts.evaluation.hidden_codes import HiddenCodeTest
from scripts.evaluation.measurement import CONTRASTS, FigureSettings, measure_session
from scripts.evaluation.segmenter import SegmenterTraining, measure_dice, train_segmenters
from scripts.evaluation.session_volume import SessionVolume
from scripts.slice_tables import SlicePair, load_pairs
from torch import Tensor, nn

from tests.slice_dataset_fixture import write_slice_dataset

TRAINING = SegmenterTraining(steps=80, batch_size=4, features=8, learning_rate=0.003, seed=0)


class Answers(nn.Module):
    """Labels an image by its own value times ten."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))

    def forward(self, images: Tensor) -> Tensor:
        labels = (images[:, 0] * 10).round().long()
        return nn.functional.one_hot(labels, 4).movedim(-1, 1).float()


def list_pairs(folder: Path, split: str) -> list[SlicePair]:
    return load_pairs(
        str(folder),
        split=split,
        training_slices=False,
        max_subjects=None,
        slice_step=1,
        slices=1,
        slice_distance_mm=0.0,
    )


def test_dice_is_that_of_hand_arithmetic() -> None:
    truth = torch.tensor([[1, 1, 2, 2], [3, 3, 3, 0]])[None, None]
    found = torch.tensor([[1, 2, 2, 2], [3, 3, 1, 3]])[None, None]
    mask = torch.tensor([[1, 1, 1, 1], [1, 1, 1, 0]])[None, None].bool()
    # 1: 2*1/(2+2); 2: 2*2/(2+3); 3: 2*2/(3+2), since what lies outside the mask does not count.
    expected = (1 / 2 + 4 / 5 + 4 / 5) / 3
    assert measure_dice(Answers(), found / 10, truth, mask) == pytest.approx(expected)


def test_dice_pools_a_volume_and_not_its_slices() -> None:
    truth = torch.tensor([1, 1, 1, 1, 1, 2, 3, 0]).reshape(2, 1, 1, 4)
    found = torch.tensor([1, 1, 1, 1, 2, 2, 3, 0]).reshape(2, 1, 1, 4)
    mask = torch.ones(2, 1, 1, 4, dtype=torch.bool)
    expected = (2 * 4 / (5 + 4) + 2 * 1 / (1 + 2) + 1) / 3
    assert measure_dice(Answers(), found / 10, truth, mask) == pytest.approx(expected)


@pytest.mark.slow
def test_it_learns_tissues_that_thresholds_tell_apart(tmp_path: Path) -> None:
    folder = write_slice_dataset(tmp_path, labelled=True)
    pairs = list_pairs(folder, "test")
    found = train_segmenters(str(folder), TRAINING, evaluated=pairs, device="cpu")
    labels = read_labels([pair.t1w for pair in pairs])
    assert labels is not None
    for name, segmenter in found.items():
        read = [read_image(getattr(pair, name)) for pair in pairs]
        image = (torch.stack([image for image, _ in read]) + 1) / 2
        mask = torch.stack([mask for _, mask in read])
        assert measure_dice(segmenter, image, labels, mask) > 0.75
        shuffled = labels.where(labels == 0, labels % 3 + 1)
        assert measure_dice(segmenter, image, shuffled, mask) < 0.3


def test_training_is_repeatable_and_leaves_the_seed_alone(tmp_path: Path) -> None:
    folder = write_slice_dataset(tmp_path, labelled=True)
    pairs = list_pairs(folder, "test")
    short = SegmenterTraining(steps=2, batch_size=2, features=4, learning_rate=0.003, seed=3)
    torch.manual_seed(11)
    expected = torch.rand(1)
    torch.manual_seed(11)
    first, second = (
        train_segmenters(str(folder), short, evaluated=pairs, device="cpu")["t2w"].state_dict()
        for _ in range(2)
    )
    assert torch.equal(torch.rand(1), expected)
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_nothing_is_trained_where_nothing_is_known(tmp_path: Path) -> None:
    folder = write_slice_dataset(tmp_path)
    pairs = list_pairs(folder, "test")
    assert train_segmenters(str(folder), TRAINING, evaluated=pairs, device="cpu") == {}


def test_every_so_many_slices_of_a_volume_are_segmented() -> None:
    answers, random = Answers(), torch.Generator().manual_seed(0)
    truth, found = (torch.randint(1, 4, (4, 1, 96, 96), generator=random) for _ in range(2))
    image, mask = found / 10, truth > 0
    expected = {
        step: measure_dice(answers, image[::step], truth[::step], mask[::step]) for step in (1, 2)
    }
    assert expected[1] != expected[2]
    for step, dice in expected.items():
        assert measure_dice_of_session(make_volume(image, truth), answers, step) == dice


def make_volume(image: Tensor, truth: Tensor) -> SessionVolume:
    names = [f"{kind}_{name}" for kind in ("real", "fake", "reconstructed") for name in CONTRASTS]
    names += [f"noisy_reconstructed_{name}" for name in CONTRASTS]
    return SessionVolume(
        dataset="blobs", subject_id="blobs_sub-01", session="", slice_indices=(0, 1, 2, 3),
        images=dict.fromkeys(names, image), mask=truth > 0, labels=truth, shard=Path("none"),
    )  # fmt: skip


def measure_dice_of_session(volume: SessionVolume, segmenter: nn.Module, step: int) -> float:
    settings = FigureSettings(
        batch_size=4, edge=0.1, stride=4, dice_slice_step=step, seed=0,
        hidden_codes=HiddenCodeTest(sigma=0.01, slice_step=1, seed=0),
    )  # fmt: skip
    rows, _ = measure_session(
        volume, label="model", fits={}, segmenters={"t2w": segmenter}, settings=settings
    )
    (dice,) = [row["dice"] for row in rows if "dice" in row]
    return float(dice)

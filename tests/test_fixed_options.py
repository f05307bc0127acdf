"""A training goes on with the samples and strides that it had, which no weight shows."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from scripts.fixed_options import check_fixed, describe_fixed
from scripts.training_slices import load_training_slices

from tests.slice_dataset_fixture import write_slice_dataset

PATH = Path("run/checkpoint_00000012.pt")
OPTIONS = {"seed": 0, "sampling": "disjoint", "pair_subjects": 0, "pair_datasets": None}


def describe(dataset_dir: Path, *, downsamplings: int = 3, **changes: Any) -> dict[str, Any]:
    """What a training of these options says of itself."""
    options = OPTIONS | changes
    data = load_training_slices(str(dataset_dir), **options, slices=1, slice_distance_mm=3.0)
    trainer: Any = SimpleNamespace(
        discriminators=SimpleNamespace(t1w=SimpleNamespace(downsamplings=downsamplings)),
        data_loader=SimpleNamespace(dataset=SimpleNamespace(data=data)),
    )
    return describe_fixed(trainer, options)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"seed": 1}, "--seed 0, found 1"),
        ({"sampling": "shuffled"}, "--sampling disjoint, found shuffled"),
        ({"pair_subjects": 2}, "--pair_subjects 0, found 2"),
        ({"downsamplings": 4}, "--discriminator_downsamplings 3, found 4"),
    ],
)
def test_another_option_than_the_checkpoints_is_named(
    dataset_dir: Path, change: dict[str, Any], message: str
) -> None:
    content = {"trainer": {"fixed": describe(dataset_dir)}}
    with pytest.raises(ValueError, match=f"pt: was trained with {message}. Pass the former"):
        check_fixed(PATH, content, found=describe(dataset_dir, **change))


def test_a_moved_dataset_is_the_same_and_one_with_another_subject_is_not(
    tmp_path: Path, dataset_dir: Path
) -> None:
    """From four subjects two and two are drawn, from five three and two."""
    moved = write_slice_dataset(tmp_path / "moved")
    grown = write_slice_dataset(tmp_path / "grown", splits=("train",) * 5)
    content = {"trainer": {"fixed": describe(dataset_dir)}}
    check_fixed(PATH, content, found=describe(moved))
    with pytest.raises(ValueError, match="from 2 for t1w, 2 for t2w subjects, found 3 for t1w, 2"):
        check_fixed(PATH, content, found=describe(grown))


def test_names_of_datasets_are_the_same_however_they_are_given(dataset_dir: Path) -> None:
    given: list[Any] = ["blobs", ["blobs"], ("blobs",)]
    found = [describe(dataset_dir, sampling="paired", pair_datasets=names) for names in given]
    assert found[0] == found[1] == found[2]


def test_a_checkpoint_that_does_not_say_its_samples_goes_on_and_those_that_follow_do(
    dataset_dir: Path, caplog: pytest.LogCaptureFixture
) -> None:
    content: dict[str, Any] = {"trainer": {}}
    found = describe(dataset_dir)
    check_fixed(PATH, content, found=found)
    assert "does not say from which samples it learned" in caplog.text
    assert content["trainer"]["fixed"] == found

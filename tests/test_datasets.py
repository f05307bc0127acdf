"""What training and evaluation read from a slice dataset, and what they say when it is amiss."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from scripts.config_references import load_config, resolve_references
from scripts.datasets import EvaluationSlices, UnpairedSlices, read_image
from scripts.slice_tables import check_preprocessing, list_images, load_pairs, read_plane
from scripts.training_slices import TrainingSlices, load_training_slices

from tests.slice_dataset_fixture import BUNDLE, write_description, write_slice_dataset

INFERENCE = str(BUNDLE / "configs" / "inference.json")
T1W, T2W = ("T1w",), ("T2w",)


@pytest.fixture(scope="module")
def dataset_dir(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(write_slice_dataset(tmp_path_factory.mktemp("blobs")))


def load(dataset_dir: str, sampling: str, seed: int = 0) -> TrainingSlices:
    return load_training_slices(
        dataset_dir,
        sampling=sampling,
        pair_subjects=0,
        pair_datasets=None,
        seed=seed,
        slices=1,
        slice_distance_mm=3.0,
    )


def load_validation(dataset_dir: str, **options: object) -> EvaluationSlices:
    defaults = {
        "split": "validation",
        "training_slices": False,
        "max_subjects": None,
        "slice_step": 1,
        "slices": 1,
        "slice_distance_mm": 3.0,
    }
    return EvaluationSlices(load_pairs(dataset_dir, **(defaults | options)))  # type: ignore[arg-type]


def subjects(images: list) -> set[str]:
    return {image.subject_id for image in images}


def test_an_image_is_what_the_shard_holds_on_the_networks_scale(dataset_dir: str) -> None:
    image = load(dataset_dir, "shuffled").t1w[0]
    stored = np.load(image.shard)[image.rows[0]]
    values, mask = read_image(image)
    assert values.dtype == torch.float32
    assert values.shape == mask.shape == (1, 128, 128)
    assert mask.dtype == torch.bool
    np.testing.assert_allclose((values[0].numpy() + 1) / 2 * 65535, stored, atol=0.01)
    assert float(values[~mask].max()) == -1


def test_a_sample_is_a_pure_function_of_seed_and_number(dataset_dir: str) -> None:
    first = UnpairedSlices(load(dataset_dir, "shuffled"), seed=5, reads=True)
    second = UnpairedSlices(load(dataset_dir, "shuffled"), seed=5, reads=True)
    first[2], first[40]  # what was drawn before does not matter
    for name in ("t1w", "t2w", "t1w_mask", "t2w_mask"):
        assert torch.equal(first[31][name], second[31][name])
    assert first[31]["sample"] == 31


def test_training_draws_the_marked_slices_of_the_training_split(dataset_dir: str) -> None:
    data = load(dataset_dir, "shuffled")
    assert subjects(data.t1w) == subjects(data.t2w) == {f"blobs_sub-0{n}" for n in range(1, 5)}
    assert {image.rows[0] % 2 for image in data.t1w} == {0}
    assert len(data.t1w) == 4 * 6
    assert not any("space-T1w" in image.shard for image in data.t2w)


def test_disjoint_sampling_never_has_a_subject_in_both_contrasts(dataset_dir: str) -> None:
    data = load(dataset_dir, "disjoint")
    assert len(subjects(data.t1w)) == len(subjects(data.t2w)) == 2
    assert not subjects(data.t1w) & subjects(data.t2w)


def test_paired_sampling_draws_the_same_slice_in_both_contrasts(dataset_dir: str) -> None:
    data = load(dataset_dir, "paired")
    dataset = UnpairedSlices(data, seed=1, reads=True)
    assert all("space-T1w" in image.shard for image in data.t2w)
    for number in (0, 7, 50):
        sample = dataset[number]
        assert sample["t1w_subject_id"] == sample["t2w_subject_id"]
        inverted = 1 - 0.8 * (sample["t1w"] + 1) / 2
        expected = torch.where(sample["t1w_mask"], 2 * inverted - 1, -1.0)
        torch.testing.assert_close(sample["t2w"], expected, atol=1e-4, rtol=0)


def test_three_slices_take_their_neighbours_in_mm_and_repeat_the_ends() -> None:
    volume = pd.DataFrame(
        {
            "subject_id": "a",
            "session": "",
            "group": "a",
            "dataset": "d",
            "contrast": "T1w",
            "shard": "s.npy",
            "position_mm": [0.0, 1.5, 3.0, 4.5, 7.5],
            "row": range(5),
            "slice_index": [10, 11, 12, 13, 15],  # 14 shows no brain
            "brain_fraction": 0.5,
        }
    )
    # 2 mm is 1.33 slices, 3 mm two, 2.25 mm one and a half
    near, far, half = (
        [image.rows for image in list_images(volume, dataset_dir="x", slices=3, **distance)]
        for distance in ({"slice_distance_mm": mm} for mm in (2.0, 3.0, 2.25))
    )
    assert near == [(0, 0, 1), (0, 1, 2), (1, 2, 3), (2, 3, 3), (3, 4, 4)]
    assert far == half == [(0, 0, 2), (0, 1, 3), (0, 2, 3), (1, 3, 4), (3, 4, 4)]


def test_an_even_number_of_slices_has_no_centre() -> None:
    with pytest.raises(ValueError, match="slices is 2; expected an odd number"):
        list_images(pd.DataFrame(), dataset_dir="x", slices=2, slice_distance_mm=1.0)


def test_three_slices_are_channels_and_the_mask_is_the_centres(dataset_dir: str) -> None:
    data = load_training_slices(
        dataset_dir,
        sampling="shuffled",
        pair_subjects=0,
        pair_datasets=None,
        seed=0,
        slices=3,
        slice_distance_mm=3.0,
    )
    image = next(image for image in data.t1w if image.rows[1] == 6)
    values, mask = read_image(image)
    assert image.rows == (3, 6, 9)
    assert values.shape == (3, 128, 128)
    assert mask.shape == (1, 128, 128)
    sample = UnpairedSlices(data, seed=0, reads=True)[0]
    rows = list(data.t1w[sample["t1w_position"]].rows)
    shard = Path(data.t1w[sample["t1w_position"]].shard)
    masks = np.load(shard.with_name(f"{shard.stem}_mask.npy"))[rows] > 0
    np.testing.assert_array_equal(sample["t1w_mask"], masks)  # of each channel its own


def test_evaluation_sees_every_slice_of_every_pair_in_order(dataset_dir: str) -> None:
    dataset = load_validation(dataset_dir)
    assert [dataset[n]["slice_index"] for n in range(len(dataset))] == list(range(5, 17))
    item = dataset[3]
    assert item["subject_id"] == "blobs_sub-05"
    assert "space-T1w" in dataset.data[3].t2w.shard
    assert item["t1w"].shape == item["t2w"].shape == item["mask"].shape == (1, 128, 128)


def test_evaluation_can_be_thinned(dataset_dir: str) -> None:
    dataset = load_validation(dataset_dir, split="train", max_subjects=2, slice_step=4)
    assert len({pair.t1w.subject_id for pair in dataset.data}) == 2
    assert len(dataset) == 2 * 3


def test_a_dataset_travels_to_a_worker_without_its_pixels(dataset_dir: str) -> None:
    dataset = UnpairedSlices(load(dataset_dir, "shuffled"), seed=0, reads=True)
    dataset[0]  # opens maps, which must not be part of the pickle
    assert len(pickle.dumps(dataset)) < 20_000


def test_the_same_preprocessing_passes(dataset_dir: str) -> None:
    check_preprocessing(dataset_dir, INFERENCE)


def test_the_plane_is_that_of_the_preprocessing(tmp_path: Path) -> None:
    config = load_config(INFERENCE) | {"plane": "sagittal"}
    preprocessing = resolve_references(config, "preprocessing")
    path = tmp_path / "dataset.json"
    path.write_text(json.dumps({"format_version": 1, "preprocessing": preprocessing}))
    assert read_plane(str(tmp_path)) == "sagittal"
    path.write_text(json.dumps({"format_version": 1, "preprocessing": {"_target_": "Compose"}}))
    with pytest.raises(ValueError, match="found 0 planes .* say it: --augmentation#plane axial"):
        read_plane(str(tmp_path))


def test_another_preprocessing_is_an_error_that_shows_the_difference(tmp_path: Path) -> None:
    config = json.loads(Path(INFERENCE).read_text())
    write_description(tmp_path)
    config["spacing_mm"] = 1.0
    (tmp_path / "inference.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match=r"pixdim#0: found 1\.5, expected 1\.0"):
        check_preprocessing(str(tmp_path), str(tmp_path / "inference.json"))


def test_references_are_followed_into_lists_and_sections() -> None:
    config = {"a": ["@b#c", "$@b", {"d": "@e"}], "b": {"c": "@e"}, "e": 7}
    assert resolve_references(config, "a") == [7, "$@b", {"d": 7}]
    assert resolve_references(config, "b#c") == 7


def test_references_that_lead_nowhere_or_in_circles_are_errors() -> None:
    with pytest.raises(ValueError, match="@missing: the config has no such id"):
        resolve_references({"a": "@missing"}, "a")
    with pytest.raises(ValueError, match="@a -> @b -> @a"):
        resolve_references({"a": "@b", "b": "@a"}, "a")


def test_a_missing_folder_names_the_way_out(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no such folder .*python -m data_prep"):
        load(str(tmp_path / "absent"), "shuffled")


def test_an_empty_folder_is_no_finished_dataset(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no finished slice dataset"):
        load(str(tmp_path), "shuffled")


def test_another_format_version_is_an_error(tmp_path: Path) -> None:
    write_description(tmp_path, format_version=2)
    with pytest.raises(ValueError, match="format_version 2, expected 1"):
        load(str(tmp_path), "shuffled")


def test_a_training_split_without_t2w_is_an_error(tmp_path: Path) -> None:
    write_slice_dataset(tmp_path, splits=("train", "train"), contrasts={0: T1W, 1: T1W})
    with pytest.raises(ValueError, match="no T2w slices .found 12 T1w, 0 T2w"):
        load(str(tmp_path), "shuffled")


def test_one_subject_cannot_be_disjoint_and_the_error_says_what_can(tmp_path: Path) -> None:
    write_slice_dataset(tmp_path, splits=("train",))
    with pytest.raises(ValueError, match="leaves no subject for T2w.*--sampling shuffled"):
        load(str(tmp_path), "disjoint")
    assert len(load(str(tmp_path), "shuffled").t2w) == 6


def test_t1w_and_t2w_may_come_from_different_subjects(tmp_path: Path) -> None:
    write_slice_dataset(tmp_path, splits=("train", "train"), contrasts={0: T1W, 1: T2W})
    data = load(str(tmp_path), "disjoint")
    assert subjects(data.t1w) == {"blobs_sub-01"}
    assert subjects(data.t2w) == {"blobs_sub-02"}
    assert len(load_validation(str(tmp_path), split="train")) == 0


def test_paired_sampling_without_pairs_is_an_error(tmp_path: Path) -> None:
    write_slice_dataset(tmp_path, splits=("train",), registered=False)
    with pytest.raises(ValueError, match="no T1w slice .* has a registered T2w"):
        load(str(tmp_path), "paired")


def test_an_unknown_sampling_is_an_error(dataset_dir: str) -> None:
    with pytest.raises(ValueError, match="'random'; expected 'disjoint', 'shuffled' or 'paired'"):
        load(dataset_dir, "random")


def test_a_damaged_shard_is_named(tmp_path: Path) -> None:
    write_slice_dataset(tmp_path, splits=("train",))
    data = load(str(tmp_path), "shuffled")
    Path(data.t1w[0].shard).write_bytes(b"\x93NUMPY")
    with pytest.raises(ValueError, match=r"sub-01_T1w\.npy: this shard cannot be read"):
        read_image(data.t1w[0])

"""Volumes of a slice dataset go through inference as they went into training."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from scripts.shard_volumes import load_shard, load_shard_mask, place_slices

from data_prep.bids_inputs import BidsInputs, build_from_bids
from data_prep.build import BuildOptions
from data_prep.cluster import Workers
from data_prep.dataset_options import DatasetOptions
from data_prep.stages import DEFAULT_BUNDLE
from tests.inference_config import parse_inference
from tests.inference_runs import run, save_model
from tests.small_heads import save_dataset


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> Path:
    """A slice dataset of one pair of small heads, as data_prep builds it."""
    folder = tmp_path_factory.mktemp("shards")
    save_dataset(folder / "study", pairs=1)
    inputs = BidsInputs({"study": folder / "study"}, DatasetOptions({"study": "none"}, (), {}))
    build_from_bids(folder / "data", inputs, BuildOptions(DEFAULT_BUNDLE, Workers(1)))
    return folder


def test_slices_lie_where_they_were_and_absent_ones_are_zero():
    slices = np.arange(1, 9, dtype=np.int16).reshape(2, 2, 2)
    affine = np.diag([1.0, 2.0, 3.0, 1.0])
    image = place_slices(slices, np.array([4, 6]), affine)
    assert image.shape == (2, 2, 3)
    assert image.affine[2, 3] == 12
    np.testing.assert_array_equal(np.asarray(image.dataobj)[..., 0], slices[0])
    np.testing.assert_array_equal(np.asarray(image.dataobj)[..., 1], 0)
    np.testing.assert_array_equal(np.asarray(image.dataobj)[..., 2], slices[1])


def test_the_network_sees_what_training_saw(built):
    shard = built / "data" / "shards" / "study" / "sub-01_T1w.npy"
    preprocessing = parse_inference().get_parsed_content("preprocessing")
    found = preprocessing({"image": str(shard)})
    expected = np.asarray(load_shard(shard).dataobj)
    mask = np.asarray(load_shard_mask(shard).dataobj)
    np.testing.assert_array_equal(found["brain_mask"][0].numpy(), mask)
    np.testing.assert_allclose((found["image"][0].numpy() + 1) / 2, expected, atol=1e-6)


def test_a_slice_dataset_is_translated_volume_by_volume(built, tmp_path):
    save_model(tmp_path)
    outcomes = run(tmp_path, input=str(built / "data"), brain_extraction="auto")
    assert [outcome.output for outcome in outcomes] == [
        "study/sub-01_space-T1w_desc-synthetic_T2w.nii.gz"
    ]
    result = nib.load(tmp_path / "out" / outcomes[0].output)
    shard = load_shard(built / "data" / "shards" / "study" / "sub-01_T1w.npy")
    assert result.shape == shard.shape
    np.testing.assert_allclose(result.affine, shard.affine, atol=1e-5)
    inside = np.asarray(shard.dataobj) > 0
    assert np.mean(np.asarray(result.dataobj)[inside] > 0) > 0.95

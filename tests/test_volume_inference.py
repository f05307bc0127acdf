"""From a NIfTI to a synthetic NIfTI, through the bundle's real inference.json."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from monai.bundle import ConfigWorkflow
from monai.data import MetaTensor, list_data_collate
from monai.inferers import SliceInferer
from scripts.networks import ResnetGenerator
from scripts.volume_inference import (
    NeighbouringSliceInferer,
    format_output_name,
    list_volumes,
    select_model,
)

from tests.inference_config import BUNDLE
from tests.small_heads import make_head, save_head

SMALL = {"features": 4, "blocks": 1, "upsampling": "resize"}


def save_model(folder: Path, name: str = "model.pt") -> Path:
    torch.manual_seed(0)
    network = ResnetGenerator(in_channels=1, out_channels=1, **SMALL)
    torch.save(network.state_dict(), folder / name)
    return folder / name


def make_workflow(tmp_path: Path, **overrides) -> ConfigWorkflow:
    settings = {
        "bundle_root": str(BUNDLE),
        "models_dir": str(tmp_path),
        "output_dir": str(tmp_path / "out"),
        "brain_extraction": "none",
        **SMALL,
        **overrides,
    }
    return ConfigWorkflow(
        config_file=str(BUNDLE / "configs" / "inference.json"),
        meta_file=str(BUNDLE / "configs" / "metadata.json"),
        logging_file=False,
        workflow_type="infer",
        **settings,
    )


def run(tmp_path: Path, **overrides) -> None:
    workflow = make_workflow(tmp_path, **overrides)
    workflow.initialize()
    workflow.run()
    workflow.finalize()


def test_a_head_becomes_a_synthetic_head_on_its_own_grid(tmp_path):
    save_model(tmp_path)
    source = save_head(tmp_path / "heads", "sub-01", "T1w", seed=1)
    run(tmp_path, input=str(source))
    result = nib.load(tmp_path / "out" / "sub-01_space-T1w_desc-synthetic_T2w.nii.gz")
    before = nib.load(source)
    assert result.shape == before.shape
    np.testing.assert_array_equal(result.affine, before.affine)
    voxels, brain = result.get_fdata(), before.get_fdata() > 0
    assert voxels[~brain].max() <= 1000
    assert np.mean(voxels[brain] > 0) > 0.95
    assert voxels.min() >= 0
    assert voxels.max() <= 1000
    side_car = json.loads(
        (tmp_path / "out" / "sub-01_space-T1w_desc-synthetic_T2w.json").read_text()
    )
    assert "not a measurement" in side_car["Description"]
    assert str(tmp_path) not in json.dumps(side_car)


def test_the_other_direction_takes_the_other_model_and_contrast(tmp_path):
    save_model(tmp_path, "model_t2w_to_t1w.pt")
    save_head(tmp_path / "heads", "sub-01", "T1w", seed=1)
    save_head(tmp_path / "heads", "sub-01", "T2w", seed=1)
    run(tmp_path, input=str(tmp_path / "heads"), direction="t2w_to_t1w")
    written = sorted(path.name for path in (tmp_path / "out").glob("*.nii.gz"))
    assert written == ["sub-01_space-T2w_desc-synthetic_T1w.nii.gz"]


def test_all_that_the_zoo_and_its_apps_look_for_is_there(tmp_path):
    save_model(tmp_path)
    source = save_head(tmp_path / "heads", "sub-01", "T1w", seed=1)
    workflow = make_workflow(tmp_path, input=str(source))
    workflow.initialize()
    assert workflow.check_properties() == []
    workflow.finalize()


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"input": "absent.nii.gz"}, "no such file or folder"),
        ({"direction": "t1_to_t2"}, "Expected one of"),
        ({"brain_extracton": "none"}, "did you mean --brain_extraction"),
        ({"models_dir": "nowhere"}, "no such model in nowhere"),
    ],
)
def test_a_wrong_option_says_what_was_expected(tmp_path, overrides, message):
    save_model(tmp_path)
    source = save_head(tmp_path / "heads", "sub-01", "T1w", seed=1)
    with pytest.raises((ValueError, FileNotFoundError, RuntimeError)) as caught:
        run(tmp_path, **{"input": str(source), **overrides})
    chain, error = "", caught.value
    while error is not None:
        chain, error = chain + str(error), error.__cause__
    assert message in chain


def as_batch(volume, affine):
    return list_data_collate([MetaTensor(volume, affine=affine)])


def test_one_slice_at_a_time_is_what_monai_does():
    volume = as_batch(torch.randn(1, 8, 12, 5), torch.eye(4))
    network = torch.nn.Conv2d(1, 1, 3, padding=1)
    ours = NeighbouringSliceInferer(slices=1, distance_mm=3.0, batch_size=2)(volume, network)
    theirs = SliceInferer(roi_size=(8, 12), sw_batch_size=2, spatial_dim=2)(volume, network)
    torch.testing.assert_close(torch.as_tensor(ours), torch.as_tensor(theirs))


def test_neighbours_stand_at_their_distance_and_edges_are_repeated():
    values = torch.arange(6.0).expand(1, 2, 2, 6).contiguous()
    volume = as_batch(values, torch.diag(torch.tensor([1.0, 1.0, 1.5, 1.0])))
    seen = []

    def network(stack):
        seen.append(stack[:, :, 0, 0])
        return stack

    inferer = NeighbouringSliceInferer(slices=3, distance_mm=3.0, batch_size=99)
    result = inferer(volume, network)
    # 3 mm at 1.5 mm a slice: two slices away.
    assert seen[0].tolist() == [
        [0, 0, 2], [0, 1, 3], [0, 2, 4], [1, 3, 5], [2, 4, 5], [3, 5, 5]
    ]  # fmt: skip
    torch.testing.assert_close(torch.as_tensor(result)[0], values)


def test_bids_datasets_folders_and_files_are_read(tmp_path):
    for session in ("ses-1", "ses-2"):
        save_head(tmp_path / "study", "sub-01", "T1w", seed=1, session=session)
    derived = tmp_path / "study" / "derivatives" / "x" / "sub-01" / "anat"
    derived.mkdir(parents=True)
    nib.save(make_head(0, "T1w"), derived / "sub-01_T1w.nii.gz")
    found = [Path(row["image"]).name for row in list_volumes(str(tmp_path / "study"), "t1w_to_t2w")]
    assert found == ["sub-01_ses-1_T1w.nii.gz", "sub-01_ses-2_T1w.nii.gz"]
    with pytest.raises(ValueError, match=r"_T2w.nii.gz"):
        list_volumes(str(tmp_path / "study"), "t2w_to_t1w")
    (tmp_path / "plain").mkdir()
    nib.save(make_head(0, "T1w"), tmp_path / "plain" / "b.nii")
    assert len(list_volumes(str(tmp_path / "plain"), "t2w_to_t1w")) == 1


@pytest.mark.parametrize(
    ("name", "direction", "expected"),
    [
        (
            "sub-01_ses-2_T1w.nii.gz",
            "t1w_to_t2w",
            "sub-01_ses-2_space-T1w_desc-synthetic_T2w.nii.gz",
        ),
        ("sub-01_T2w.nii", "t2w_to_t1w", "sub-01_space-T2w_desc-synthetic_T1w.nii.gz"),
        ("head.nii.gz", "t1w_to_t2w", "head_space-T1w_desc-synthetic_T2w.nii.gz"),
    ],
)
def test_outputs_are_named_as_bids_derivatives(name, direction, expected):
    assert format_output_name(name, direction) == expected


def test_the_model_of_a_direction(tmp_path):
    save_model(tmp_path, "model_t2w_to_t1w.pt")
    assert select_model(str(tmp_path), "t2w_to_t1w").endswith("model_t2w_to_t1w.pt")
    with pytest.raises(FileNotFoundError, match="--models_dir"):
        select_model(str(tmp_path), "t1w_to_t2w")

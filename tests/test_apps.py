"""What MONAI Deploy and MONAI Label take from the bundle.

Their keys are as read from the code of monai-deploy-app-sdk 4.0.0 (MonaiBundleInferenceOperator)
and monailabel 0.8.5 (BundleInferTask). Tests of the packages themselves run where those are
installed: they need CUDA libraries and a web server, which this project does not.
"""

from __future__ import annotations

import json
import zipfile
from copy import deepcopy
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import torch
from monai.bundle import ConfigParser
from monai.data import MetaTensor
from monai.transforms import Compose, MapTransform, ToDeviced
from scripts.export import export
from scripts.in_memory import StretchIntensityd

from tests.packaged_bundle import SIZES, run_inference, save_models, save_package
from tests.small_heads import save_head

NAMES = {"preprocessing": Compose, "postprocessing": Compose}


@pytest.fixture(scope="module")
def bundle(tmp_path_factory) -> Path:
    """A package for scans that are brain-extracted, since Deploy and Label pass no options."""
    bundle = save_package(tmp_path_factory.mktemp("apps"))
    inference = bundle / "configs" / "inference.json"
    config = json.loads(inference.read_text())
    inference.write_text(json.dumps(config | {"brain_extraction": "none"}))
    return bundle


@pytest.fixture
def scan(tmp_path) -> Path:
    return save_head(tmp_path / "heads", "sub-01", "T1w", seed=1)


def parse_for_deploy(bundle: Path) -> ConfigParser:
    parser = ConfigParser()
    parser.read_meta(json.loads((bundle / "configs" / "metadata.json").read_text()))
    parser.read_config([bundle / "configs" / f"{name}.json" for name in ("inference", "deploy")])
    parser["bundle_root"] = str(bundle)
    return parser


def test_deploy_finds_one_flat_list_of_dictionary_transforms_that_touch_no_file(bundle):
    parser = parse_for_deploy(bundle)
    for name in ("deploy_preprocessing", "deploy_postprocessing"):
        steps = parser.get_parsed_content(name).transforms
        assert all(isinstance(step, MapTransform) for step in steps)
        assert not [step for step in steps if type(step).__name__.startswith(("Load", "Save"))]


def test_deploy_goes_back_to_the_grid_as_inference_does_and_writes_nothing(bundle):
    config = parse_for_deploy(bundle).config
    assert config["deploy_postprocessing"]["transform"] == "@to_input_grid"
    first, last = config["postprocessing"]["transforms"]
    assert first == "@to_input_grid"
    assert last["_target_"].rpartition(".")[2].startswith("Save")


def test_deploy_needs_no_models_beside_the_configs(bundle, tmp_path, monkeypatch):
    """Its operator sets no bundle_root, and an exported file comes without models."""
    parser = parse_for_deploy(bundle)
    parser["bundle_root"] = "."
    monkeypatch.chdir(tmp_path)
    for name in ("deploy_preprocessing", "deploy_inferer", "deploy_postprocessing"):
        assert parser.get_parsed_content(name) is not None


def test_deploy_gets_in_memory_what_inference_writes(bundle, scan, tmp_path):
    parser = parse_for_deploy(bundle)
    parser["device"] = "cpu"
    network = parser.get_parsed_content("network_def").eval()
    network.load_state_dict(torch.load(bundle / "models" / "model.pt", weights_only=True))
    image = nib.load(scan)
    meta = {"affine": image.affine, "original_channel_dim": "no_channel"}
    volume = MetaTensor.ensure_torch_and_prune_meta(image.get_fdata(), meta)  # as the operator does
    data: dict[str, Any] = parser.get_parsed_content("deploy_preprocessing")({"image": volume})
    masks = {name: value[None] for name, value in data.items() if name != "image"}
    with torch.no_grad():  # as the operator calls it: every tensor goes to the inferer
        pred = parser.get_parsed_content("deploy_inferer")(
            inputs=data["image"][None], network=network, **masks
        )
    result = parser.get_parsed_content("deploy_postprocessing")({**data, "pred": pred[0]})["pred"]
    run_inference(bundle, scan, tmp_path / "out", "--precision", "fp32")
    written = nib.load(tmp_path / "out" / "sub-01_space-T1w_desc-synthetic_T2w.nii.gz").get_fdata()
    assert result.shape == (1, *image.shape)
    assert set(np.unique(result)) <= set(range(256))
    assert written.max() > 100
    # Both are rounded: half a step of 255 and half a step of 1000.
    assert np.abs(np.asarray(result[0]) / 255 - written / 1000).max() <= 0.5 / 255 + 0.5 / 1000


def test_intensities_are_stretched_to_whole_numbers():
    stretched = StretchIntensityd("pred", largest_value=255)({"pred": torch.tensor([0.0, 0.5, 1])})
    assert stretched["pred"].tolist() == [0, 128, 255]  # 127.5 is rounded to the even number


def test_deploy_reads_all_its_configs_from_an_exported_file(tmp_path):
    models = save_models(tmp_path)
    export("torchscript", str(tmp_path / "brain.ts"), models_dir=str(models), **SIZES)
    with zipfile.ZipFile(tmp_path / "brain.ts") as archive:
        configs = {
            name: json.loads(archive.read(f"brain/extra/{name}.json"))
            for name in ("metadata", "inference", "deploy")
        }
    assert configs["metadata"]["network_data_format"]["inputs"]["image"]["type"] == "image"
    assert configs["inference"]["features"] == SIZES["features"]
    assert "deploy_preprocessing" in configs["deploy"]


def test_label_finds_its_keys(bundle):
    parser = ConfigParser()
    parser.read_config(bundle / "configs" / "inference.json")
    parser.config.update({"bundle_root": str(bundle), "device": "cpu"})
    for name, kind in NAMES.items():
        assert isinstance(parser.get_parsed_content(name), kind)
    assert callable(parser.get_parsed_content("inferer"))
    assert isinstance(parser.get_parsed_content("network_def"), torch.nn.Module)
    metadata = json.loads((bundle / "configs" / "metadata.json").read_text())
    formats = metadata["network_data_format"]
    assert (next(iter(formats["inputs"])), next(iter(formats["outputs"]))) == ("image", "pred")
    assert [path.name for path in sorted((bundle / "models").glob("*.pt"))] == [
        "model.pt",
        "model_t2w_to_t1w.pt",
    ]


def test_label_may_add_the_path_of_the_image_to_the_data(bundle, scan):
    parser = ConfigParser()
    parser.read_config(bundle / "configs" / "inference.json")
    parser["bundle_root"] = str(bundle)
    data = {"image": str(scan), "image_path": str(scan)}
    assert parser.get_parsed_content("preprocessing")(data)["image_path"] == str(scan)


def test_label_finds_all_in_its_data_and_gets_numbers_that_eight_bits_can_store(
    bundle, scan, tmp_path
):
    """Slicer's plug-in asks for uint8: of values in [0, 1] only the largest would not become 0."""
    parser = ConfigParser()
    parser.read_config(bundle / "configs" / "inference.json")
    parser["bundle_root"], parser["output_dir"] = str(bundle), str(tmp_path / "out")
    data = parser.get_parsed_content("preprocessing")({"image": str(scan)})
    data["pred"] = data["image"].clone()
    relative = parser.get_parsed_content("to_input_grid")(deepcopy(data))["pred"].numpy()
    stored = parser.get_parsed_content("postprocessing")(data)["pred"].numpy().astype("uint8")
    assert stored.shape == (1, *nib.load(scan).shape)
    np.testing.assert_array_equal(stored, np.rint(255 * relative))
    assert stored.max() == 255
    assert len(np.unique(stored)) > 50
    assert not (tmp_path / "out").exists()


def test_label_itself_translates_a_scan(bundle, scan):
    infer = pytest.importorskip("monailabel.tasks.infer.bundle", exc_type=ImportError)
    task = infer.BundleInferTask(str(bundle), {})
    request = {"device": "cpu", "result_extension": ".nii.gz", "result_dtype": "uint8"}
    file, _ = task({"image": str(scan), **request})
    result = nib.load(file)
    assert result.shape == nib.load(scan).shape
    assert len(np.unique(result.get_fdata())) > 50
    Path(file).unlink()


def test_programs_that_leave_the_result_on_their_gpu_get_it_back_on_the_cpu(bundle):
    """Label and Deploy do; their masks stay on the CPU."""
    parser = ConfigParser()
    parser.read_config(bundle / "configs" / "inference.json")
    first = parser.get_parsed_content("to_input_grid").transforms[0]
    assert isinstance(first, ToDeviced)
    assert first.keys == ("pred", "uncertainty")
    assert first.converter.device == "cpu"
    assert first.allow_missing_keys


def test_deploy_itself_reads_the_bundle(bundle):
    name = "monai.deploy.operators.monai_bundle_inference_operator"
    operator = pytest.importorskip(name, exc_type=ImportError)
    parser = operator.get_bundle_config(str(bundle), ["inference", "deploy"])
    assert parser.get("deploy_preprocessing") is not None

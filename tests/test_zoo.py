"""What the Model Zoo's CI does to a bundle, offline, on the packaged folder.

Its steps are those of `ci/verify_bundle.py` in Project-MONAI/model-zoo (October 2024): directory,
version, metadata, properties, data shape, TorchScript; then the unit test under `tests/zoo`.
"""

from __future__ import annotations

import importlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from monai.bundle import (
    ConfigParser,
    ConfigWorkflow,
    ckpt_export,
    verify_metadata,
    verify_net_in_out,
)
from scripts.directions import MODEL_FILES
from scripts.package import NAME

from tests.packaged_bundle import SIZES, save_package

ZOO = Path(__file__).parent / "zoo"
FORMATS = {"t1w_to_t2w": "network_data_format", "t2w_to_t1w": "t2w_to_t1w_data_format"}
# Ids of inference.json that MONAI's apps and the Zoo's templates look for.
INFERENCE_IDS = (
    "bundle_root", "device", "dataset_dir", "dataset", "dataloader", "network_def", "network",
    "preprocessing", "postprocessing", "inferer", "handlers", "evaluator", "initialize", "run",
)  # fmt: skip


@pytest.fixture(scope="module")
def bundle(tmp_path_factory) -> Path:
    """The packaged bundle where the Zoo keeps its own: models/<name>."""
    zoo = tmp_path_factory.mktemp("zoo")
    (zoo / "models").mkdir()
    return shutil.move(save_package(zoo), zoo / "models" / NAME)


def read_config(bundle: Path, name: str) -> dict[str, Any]:
    return json.loads((bundle / "configs" / f"{name}.json").read_text())


@pytest.mark.parametrize(
    "name",
    ["LICENSE", "configs/metadata.json", "configs/inference.json", "models/model.pt",
     "docs/README.md", "docs/data_license.txt"],
)  # fmt: skip
def test_necessary_and_preferred_files_are_there(bundle, name):
    assert (bundle / name).is_file()


def test_the_name_of_the_archive_is_split_by_the_zoo_into_name_and_version(bundle):
    version = read_config(bundle, "metadata")["version"]
    name, _, number = f"{NAME}_v{version}".rpartition("_v")
    assert (name, number) == (NAME, version)
    assert number[0].isdigit()


def test_the_version_is_in_the_changelog(bundle):
    metadata = read_config(bundle, "metadata")
    assert metadata["version"] in metadata["changelog"]


@pytest.mark.filterwarnings("ignore:No hash value provided:UserWarning")
def test_the_metadata_are_valid(bundle, shared_data, tmp_path):
    schema = shared_data.parent / "schema" / "meta_schema_20240725.json"
    if not schema.is_file():
        pytest.skip(f"no schema at {schema}")
    offline = tmp_path / "eval" / "schema.json"  # where the Zoo's CI puts it beforehand
    offline.parent.mkdir()
    shutil.copyfile(schema, offline)
    verify_metadata(meta_file=str(bundle / "configs" / "metadata.json"), filepath=str(offline))


def test_every_requirement_is_one_exact_version(bundle):
    metadata = read_config(bundle, "metadata")
    versions = [metadata[f"{name}_version"] for name in ("monai", "pytorch", "numpy")]
    versions += metadata["required_packages_version"].values()
    assert all(version.replace(".", "").isdigit() for version in versions)


def test_the_apps_that_are_named_have_properties(bundle):
    assert read_config(bundle, "metadata")["supported_apps"] == {}


def test_inference_has_the_ids_that_are_looked_for(bundle):
    assert set(INFERENCE_IDS) <= read_config(bundle, "inference").keys()


def test_inference_has_the_properties_that_monai_checks(bundle, tmp_path):
    (tmp_path / "scan.nii.gz").touch()
    workflow = ConfigWorkflow(
        workflow_type="inference",
        config_file=str(bundle / "configs" / "inference.json"),
        meta_file=str(bundle / "configs" / "metadata.json"),
        logging_file=False,
        bundle_root=str(bundle),
        input=str(tmp_path / "scan.nii.gz"),
    )
    workflow.initialize()
    assert workflow.check_properties() == []
    workflow.finalize()


def write_metadata(bundle: Path, direction: str, folder: Path) -> Path:
    """Metadata whose network_data_format, the only one that MONAI checks, is a direction's."""
    metadata = read_config(bundle, "metadata")
    metadata["network_data_format"] = metadata[FORMATS[direction]]
    (folder / "metadata.json").write_text(json.dumps(metadata))
    return folder / "metadata.json"


@pytest.mark.parametrize("direction", FORMATS)
def test_both_networks_do_what_the_metadata_say(bundle, tmp_path, direction):
    verify_net_in_out(
        net_id="network_def",
        meta_file=str(write_metadata(bundle, direction, tmp_path)),
        config_file=str(bundle / "configs" / "inference.json"),
        device="cpu",
        bundle_root=str(bundle),
        direction=direction,
    )


def test_a_network_of_another_number_of_channels_is_found(bundle, tmp_path):
    with pytest.raises(ValueError, match="3 channels"):
        verify_net_in_out(
            net_id="network_def",
            meta_file=str(bundle / "configs" / "metadata.json"),
            config_file=str(bundle / "configs" / "inference.json"),
            device="cpu",
            slices=3,
        )


@pytest.mark.parametrize("direction", FORMATS)
def test_the_checkpoints_are_exported_to_torchscript_with_the_same_output(
    bundle, tmp_path, direction
):
    exported = tmp_path / "model.ts"
    weights = bundle / "models" / MODEL_FILES[direction]
    ckpt_export(
        net_id="network_def",
        filepath=str(exported),
        ckpt_file=str(weights),
        meta_file=str(write_metadata(bundle, direction, tmp_path)),
        config_file=str(bundle / "configs" / "inference.json"),
        bundle_root=str(bundle),
    )
    parser = ConfigParser()
    parser.read_config(str(bundle / "configs" / "inference.json"))
    network = parser.get_parsed_content("network_def").eval()
    network.load_state_dict(torch.load(weights, weights_only=True))
    images = torch.randn(2, 1, 64, 96, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        torch.testing.assert_close(torch.jit.load(exported)(images), network(images))


@pytest.mark.slow
def test_the_unit_test_passes_in_the_zoo(bundle):
    zoo = bundle.parents[1]
    unit_tests = zoo / "ci" / "unit_tests"
    unit_tests.mkdir(parents=True)
    for name in (f"test_{NAME}.py", "utils.py"):
        shutil.copy(ZOO / name, unit_tests)
    paths = [str(zoo), os.environ.get("PYTHONPATH", "")]  # the Zoo's root, as in its CI
    done = subprocess.run(
        [sys.executable, "-W", "ignore", f"ci/unit_tests/test_{NAME}.py"],
        cwd=zoo, env=os.environ | {"PYTHONPATH": ":".join(paths)}, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Ran 2 tests" in done.stderr


@pytest.mark.slow
def test_the_bundle_runs_without_the_rest_of_the_project(bundle):
    program = (
        "import sys; sys.path.insert(0, '.'); "
        "import scripts.engines, scripts.export, scripts.brain_extraction; "
        "assert not any(name.startswith(('data_prep', 'tests')) for name in sys.modules)"
    )
    command = [sys.executable, "-W", "ignore", "-c", program]
    subprocess.run(command, cwd=bundle, check=True)


def test_the_sizes_of_the_package_are_not_those_of_the_repository():
    """Else the tests above would say nothing about what --features and the others write."""
    defaults = json.loads((importlib.import_module("scripts.package").BUNDLE
                           / "configs" / "inference.json").read_text())  # fmt: skip
    assert all(SIZES[name] != defaults[name] for name in ("features", "blocks", "upsampling"))

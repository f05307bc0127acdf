"""What the Model Zoo's checks do to a bundle, offline, on a copy with a model in it."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest
import torch
from monai.bundle import ConfigParser, ckpt_export, verify_net_in_out

from tests.inference_config import BUNDLE

pytestmark = pytest.mark.filterwarnings("ignore:.*torch.jit.*")


@pytest.fixture(scope="module")
def bundle_copy(tmp_path_factory) -> Path:
    """The bundle somewhere else, as it is downloaded, with weights of the declared network."""
    copy = tmp_path_factory.mktemp("zoo") / "bundle"
    shutil.copytree(BUNDLE, copy, ignore=shutil.ignore_patterns("outputs", "__pycache__"))
    parser = ConfigParser()
    parser.read_config(str(copy / "configs" / "inference.json"))
    network = parser.get_parsed_content("network_def")
    (copy / "models").mkdir(exist_ok=True)
    torch.save(network.state_dict(), copy / "models" / "model.pt")
    return copy


def test_the_network_does_what_the_metadata_say(bundle_copy):
    verify_net_in_out(
        net_id="network_def",
        meta_file=str(bundle_copy / "configs" / "metadata.json"),
        config_file=str(bundle_copy / "configs" / "inference.json"),
        device="cpu",
    )


def test_the_checkpoint_is_exported_to_torchscript_with_the_same_output(bundle_copy, tmp_path):
    exported = tmp_path / "model.ts"
    ckpt_export(
        net_id="network_def",
        filepath=str(exported),
        ckpt_file=str(bundle_copy / "models" / "model.pt"),
        meta_file=str(bundle_copy / "configs" / "metadata.json"),
        config_file=str(bundle_copy / "configs" / "inference.json"),
        bundle_root=str(bundle_copy),
    )
    parser = ConfigParser()
    parser.read_config(str(bundle_copy / "configs" / "inference.json"))
    network = parser.get_parsed_content("network_def").eval()
    weights = torch.load(bundle_copy / "models" / "model.pt", weights_only=True)
    network.load_state_dict(weights)
    images = torch.randn(2, 1, 64, 96, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        torch.testing.assert_close(torch.jit.load(exported)(images), network(images))


@pytest.mark.parametrize(
    "name",
    ["LICENSE", "configs/metadata.json", "configs/inference.json", "docs/data_license.txt"],
)
def test_what_the_zoo_wants_is_there(name):
    assert (BUNDLE / name).is_file()


def test_the_bundle_runs_without_the_rest_of_the_project(bundle_copy):
    import subprocess

    program = (
        "import sys; sys.path.insert(0, '.'); "
        "import scripts.engines, scripts.inference.scan_evaluator, scripts.brain_extraction; "
        "assert not any(name.startswith(('data_prep', 'tests')) for name in sys.modules)"
    )
    command = [sys.executable, "-W", "ignore", "-c", program]
    subprocess.run(command, cwd=bundle_copy, check=True)

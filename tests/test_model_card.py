"""The model card: its Python example runs, its commands and its numbers are those of the bundle."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from scripts.config_references import load_config, resolve_references
from scripts.export import LARGEST_DIFFERENCE
from scripts.export_formats import FORMATS, ONNX_OPSET
from scripts.package import NAME
from scripts.trained_generator import SMALLEST_SIZE

from tests.inference_config import BUNDLE
from tests.packaged_bundle import save_package
from tests.small_heads import save_head

CARD = (BUNDLE / "docs" / "README.md").read_text()


@pytest.mark.filterwarnings("ignore:parsing config_file.*:UserWarning")
def test_its_python_example_runs_from_another_folder(tmp_path, monkeypatch):
    (example,) = re.findall(r"```python\n(.*?)```", CARD, re.DOTALL)
    scan = save_head(tmp_path / "heads", "sub-01", "T1w", seed=1)
    names: dict[str, Any] = {
        "BUNDLE": str(save_package(tmp_path)),
        "SCAN": str(scan),
        "OUT": str(tmp_path / "out"),
    }
    (tmp_path / "elsewhere").mkdir()  # without scans, which `load` must not look for
    monkeypatch.chdir(tmp_path / "elsewhere")
    monkeypatch.setattr(sys, "path", [*sys.path])
    exec(compile(example, "docs/README.md", "exec"), names)  # noqa: S102
    assert (tmp_path / "out" / "sub-01_space-T1w_desc-synthetic_T2w.nii.gz").is_file()
    weights = torch.load(Path(names["BUNDLE"]) / "models" / "model.pt", weights_only=True)
    torch.testing.assert_close(dict(names["network"].state_dict()), dict(weights))


def test_its_export_commands_are_the_kinds_that_there_are():
    assert re.findall(r"python -m scripts\.export (\w+) ", CARD) == list(FORMATS)
    assert f"opset {ONNX_OPSET}" in CARD
    assert f"(from {SMALLEST_SIZE})" in CARD
    assert f"above {LARGEST_DIFFERENCE:.0e}".replace("e-0", "e-") in CARD


def find_values(section: Any, name: str) -> list[Any]:
    """Every value of a key, at any depth."""
    if isinstance(section, dict):
        own = [section[name]] if name in section else []
        return own + [value for each in section.values() for value in find_values(each, name)]
    if isinstance(section, list):
        return [value for each in section for value in find_values(each, name)]
    return []


def test_its_steps_around_the_network_have_the_values_of_the_config():
    steps = re.search(r"### The whole pipeline.*?(?=\n## )", CARD, re.DOTALL)
    assert steps is not None
    config = load_config(BUNDLE / "configs" / "inference.json")
    before = resolve_references(config, "preprocessing")
    after = resolve_references(config, "postprocessing")
    said = {
        f"{find_values(before, 'lower')[0]} and {find_values(before, 'upper')[0]} percentiles",
        f"voxels of about {find_values(before, 'working_spacing_mm')[0]:g} mm",
        f"in plane to {config['spacing_mm']} mm",
        f"sqrt({config['spacing_mm']}^2 - voxel^2)",
        f"{config['size']} x {config['size']}",
        f"(batch, {config['slices']}, {config['size']}, {config['size']})",
        f"at {config['slice_distance_mm']} mm distance",
        f"the second of {('one', 'two')[config['views'] - 1]} views",
        f"multiply by {find_values(after, 'largest_value')[0]}",
    }
    assert {words for words in said if words not in steps[0]} == set()


def test_its_package_is_named_as_the_bundle_is():
    version = json.loads((BUNDLE / "configs" / "metadata.json").read_text())["version"]
    assert f"`{NAME}_v{version}.zip`" in CARD

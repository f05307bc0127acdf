"""The packaged bundle in an empty environment that has only what metadata.json names.

Slow, and it needs a package index: `make test-package` runs it.
"""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import venv
from pathlib import Path

import nibabel as nib
import pytest

from tests.packaged_bundle import run_inference, save_package
from tests.small_heads import save_head

PROJECT = Path(__file__).resolve().parents[1]


def list_requirements(bundle: Path) -> list[str]:
    """As the Model Zoo's CI makes them from the metadata."""
    metadata = json.loads((bundle / "configs" / "metadata.json").read_text())
    named = {"monai": "monai", "torch": "pytorch", "numpy": "numpy"}
    versions = {package: metadata[f"{name}_version"] for package, name in named.items()}
    versions |= metadata["required_packages_version"]
    return [f"{package}=={version}" for package, version in versions.items()]


@pytest.mark.environment
def test_the_packages_that_the_metadata_name_are_enough_for_inference(tmp_path):
    bundle = save_package(tmp_path)
    venv.create(tmp_path / "venv", with_pip=True)
    python = str(tmp_path / "venv" / "bin" / "python")
    pip = [python, "-m", "pip", "install", "--quiet", "-c", str(PROJECT / "constraints.txt")]
    pip += shlex.split(os.environ.get("PIP_ARGS", ""))
    subprocess.run([*pip, *list_requirements(bundle)], check=True)
    scan = save_head(tmp_path / "heads", "sub-01", "T1w", seed=1)
    run_inference(bundle, scan, tmp_path / "out", python=python)
    written = nib.load(tmp_path / "out" / "sub-01_space-T1w_desc-synthetic_T2w.nii.gz")
    assert written.shape == nib.load(scan).shape
    # Every module can be imported, not only those that inference needs.
    program = (
        "import importlib, pathlib\n"
        "for path in sorted(pathlib.Path('scripts').rglob('*.py')):\n"
        "    importlib.import_module('.'.join(path.with_suffix('').parts))\n"
    )
    subprocess.run([python, "-W", "ignore", "-c", program], cwd=bundle, check=True)

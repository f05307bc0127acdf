"""The bundle packaged with small random generators, and its inference in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch
from scripts.directions import MODEL_FILES
from scripts.networks import ResnetGenerator
from scripts.package import NAME, package

SIZES: dict[str, Any] = {"features": 4, "blocks": 1, "upsampling": "transposed", "slices": 1}


def save_models(folder: Path, **sizes: Any) -> Path:
    """Write both generators, with random weights of a seed."""
    sizes = SIZES | sizes
    slices = sizes.pop("slices")
    folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(5)
    for name in MODEL_FILES.values():
        network = ResnetGenerator(in_channels=slices, out_channels=slices, **sizes)
        torch.save(network.state_dict(), folder / name)
    return folder


def save_package(folder: Path, **sizes: Any) -> Path:
    """Package small models; returns the bundle's folder, beside which the archive lies."""
    of_networks = {name: size for name, size in sizes.items() if name in SIZES}
    models = save_models(folder / "trained", **of_networks)
    package(str(folder / "package"), models_dir=str(models), **(SIZES | sizes))
    return folder / "package" / NAME


def run_inference(
    bundle: Path, scan: Path, output_dir: Path, *options: str, python: str = sys.executable
) -> None:
    """Translate a brain-extracted scan in the bundle's folder, as its model card says."""
    command = [python, "-W", "ignore", "-m", "monai.bundle", "run", "inference"]
    command += ["--config_file", "configs/inference.json", "--input", str(scan)]
    command += ["--output_dir", str(output_dir), "--brain_extraction", "none", *options]
    clean = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    done = subprocess.run(command, cwd=bundle, env=clean, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr

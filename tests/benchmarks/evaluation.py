"""The evaluation of a usual test part, through MONAI's runner in a process of its own."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch
from scripts.networks import ResnetGenerator

from tests.slice_dataset_fixture import BUNDLE, write_slice_dataset

SUBJECTS, SLICES = 12, 80
FEATURES, UPSAMPLING = 16, "transposed"  # the demo's networks


def write_models(folder: Path) -> None:
    """Two generators with random weights: time does not depend on them."""
    folder.mkdir()
    for name in ("model.pt", "model_t2w_to_t1w.pt"):
        network = ResnetGenerator(
            in_channels=1, out_channels=1, features=FEATURES, blocks=6, upsampling=UPSAMPLING
        )
        torch.save(network.state_dict(), folder / name)


def measure() -> dict[str, object]:
    """Seconds from the command to the report, starting Python included."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        splits = ("train", "train", *["test"] * SUBJECTS)
        write_slice_dataset(folder / "data", splits=splits, slices=SLICES)
        write_models(folder / "models")
        command = [
            *(sys.executable, "-W", "ignore", "-m", "monai.bundle", "run", "evaluate"),
            *("--config_file", json.dumps(["configs/train.json", "configs/evaluate.json"])),
            *("--dataset_dir", str(folder / "data"), "--output_dir", str(folder / "models")),
            *("--features", str(FEATURES), "--upsampling", UPSAMPLING, "--device", "cpu"),
        ]
        start = time.perf_counter()
        subprocess.run(command, cwd=BUNDLE, check=True, stderr=subprocess.DEVNULL)
        seconds = time.perf_counter() - start
    peak_gb = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1e6
    return {
        "name": f"evaluation of {SUBJECTS} subjects x {SLICES} slices, {FEATURES} features",
        "value": round(seconds, 1),
        "unit": "seconds",
        "reference": f"goal 120 on two cores; {os.cpu_count()} here; peak {peak_gb:.2f} GB",
    }

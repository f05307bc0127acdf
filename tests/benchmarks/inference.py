"""A 1 mm head of 160 slices from file to file, against a plain loop over its slices.

Both run in a process of their own, one after the other, without brain extraction and N4; starting
Python and loading the weights are not counted. ``python -m tests.benchmarks.inference ours FOLDER``
is one of the two.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import torch
from scipy.ndimage import gaussian_filter

from tests.benchmarks import PROJECT

SHAPE = (192, 224, 160)
FEATURES, BLOCKS, UPSAMPLING = 64, 6, "resize"
GOAL_SECONDS, GOAL_GB = 12, 3


def write_head(path: Path) -> None:
    """A brain-extracted ellipsoid of 1350 cm3 in noise-like folds; 134 slices hold brain."""
    index = np.stack(np.meshgrid(*map(np.arange, SHAPE), indexing="ij"), axis=-1)
    offset = index - (np.array(SHAPE) - 1) / 2
    brain = ((offset / (66.0, 73.0, 67.0)) ** 2).sum(-1) < 1
    folds = gaussian_filter(np.random.default_rng(0).normal(size=SHAPE), 3)
    voxels = brain * (300 + 2000 * folds).clip(50, 500)
    affine = nib.affines.from_matvec(np.eye(3), -(np.array(SHAPE) - 1) / 2)
    image = nib.Nifti1Image(voxels.astype(np.int16), affine)
    image.set_sform(affine, 1)
    nib.save(image, path)


def make_workflow(folder: Path, device: str) -> Any:
    from monai.bundle import ConfigWorkflow

    workflow = ConfigWorkflow(
        config_file=str(PROJECT / "bundle/configs/inference.json"),
        meta_file=str(PROJECT / "bundle/configs/metadata.json"),
        logging_file=False,
        workflow_type="infer",
        bundle_root=str(PROJECT / "bundle"),
        models_dir=str(folder),
        input=str(folder / "head.nii.gz"),
        output_dir=str(folder / "out"),
        device=device,
        brain_extraction="none",
        bias_correction=False,
        refuse_unfit=False,
        views=1,  # as the plain loop
        overwrite=True,
        features=FEATURES,
        blocks=BLOCKS,
        upsampling=UPSAMPLING,
    )
    workflow.initialize()
    return workflow


def run_ours(folder: Path, device: str) -> float:
    """Seconds of the bundle's own inference, mask, picture and side-car included."""
    workflow = make_workflow(folder, device)
    workflow.parser.get_parsed_content("evaluator")
    start = time.perf_counter()
    workflow.run()
    return time.perf_counter() - start


def run_plain(folder: Path, device: str) -> float:
    """Seconds of the same steps around a loop over all slices, fp32, one at a time."""
    workflow = make_workflow(folder, device)
    parser = workflow.parser
    preprocessing = parser.get_parsed_content("preprocessing")
    *back, _ = parser.get_parsed_content("postprocessing").transforms
    network = parser.get_parsed_content("network").eval()
    from scripts.nifti_output import save_volume_like

    path = folder / "head.nii.gz"
    start = time.perf_counter()
    data = preprocessing({"image": str(path)})
    with torch.no_grad():
        parts = [network(data["image"][None, ..., number]) for number in range(SHAPE[2])]
    data["pred"] = data["image"].clone()
    data["pred"][:] = torch.stack([torch.as_tensor(part)[0] for part in parts], dim=-1)
    for step in back:
        data = step(data)
    save_volume_like(data["pred"][0].numpy() * 1000, path, folder / "plain.nii.gz", dtype="int16")
    return time.perf_counter() - start


def run_child(way: str, folder: Path, device: str = "cpu") -> dict[str, float]:
    command = [sys.executable, "-W", "ignore", "-m", "tests.benchmarks.inference", way, str(folder)]
    command.append(device)
    output = subprocess.run(command, cwd=PROJECT, check=True, capture_output=True, text=True)
    return json.loads(output.stdout.splitlines()[-1])


def write_model(folder: Path) -> None:
    from scripts.networks import ResnetGenerator

    torch.manual_seed(0)
    network = ResnetGenerator(
        in_channels=1, out_channels=1, features=FEATURES, blocks=BLOCKS, upsampling=UPSAMPLING
    )
    torch.save(network.state_dict(), folder / "model.pt")


def measure() -> list[dict[str, object]]:
    """Seconds and peak memory of a volume, both ways."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_head(folder / "head.nii.gz")
        write_model(folder)
        plain, ours = (run_child(way, folder) for way in ("plain", "ours"))
    head = f"1 mm head of {SHAPE[2]} slices, {FEATURES} features"
    cores = os.cpu_count()
    return [
        {
            "name": f"inference of a {head}",
            "value": round(ours["seconds"], 1),
            "unit": "seconds",
            "reference": f"goal {GOAL_SECONDS} on two cores; {cores} here; plain loop in fp32 "
            f"{plain['seconds']:.1f}, {plain['seconds'] / ours['seconds']:.1f} times as long",
        },
        {
            "name": f"peak memory of the inference of a {head}",
            "value": round(ours["peak_gb"], 2),
            "unit": "GB",
            "reference": f"goal {GOAL_GB}; plain loop {plain['peak_gb']:.2f}",
        },
    ]


if __name__ == "__main__":
    seconds = {"ours": run_ours, "plain": run_plain}[sys.argv[1]](Path(sys.argv[2]), sys.argv[3])
    peak_gb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    print(json.dumps({"seconds": seconds, "peak_gb": peak_gb}))

"""Runs of the bundle's real inference.json with a small generator."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from monai.bundle import ConfigWorkflow
from scripts.inference.outcomes import Outcome, load_outcomes
from scripts.networks import ResnetGenerator

from tests.inference_config import BUNDLE

SMALL = {"features": 4, "blocks": 1, "upsampling": "resize"}
SYNTHETIC = "sub-01_space-T1w_desc-synthetic_T2w"  # of sub-01_T1w, without an ending


def save_model(folder: Path, name: str = "model.pt", *, seed: int = 0, slices: int = 1) -> Path:
    torch.manual_seed(seed)
    network = ResnetGenerator(in_channels=slices, out_channels=slices, **SMALL)
    folder.mkdir(parents=True, exist_ok=True)
    torch.save(network.state_dict(), folder / name)
    return folder / name


def make_workflow(folder: Path, **overrides: Any) -> ConfigWorkflow:
    settings = {
        "bundle_root": str(BUNDLE),
        "models_dir": str(folder),
        "output_dir": str(folder / "out"),
        "brain_extraction": "none",
        "bias_correction": False,  # more than half of the time of a small head
        "precision": "fp32",
        "progress": False,
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


def run(folder: Path, **overrides: Any) -> list[Outcome]:
    """Run inference and return the rows of its table."""
    workflow = make_workflow(folder, **overrides)
    workflow.initialize()
    workflow.run()
    workflow.finalize()
    return load_outcomes(Path(overrides.get("output_dir", folder / "out")) / "inference.tsv")

"""Run the bundle's own configs in this process, with networks as small as they get."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from monai.bundle import ConfigWorkflow
from scripts.directions import MODEL_FILES
from torch import nn

from tests.slice_dataset_fixture import BUNDLE

CONFIGS = BUNDLE / "configs"
SMALL = {
    "bundle_root": str(BUNDLE),
    "device": "cpu",
    "precision": "fp32",
    "features": 4,
    "blocks": 1,
    "discriminator_features": 4,
    "lambda_identity": 5.0,
    "lambda_structure": 1.0,
    "max_epochs": 2,
    "epoch_length": 3,
    "batch_size": 2,
    "learning_rate_rule": "none",
    "pool_size": 3,
    "ema_decay": 0.5,
    "val_interval": 1,
    "val_slice_step": 6,
    "training_figure_subjects": 1,
    "learning_gif_subjects": 0,
    "log_interval": 2,
    "workers": 0,
    "progress": False,
}


AUGMENTATION = {
    "_target_": "scripts.augmentation.SliceAugmentation",
    "rotation_degrees": 15.0,
    "scale": 0.1,
    "flip_probability": 0.5,
    "plane": "axial",
    "intensity": 0.1,
    "noise_sigma": 0.02,
}


def list_tensors(content: Any, name: str = "") -> dict[str, torch.Tensor]:
    """Name every tensor of nested dicts and lists, such as a checkpoint."""
    if isinstance(content, torch.Tensor):
        return {name: content}
    parts = content.items() if isinstance(content, dict) else enumerate(content)
    return {
        path: leaf
        for key, each in parts
        if isinstance(each, (dict, list, torch.Tensor))
        for path, leaf in list_tensors(each, f"{name}/{key}").items()
    }


def make_workflow(*overlays: str, run_id: str = "training", **options: Any) -> ConfigWorkflow:
    """Initialise train.json with overlays and options, ready to run."""
    torch.set_num_threads(1)  # threads that wait for a shared core cost more than they bring
    files = [str(CONFIGS / name) for name in ("train.json", *overlays)]
    workflow = ConfigWorkflow(
        config_file=files,
        run_id=run_id,
        workflow_type="train",
        logging_file=False,
        **(SMALL | options),
    )
    workflow.initialize()
    return workflow


def train(dataset_dir: Path, output_dir: Path, *overlays: str, **options: Any) -> ConfigWorkflow:
    """Train to the end and return the workflow."""
    workflow = make_workflow(
        *overlays, dataset_dir=str(dataset_dir), output_dir=str(output_dir), **options
    )
    workflow.run()
    return workflow


def find_error(error: pytest.ExceptionInfo[BaseException]) -> str:
    """Join the messages of an error and its causes: MONAI wraps what a component raises."""
    messages, current = [], error.value
    while current is not None:
        messages.append(f"{type(current).__name__}: {current}")
        current = current.__cause__
    return "\n".join(messages)


def count_passes(network: nn.Module) -> list[int]:
    """Return a list that grows by the batch size of each call."""
    sizes: list[int] = []
    network.register_forward_hook(lambda _, inputs, __: sizes.append(len(inputs[0])))
    return sizes


def write_models(folder: Path) -> Path:
    """Empty files where a candidate's generators lie."""
    folder.mkdir(parents=True)
    for name in MODEL_FILES.values():
        (folder / name).touch()
    return folder

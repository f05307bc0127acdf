"""Studies for tests: a small search space, and workers whose trials take no training."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

from scripts.tuning import worker
from scripts.tuning.parameters import suggest_values
from scripts.tuning.search_space import SearchSpace, load_search_space
from scripts.tuning.storage import find_url, open_storage
from scripts.tuning.studies import open_study
from scripts.tuning.trials import TrialSettings

from tests.slice_dataset_fixture import BUNDLE

SPACE: dict[str, Any] = {
    "parameters": {
        "learning_rate": {"type": "float", "low": 1e-4, "high": 1e-3, "log": True},
        "upsampling": {"type": "categorical", "choices": ["resize", "transposed"]},
        "lambda_identity": {
            "type": "float",
            "low": 0.1,
            "high": 5.0,
            "if": {"upsampling": ["resize"]},
        },
        "blocks": {"type": "int", "low": 1, "high": 2},
    },
    "fixed": {
        "features": 4,
        "discriminator_features": 4,
        "batch_size": 2,
        "pool_size": 3,
        "ema_decay": 0.5,
        "precision": "fp32",
    },
    "shortened": {
        "max_epochs": 3,
        "epoch_length": 3,
        "constant_epochs": 3,
        "decay_epochs": 0,
        "val_interval": 1,
        "checkpoint_interval": 3,
        "val_slice_step": 6,
        "training_figure_subjects": 1,
        "learning_gif_subjects": 0,
        "log_interval": 2,
        "models_kept": 1,
        "workers": 0,
    },
    "objectives": ["t2w_ssim"],
    "sampler": {"_target_": "optuna.samplers.TPESampler", "n_startup_trials": 4},
    "pruner": {"_target_": "optuna.pruners.MedianPruner", "n_startup_trials": 2},
}


def write_space(path: Path, **changes: Any) -> Path:
    """A search space with other entries; None leaves one out."""
    content = {key: value for key, value in (SPACE | changes).items() if value is not None}
    path.write_text(json.dumps(content))
    return path


def load_space(path: Path, **changes: Any) -> tuple[SearchSpace, str]:
    return load_search_space(write_space(path, **changes), BUNDLE / "configs")


def work_quickly(folder: Path, data: Path, storage: str, trials: int, seconds: float) -> None:
    """A worker whose trials only note that they ran, in `folder/ran`."""

    def run_quickly(trial: Any, settings: TrialSettings) -> tuple[float, ...]:
        chosen = suggest_values(settings.space.parameters, trial)
        with (folder / "ran").open("a") as file:
            file.write(f"{trial.number} {os.getpid()}\n")
        time.sleep(seconds)
        return (chosen["learning_rate"],)

    worker.run_trial = run_quickly  # type: ignore[assignment]
    worker.WAIT_S = 0.2
    space, content = load_search_space(folder / "space.json", BUNDLE / "configs")
    url = find_url(storage, folder)
    opened = open_storage(url, heartbeat_s=1)
    configs = BUNDLE / "configs"
    study = open_study("quick", opened, space, content=content, dataset_dir=data, configs=configs)
    settings = TrialSettings(space, BUNDLE, folder, data, "cpu")
    worker.work(study, opened, url, settings, trials=trials, timeout_s=None, seed=0)

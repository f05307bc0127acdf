"""Steps that a median pruner saves: the same proposals with it and without."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pandas as pd
from scripts import tune

from tests.forked_processes import get_forking_context
from tests.slice_dataset_fixture import write_slice_dataset
from tests.tuning_runs import SPACE, write_space

TRIALS = 16
EPOCHS = 8
PRUNER = {"_target_": "optuna.pruners.MedianPruner", "n_startup_trials": 4, "n_warmup_steps": 2}


def run_study(folder: Path, data: Path, pruner: dict[str, object] | None) -> pd.DataFrame:
    """Trials of a random search, whose proposals do not depend on what was pruned."""
    folder.mkdir()
    longer = {"max_epochs": EPOCHS, "constant_epochs": EPOCHS, "checkpoint_interval": EPOCHS}
    space = write_space(
        folder / "space.json",
        pruner=pruner,
        sampler={"_target_": "optuna.samplers.RandomSampler"},
        shortened={**SPACE["shortened"], **longer},
    )
    options = {"study": "study", "n_trials": TRIALS, "space": str(space)}
    tune.run(**options, dataset_dir=str(data), output_dir=str(folder), device="cpu")
    return pd.read_csv(folder / "study" / "trials.csv")


def measure() -> list[dict[str, object]]:
    """Share of the steps that were run, and what was found."""
    get_forking_context()
    with tempfile.TemporaryDirectory() as name:
        data = write_slice_dataset(Path(name) / "blobs")
        whole = run_study(Path(name) / "whole", data, None)
        pruned = run_study(Path(name) / "pruned", data, PRUNER)
    best = {
        key: table.loc[table["state"] == "finished", "t2w_ssim"].max()
        for key, table in (("whole", whole), ("pruned", pruned))
    }
    finished = int((pruned["state"] == "finished").sum())
    return [
        {
            "name": "steps of a study with a median pruner over those without",
            "value": round(float(pruned["epoch"].sum() / whole["epoch"].sum()), 2),
            "unit": "times",
            "reference": f"{TRIALS} equal proposals, {EPOCHS} epochs; {finished} finished; "
            f"best T2w SSIM {best['pruned']:.3f} against {best['whole']:.3f} without",
        }
    ]

"""Recipes trained to the end with several seeds, and evaluated on all validation subjects."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scripts.tuning.search_space import CHOSEN_ON
from scripts.tuning.trial_process import running_trial
from scripts.whole_files import write_text

logger = logging.getLogger(__name__)

RECIPE = "recipe.json"
EVALUATION = "evaluation"
# Nothing but paired figures is compared.
EVALUATED = {"evaluated_split": CHOSEN_ON, "segmenter_steps": 0, "unpaired_slices": 0}


@dataclass(frozen=True)
class FullTraining:
    """One recipe trained with one seed.

    Attributes:
        recipe: its name.
        seed: of the training.
        folder: that it writes to.
    """

    recipe: str
    seed: int
    folder: Path


@dataclass(frozen=True)
class Confirmation:
    """What is compared.

    Attributes:
        recipes: overlays of train.json by name; "default" is train.json itself.
        seeds: each recipe is trained with each.
        folder: for trainings and results.
        bundle: folder of the bundle.
        dataset_dir: slice dataset.
        overrides: of every training, as for a shorter length of all.
    """

    recipes: Mapping[str, Mapping[str, Any]]
    seeds: Sequence[int]
    folder: Path
    bundle: Path
    dataset_dir: Path
    overrides: Mapping[str, Any]

    def list_trainings(self) -> list[FullTraining]:
        """All of them, seed by seed, so that early results compare recipes."""
        return [
            FullTraining(name, seed, self.folder.resolve() / name / f"seed_{seed}")
            for seed in self.seeds
            for name in self.recipes
        ]


def train_all(confirmation: Confirmation) -> None:
    """Train and evaluate every recipe with every seed; what is done is not done again.

    Raises:
        TrialError: a training failed.
        ValueError: a folder holds a training of another recipe.
    """
    trainings = confirmation.list_trainings()
    for number, training in enumerate(trainings, start=1):
        done = training.folder / EVALUATION / "report.html"  # what an evaluation writes last
        write_recipe(training.folder / RECIPE, describe_training(confirmation, training))
        words = f"{training.recipe}, seed {training.seed} ({number} of {len(trainings)})"
        logger.info("%s: %s", words, "done before" if done.is_file() else "training")
        if not done.is_file():
            _train(confirmation, training)
            _evaluate(confirmation, training)


def describe_training(confirmation: Confirmation, training: FullTraining) -> dict[str, Any]:
    """All that its result depends on, as an overlay of train.json."""
    recipe = confirmation.recipes[training.recipe]
    return {**recipe, **confirmation.overrides, "seed": training.seed}


def write_recipe(path: Path, recipe: Mapping[str, Any]) -> None:
    """Note what is trained in a folder, or check that it is what was trained there before."""
    if path.is_file() and json.loads(path.read_text(encoding="utf-8")) != recipe:
        raise ValueError(
            f"{path}: another recipe was trained here. Choose another --output_dir, or move the "
            "folder away."
        )
    write_text(path, json.dumps(recipe, indent=4) + "\n")


def _name_files(confirmation: Confirmation, training: FullTraining, *others: str) -> list[Path]:
    configs = confirmation.bundle / "configs"
    return [configs / "train.json", training.folder / RECIPE, *(configs / name for name in others)]


def _name_places(confirmation: Confirmation, training: FullTraining) -> dict[str, Any]:
    return {
        "bundle_root": str(confirmation.bundle),
        "dataset_dir": str(confirmation.dataset_dir.resolve()),
        "output_dir": str(training.folder),
    }


def _train(confirmation: Confirmation, training: FullTraining) -> None:
    files = _name_files(confirmation, training)
    options = {**_name_places(confirmation, training), "resume": True}
    with running_trial(files, options, bundle=confirmation.bundle, judged=False) as running:
        running.wait()


def _evaluate(confirmation: Confirmation, training: FullTraining) -> None:
    files = _name_files(confirmation, training, "evaluate.json")
    options = {**_name_places(confirmation, training), **EVALUATED}
    with running_trial(
        files, options, bundle=confirmation.bundle, run_id="evaluate", judged=False
    ) as running:
        running.wait()

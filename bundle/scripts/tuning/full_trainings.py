"""Recipes trained to the end with several seeds, and evaluated on all validation subjects."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from scripts.tuning.search_space import CHOSEN_ON
from scripts.tuning.trial_process import LOG, TrialError, running_trial
from scripts.whole_files import write_text

logger = logging.getLogger(__name__)

RECIPE = "recipe.json"
EVALUATION = "evaluation"
LAST_WRITTEN = "report.html"  # of an evaluation
WAIT_S = 10.0  # between two looks at what other workers do
# Nothing but paired figures is compared.
EVALUATED = {"segmenter_steps": 0, "unpaired_slices": 0}


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

    def __str__(self) -> str:
        return f"{self.recipe}, seed {self.seed}"


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
        device: of the trainings; "" for the config's own.
    """

    recipes: Mapping[str, Mapping[str, Any]]
    seeds: Sequence[int]
    folder: Path
    bundle: Path
    dataset_dir: Path
    overrides: Mapping[str, Any]
    device: str = ""

    def list_trainings(self) -> list[FullTraining]:
        """All of them, seed by seed, so that early results compare recipes."""
        return [
            FullTraining(name, seed, self.folder.resolve() / name / f"seed_{seed}")
            for seed in self.seeds
            for name in self.recipes
        ]


def train_all(confirmation: Confirmation) -> set[str]:
    """Train and evaluate every recipe with every seed, beside other workers that do the same.

    What is done is not done again.

    Returns:
        Recipes of which a training failed, which cannot be compared.

    Raises:
        ValueError: a folder holds a training of another recipe.
    """
    waiting, failed = confirmation.list_trainings(), set()
    for training in waiting:
        write_recipe(training.folder / RECIPE, describe_training(confirmation, training))
    while waiting:
        for training in list(waiting):
            try:
                with FileLock(training.folder / ".lock", timeout=0):
                    _train_one(confirmation, training)
            except Timeout:
                continue  # another worker is at it
            except TrialError as error:
                reason = str(error).rstrip(".")
                logger.error("%s: %s. See %s", training, reason, training.folder / LOG)
                failed.add(training.recipe)
            waiting.remove(training)
        if waiting:
            time.sleep(WAIT_S)
    return failed


def _train_one(confirmation: Confirmation, training: FullTraining) -> None:
    if (training.folder / EVALUATION / LAST_WRITTEN).is_file():
        logger.info("%s: done", training)
        return
    logger.info("%s: training", training)
    _train(confirmation, training)
    _evaluate(confirmation, training)


def describe_training(confirmation: Confirmation, training: FullTraining) -> dict[str, Any]:
    """All that its result depends on, as an overlay of train.json."""
    recipe = {k: v for k, v in confirmation.recipes[training.recipe].items() if k != "_desc_"}
    return {**recipe, **confirmation.overrides, "seed": training.seed}


def write_recipe(path: Path, recipe: Mapping[str, Any]) -> None:
    """Note what is trained in a folder, or check that it is what was trained there before.

    What was noted of a training that left nothing is noted anew.
    """
    is_begun = any(path.parent.glob("checkpoint_*.pt"))
    if is_begun and json.loads(path.read_text(encoding="utf-8")) != recipe:
        raise ValueError(
            f"{path.parent}: another recipe was trained in this folder, or with other --overrides. "
            "Move it away to train this one."
        )
    write_text(path, json.dumps(recipe, indent=4) + "\n")


def _name_files(confirmation: Confirmation, training: FullTraining, *others: str) -> list[Path]:
    configs = confirmation.bundle / "configs"
    return [configs / "train.json", training.folder / RECIPE, *(configs / name for name in others)]


def _name_places(confirmation: Confirmation, training: FullTraining) -> dict[str, Any]:
    places = {
        "bundle_root": str(confirmation.bundle),
        "dataset_dir": str(confirmation.dataset_dir.resolve()),
        "output_dir": str(training.folder),
        "evaluated_split": CHOSEN_ON,
    }
    return places | ({"device": confirmation.device} if confirmation.device else {})


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

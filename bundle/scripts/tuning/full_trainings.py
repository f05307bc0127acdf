"""Recipes trained to the end, and evaluated on all subjects of a part of the dataset."""

from __future__ import annotations

import hashlib
import json
import logging
import time
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from scripts.checksums import compute_sha256_once
from scripts.config_references import load_config, without_description
from scripts.tuning.search_space import CHOSEN_ON
from scripts.tuning.trial_process import LOG, TrialError, running_trial
from scripts.whole_files import write_text

logger = logging.getLogger(__name__)

RECIPE = "recipe.json"
ORIGIN = "origin.json"  # what else the figures of a training depend on
EVALUATION = "evaluation"
LAST_WRITTEN = "report.html"  # of an evaluation
# Options that a training and its evaluation are given here.
FOLDERS = ("bundle_root", "dataset_dir", "output_dir", "models_dir", "evaluation_dir")
PLACES = (*FOLDERS, "evaluated_split", "device")
WAIT_S = 10.0  # between two looks at what other workers do


@dataclass(frozen=True)
class FullTraining:
    """One recipe trained with one seed on one dataset.

    Attributes:
        recipe: its name.
        overlay: of train.json, all that the result depends on.
        seed: of the training.
        folder: that it writes to.
        dataset_dir: slice dataset.
        split: part of it that is evaluated in the end.
    """

    recipe: str
    overlay: Mapping[str, Any]
    seed: int
    folder: Path
    dataset_dir: Path
    split: str = CHOSEN_ON

    @property
    def evaluation(self) -> Path:
        """Folder of its figures, of which each part has its own."""
        return self.folder / (
            EVALUATION if self.split == CHOSEN_ON else f"{EVALUATION}_{self.split}"
        )

    def __str__(self) -> str:
        return f"{self.recipe}, seed {self.seed}, {self.dataset_dir.name}"


@dataclass(frozen=True)
class TrainingPlace:
    """What all trainings of a comparison share.

    Attributes:
        bundle: folder of the bundle.
        device: of the trainings; "" for the config's own.
        evaluated: options of evaluate.json, without `PLACES`.
    """

    bundle: Path
    device: str = ""
    evaluated: Mapping[str, Any] = field(default_factory=dict)


def train_all(trainings: Sequence[FullTraining], place: TrainingPlace) -> set[str]:
    """Train and evaluate, beside other workers that do the same; what is done is not done again.

    Returns:
        Recipes of which a training failed, which cannot be compared.

    Raises:
        ValueError: a folder holds a training of another recipe, or on another dataset.
    """
    waiting, failed = list(trainings), set()
    for training in waiting:
        check_begun(training, place)
    while waiting:
        for training in list(waiting):
            try:
                with FileLock(training.folder / ".lock", timeout=0):
                    _train_one(training, place, left=f"{len(waiting)} of {len(trainings)} left")
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


def _train_one(training: FullTraining, place: TrainingPlace, *, left: str) -> None:
    if (training.evaluation / LAST_WRITTEN).is_file():
        check_begun(training, place)  # another worker may have been at it with another plan
        logger.info("%s: done", training)
        return
    note_origin(training, place)
    logger.info("%s: training, %s", training, left)
    start = time.monotonic()
    _train(training, place)
    _evaluate(training, place)
    logger.info("%s: trained and evaluated in %.0f min", training, (time.monotonic() - start) / 60)


def note_origin(training: FullTraining, place: TrainingPlace) -> None:
    """Note what is trained in a folder, which is locked, unless that is noted already.

    What was noted of a training that left nothing is noted anew.
    """
    check_begun(training, place)
    for name, content in _describe_origin(training, place).items():
        write_text(training.folder / name, json.dumps(content, indent=4) + "\n")


def check_begun(training: FullTraining, place: TrainingPlace) -> None:
    """Fail if another training has left something in the folder of this one.

    Options of the evaluation are compared where there is one.
    """
    evaluations = list(training.folder.glob(f"{EVALUATION}*"))
    if not evaluations and not list(training.folder.glob("checkpoint_*.pt")):
        return
    ignored: set[str] = set() if evaluations else {"evaluated"}
    for name, content in _describe_origin(training, place).items():
        path = training.folder / name
        if not path.is_file():
            raise ValueError(
                f"{training.folder}: holds a training, but no {name} that says which. Move the "
                "folder away to train this one."
            )
        noted = json.loads(path.read_text(encoding="utf-8"))
        if _leave_out(noted, ignored) != _leave_out(content, ignored):
            raise ValueError(
                f"{training.folder}: {name} says that another recipe was trained in this folder, "
                "or with other --overrides or defaults, on another dataset, or evaluated with "
                f"other options. Expected {json.dumps(content)}. Move the folder away to train "
                "this one."
            )


def _leave_out(content: Mapping[str, Any], names: Set[str]) -> dict[str, Any]:
    return {name: value for name, value in content.items() if name not in names}


def _describe_origin(training: FullTraining, place: TrainingPlace) -> dict[str, Any]:
    dataset = compute_sha256_once(training.dataset_dir / "slices.parquet")
    return {
        RECIPE: dict(training.overlay),
        ORIGIN: {
            "slices_sha256": dataset,
            "defaults_sha256": _hash_defaults(place.bundle / "configs"),
            "evaluated": dict(place.evaluated),
        },
    }


def _hash_defaults(configs: Path) -> str:
    """Of what the overlay lies upon, without the words for people."""
    names = ("train.json", "evaluate.json")
    defaults = [without_description(load_config(configs / name)) for name in names]
    return hashlib.sha256(json.dumps(defaults, sort_keys=True).encode()).hexdigest()


def _name_files(training: FullTraining, place: TrainingPlace, *others: str) -> list[Path]:
    configs = place.bundle / "configs"
    return [configs / "train.json", training.folder / RECIPE, *(configs / name for name in others)]


def _name_places(training: FullTraining, place: TrainingPlace, split: str) -> dict[str, Any]:
    places = {
        "bundle_root": str(place.bundle),
        "dataset_dir": str(training.dataset_dir.resolve()),
        "output_dir": str(training.folder),
        "evaluated_split": split,
    }
    return places | ({"device": place.device} if place.device else {})


def _train(training: FullTraining, place: TrainingPlace) -> None:
    """Choose on validation, whatever is evaluated afterwards."""
    files = _name_files(training, place)
    options = {**_name_places(training, place, CHOSEN_ON), "resume": True}
    with running_trial(files, options, bundle=place.bundle, judged=False) as running:
        running.wait()


def _evaluate(training: FullTraining, place: TrainingPlace) -> None:
    files = _name_files(training, place, "evaluate.json")
    options = {
        **_name_places(training, place, training.split),
        "evaluation_dir": str(training.evaluation),
        **place.evaluated,
    }
    with running_trial(
        files, options, bundle=place.bundle, run_id="evaluate", judged=False
    ) as running:
        running.wait()

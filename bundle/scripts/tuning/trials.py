"""One trial: values for the hyperparameters, a training with them, and what it is worth."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
from optuna.trial import Trial

from scripts.tuning.objectives import check_measured, find_values
from scripts.tuning.parameters import suggest_values
from scripts.tuning.search_space import CHOSEN_ON, SearchSpace
from scripts.tuning.storage import REPEATED
from scripts.tuning.trial_process import TrialError, Validation, running_trial
from scripts.whole_files import write_text

OVERRIDES = "overrides.json"
WATCHED = "tuning/trial.json"
WEIGHTS = (
    *("checkpoint_*.pt", "model*.pt", "best/*/model*.pt", ".unfinished-*"),
    *("discriminators/*.pt", "discriminators/sizes.json"),
    *("trained_images.json", "best/*/trained_images.json"),
)
BEGUN, EPOCHS, REASON, SECONDS = "begun", "epochs", "reason", "seconds"  # attributes of a trial


@dataclass(frozen=True)
class TrialSettings:
    """What all trials of a study share.

    Attributes:
        space: what is searched.
        bundle: folder of the bundle.
        folder: of the study; trials get folders in it.
        dataset_dir: slice dataset.
        device: of the training; "" for the config's own.
        keeps_weights: whether trials leave checkpoints and models, several hundred MB each.
    """

    space: SearchSpace
    bundle: Path
    folder: Path
    dataset_dir: Path
    device: str
    keeps_weights: bool = False

    def name_folder(self, number: int) -> Path:
        """Where a trial writes."""
        return self.folder.resolve() / "trials" / f"{number:04d}"


def run_trial(trial: Trial, settings: TrialSettings) -> tuple[float, ...]:
    """Train with values that the study proposes.

    Returns:
        The values of the objectives.

    Raises:
        TrialPruned: the study gave it up.
        TrialError: it failed; the trial's attribute `reason` says why.
    """
    started = time.monotonic()
    try:
        chosen = suggest_values(settings.space.parameters, trial)
        values = _train(trial, chosen, settings)
    except (TrialError, ValueError) as error:
        trial.set_user_attr(REASON, str(error))
        raise TrialError(str(error)) from error
    finally:
        if not settings.keeps_weights:
            before = trial.study.trials[trial.number].system_attrs.get(REPEATED)
            for number in (trial.number, *(() if before is None else (before,))):
                remove_weights(settings.name_folder(number))
        trial.set_user_attr(SECONDS, round(time.monotonic() - started, 1))
    return values


def remove_weights(folder: Path) -> None:
    """Remove models and checkpoints from a trial; its log, events and overrides stay."""
    for pattern in WEIGHTS:
        for path in folder.glob(pattern):
            path.unlink()
    with suppress(OSError):  # it is not there, or holds something else
        (folder / "discriminators").rmdir()


def _train(trial: Trial, chosen: Mapping[str, Any], settings: TrialSettings) -> tuple[float, ...]:
    started = time.monotonic()
    space, folder = settings.space, settings.name_folder(trial.number)
    overlay = folder / OVERRIDES
    write_text(overlay, json.dumps(describe_trial(chosen, settings), indent=4) + "\n")
    configs = settings.bundle / "configs"
    names = ("train.json", *space.overlays)
    files = [*(configs / name for name in names), overlay, configs / WATCHED]
    validations: dict[int, Mapping[str, float]] = {}
    size = 0
    with running_trial(files, name_places(trial.number, settings), bundle=settings.bundle) as told:
        for validation in told:
            validations[validation.epoch], size = validation.figures, validation.parameters
            trial.set_user_attr(EPOCHS, validation.epoch)
            stop = is_hopeless(trial, validation, space)
            told.answer(stop=stop)
            if stop:
                raise optuna.TrialPruned(f"after epoch {validation.epoch}")
    costs = {"generator_parameters": size, "seconds": time.monotonic() - started}
    return tuple(find_values(space.objectives, validations, costs))


def describe_trial(chosen: Mapping[str, Any], settings: TrialSettings) -> dict[str, Any]:
    """An overlay by which the trial can be run again alone."""
    space = settings.space
    return {**space.fixed, **space.shortened, **space.choice, **chosen}


def name_places(number: int, settings: TrialSettings) -> dict[str, Any]:
    """Where a trial reads and writes, and on which device it trains."""
    places = {
        "bundle_root": str(settings.bundle),
        "dataset_dir": str(settings.dataset_dir.resolve()),
        "output_dir": str(settings.name_folder(number)),
        "evaluated_split": CHOSEN_ON,
    }
    return places | ({"device": settings.device} if settings.device else {})


def is_hopeless(trial: Trial, validation: Validation, space: SearchSpace) -> bool:
    """Report a validation to the study, and ask whether the trial is worth going on with.

    One whose training is done has finished: there is nothing left to save.

    Raises:
        ValueError: an objective was not measured.
    """
    check_measured(space.objectives, validation.figures)
    value = validation.figures[space.objectives[0].name]
    if len(space.objectives) > 1 or not math.isfinite(value):
        return False
    trial.report(value, validation.epoch)
    return not validation.is_last and trial.should_prune()

"""What a study leaves behind: tables, recipes and pages."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

from optuna.study import Study
from optuna.trial import FrozenTrial

from scripts.tuning.consensus import WARNING, Finished, compute_consensus, merge_equal
from scripts.tuning.search_space import SearchSpace
from scripts.tuning.study_pages import write_pages
from scripts.tuning.trial_table import list_finished, make_table
from scripts.whole_files import write_text

logger = logging.getLogger(__name__)

TABLE, BEST, CONSENSUS = "trials.csv", "best.json", "consensus.json"
FRONT, PAGES = "front", "pages"  # folders


def write_results(
    study: Study, space: SearchSpace, folder: Path, configs: Path, *, threshold: float
) -> Path:
    """Write `trials.csv`, `best.json`, `consensus.json` and `pages/index.html`.

    With several objectives there is no best: `front/trial_0003.json` holds each trial that no
    other beats in all of them.

    Args:
        study: with its trials.
        space: that it searches.
        folder: of the study.
        configs: folder of the bundle's configs.
        threshold: on the objective, of the trials of which the consensus is made.

    Returns:
        The page.
    """
    table = make_table(study, space)
    write_text(folder / TABLE, table.to_csv(index=False))
    finished = list_finished(study)
    had_consensus = (folder / CONSENSUS).is_file()
    for old in (folder / CONSENSUS, *(folder / FRONT).glob("trial_*.json")):
        old.unlink(missing_ok=True)  # of an earlier report
    if finished and len(space.objectives) == 1:
        write_overlay(folder / BEST, describe_recipe(study.best_trial, study, space, configs))
        write_consensus(study, space, folder / CONSENSUS, configs, threshold=threshold)
    elif finished:
        for trial in study.best_trials:
            overlay = describe_recipe(trial, study, space, configs)
            write_overlay(folder / FRONT / f"trial_{trial.number:04d}.json", overlay)
    if had_consensus and not (folder / CONSENSUS).is_file():
        logger.warning("%s of an earlier report is removed.", folder / CONSENSUS)
    return write_pages(study, space, folder / PAGES, table)


def write_overlay(path: Path, content: dict[str, Any]) -> None:
    """Write an overlay of train.json."""
    write_text(path, json.dumps(content, indent=4) + "\n")


def describe_recipe(
    trial: FrozenTrial, study: Study, space: SearchSpace, configs: Path
) -> dict[str, Any]:
    """A finished trial as an overlay of train.json, whose own length it leaves as it is."""
    values = ", ".join(
        f"{objective.name} {value:.4g}"
        for objective, value in zip(space.objectives, trial.values, strict=True)
    )
    words = f"overlay of train.json, trial {trial.number} of the study {study.study_name}"
    found = f"{values} on validation subjects after a short training"
    desc = {"_desc_": f"{words}: {found}; not confirmed"}
    return desc | space.read_recipe(configs) | space.read_chosen(trial)


def write_consensus(
    study: Study, space: SearchSpace, path: Path, configs: Path, *, threshold: float
) -> None:
    """Write the consensus of a study, or log why there is none."""
    if space.objectives[0].direction == "minimize":
        logger.info("No consensus: its weights are objectives that are the better the larger.")
        return
    trials = [
        Finished(float(trial.value), space.read_chosen(trial))
        for trial in list_finished(study)
        if trial.value is not None
    ]
    distinct = merge_equal(trials)
    try:
        found = compute_consensus(distinct, space.parameters, threshold=threshold)
    except ValueError as error:
        logger.info("No consensus: %s", error)
        return
    used = sum(trial.value > threshold for trial in distinct)
    described = f"{used} different recipes above {threshold:g} of {len(trials)} finished trials"
    desc = {"_desc_": f"{WARNING} Made of {described}."}
    write_overlay(path, desc | space.read_recipe(configs) | found)


def select_recipes(
    study: Study, space: SearchSpace, configs: Path, *, top: int
) -> dict[str, dict[str, Any]]:
    """The best different recipes of a study by name, or of several objectives the front's first.

    Raises:
        ValueError: no trial has finished.
    """
    finished = list(list_finished(study))
    if top and not finished:
        raise ValueError(f"study {study.study_name}: no trial has finished. Run more of them.")
    if len(space.objectives) > 1:
        finished = study.best_trials
    sign = 1.0 if space.objectives[0].direction == "minimize" else -1.0
    finished.sort(key=lambda trial: sign * float(trial.values[0]))
    found: dict[str, dict[str, Any]] = {}
    for trial in finished:
        recipe = space.read_recipe(configs) | space.read_chosen(trial)
        if recipe not in found.values() and len(found) < top:
            found[f"trial_{trial.number:04d}"] = recipe
    return found

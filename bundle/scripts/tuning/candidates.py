"""Whether candidates can be confirmed: on which data, by how many seeds, and which are left."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

from optuna.study import Study

from scripts.slice_tables import read_slices
from scripts.tuning.confirmation import DEFAULT, FEWEST_SEEDS, Confirmation
from scripts.tuning.search_space import CHOSEN_ON
from scripts.tuning.studies import DATA, hash_dataset

logger = logging.getLogger(__name__)


def check_confirmable(study: Study, dataset_dir: Path) -> None:
    """Raise ValueError where there is nothing to compare on, or the study is of other data."""
    if study.user_attrs.get(DATA) != hash_dataset(dataset_dir):
        raise ValueError(f"{dataset_dir}: study {study.study_name} was begun on other data.")
    slices = read_slices(dataset_dir, split=CHOSEN_ON)
    if not ((slices["contrast"] == "T2w") & (slices["space"] == "T1w")).any():
        raise ValueError(
            f"{dataset_dir}: no registered pair in the validation part. Recipes are compared by "
            "figures of pairs only; without them look at evaluations of single trainings."
        )


def announce_trainings(confirmation: Confirmation) -> None:
    """Say what will be trained, and warn where it cannot confirm anything."""
    slices = read_slices(confirmation.dataset_dir, split=CHOSEN_ON)
    subjects = slices.loc[slices["space"] == "T1w", "subject_id"].nunique()
    logger.info(
        "%d trainings (%d recipes, %d seeds), compared on %d validation subjects",
        len(confirmation.list_trainings()),
        *(len(confirmation.recipes), len(confirmation.seeds), subjects),
    )
    if subjects < 2 or len(confirmation.seeds) < FEWEST_SEEDS:
        logger.warning(
            "No recipe can be confirmed so: that takes 2 validation subjects and %d seeds.",
            FEWEST_SEEDS,
        )


def leave_out(confirmation: Confirmation, failed: set[str]) -> Confirmation:
    """The same without recipes whose training failed; ValueError where the default's did."""
    kept = {name: each for name, each in confirmation.recipes.items() if name not in failed}
    if DEFAULT in failed or len(kept) < 2:
        raise ValueError(
            f"trainings failed of {', '.join(sorted(failed))}; nothing is left to compare. The log "
            "above says why; run the same command again to try again."
        )
    return replace(confirmation, recipes=kept)

"""Tuned recipes against the default: better beyond the chance of subjects and seeds, or not."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from scripts.config_references import without_description
from scripts.evaluation.evaluation_folders import load_evaluations
from scripts.evaluation.figure_tables import without_nan
from scripts.evaluation.side_by_side import FORMAT_VERSION
from scripts.evaluation.statistics import SMALLEST_FOR_P, compare_models, summarise_figures
from scripts.report.comparison_page import format_csv, format_text, render_page
from scripts.tuning.full_trainings import FullTraining
from scripts.tuning.objectives import Objective
from scripts.whole_files import write_text

DEFAULT = "default"
FIGURES = ("ssim", "psnr", "mae")
FEWEST_SEEDS = 3  # of which something can be said
# Nothing but paired figures is compared.
EVALUATED = {"segmenter_steps": 0, "unpaired_slices": 0}


@dataclass(frozen=True)
class Confirmation:
    """What is compared.

    Attributes:
        recipes: overlays of train.json by name; "default" is train.json itself.
        seeds: each recipe is trained with each.
        folder: for trainings and results.
        dataset_dir: slice dataset.
        overrides: of every training, as for a shorter length of all.
    """

    recipes: Mapping[str, Mapping[str, Any]]
    seeds: Sequence[int]
    folder: Path
    dataset_dir: Path
    overrides: Mapping[str, Any]

    def list_trainings(self) -> list[FullTraining]:
        """All of them, seed by seed, so that early results compare recipes."""
        return [
            FullTraining(
                recipe=name,
                overlay={**without_description(recipe), **self.overrides, "seed": seed},
                seed=seed,
                folder=self.folder.resolve() / name / f"seed_{seed}",
                dataset_dir=self.dataset_dir,
            )
            for seed in self.seeds
            for name, recipe in self.recipes.items()
        ]


def compare_recipes(confirmation: Confirmation, *, seed: int) -> dict[str, Any]:
    """Figures of every recipe, mean over its seeds, and differences to the default.

    Args:
        confirmation: all of whose trainings are done.
        seed: of the bootstrap.

    Returns:
        What `scripts.compare` gives for evaluations.
    """
    trainings = confirmation.list_trainings()
    folders = [training.evaluation for training in trainings]
    evaluations = load_evaluations(folders, figures=FIGURES)
    first = evaluations[0]
    tables = [first.table[first.table["kind"] != "model"]]
    for training, evaluation in zip(trainings, evaluations, strict=True):
        tables.append(_label(evaluation.table, training))
    table = pd.concat(tables, ignore_index=True)
    tuned = [name for name in confirmation.recipes if name != DEFAULT]
    differences = compare_models(table, FIGURES, models=tuned, others=[DEFAULT], seed=seed)
    return {
        "format_version": FORMAT_VERSION,
        "figures": list(FIGURES),
        "seed": seed,
        "smallest_for_p": SMALLEST_FOR_P,
        "evaluations": [_describe(confirmation, name, first) for name in confirmation.recipes],
        "rows": without_nan(summarise_figures(table, FIGURES, seed=seed)),
        "differences": without_nan(differences),
        "by_seed": _compare_seeds(table, confirmation),
    }


def _label(table: pd.DataFrame, training: FullTraining) -> pd.DataFrame:
    """The model's rows; a seed is one more session of a subject, over which means are taken."""
    model = table[table["kind"] == "model"].copy()
    model["model"] = training.recipe
    model["session"] = model["session"] + f" seed {training.seed}"
    return model


def _describe(confirmation: Confirmation, name: str, first: Any) -> dict[str, Any]:
    subjects, sessions = first.table["subject_id"].nunique(), len(first.sessions)
    left_out = {"label": name, "subjects": 0, "sessions": 0}
    left_out |= {"of_subjects": subjects, "of_sessions": sessions}
    label = f"{name} (seeds {', '.join(map(str, confirmation.seeds))})"
    return {
        "label": label,
        "split": first.split,
        "datasets": list(first.datasets),
        "left_out": left_out,
    }


def _compare_seeds(table: pd.DataFrame, confirmation: Confirmation) -> list[dict[str, Any]]:
    """Mean over subjects of each recipe's figures for each seed: how much is chance."""
    keys = ["model", "comparison"]
    rows: list[dict[str, Any]] = []
    for seed in confirmation.seeds:
        part = table[table["session"].str.endswith(f" seed {seed}")]
        subjects = part.groupby([*keys, "dataset", "subject_id"], sort=False)[list(FIGURES)].mean()
        means = subjects.groupby(level=keys, sort=False).mean()
        found: Any = means.reset_index().to_dict(orient="records")
        rows += [{"seed": seed, **row} for row in found]
    return rows


def find_decisive(objective: Objective) -> tuple[str, str]:
    """Comparison and figure that decide: the objective's own, or SSIM of the contrast it is of."""
    comparison, _, figure = objective.name.partition("_")
    return comparison, figure if figure in FIGURES else FIGURES[0]


def find_better(content: Mapping[str, Any], *, comparison: str, figure: str) -> list[str]:
    """Recipes that are better than the default beyond the chance of subjects and of seeds.

    The 95 % interval of the mean difference over subjects must exclude 0, and so must Student's
    over the seeds, whose level is shared among the recipes (Bonferroni): a seed moves all subjects
    alike, so that many subjects do not tell it from a gain.

    Args:
        content: from `compare_recipes`.
        comparison: "t2w" or "t1w", the contrast that is made.
        figure: that decides.
    """
    sign = -1.0 if figure == "mae" else 1.0
    found = [
        row
        for row in content["differences"]
        if (row["comparison"], row["figure"]) == (comparison, figure)
        and row["low"] is not None  # as of a single subject
        and min(sign * row["low"], sign * row["high"]) > 0
    ]
    means = {
        (row["model"], row["seed"]): sign * row[figure]
        for row in content["by_seed"]
        if row["comparison"] == comparison
    }
    seeds = {seed for _, seed in means}
    recipes = {model for model, _ in means} - {DEFAULT}
    better = [
        row
        for row in found
        if is_above_chance(
            [means[row["model"], seed] - means[DEFAULT, seed] for seed in seeds],
            level=1 - 0.05 / len(recipes),
        )
    ]
    ranked = sorted(better, key=lambda row: -sign * row["mean"])
    return [row["model"] for row in ranked]


def is_above_chance(differences: Sequence[float], *, level: float) -> bool:
    """Whether Student's two-sided interval of the mean lies above 0; never of fewer than three."""
    if len(differences) < FEWEST_SEEDS:
        return False
    spread = float(np.std(differences, ddof=1)) / math.sqrt(len(differences))
    quantile = float(stats.t.ppf((1 + level) / 2, len(differences) - 1))
    return float(np.mean(differences)) > quantile * spread


def write_confirmation(
    content: Mapping[str, Any], confirmation: Confirmation, *, comparison: str, figure: str
) -> str:
    """Write `confirmation.html`, `.csv` and `.json`, and `confirmed.json` where a recipe is better.

    Returns:
        The table, and the verdict in a sentence.
    """
    folder, shown = confirmation.folder, dict(content)
    better = find_better(content, comparison=comparison, figure=figure)
    write_text(folder / "confirmation.html", render_page(shown))
    write_text(folder / "confirmation.csv", format_csv(shown))
    write_text(folder / "confirmation.json", json.dumps(shown, indent=1, allow_nan=False) + "\n")
    confirmed = folder / "confirmed.json"
    if better:
        desc = {"_desc_": f"overlay of train.json: better than the default, see {folder.name}"}
        recipe = without_description(confirmation.recipes[better[0]])
        write_text(confirmed, json.dumps(desc | recipe, indent=4) + "\n")
        verdict = f"{better[0]} is better than the default: {confirmed}"
    else:
        confirmed.unlink(missing_ok=True)
        verdict = "No recipe is shown to be better than the default. Keep the default."
    return f"{format_text(shown)}\n\n{verdict}\nWritten: {folder / 'confirmation.html'}"

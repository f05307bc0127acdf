"""Figures of an ablation: each row over seeds and datasets, beside the row that it changes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from scripts.ablation.plan import Plan
from scripts.evaluation.evaluation_folders import Evaluation, load_evaluations
from scripts.evaluation.figure_tables import KEYS, SESSION, without_nan
from scripts.evaluation.measurement import FIGURES
from scripts.evaluation.side_by_side import FORMAT_VERSION
from scripts.evaluation.statistics import (
    SMALLEST_FOR_P,
    adjust_holm,
    compare_models,
    summarise_figures,
)
from scripts.tuning.full_trainings import LAST_WRITTEN, FullTraining

DECISIVE = ("ssim", "psnr")


def compare_rows(plan: Plan, trainings: Sequence[FullTraining], *, seed: int) -> dict[str, Any]:
    """Means with intervals over subjects, and differences to the row above and to the first.

    Seeds and datasets are averaged for each subject first. Trainings that are not done are left
    out, and counted.

    Args:
        plan: with its rows.
        trainings: of the plan.
        seed: of the bootstrap.

    Raises:
        ValueError: fewer than two trainings are done, or rows were evaluated on other subjects.
    """
    done = [each for each in trainings if (each.evaluation / LAST_WRITTEN).is_file()]
    figures = _list_figures(done[0].evaluation) if done else []
    evaluations = load_evaluations([each.evaluation for each in done], figures=figures)
    tables = [
        _label(evaluation.table, training, is_first=training is _find_first(done, training))
        for training, evaluation in zip(done, evaluations, strict=True)
    ]
    table = pd.concat(tables, ignore_index=True)
    found = [row.name for row in plan.rows if row.name in set(table["model"])]
    return {
        "format_version": FORMAT_VERSION,
        "figures": figures,
        "seed": seed,
        "smallest_for_p": SMALLEST_FOR_P,
        "evaluations": [_describe(name, done, evaluations) for name in found],
        "rows": without_nan(summarise_figures(table, figures, seed=seed)),
        "differences": without_nan(_compare(plan, table, found, seed)),
        "by_seed": _list_seeds(table, found),
        "done": len(done),
        "of": len(trainings),
    }


def _list_figures(evaluation: Path) -> list[str]:
    """Figures that were measured: without true tissues there is no Dice."""
    measured = pd.read_csv(evaluation / "metrics.csv", nrows=0).columns
    return [name for name in FIGURES if name in measured]


def _describe(
    name: str, done: Sequence[FullTraining], evaluations: Sequence[Evaluation]
) -> dict[str, Any]:
    """What a row was trained with and evaluated on, as `scripts.compare` has it."""
    own = [(t, e) for t, e in zip(done, evaluations, strict=True) if t.recipe == name]
    seeds = sorted({training.seed for training, _ in own})
    sessions = {session for _, evaluation in own for session in evaluation.sessions}
    subjects = {(dataset, subject) for dataset, subject, _ in sessions}
    return {
        "label": f"{name} (seeds {', '.join(map(str, seeds))})",
        "split": own[0][1].split,
        "datasets": sorted({dataset for dataset, _ in subjects}),
        "left_out": {
            "label": name,
            "subjects": 0,
            "sessions": 0,
            "of_subjects": len(subjects),
            "of_sessions": len(sessions),
        },
    }


def _find_first(done: Sequence[FullTraining], training: FullTraining) -> FullTraining:
    """The first training on a dataset: its trivial rows stand for those of all others there."""
    return next(each for each in done if each.dataset_dir == training.dataset_dir)


def _label(table: pd.DataFrame, training: FullTraining, *, is_first: bool) -> pd.DataFrame:
    """Rows of one training; a seed and a dataset make another session of a subject."""
    kept = table if is_first else table[table["kind"] == "model"]
    kept = kept.copy()
    kept.loc[kept["kind"] == "model", "model"] = training.recipe
    mark = f" {training.dataset_dir.name} seed {training.seed}"
    kept["session"] = kept["session"].astype(object).fillna("").astype(str) + mark
    return kept


def _compare(plan: Plan, table: pd.DataFrame, found: list[str], seed: int) -> list[dict[str, Any]]:
    """Each row against the one that it changes, and against the first, where both were measured.

    The rows that the goals speak of are also compared with the trivial ones. All p-values of a
    figure in a comparison are one family of Holm's correction.
    """
    rows: list[dict[str, Any]] = []
    averaged = _average_seeds(table)
    trivial = table.loc[table["kind"] == "trivial", "model"].unique().tolist()
    judged = {plan.goals.recipe, plan.goals.ceiling} if plan.goals else set()
    for row in plan.rows:
        others = sorted({row.parent, found[0]} & set(found) - {row.name})
        others += trivial if row.name in judged else []
        for other in others if row.name in found else []:
            both = _select_common(averaged, row.name, other)
            if len(both):
                rows += compare_models(both, DECISIVE, models=[row.name], others=[other], seed=seed)
    return [correct for family in _list_families(rows) for correct in _correct(family)]


def _list_families(rows: list[dict[str, Any]]) -> list[list[dict[str, Any]]]:
    families: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for row in rows:
        families.setdefault((row["comparison"], row["figure"]), []).append(row)
    return list(families.values())


def _correct(family: list[dict[str, Any]]) -> list[dict[str, Any]]:
    adjusted = adjust_holm([row["p"] for row in family])
    return [{**row, "p_holm": p} for row, p in zip(family, adjusted, strict=True)]


def _average_seeds(table: pd.DataFrame) -> pd.DataFrame:
    """One row a session of models and trivial rows, whatever the number of seeds."""
    models = table[table["kind"] != "real"].copy()
    models["session"] = models["session"].str.replace(r" seed \d+$", "", regex=True)
    return models.groupby(KEYS, sort=False)[list(DECISIVE)].mean().reset_index()


def _select_common(table: pd.DataFrame, model: str, other: str) -> pd.DataFrame:
    """Rows of two models in the sessions that both have."""
    keys = ["comparison", *SESSION]
    both = table[table["model"].isin((model, other))]
    return both[both.groupby(keys)["model"].transform("nunique") == 2]


def _list_seeds(table: pd.DataFrame, found: list[str]) -> list[dict[str, Any]]:
    """Mean of each row's figures for each seed: how much of a difference is chance."""
    models = table[table["model"].isin(found)].copy()
    models["seed"] = models["session"].str.extract(r" seed (\d+)$")[0].astype(int)
    keys = ["model", "seed", "comparison"]
    means = models.groupby(keys, sort=False)[list(DECISIVE)].mean().reset_index()
    listed: Any = without_nan(means.to_dict(orient="records"))
    return list(listed)

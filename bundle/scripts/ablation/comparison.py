"""Figures of an ablation: each row over seeds and datasets, beside the row that it changes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from scripts.ablation.goals import REAL
from scripts.ablation.plan import Plan, Row
from scripts.evaluation.evaluation_folders import Evaluation, load_evaluations
from scripts.evaluation.figure_tables import SESSION, without_nan
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

    Seeds and datasets are averaged for each subject first, and rows are compared by the seeds and
    datasets that both have. The intervals are of the chance of subjects; that of a training's seed
    shows in `by_seed` alone. Trainings that are not done are left
    out, and counted.

    Args:
        plan: with its rows.
        trainings: of the plan.
        seed: of the bootstrap.

    Raises:
        ValueError: no training is done, or an evaluation cannot be used.
    """
    done = [each for each in trainings if (each.evaluation / LAST_WRITTEN).is_file()]
    if not done:
        raise ValueError("no training is done yet, so there is no table.")
    figures = _list_figures(done[0].evaluation)
    folders = [each.evaluation for each in done]
    evaluations = load_evaluations(folders, figures=figures, fewest=1)
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
        "common": _average_for_goals(plan, table, figures),
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
    """The first with a dataset and seed: its trivial rows stand for those of all others there."""
    wanted = (training.dataset_dir, training.seed)
    return next(each for each in done if (each.dataset_dir, each.seed) == wanted)


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

    The rows that the goals speak of are also compared with the reference and the trivial ones. Two
    families of Holm's correction for a figure in a comparison: rows against trivial rows, which the
    goals ask for, and rows against rows, which are there to look at.
    """
    rows: list[dict[str, Any]] = []
    trivial = table.loc[table["kind"] == "trivial", "model"].unique().tolist()
    for row in plan.rows:
        for other in _list_others(plan, row, found, trivial) if row.name in found else []:
            both = _select_common(table, (row.name, other))
            if len(both):
                rows += compare_models(both, DECISIVE, models=[row.name], others=[other], seed=seed)
    families = _list_families(rows, trivial)
    return [correct for family in families for correct in _correct(family)]


def _list_others(plan: Plan, row: Row, found: list[str], trivial: list[str]) -> list[str]:
    """What a row is compared with."""
    if plan.goals is None or row.name not in (plan.goals.recipe, plan.goals.ceiling):
        return sorted({row.parent, found[0]} & set(found) - {row.name})
    others = {row.parent, found[0], plan.goals.reference} & set(found) - {row.name}
    return [*sorted(others), *trivial]


def _list_families(
    rows: list[dict[str, Any]], trivial: Sequence[str]
) -> list[list[dict[str, Any]]]:
    families: dict[tuple[str, str, bool], list[dict[str, Any]]] = {}
    for row in rows:
        key = (row["comparison"], row["figure"], row["other"] in trivial)
        families.setdefault(key, []).append(row)
    return list(families.values())


def _correct(family: list[dict[str, Any]]) -> list[dict[str, Any]]:
    adjusted = adjust_holm([row["p"] for row in family])
    return [{**row, "p_holm": p} for row, p in zip(family, adjusted, strict=True)]


def _select_common(table: pd.DataFrame, models: Sequence[str]) -> pd.DataFrame:
    """Rows of some models in the sessions, of datasets and seeds, that all of them have."""
    keys = ["comparison", *SESSION]
    rows = table[table["model"].isin(models)]
    return rows[rows.groupby(keys)["model"].transform("nunique") == len(models)]


def _average_for_goals(
    plan: Plan, table: pd.DataFrame, figures: Sequence[str]
) -> dict[str, list[dict[str, Any]]]:
    """Means that a goal puts in relation, over subjects, in the sessions that all of them have."""
    if plan.goals is None:
        return {}
    goals = plan.goals
    related = {"ssim": (goals.recipe, goals.reference, goals.ceiling), "dice": (goals.recipe, REAL)}
    return {
        figure: _average_common(table, models, figure)
        for figure, models in related.items()
        if figure in figures and all(models)
    }


def _average_common(
    table: pd.DataFrame, models: Sequence[str], figure: str
) -> list[dict[str, Any]]:
    keys = ["comparison", "model"]
    common = _select_common(table, models)
    subjects = common.groupby([*keys, "dataset", "subject_id"], sort=False)[figure].mean()
    means = subjects.groupby(level=keys, sort=False).mean().rename("mean").reset_index()
    listed: Any = without_nan(means.to_dict(orient="records"))
    return list(listed)


def _list_seeds(table: pd.DataFrame, found: list[str]) -> list[dict[str, Any]]:
    """Mean over subjects of each row's figures for each seed: how much of a difference is chance.

    In the sessions that all seeds of a row have: other subjects are another chance.
    """
    models = table[table["model"].isin(found)].copy()
    parts = models["session"].str.extract(r"^(?P<name>.*) seed (?P<seed>\d+)$")
    models["seed"] = parts["seed"].astype(int)
    seeds = models.groupby("model")["seed"].transform("nunique")
    session = [models["model"], models["comparison"], models["subject_id"], parts["name"]]
    models = models[models.groupby(session)["seed"].transform("nunique") == seeds]
    keys = ["model", "seed", "comparison"]
    subjects = models.groupby([*keys, "dataset", "subject_id"], sort=False)[list(DECISIVE)].mean()
    means = subjects.groupby(level=keys, sort=False).mean().reset_index()
    listed: Any = without_nan(means.to_dict(orient="records"))
    return list(listed)

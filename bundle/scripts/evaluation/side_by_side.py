"""Several evaluations as one: the same trivial rows, each model's figures, and differences."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from scripts.evaluation.evaluation_folders import Evaluation, LeftOut
from scripts.evaluation.figure_tables import SESSION, name_session, without_nan
from scripts.evaluation.statistics import SMALLEST_FOR_P, compare_models, summarise_figures

FORMAT_VERSION = 1  # of comparison.json
FITTED = ("mean", "lookup")  # to the training part of an evaluation's --dataset_dir
# Evaluations round to six decimals, and another machine rounds sums otherwise.
ABSOLUTE_TOLERANCE, RELATIVE_TOLERANCE = 2e-6, 1e-4


def compare_evaluations(
    evaluations: Sequence[Evaluation],
    left_out: Sequence[LeftOut],
    *,
    figures: Sequence[str],
    seed: int,
) -> dict[str, Any]:
    """Put evaluations of the same sessions side by side.

    Args:
        evaluations: two or more.
        left_out: what was taken from each before.
        figures: columns of the tables.
        seed: of the bootstrap's resamples.

    Returns:
        What comparison.json holds: `rows` as of `summarise_figures` and `differences` as of
        `compare_models` between all models, with null for what is not a number.
    """
    table = merge_tables(evaluations, figures)
    rows = summarise_figures(table, figures, seed=seed)
    measured = {row["figure"] for row in rows}
    if not measured.issuperset(figures):
        missing = ", ".join(figure for figure in figures if figure not in measured)
        raise ValueError(f"No evaluation has a value of {missing}; choose other --figures.")
    models = list(table.loc[table["kind"] == "model", "model"].unique())
    differences = compare_models(table, figures, models=models, others=models, seed=seed)
    return {
        "format_version": FORMAT_VERSION,
        "figures": list(figures),
        "seed": seed,
        "smallest_for_p": SMALLEST_FOR_P,
        "fitted_apart": list_fitted_apart(evaluations, figures),
        "evaluations": [
            {
                "label": each.label,
                "split": each.split,
                "datasets": list(each.datasets),
                "left_out": asdict(one),
            }
            for each, one in zip(evaluations, left_out, strict=True)
        ],
        "rows": without_nan(rows),
        "differences": without_nan(differences),
    }


def merge_tables(evaluations: Sequence[Evaluation], figures: Sequence[str]) -> pd.DataFrame:
    """One table of every model and, once, of the other rows, which must agree.

    Those of `FITTED` that do not agree stand there for each evaluation, under its label.
    """
    first = evaluations[0]
    for other in evaluations[1:]:
        check_trivial_rows(first, other, figures)
    apart = list_fitted_apart(evaluations, figures)
    trivial = first.table[first.table["kind"] != "model"]
    taken = {*trivial["model"], *apart}
    models = [_rename(each, taken) for each in evaluations]
    fitted = [_label_fitted(each, apart) for each in evaluations]
    shared = trivial[~trivial["model"].isin(apart)]
    return pd.concat([*models, shared, *fitted], ignore_index=True)


def check_trivial_rows(first: Evaluation, other: Evaluation, figures: Sequence[str]) -> None:
    """ValueError that names row, figure and subject unless all but those of `FITTED` agree.

    They are computed without the models: where they differ, images or masks do.
    """
    left, right, close = _compare_rows(first, other, figures, fitted=False)
    if close.all():
        return
    row, column = np.argwhere(~close)[0]
    model, comparison, *session = left.index[row]
    found, expected = (_name_value(each.iloc[row, column]) for each in (left, right))
    why = (
        "It is of a segmenter that each evaluation trains on its --dataset_dir: leave dice out of "
        "--figures, or evaluate both with one --dataset_dir."
        if figures[column] == "dice"
        else "It does not depend on a model, so the data differ: evaluate both on one dataset with "
        "one configuration."
    )
    raise ValueError(
        f"{name_session(*session)}: {figures[column]} of {comparison} of the row {model!r} is "
        f"{found} in {first.label} and {expected} in {other.label}. {why}"
    )


def list_fitted_apart(evaluations: Sequence[Evaluation], figures: Sequence[str]) -> list[str]:
    """Rows of `FITTED` on which evaluations do not agree: fitted to different training data."""
    first, apart = evaluations[0], set()
    for other in evaluations[1:]:
        left, _, close = _compare_rows(first, other, figures, fitted=True)
        apart |= set(left[~close.all(axis=1)].index.get_level_values("model"))
    return sorted(apart)


def _compare_rows(
    first: Evaluation, other: Evaluation, figures: Sequence[str], *, fitted: bool
) -> tuple[pd.DataFrame, pd.DataFrame, NDArray[np.bool_]]:
    """Rows that are no models' of both, aligned, and which of their values agree."""
    left, right = (_select_trivial(each.table, figures, fitted) for each in (first, other))
    left, right = left.align(right, join="outer", axis=0)
    close = np.isclose(
        left, right, rtol=RELATIVE_TOLERANCE, atol=ABSOLUTE_TOLERANCE, equal_nan=True
    )
    return left, right, close


def _name_value(value: float) -> str:
    return "absent" if math.isnan(value) else f"{value:g}"


def _select_trivial(table: pd.DataFrame, figures: Sequence[str], fitted: bool) -> pd.DataFrame:
    rows = table[(table["kind"] != "model") & (table["model"].isin(FITTED) == fitted)]
    return rows.set_index(["model", "comparison", *SESSION])[list(figures)]


def _label_fitted(evaluation: Evaluation, apart: Sequence[str]) -> pd.DataFrame:
    """The rows that others do not share, under the folder's label."""
    table = evaluation.table
    rows = table[(table["kind"] == "trivial") & table["model"].isin(apart)]
    return rows.assign(model=rows["model"] + f" ({evaluation.label})")


def _rename(evaluation: Evaluation, taken: set[str]) -> pd.DataFrame:
    """The rows of models, under the folder's label."""
    rows, label = evaluation.table[evaluation.table["kind"] == "model"], evaluation.label
    label = f"{label} (model)" if label in taken else label
    several = len(evaluation.models) > 1
    names = {model: f"{label}: {model}" if several else label for model in evaluation.models}
    return rows.assign(model=rows["model"].map(names))

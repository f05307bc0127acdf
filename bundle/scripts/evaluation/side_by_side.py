"""Several evaluations as one: the same trivial rows, each model's figures, and differences."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import pandas as pd

from scripts.evaluation.evaluation_folders import Evaluation, LeftOut
from scripts.evaluation.figure_tables import SESSION, name_session, without_nan
from scripts.evaluation.statistics import SMALLEST_FOR_P, compare_models, summarise_figures

FORMAT_VERSION = 1  # of comparison.json
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
    """One table of every model and, once, of the trivial and real rows, which must agree."""
    first = evaluations[0]
    for other in evaluations[1:]:
        check_trivial_rows(first, other, figures)
    trivial = first.table[first.table["kind"] != "model"]
    taken = set(trivial["model"])
    return pd.concat([*(_rename(each, taken) for each in evaluations), trivial], ignore_index=True)


def check_trivial_rows(first: Evaluation, other: Evaluation, figures: Sequence[str]) -> None:
    """ValueError that names row, figure and subject unless all of them agree.

    They are computed without the models: where they differ, images, masks or training data do.
    """
    left, right = (_select_trivial(each.table, figures) for each in (first, other))
    left, right = left.align(right, join="outer", axis=0)
    close = np.isclose(
        left, right, rtol=RELATIVE_TOLERANCE, atol=ABSOLUTE_TOLERANCE, equal_nan=True
    )
    if close.all():
        return
    row, column = np.argwhere(~close)[0]
    model, comparison, *session = left.index[row]
    found, expected = (_name_value(each.iloc[row, column]) for each in (left, right))
    raise ValueError(
        f"{name_session(*session)}: {figures[column]} of {comparison} of the row {model!r} is "
        f"{found} in {first.label} and {expected} in {other.label}. It does not depend on a "
        "model, so the data differ: evaluate both on one dataset with one configuration."
    )


def _name_value(value: float) -> str:
    return "absent" if math.isnan(value) else f"{value:g}"


def _select_trivial(table: pd.DataFrame, figures: Sequence[str]) -> pd.DataFrame:
    rows = table[table["kind"] != "model"].set_index(["model", "comparison", *SESSION])
    return rows[list(figures)]


def _rename(evaluation: Evaluation, taken: set[str]) -> pd.DataFrame:
    """The rows of models, under the folder's label."""
    rows, label = evaluation.table[evaluation.table["kind"] == "model"], evaluation.label
    label = f"{label} (model)" if label in taken else label
    several = len(evaluation.models) > 1
    names = {model: f"{label}: {model}" if several else label for model in evaluation.models}
    return rows.assign(model=rows["model"].map(names))

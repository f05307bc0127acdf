"""Tables of figures: one row a (model, comparison, session), matched by name, never by order."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

ROW = ["model", "kind", "comparison"]
SUBJECT = ["dataset", "subject_id"]
SESSION = [*SUBJECT, "session"]
KEYS = [*ROW, *SESSION]


def check_table(table: pd.DataFrame, figures: Sequence[str]) -> pd.DataFrame:
    """Return keys and figures, a session that is absent as "".

    Raises:
        ValueError: a column is missing, or a session is there twice.
    """
    missing = [name for name in [*KEYS, *figures] if name not in table]
    if missing:
        raise ValueError(
            f"The table lacks {', '.join(missing)}; found {', '.join(map(str, table))}."
        )
    keys = table[KEYS].astype(object).fillna("").astype(str)
    repeated = keys[keys.duplicated(["model", "comparison", *SESSION])]
    if len(repeated):
        found = ", ".join(f"{key} {value!r}" for key, value in repeated.iloc[0].items())
        raise ValueError(f"The table has two rows of one session: {found}; expected one.")
    return pd.concat([keys, table[list(figures)].astype(np.float64)], axis=1)


def check_labels(table: pd.DataFrame, labels: Sequence[str]) -> None:
    """ValueError unless each label is in the column `model`."""
    known = list(table["model"].unique())
    unknown = [label for label in labels if label not in known]
    if unknown:
        raise ValueError(f"There is no model {', '.join(unknown)}; found {', '.join(known)}.")


def without_nan(value: Any) -> Any:
    """A copy as JSON has it: null for NaN and infinity, also within lists and dicts."""
    if isinstance(value, dict):
        return {name: without_nan(each) for name, each in value.items()}
    if isinstance(value, list):
        return [without_nan(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def name_session(dataset: str, subject_id: str, session: str) -> str:
    """Words for a session in a message."""
    return f"{subject_id} {session}".strip() + f" ({dataset})"


def pair_subjects(
    table: pd.DataFrame, figure: str, *, model: str, other: str
) -> tuple[pd.Series, pd.Series]:
    """Means over sessions of two labels, (subjects,) each, in one order of the same subjects.

    Both are empty if one label has the figure for no session.

    Args:
        table: of one comparison, from `check_table`.
        figure: column.
        model: label in the column `model`.
        other: the same.

    Raises:
        ValueError: a session has the figure on one side only, or it is infinite.
    """
    first, second = (_select_sessions(table, label, figure) for label in (model, other))
    if first.empty or second.empty:
        first = second = first.iloc[:0]
    what = f"{figure} of {', '.join(table['comparison'].unique())} is there for"
    _check_none_missing(first, second, f"{what} {model!r}, not for {other!r}")
    _check_none_missing(second, first, f"{what} {other!r}, not for {model!r}")
    means = first.groupby(level=SUBJECT).mean()
    return means, second.groupby(level=SUBJECT).mean().loc[means.index]


def _select_sessions(table: pd.DataFrame, label: str, figure: str) -> pd.Series:
    values = table[table["model"] == label].set_index(SESSION)[figure].dropna()
    infinite = values.index[np.isinf(values)]
    if len(infinite):
        raise ValueError(
            f"{name_session(*infinite[0])}: {figure} of {label!r} is infinite, as that of a "
            "perfect prediction; such figures have no mean."
        )
    return values


def _check_none_missing(values: pd.Series, others: pd.Series, what: str) -> None:
    missing = [name_session(*keys) for keys in values.index.difference(others.index)]
    if missing:
        raise ValueError(
            f"{', '.join(missing)}: {what}. Measure both on the same sessions, or leave out "
            "of both what one lacks."
        )

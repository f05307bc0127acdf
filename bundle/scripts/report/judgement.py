"""When a model counts as better than another row: the rule behind the page's verdict."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from scripts.report.numbers import is_missing

SIGNIFICANCE = 0.05  # belongs to the intervals of 95 %
DECIDING, SECOND = "ssim", "psnr"


def find_difference(
    summary: Mapping[str, Any], comparison: str, figure: str, model: str, other: str
) -> dict[str, Any] | None:
    """The entry of `differences` for model minus other, None where it was not measured."""
    wanted = (comparison, figure, model, other)
    for entry in summary["differences"]:
        key = tuple(entry[name] for name in ("comparison", "figure", "model", "other"))
        if key == wanted and not is_missing(entry["mean"]):
            return dict(entry)
    return None


def pivot_subjects(metrics: pd.DataFrame, comparison: str, figure: str) -> pd.DataFrame:
    """One row a subject (mean of its sessions), one column a model, of one figure."""
    rows = metrics[metrics["comparison"] == comparison]
    return rows.pivot_table(
        index=["dataset", "subject_id"], columns="model", values=figure, aggfunc="mean", sort=False
    )


def judge(difference: Mapping[str, Any], gains: Sequence[float], *, smallest_for_p: int) -> str:
    """Say "better", "worse" or "same" of a difference whose positive values are good.

    Of one subject only "above" or "below" is said, which claims nothing beyond it.

    The interval must not hold 0, and the p-value must be small where there is one. Intervals of a
    few subjects are too narrow (those of three hold the true mean in about three of four cases,
    see `statistics.bootstrap_interval`), so all of them must agree too.

    Args:
        difference: entry of `differences`.
        gains: the difference of each subject.
        smallest_for_p: subjects from which p-values are claimed.
    """
    if difference["subjects"] == 1 and difference["mean"] != 0:
        return "above" if difference["mean"] > 0 else "below"
    low, high = difference["low"], difference["high"]
    p = read_p(difference)
    unsure = p is not None and p >= SIGNIFICANCE
    if unsure or is_missing(low) or is_missing(high):
        return "same"
    few = difference["subjects"] < smallest_for_p
    if low > 0 and not (few and min(gains, default=0) <= 0):
        return "better"
    if high < 0 and not (few and max(gains, default=0) >= 0):
        return "worse"
    return "same"


def read_p(difference: Mapping[str, Any]) -> float | None:
    """The p-value after Holm's correction, or the plain one, None where none is claimed."""
    for name in ("p_holm", "p"):
        if not is_missing(difference[name]):
            return float(difference[name])
    return None

"""Statistics of an evaluation: a subject counts once, whatever it has of slices and sessions."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import product
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import stats

from scripts.evaluation.figure_tables import ROW, SUBJECT, check_labels, check_table, pair_subjects

# A two-sided exact p of n subjects is at least 2 / 2**n, which is below .01 from eight on.
SMALLEST_FOR_P = 8
SMALLEST_FOR_INTERVAL = 5  # with fewer subjects the interval of `bootstrap_interval` is their range
MOST_TO_TRY = 13  # subjects of whom every choice of signs is tried
DECIMALS = 12  # of differences: what is equal on paper must be tied in ranks
BATCH = 1_000  # resamples at a time, for memory


@dataclass(frozen=True)
class PairedDifference:
    """What a figure of one model is above that of another, subject by subject.

    Attributes:
        mean: of the subjects' differences.
        low: of the 95 % interval of the mean, see `bootstrap_interval`.
        high: of the same.
        p: of a two-sided Wilcoxon test; None below `SMALLEST_FOR_P` subjects.
        subjects: number of them.
        least: the smallest difference of a subject; above 0 where the model is better for all.
    """

    mean: float
    low: float
    high: float
    p: float | None
    subjects: int
    least: float


def bootstrap_interval(
    values: npt.ArrayLike, *, seed: int, resamples: int = 10_000, level: float = 0.95
) -> tuple[float, float]:
    """Interval of the mean over subjects: percentiles of the bootstrap, expanded for few subjects.

    Plain percentiles are too narrow for few subjects; so they are taken further out, as far as
    Student's t reaches beyond the normal law (Hesterberg 2015, The American Statistician 69:371).
    Share of 4,000 simulations whose 95 % interval held the true mean (standard error at most
    .007), beside those of SciPy's plain choices:

        subjects                  5    8   20   40
        normal       expanded   .92  .94  .95  .95
                     percentile .83  .89  .94  .94
                     BCa        .83  .89  .93  .94
        exponential  expanded   .88  .91  .93  .93
                     percentile .80  .85  .91  .92
                     BCa        .82  .86  .91  .93

    So a 95 % interval of five to eight subjects is one of about 90 % if the figure is skewed. Below
    `SMALLEST_FOR_INTERVAL` it is the range of the subjects, which holds the median of what they
    come from with probability .5 (two), .75 (three) or .875 (four): call it the range.

    Args:
        values: one a subject, (subjects,).
        seed: of the resamples.
        resamples: number of them.
        level: wanted coverage.

    Returns:
        Both bounds: NaN for one subject, none, a NaN or an infinite value among others; equal
        values give that value twice.
    """
    sample = np.asarray(values, dtype=np.float64)
    if len(sample) < 2:
        return math.nan, math.nan
    if (sample == sample[0]).all():
        return float(sample[0]), float(sample[0])
    if not np.isfinite(sample).all():
        return math.nan, math.nan
    interval = stats.bootstrap(
        (sample,),
        np.mean,
        n_resamples=resamples,
        batch=BATCH,
        confidence_level=_expand_level(level, len(sample)),
        method="percentile",
        rng=np.random.default_rng(seed),
    ).confidence_interval
    return float(interval.low), float(interval.high)


def _expand_level(level: float, subjects: int) -> float:
    quantile = stats.t.ppf((1 + level) / 2, subjects - 1)
    return float(2 * stats.norm.cdf(math.sqrt(subjects / (subjects - 1)) * quantile) - 1)


def compare_paired(values: npt.ArrayLike, others: npt.ArrayLike, *, seed: int) -> PairedDifference:
    """Compare two figures of the same subjects in the same order.

    Args:
        values: one a subject, (subjects,), finite.
        others: the same of another model.
        seed: of the interval's resamples.
    """
    first, second = (np.asarray(each, dtype=np.float64) for each in (values, others))
    if first.shape != second.shape or first.ndim != 1 or not first.size:
        raise ValueError(
            f"Found values of shape {first.shape} and {second.shape}; expected one a subject, "
            "of the same subjects."
        )
    if not np.isfinite([first, second]).all():
        raise ValueError(
            "Found values that are not finite; leave such subjects out of both, and say so."
        )
    differences = np.round(first - second, DECIMALS)
    low, high = bootstrap_interval(differences, seed=seed)
    p = _compute_wilcoxon(differences)
    mean, least = float(differences.mean()), float(differences.min())
    return PairedDifference(mean, low, high, p, len(differences), least)


def _compute_wilcoxon(differences: npt.NDArray[np.float64]) -> float | None:
    """Two-sided p of the signed-rank test; 1 if nothing differs.

    Exact up to 50 subjects; with zeros or ties exact up to 13 (all signs are tried), beyond that
    the normal approximation. Zeros are ranked and their ranks dropped (Pratt 1959), so that
    subjects without a difference speak against one.
    """
    if len(differences) < SMALLEST_FOR_P:
        return None
    if not differences.any():
        return 1.0
    if len(differences) > MOST_TO_TRY:
        return float(stats.wilcoxon(differences, zero_method="pratt", method="auto").pvalue)
    # Of all signs at once: stats.wilcoxon ranks them anew for each choice, tens of times slower.
    ranks = np.sign(differences) * stats.rankdata(np.abs(differences))
    signs = {"permutation_type": "samples", "n_resamples": np.inf}
    return float(stats.permutation_test((ranks,), np.sum, vectorized=True, **signs).pvalue)


def adjust_holm(p_values: Sequence[float | None]) -> list[float | None]:
    """Adjust p-values of one family (Holm 1979, Scandinavian Journal of Statistics 6:65).

    The smallest of m is multiplied by m, the next by m - 1 and so on; none exceeds 1 or is smaller
    than one before it. None stays None and does not count.
    """
    ranked = sorted((p, index) for index, p in enumerate(p_values) if p is not None)
    adjusted: list[float | None] = [None] * len(p_values)
    largest = 0.0
    for rank, (p, index) in enumerate(ranked):
        if not 0 <= p <= 1:  # also true of NaN
            raise ValueError(f"Found {p} among the p-values; expected numbers from 0 to 1.")
        largest = max(largest, min(1.0, (len(ranked) - rank) * p))
        adjusted[index] = largest
    return adjusted


def summarise_figures(
    table: pd.DataFrame, figures: Sequence[str], *, seed: int
) -> list[dict[str, Any]]:
    """Mean and 95 % interval over subjects of each figure of each row and comparison.

    Sessions of a subject are averaged first. Subjects without the figure do not count; a figure
    that no subject has is left out.

    Args:
        table: one row a (model, comparison, session), as in metrics.csv.
        figures: columns.
        seed: of the resamples.
    """
    table = check_table(table, figures)
    summary = []
    for keys, group in table.groupby(ROW, sort=False):
        for figure in figures:
            subjects = group.groupby(SUBJECT)[figure].mean().dropna().to_numpy()
            if len(subjects):
                low, high = bootstrap_interval(subjects, seed=seed)
                facts = {"mean": float(subjects.mean()), "low": low, "high": high}
                row = {**dict(zip(ROW, keys, strict=True)), "figure": figure, **facts}
                summary.append({**row, "subjects": len(subjects)})
    return summary


def compare_models(
    table: pd.DataFrame,
    figures: Sequence[str],
    *,
    models: Sequence[str],
    others: Sequence[str],
    seed: int,
) -> list[dict[str, Any]]:
    """Differences model minus other over subjects, with Wilcoxon's p and Holm's correction.

    A family of Holm's correction is every pair of one call with one figure in one comparison.
    Sessions of a subject are averaged first. A figure that one of the two lacks for every subject,
    as trivial rows lack those of cycles, makes no difference row.

    Args:
        table: one row a (model, comparison, session), as in metrics.csv.
        figures: columns.
        models: labels in the column `model`.
        others: the same; a label is not compared with itself, nor a pair twice.
        seed: of the resamples.

    Raises:
        ValueError: a label is nowhere, or a session has the figure on one side only.
    """
    table = check_table(table, figures)
    check_labels(table, [*models, *others])
    rows: list[dict[str, Any]] = []
    for comparison, group in table.groupby("comparison", sort=False):
        for figure in figures:
            family = [
                {"comparison": comparison, "figure": figure, **difference}
                for pair in _list_pairs(models, others)
                if (difference := _compare_labels(group, figure, pair, seed)) is not None
            ]
            adjusted = adjust_holm([row["p"] for row in family])
            rows += [{**row, "p_holm": p} for row, p in zip(family, adjusted, strict=True)]
    return rows


def _list_pairs(models: Sequence[str], others: Sequence[str]) -> list[tuple[str, str]]:
    pairs: list[tuple[str, str]] = []
    for model, other in product(models, others):
        if model != other and (model, other) not in pairs and (other, model) not in pairs:
            pairs.append((model, other))
    return pairs


def _compare_labels(
    table: pd.DataFrame, figure: str, pair: tuple[str, str], seed: int
) -> dict[str, Any] | None:
    """Compare two labels in one comparison; None if one has the figure for no subject."""
    names = dict(zip(("model", "other"), pair, strict=True))
    values, others = pair_subjects(table, figure, **names)
    if values.empty:
        return None
    return {**names, **asdict(compare_paired(values, others, seed=seed))}

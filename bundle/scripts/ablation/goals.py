"""The goals that a recipe is held against, each with what was found."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from scripts.evaluation.statistics import SMALLEST_FOR_INTERVAL

Content = Mapping[str, Any]

DIRECTIONS = {"t2w": "T1w to T2w", "t1w": "T2w to T1w"}
TRIVIAL = ("copy", "inverted", "mean", "lookup")
REAL = "real"  # row of the real images themselves


@dataclass(frozen=True)
class GoalSettings:
    """Whom the goals speak of, and how much is wanted.

    Attributes:
        recipe: row that is held against the goals.
        reference: row that it has to beat; "" for none.
        ceiling: row trained with pairs; "" for none.
        p: largest against a trivial row, after Holm's correction.
        ssim: wanted gain over the reference.
        psnr_db: the same.
        gap_closed: wanted part of the way from the reference to the ceiling.
        dice_ratio: least Dice on synthetic over real images.
        slice_ratio: range of the neighbouring-slice ratio.
        hidden_code_drop: largest.
        checkerboard: largest.
    """

    recipe: str
    reference: str
    ceiling: str
    p: float
    ssim: float
    psnr_db: float
    gap_closed: float
    dice_ratio: float
    slice_ratio: tuple[float, float]
    hidden_code_drop: float
    checkerboard: float


@dataclass(frozen=True)
class Goal:
    """One goal in one direction.

    Attributes:
        words: what is wanted.
        found: what was measured; "" where nothing was.
        is_met: None where nothing was measured.
    """

    words: str
    found: str
    is_met: bool | None


def judge_goals(content: Content, settings: GoalSettings) -> list[Goal]:
    """Hold the figures of `compare_rows` against the goals, direction by direction."""
    return [
        goal
        for comparison in DIRECTIONS
        for goal in (
            *(_judge_against_rows(content, settings, comparison) if settings.reference else ()),
            *_judge_trivial(content, settings, comparison),
            *_judge_structure(content, settings, comparison),
        )
    ]


def find_mean(content: Content, model: str, comparison: str, figure: str) -> float | None:
    """Mean of a figure over subjects; None where it was not measured."""
    for row in content["rows"]:
        if (row["model"], row["comparison"], row["figure"]) == (model, comparison, figure):
            mean: float | None = row["mean"]
            return mean
    return None


def find_common(content: Content, model: str, comparison: str, figure: str) -> float | None:
    """Mean over the sessions that all those whom a goal relates have; None where there are none."""
    for row in content["common"].get(figure, ()):
        if (row["model"], row["comparison"]) == (model, comparison):
            mean: float | None = row["mean"]
            return mean
    return None


def find_difference(
    content: Content, model: str, other: str, comparison: str, figure: str
) -> Mapping[str, Any] | None:
    """Difference of two rows over subjects; None where they were not compared."""
    wanted = (model, other, comparison, figure)
    for row in content["differences"]:
        if (row["model"], row["other"], row["comparison"], row["figure"]) == wanted:
            found: Mapping[str, Any] = row
            return found
    return None


def _judge_against_rows(content: Content, settings: GoalSettings, comparison: str) -> list[Goal]:
    return [
        _judge_gain(content, settings, comparison, "ssim", settings.ssim, ""),
        _judge_gain(content, settings, comparison, "psnr", settings.psnr_db, " dB"),
        _judge_gap(content, settings, comparison),
    ]


def _judge_gain(
    content: Content, settings: GoalSettings, comparison: str, figure: str, wanted: float, unit: str
) -> Goal:
    words = (
        f"{DIRECTIONS[comparison]}: {figure.upper()} {wanted:+g}{unit} over {settings.reference}, "
        "interval above 0"
    )
    row = find_difference(content, settings.recipe, settings.reference, comparison, figure)
    if row is None or row["low"] is None:
        return Goal(words, "", None)
    of_few = f", range of {row['subjects']}" if row["subjects"] < SMALLEST_FOR_INTERVAL else ""
    found = f"{row['mean']:+.3f} ({row['low']:+.3f} to {row['high']:+.3f}{of_few})"
    return Goal(words, found, row["mean"] >= wanted and row["low"] > 0)


def _judge_gap(content: Content, settings: GoalSettings, comparison: str) -> Goal:
    words = (
        f"{DIRECTIONS[comparison]}: {settings.gap_closed:.0%} of the SSIM from "
        f"{settings.reference} to {settings.ceiling or 'the paired ceiling'}"
    )
    recipe, low, high = (
        find_common(content, name, comparison, "ssim")
        for name in (settings.recipe, settings.reference, settings.ceiling)
    )
    if recipe is None or low is None or high is None:
        return Goal(words, "", None)
    if high <= low:
        return Goal(words, f"{settings.ceiling} is not above {settings.reference}", False)
    closed = (recipe - low) / (high - low)
    return Goal(words, f"{closed:.0%}", closed >= settings.gap_closed)


def _judge_trivial(content: Content, settings: GoalSettings, comparison: str) -> list[Goal]:
    """One goal a trivial row, for the recipe and for the ceiling."""
    return [
        _judge_against(content, name, row, comparison, settings.p)
        for name in filter(None, (settings.recipe, settings.ceiling))
        for row in TRIVIAL
        if find_mean(content, row, comparison, "ssim") is not None
    ]


def _judge_against(
    content: Content, name: str, trivial: str, comparison: str, largest_p: float
) -> Goal:
    words = (
        f"{DIRECTIONS[comparison]}: SSIM of {name} above {trivial} for every subject, "
        f"p below {largest_p:g} where there are enough"
    )
    row = find_difference(content, name, trivial, comparison, "ssim")
    if row is None:
        return Goal(words, "", None)
    p = row["p_holm"]
    found = f"{row['mean']:+.3f}, least {row['least']:+.3f}"
    found += f" of {row['subjects']}" + ("" if p is None else f", p {p:.1g}")
    return Goal(words, found, row["least"] > 0 and (p is None or p < largest_p))


def _judge_structure(content: Content, settings: GoalSettings, comparison: str) -> list[Goal]:
    way = DIRECTIONS[comparison]
    low, high = settings.slice_ratio
    source = "t1w_cycle" if comparison == "t2w" else "t2w_cycle"
    recipe = settings.recipe
    dice, real = (find_common(content, name, comparison, "dice") for name in (recipe, REAL))
    ratio = None if dice is None or not real else dice / real
    slices = find_mean(content, recipe, comparison, "slice_ratio")
    hidden = find_mean(content, recipe, source, "hidden_code_drop")
    board = find_mean(content, recipe, comparison, "checkerboard")
    least, most_hidden, most = settings.dice_ratio, settings.hidden_code_drop, settings.checkerboard
    return [
        _judge(f"{way}: Dice ratio from {least:g}", ratio, low=least),
        _judge(f"{way}: neighbouring-slice ratio {low:g} to {high:g}", slices, low=low, high=high),
        _judge(f"{way}: hidden-code drop up to {most_hidden:g}", hidden, high=most_hidden),
        _judge(f"{way}: checkerboard up to {most:g}", board, high=most),
    ]


def _judge(
    words: str, found: float | None, *, low: float = -math.inf, high: float = math.inf
) -> Goal:
    if found is None:
        return Goal(words, "", None)
    return Goal(words, f"{found:.3f}", low <= found <= high)

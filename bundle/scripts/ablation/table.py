"""An ablation as a Markdown table, and its goals beside it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from scripts.ablation.goals import (
    DIRECTIONS,
    REAL,
    TRIVIAL,
    Goal,
    find_difference,
    find_mean,
)
from scripts.ablation.plan import Plan
from scripts.evaluation.statistics import SMALLEST_FOR_INTERVAL

Content = Mapping[str, Any]

# Columns beside SSIM and PSNR: figure, heading, decimals.
STRUCTURE = (
    ("ngf", "NGF", 3),
    ("dice", "Dice", 3),
    ("slice_ratio", "slices", 2),
    ("checkerboard", "checker", 2),
    ("hidden_code_drop", "hidden", 3),
)
TRIVIAL_WORDS = {
    "copy": "source copied",
    "inverted": "source inverted",
    "mean": "mean",
    "lookup": "look-up table",
}
DASH = "-"


def format_tables(plan: Plan, content: Content, goals: Sequence[Goal]) -> str:
    """One table a direction, then the goals, in Markdown."""
    parts = [plan.words, describe_extent(content)]
    for comparison, words in DIRECTIONS.items():
        parts += [f"**{words}**", _format_direction(plan, content, comparison)]
        parts.append(_format_seeds(content, comparison))
    if goals:
        parts.append(format_goals(goals))
    return "\n\n".join(part for part in parts if part) + "\n"


def describe_extent(content: Content) -> str:
    """How much has been trained, and on how many subjects it was measured."""
    names: dict[str, list[str]] = {}
    for each in content["evaluations"]:
        name = each["left_out"]["label"]
        count = each["left_out"]["of_subjects"]
        seeds = each["label"].removeprefix(name)
        extent = f"{count} subject{'' if count == 1 else 's'}{seeds}"
        names.setdefault(extent, []).append(name)
    lines = [f"{extent}: {', '.join(rows)}" for extent, rows in names.items()]
    return (
        f"{content['done']} of {content['of']} trainings. Means and 95 % intervals over subjects "
        f"of the part {content['evaluations'][0]['split']}, of fewer than {SMALLEST_FOR_INTERVAL} "
        f"subjects their range. {'; '.join(lines)}. Differences are of the seeds and datasets that "
        "both rows have."
    )


def _format_direction(plan: Plan, content: Content, comparison: str) -> str:
    measured = {row["figure"] for row in content["rows"]}
    shown = [column for column in STRUCTURE if column[0] in measured]
    head = ["row", "SSIM", "against the row it changes", "PSNR", *(name for _, name, _ in shown)]
    lines = [head, ["---"] * len(head)]
    for name in TRIVIAL:
        lines.append([TRIVIAL_WORDS[name], *_format_figures(content, name, comparison, "", shown)])
    lines.append(["real image", *_format_figures(content, REAL, comparison, "", shown)])
    for row in plan.rows:
        if find_mean(content, row.name, comparison, "ssim") is not None:
            words = f"**{row.name}**: {row.words}" if row.words else f"**{row.name}**"
            figures = _format_figures(content, row.name, comparison, row.parent, shown)
            lines.append([words, *figures])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _format_seeds(content: Content, comparison: str) -> str:
    """Mean SSIM of each seed of the rows that have several: how much of a difference is chance."""
    found: dict[str, list[str]] = {}
    for row in content["by_seed"]:
        if row["comparison"] == comparison:
            found.setdefault(row["model"], []).append(f"{row['ssim']:.3f}")
    several = [f"{name} {', '.join(values)}" for name, values in found.items() if len(values) > 1]
    return f"SSIM by seed: {'; '.join(several)}." if several else ""


def _format_figures(
    content: Content,
    model: str,
    comparison: str,
    parent: str,
    shown: Sequence[tuple[str, str, int]],
) -> list[str]:
    difference = find_difference(content, model, parent, comparison, "ssim")
    cycle = "t1w_cycle" if comparison == "t2w" else "t2w_cycle"
    figures = []
    for figure, _, decimals in shown:
        measured_of = cycle if figure == "hidden_code_drop" else comparison
        mean = find_mean(content, model, measured_of, figure)
        figures.append(DASH if mean is None else f"{mean:.{decimals}f}")
    return [
        _format_mean(content, model, comparison, "ssim", 3),
        DASH if difference is None else _format_interval(difference, 3, sign="+"),
        _format_mean(content, model, comparison, "psnr", 2),
        *figures,
    ]


def _format_mean(content: Content, model: str, comparison: str, figure: str, decimals: int) -> str:
    for row in content["rows"]:
        if (row["model"], row["comparison"], row["figure"]) == (model, comparison, figure):
            return _format_interval(row, decimals, sign="")
    return DASH


def _format_interval(row: Mapping[str, Any], decimals: int, *, sign: str) -> str:
    form = f"{sign}.{decimals}f"
    if row["mean"] is None:
        return DASH
    if row["low"] is None or row["high"] is None:
        return f"{row['mean']:{form}}"
    return f"{row['mean']:{form}} ({row['low']:{form}} to {row['high']:{form}})"


def format_goals(goals: Sequence[Goal]) -> str:
    """The goals as a table: wanted, found, met or not."""
    words = {True: "met", False: "not met", None: "not measured"}
    lines = ["| goal | found | |", "| --- | --- | --- |"]
    lines += [f"| {each.words} | {each.found or DASH} | {words[each.is_met]} |" for each in goals]
    return "\n".join(lines)

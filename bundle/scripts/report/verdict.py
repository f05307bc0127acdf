"""The verdict of the evaluation page: is a model better than doing nothing, and by how much."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from scripts.evaluation.statistics import SMALLEST_FOR_INTERVAL
from scripts.report.glossary import COMPARISONS, DIRECTIONS, TRIVIAL_PHRASES, find_quantity
from scripts.report.judgement import (
    DECIDING,
    SECOND,
    find_difference,
    judge,
    pivot_subjects,
    read_p,
)
from scripts.report.numbers import format_number, format_p

PHRASES = {
    "better": "better than",
    "above": "on this one subject better than",
    "worse": "worse than",
    "below": "on this one subject worse than",
    "same": "not distinguishable from",
}


@dataclass(frozen=True)
class Line:
    """The comparison with one trivial row.

    Attributes:
        word: see `judge`.
        phrase: such as "Better than copying the input".
        details: sentences with figures: SSIM, then PSNR where it was compared.
        warning: what SSIM and PSNR disagree about, "" where they agree.
    """

    word: str
    phrase: str
    details: list[str]
    warning: str


@dataclass(frozen=True)
class Verdict:
    """What is said of one model in one direction.

    Attributes:
        title: direction, and the model where there are several.
        headline: one sentence.
        lines: a comparison each.
        missing: sentences about comparisons that were not made.
        few: a caution where the subjects are few, else "".
        comparison: key of the direction.
        model: label.
    """

    title: str
    headline: str
    lines: list[Line]
    missing: list[str]
    few: str
    comparison: str
    model: str


def make_verdicts(summary: Mapping[str, Any], metrics: pd.DataFrame) -> list[Verdict]:
    """Judge the chosen model, or every model where none was chosen, in both directions."""
    models = list_models(summary)
    return [
        _make_verdict(summary, metrics, model=model, comparison=comparison, alone=len(models) == 1)
        for model in models
        for comparison in DIRECTIONS
        if any(row["comparison"] == comparison for row in summary["rows"])
    ]


def list_models(summary: Mapping[str, Any]) -> list[str]:
    """Models that the verdict is about."""
    measured = [row["model"] for row in summary["rows"] if row["kind"] == "model"]
    if summary["chosen"] in measured:
        return [summary["chosen"]]
    return list(dict.fromkeys(measured))


def _make_verdict(
    summary: Mapping[str, Any], metrics: pd.DataFrame, *, model: str, comparison: str, alone: bool
) -> Verdict:
    lines, missing = [], []
    for other, phrase in TRIVIAL_PHRASES.items():
        found = {
            figure: find_difference(summary, comparison, figure, model, other)
            for figure in (DECIDING, SECOND)
        }
        if found[DECIDING] is None:
            missing.append(_explain_missing(other))
            continue
        values = {figure: pivot_subjects(metrics, comparison, figure) for figure in found}
        lines.append(_make_line(found, values, phrase, summary["smallest_for_p"]))
    title = COMPARISONS[comparison]
    return Verdict(
        title=title if alone else f"{title}: {model}",
        headline=make_headline(lines),
        lines=lines,
        missing=missing,
        few=_caution(summary),
        comparison=comparison,
        model=model,
    )


def _make_line(
    found: Mapping[str, Any], values: Mapping[str, pd.DataFrame], phrase: str, smallest_for_p: int
) -> Line:
    words, details = {}, []
    for figure, difference in found.items():
        if difference is None:
            continue
        pairs = values[figure][[difference["model"], difference["other"]]].dropna()
        gains = (pairs.iloc[:, 0] - pairs.iloc[:, 1]).tolist()
        words[figure] = judge(difference, gains, smallest_for_p=smallest_for_p)
        details.append(_describe(figure, difference, pairs, gains))
    return Line(
        word=words[DECIDING],
        phrase=_capitalise(f"{PHRASES[words[DECIDING]]} {phrase}"),
        details=details,
        warning=_warn(found, words, phrase),
    )


def _describe(
    figure: str, difference: Mapping[str, Any], pairs: pd.DataFrame, gains: Sequence[float]
) -> str:
    quantity = find_quantity(figure)
    mean, low, high = (
        format_number(difference[name], quantity.decimals, signed=True)
        for name in ("mean", "low", "high")
    )
    model, other = (format_number(value, quantity.decimals) for value in pairs.mean())
    unit = f" {quantity.unit}" if quantity.unit else ""
    sentence = f"{quantity.label} {model} against {other}: {mean}{unit}"
    if difference["subjects"] == 1:
        return f"{sentence}."
    p = read_p(difference)
    is_range = difference["subjects"] < SMALLEST_FOR_INTERVAL
    return (
        f"{sentence} ({'range' if is_range else '95 % interval'} {low} to {high}), "
        f"{_count(gains)}{'; ' + format_p(p) if p is not None else ''}."
    )


def _count(gains: Sequence[float]) -> str:
    """Say for how many subjects a figure is higher."""
    higher, equal = (int(np.sum(test)) for test in (np.greater(gains, 0), np.equal(gains, 0)))
    text = f"higher for {higher} of {len(gains)} subjects"
    return text + (f" and equal for {equal}" if equal else "")


def _warn(found: Mapping[str, Any], words: Mapping[str, str], phrase: str) -> str:
    """Point out that SSIM and PSNR point to different sides, where either is sure of its own."""
    if SECOND not in words or set(words.values()) == {"same"}:
        return ""
    if found[DECIDING]["mean"] * found[SECOND]["mean"] >= 0:
        return ""
    verdicts = " and ".join(
        f"by {find_quantity(figure).label} the model is {PHRASES[word]} {phrase}"
        for figure, word in words.items()
    )
    return (
        f"The two figures disagree: {verdicts}. PSNR rewards smooth images; look at the pictures "
        "and at the structure figures before you believe either."
    )


def _explain_missing(other: str) -> str:
    needed = {"lookup": "registered training pairs", "mean": "training slices"}
    why = f": it is fitted to {needed[other]}, and there were none" if other in needed else ""
    return f"There is no comparison with {TRIVIAL_PHRASES[other]}{why}."


def _caution(summary: Mapping[str, Any]) -> str:
    subjects, smallest = summary["subjects"], summary["smallest_for_p"]
    if subjects >= smallest:
        return ""
    if subjects == 1:
        return "Only 1 subject: no intervals, no p-values, and nothing is claimed beyond it."
    return (
        f"Only {subjects} subjects: with fewer than {smallest} no p-value "
        "can fall below .01, so none is claimed, and intervals are narrower than they should be. "
        "A difference counts only where all subjects agree. Each of them is listed below."
    )


def make_headline(lines: Sequence[Line]) -> str:
    """One sentence that groups the trivial rows by what was found."""
    if not lines:
        return "Not compared with anything."
    return _capitalise("; ".join(_group(lines))) + "."


def _group(lines: Sequence[Line]) -> Iterator[str]:
    for word, phrase in PHRASES.items():
        start = len(_capitalise(phrase)) + 1
        others = [line.phrase[start:] for line in lines if line.word == word]
        if others:
            yield f"{phrase} {' and '.join(filter(None, [', '.join(others[:-1]), others[-1]]))}"


def _capitalise(text: str) -> str:
    return text[:1].upper() + text[1:]

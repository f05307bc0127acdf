"""Evaluations on disk, read to be put side by side; what keeps them apart is named."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd

from scripts.evaluation.figure_tables import KEYS, SESSION, check_table, name_session
from scripts.evaluation.path_names import name_paths

FORMAT_VERSION = 1  # of summary.json
NEEDED = ("split", "datasets", "paired")
MOST_NAMES = 10  # sessions that one message lists

Session = tuple[str, str, str]


@dataclass(frozen=True)
class Evaluation:
    """One evaluation folder.

    Attributes:
        label: unique among those that are compared.
        split: part of the dataset that was evaluated.
        datasets: names, sorted.
        table: one row a (model, comparison, session), from `check_table`.
    """

    label: str
    split: str
    datasets: tuple[str, ...]
    table: pd.DataFrame

    @property
    def models(self) -> list[str]:
        """Labels of the models, in the table's order."""
        return list(self.table.loc[self.table["kind"] == "model", "model"].unique())

    @property
    def sessions(self) -> set[Session]:
        """Every (dataset, subject_id, session)."""
        return list_sessions(self.table[self.table["kind"] == "model"])

    @property
    def comparisons(self) -> tuple[str, ...]:
        """Names, sorted."""
        return tuple(sorted(self.table["comparison"].unique()))


@dataclass(frozen=True)
class LeftOut:
    """What of an evaluation the others lack.

    Attributes:
        label: of the evaluation.
        subjects: number of them without any session left.
        of_subjects: number of them before.
        sessions: number of sessions, those of these subjects included.
        of_sessions: number of them before.
    """

    label: str
    subjects: int
    of_subjects: int
    sessions: int
    of_sessions: int


def list_sessions(table: pd.DataFrame) -> set[Session]:
    """Every (dataset, subject_id, session) of a table."""
    return set(table[SESSION].itertuples(index=False, name=None))


def load_evaluations(
    folders: Sequence[Path], *, figures: Sequence[str], fewest: int = 2
) -> list[Evaluation]:
    """Read the folders that `run evaluate` wrote.

    Args:
        folders: each with metrics.csv and summary.json.
        figures: columns that each must have.
        fewest: number of folders that make a comparison.

    Raises:
        FileNotFoundError: a file is missing.
        ValueError: there are fewer folders than that, one is named twice or cannot be used.
    """
    if len(folders) < fewest:
        raise ValueError(f"Found {len(folders)} evaluation folders; expected {fewest} or more.")
    return [
        _load_evaluation(folder, label, figures)
        for folder, label in zip(folders, name_paths(folders), strict=True)
    ]


def _load_evaluation(folder: Path, label: str, figures: Sequence[str]) -> Evaluation:
    summary = load_summary(folder)
    if not summary["paired"]:
        raise ValueError(f"{folder}: an evaluation without registered pairs; nothing to compare.")
    table = _read_metrics(find_file(folder, "metrics.csv"), figures)
    datasets = tuple(sorted(summary["datasets"]))
    return Evaluation(label, str(summary["split"]), datasets, table)


def find_file(folder: Path, name: str) -> Path:
    """Path of a file of an evaluation; FileNotFoundError where it is missing."""
    path = folder / name
    if not path.is_file():
        raise FileNotFoundError(
            f"{path}: there is no such file; expected a folder that `run evaluate` finished."
        )
    return path


def load_summary(folder: Path) -> dict[str, Any]:
    """Read `summary.json` of an evaluation of this version."""
    path = find_file(folder, "summary.json")
    try:
        summary: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path}: not JSON ({error}); evaluate again.") from error
    found = summary.get("format_version")
    if found != FORMAT_VERSION:
        raise ValueError(
            f"{path}: found format_version {found}; expected {FORMAT_VERSION}. Evaluate again."
        )
    missing = [name for name in NEEDED if name not in summary]
    if missing:
        raise ValueError(f"{path}: found no {', '.join(missing)}. Evaluate again.")
    return summary


def _read_metrics(path: Path, figures: Sequence[str]) -> pd.DataFrame:
    """Keys stay text: a session "01" is no number."""
    try:
        table = pd.read_csv(path, dtype=str, keep_default_na=False)
        table = check_table(_parse_figures(table, figures), figures)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    _check_complete(path, table[table["kind"] == "model"])
    return table


def _parse_figures(table: pd.DataFrame, figures: Sequence[str]) -> pd.DataFrame:
    parsed = table.copy()
    for name in figures:
        if name in table and name not in KEYS:
            numbers = pd.to_numeric(table[name].mask(table[name] == ""), errors="coerce")
            wrong = table[name][numbers.isna() & ~table[name].isin(("", "nan"))]
            if len(wrong):
                raise ValueError(f"found {wrong.iloc[0]!r} in {name}; expected a number or nothing")
            parsed[name] = numbers
    return parsed


def _check_complete(path: Path, table: pd.DataFrame) -> None:
    """ValueError unless each model has every session in every comparison."""
    if table.empty:
        raise ValueError(f"{path}: no row of a model, so there are no pairs to compare.")
    expected = list_sessions(table)
    for (model, comparison), rows in table.groupby(["model", "comparison"]):
        missing = expected - list_sessions(rows)
        if missing:
            raise ValueError(f"{path}: no {comparison} of {model!r} for {_name(missing)}.")


def find_mismatches(evaluations: Sequence[Evaluation]) -> list[str]:
    """Say what differs between evaluations of other data; empty if nothing does."""
    facts = {
        "splits": {each.label: each.split for each in evaluations},
        "datasets": {each.label: ", ".join(each.datasets) for each in evaluations},
        "comparisons": {each.label: ", ".join(each.comparisons) for each in evaluations},
    }
    mismatches = [
        f"{name}: " + "; ".join(f"{label} has {value}" for label, value in values.items())
        for name, values in facts.items()
        if len(set(values.values())) > 1
    ]
    everything = set[Session]().union(*(each.sessions for each in evaluations))
    return mismatches + [
        f"subjects: {each.label} lacks {_name(everything - each.sessions)}"
        for each in evaluations
        if everything - each.sessions
    ]


def select_common(evaluations: Sequence[Evaluation]) -> tuple[list[Evaluation], list[LeftOut]]:
    """Keep the sessions and comparisons that all evaluations have, and count the others."""
    shared = set[Session].intersection(*(each.sessions for each in evaluations))
    comparisons = set[str].intersection(*(set(each.comparisons) for each in evaluations))
    if not shared or not comparisons:
        raise ValueError(
            "The evaluations share no subject and comparison: "
            + "; ".join(find_mismatches(evaluations))
        )
    selected, left_out = [], []
    for each in evaluations:
        rows = each.table["comparison"].isin(comparisons)
        rows &= pd.MultiIndex.from_frame(each.table[SESSION]).isin(shared)
        selected.append(replace(each, table=each.table[rows].reset_index(drop=True)))
        left_out.append(_count_left_out(each, shared))
    return selected, left_out


def _count_left_out(evaluation: Evaluation, shared: set[Session]) -> LeftOut:
    subjects = {session[:2] for session in evaluation.sessions}
    return LeftOut(
        evaluation.label,
        subjects=len(subjects - {session[:2] for session in shared}),
        of_subjects=len(subjects),
        sessions=len(evaluation.sessions - shared),
        of_sessions=len(evaluation.sessions),
    )


def _name(sessions: set[Session]) -> str:
    names = [name_session(*session) for session in sorted(sessions)]
    more = f" and {len(names) - MOST_NAMES} more" if len(names) > MOST_NAMES else ""
    return ", ".join(names[:MOST_NAMES]) + more

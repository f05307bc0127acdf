"""The tables of the evaluation page, as rows of cells that know how they sort."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pandas as pd

from scripts.report.cells import Cell, Column, Table, number_cell, text_cell
from scripts.report.glossary import (
    BETTER,
    COMPARISONS,
    DIRECTIONS,
    KIND_ORDER,
    ROW_NAMES,
    TRIVIAL_PHRASES,
    find_quantity,
    sort_figures,
)
from scripts.report.judgement import DECIDING, pivot_subjects
from scripts.report.numbers import DASH, MINUS, format_number, is_missing

KEYS = ("model", "kind", "comparison", "dataset", "subject_id", "session")

Rows = Sequence[Mapping[str, Any]]


def name_row(model: str, kind: str) -> str:
    """A model's own label, or what a trivial row stands for."""
    return model if kind == "model" else ROW_NAMES.get(model, model)


def make_figure_columns(figures: Iterable[str]) -> list[Column]:
    """Heads of figures, each with its unit and the direction that is better."""
    columns = []
    for quantity in map(find_quantity, figures):
        arrow, words = BETTER[quantity.better]
        note = " ".join(part for part in (quantity.unit, arrow) if part)
        columns.append(Column(quantity.label, note, words, numeric=True, role=quantity.role))
    return columns


def make_comparison_tables(summary: Mapping[str, Any]) -> list[Table]:
    """Means with intervals: a table a comparison, a row a model or trivial row."""
    return [
        _make_comparison_table(comparison, rows)
        for comparison in COMPARISONS
        if (rows := [row for row in summary["rows"] if row["comparison"] == comparison])
    ]


def _make_comparison_table(comparison: str, rows: Rows) -> Table:
    by_key = {(row["model"], row["figure"]): row for row in rows if not is_missing(row["mean"])}
    kinds = {row["model"]: row["kind"] for row in rows}
    figures = sort_figures(figure for _, figure in by_key)
    return Table(
        caption=COMPARISONS[comparison],
        columns=[Column("Model"), *make_figure_columns(figures)],
        rows=[
            [
                _name_cell(model, kinds[model]),
                *(_mean_cell(by_key.get((model, figure)), figure) for figure in figures),
            ]
            for model in sorted(kinds, key=lambda model: KIND_ORDER.index(kinds[model]))
        ],
    )


def _name_cell(model: str, kind: str) -> Cell:
    notes = {"model": "", "trivial": "trivial", "real": "for reference"}
    return text_cell(name_row(model, kind), notes[kind])


def _mean_cell(row: Mapping[str, Any] | None, figure: str) -> Cell:
    decimals = find_quantity(figure).decimals
    if row is None:
        return Cell(DASH)
    return number_cell(row["mean"], decimals, _format_interval(row, decimals))


def _format_interval(row: Mapping[str, Any], decimals: int, *, signed: bool = False) -> str:
    if is_missing(row["low"]) or is_missing(row["high"]):
        return ""
    low, high = (format_number(row[end], decimals, signed=signed) for end in ("low", "high"))
    return f"{low} to {high}"


def make_difference_table(summary: Mapping[str, Any]) -> Table | None:
    """Every paired difference with its interval and p-values."""
    columns = [Column("Comparison"), Column("Figure"), Column("Model"), Column("minus")]
    names = ("Difference", "p", "p, Holm", "Subjects")
    kinds = {row["model"]: row["kind"] for row in summary["rows"]}
    rows = [
        [
            text_cell(COMPARISONS.get(entry["comparison"], entry["comparison"])),
            text_cell(find_quantity(entry["figure"]).label),
            text_cell(entry["model"]),
            text_cell(name_row(entry["other"], kinds.get(entry["other"], "trivial"))),
            *_difference_cells(entry),
        ]
        for entry in summary["differences"]
    ]
    columns += [Column(name, numeric=True) for name in names]
    return Table("Differences", columns, rows) if rows else None


def _difference_cells(entry: Mapping[str, Any]) -> list[Cell]:
    decimals = find_quantity(entry["figure"]).decimals
    interval = _format_interval(entry, decimals, signed=True)
    return [
        number_cell(entry["mean"], decimals, interval, signed=True),
        number_cell(entry["p"], 4),
        number_cell(entry["p_holm"], 4),
        number_cell(entry["subjects"], 0),
    ]


def make_session_tables(metrics: pd.DataFrame) -> list[Table]:
    """Every figure of every session: a table a comparison."""
    return [
        _make_session_table(comparison, rows)
        for comparison in COMPARISONS
        if len(rows := metrics[metrics["comparison"] == comparison])
    ]


def _make_session_table(comparison: str, rows: pd.DataFrame) -> Table:
    measured = [name for name in rows.columns if name not in KEYS and rows[name].notna().any()]
    figures = sort_figures(measured)
    return Table(
        caption=COMPARISONS[comparison],
        columns=[Column("Subject"), Column("Model"), *make_figure_columns(figures)],
        rows=[
            [
                text_cell(row["subject_id"], row["session"]),
                text_cell(name_row(row["model"], row["kind"])),
                *(number_cell(row[name], find_quantity(name).decimals) for name in figures),
            ]
            for row in rows.to_dict("records")
        ],
    )


def make_subject_list(metrics: pd.DataFrame, comparison: str, model: str) -> Table | None:
    """The deciding figure of each subject, of trivial rows, and the model's minus theirs."""
    values = pivot_subjects(metrics, comparison, DECIDING)
    if model not in values:
        return None
    others = [name for name in TRIVIAL_PHRASES if name in values]
    label, decimals = find_quantity(DECIDING).label, find_quantity(DECIDING).decimals
    heads = ["model", *others, *(f"{MINUS} {name}" for name in others)]
    rows = []
    for row in values.reset_index().to_dict("records"):
        gains = [number_cell(row[model] - row[name], decimals, signed=True) for name in others]
        means = [number_cell(row[name], decimals) for name in (model, *others)]
        rows.append([text_cell(row["subject_id"]), *means, *gains])
    columns = [Column("Subject"), *(Column(head, numeric=True) for head in heads)]
    return Table(f"{label} of each subject, {COMPARISONS[comparison]}", columns, rows)


def make_unpaired_tables(summary: Mapping[str, Any]) -> list[Table]:
    """What was measured without pairs: a table a direction."""
    return [
        _make_unpaired_table(direction, rows)
        for direction in DIRECTIONS
        if (rows := [row for row in summary["unpaired"] if row["direction"] == direction])
    ]


def _make_unpaired_table(direction: str, rows: Rows) -> Table:
    figures = sort_figures(row["figure"] for row in rows)
    values = {(row["model"], row["figure"]): row["value"] for row in rows}
    kinds = {row["model"]: row["kind"] for row in rows}
    decimals = {name: find_quantity(name).decimals for name in figures}
    return Table(
        caption=f"{COMPARISONS[direction]}, without pairs",
        columns=[Column("Model"), *make_figure_columns(figures)],
        rows=[
            [
                _name_cell(model, kind),
                *(number_cell(values.get((model, name)), decimals[name]) for name in figures),
            ]
            for model, kind in kinds.items()
        ],
    )


def list_figures(summary: Mapping[str, Any], metrics: pd.DataFrame) -> list[str]:
    """Every figure that stands in a table of the page, in the order of the glossary."""
    rows = summary["rows"] if summary["paired"] else []
    measured = [row["figure"] for row in [*rows, *summary["unpaired"]]]
    columns = [name for name in metrics.columns if name not in KEYS and metrics[name].notna().any()]
    return sort_figures([*measured, *columns])

"""A comparison of evaluations in words: a table to print, a CSV table and a page."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from typing import Any

from scripts.report.glossary import BETTER, COMPARISONS, ROW_NAMES, Quantity, find_quantity
from scripts.report.numbers import DASH, MINUS, format_number, format_p, is_missing
from scripts.report.rendering import INTERVALS, render

DIFFERENCE = "difference"  # beside the kinds of metrics.csv
KEYS = ("comparison", "figure", "kind", "model", "other")
CSV_COLUMNS = (*KEYS, "mean", "low", "high", "least", "p", "p_holm", "subjects")
HEAD = {"name": "", "mean": "mean", "interval": "interval", "subjects": "subjects"}
DIFFERENCE_HEAD = {
    "name": "",
    "mean": "difference",
    "interval": "interval",
    "p": "p",
    "p_holm": "p (Holm)",
    "subjects": "subjects",
}


def describe_evaluations(content: dict[str, Any]) -> list[str]:
    """A line about each evaluation, and one about splits or training data that differ.

    Args:
        content: from `compare_evaluations`.
    """
    lines = []
    for each in content["evaluations"]:
        out = each["left_out"]
        lines.append(
            f"{each['label']}: split {each['split']} of {', '.join(each['datasets'])}, "
            f"{out['of_subjects']} subjects, {out['of_sessions']} sessions"
        )
        if out["sessions"]:
            lines[-1] += (
                f"; left out, as not all evaluations have them: subjects {out['subjects']}, "
                f"sessions {out['sessions']}"
            )
    if len({each["split"] for each in content["evaluations"]}) > 1:
        lines.append(
            "The splits differ: the figures of a model are too good where it was trained or chosen."
        )
    if apart := content.get("fitted_apart"):
        rows = " and ".join(ROW_NAMES[name] for name in apart)
        lines.append(f"Fitted to different training data, so once for each evaluation: {rows}.")
    return lines


def describe_blocks(content: dict[str, Any]) -> list[dict[str, Any]]:
    """One block a comparison and figure, all numbers in words.

    Args:
        content: from `compare_evaluations`.
    """
    names = dict.fromkeys((row["comparison"], row["figure"]) for row in content["rows"])
    return [_describe_block(content, *name) for name in names]


def _describe_block(content: dict[str, Any], comparison: str, figure: str) -> dict[str, Any]:
    rows, differences = (
        [row for row in content[name] if (row["comparison"], row["figure"]) == (comparison, figure)]
        for name in ("rows", "differences")
    )
    quantity = find_quantity(figure)
    unit = f" in {quantity.unit}" if quantity.unit else ""
    return {
        "title": f"{COMPARISONS.get(comparison, comparison)}: {quantity.label}{unit}",
        "better": BETTER[quantity.better][1],
        "rows": [_describe_row(row, quantity) for row in rows],
        "differences": [_describe_difference(row, quantity) for row in differences],
        "note": _note_p(differences, content["smallest_for_p"]),
    }


def _describe_row(row: dict[str, Any], quantity: Quantity) -> dict[str, str]:
    is_model = row["kind"] == "model"
    return {
        "name": row["model"] if is_model else ROW_NAMES.get(row["model"], row["model"]),
        "kind": row["kind"],
        "mean": format_number(row["mean"], quantity.decimals),
        "interval": _format_interval(row, quantity.decimals, signed=False),
        "subjects": str(row["subjects"]),
    }


def _describe_difference(row: dict[str, Any], quantity: Quantity) -> dict[str, str]:
    return {
        "name": f"{row['model']} {MINUS} {row['other']}",
        "kind": DIFFERENCE,
        "mean": format_number(row["mean"], quantity.decimals, signed=True),
        "interval": _format_interval(row, quantity.decimals, signed=True),
        "p": _format_p(row["p"]),
        "p_holm": _format_p(row["p_holm"]),
        "subjects": str(row["subjects"]),
    }


def _format_interval(row: dict[str, Any], decimals: int, *, signed: bool) -> str:
    if is_missing(row["low"]) or is_missing(row["high"]):
        return DASH
    return " to ".join(format_number(row[end], decimals, signed=signed) for end in ("low", "high"))


def _format_p(p: float | None) -> str:
    return DASH if p is None else format_p(p).removeprefix("p ").removeprefix("= ")


def _note_p(differences: Sequence[dict[str, Any]], smallest: int) -> str:
    fewest = min((row["subjects"] for row in differences), default=smallest)
    if fewest >= smallest:
        return ""
    return f"No p-value of {fewest} subjects: fewer than {smallest} cannot give one below .01."


def format_text(content: dict[str, Any]) -> str:
    """Tables for a terminal, one block a comparison and figure."""
    lines = describe_evaluations(content)
    lines.append(f"Means with {INTERVALS}, seed {content['seed']}.")
    for block in describe_blocks(content):
        lines += ["", f"{block['title']} ({block['better']})", *_align([HEAD, *block["rows"]])]
        if block["differences"]:
            lines += ["", *_align([DIFFERENCE_HEAD, *block["differences"]])]
        lines += [block["note"]] if block["note"] else []
    return "\n".join(lines)


def _align(rows: Sequence[dict[str, str]]) -> list[str]:
    widths = {column: max(len(row[column]) for row in rows) for column in rows[0]}
    return [
        "  ".join(
            f"{row[column]:{'<' if column == 'name' else '>'}{width}}"
            for column, width in widths.items()
        )
        for row in rows
    ]


def format_csv(content: dict[str, Any]) -> str:
    """One row a mean and one a difference; what is absent is empty."""
    file = io.StringIO()
    writer = csv.DictWriter(file, CSV_COLUMNS, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(content["rows"])
    writer.writerows({**row, "kind": DIFFERENCE} for row in content["differences"])
    return file.getvalue()


def render_page(content: dict[str, Any]) -> str:
    """A page of HTML that asks for nothing from a network."""
    return render(
        "comparison.html.j2",
        {
            "labels": [each["label"] for each in content["evaluations"]],
            "evaluations": describe_evaluations(content),
            "blocks": describe_blocks(content),
            "seed": content["seed"],
            "smallest": content["smallest_for_p"],
        },
    )

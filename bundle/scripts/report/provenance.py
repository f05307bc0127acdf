"""What the evaluation page says of how it came about: subjects, models, openings of the test."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from scripts.report.cells import Column, Table, number_cell, text_cell
from scripts.report.glossary import ARROW, find_quantity
from scripts.report.numbers import DASH, format_number

SHORT = 12  # characters of a checksum in a table
MEANINGS = {
    "train": "training part, which the models have seen",
    "validation": "validation part, by which models are chosen",
    "test": "test part, which is opened after every choice is made",
    "external": "external test, held out from every training on this dataset",
    "all": "whole dataset",
}
PARTS = {"train": "training part", "all": "whole dataset"}
LOOKED_AT_OFTEN = ("train", "validation")


def describe_totals(summary: Mapping[str, Any]) -> dict[str, str]:
    """The figures at the top of the page; counts are of pairs."""
    totals = {"models": str(len(_list_measured(summary))), "seed": str(summary["seed"])}
    totals["views of a slice"] = str(summary.get("views", 1))  # absent before there was a choice
    if summary["paired"]:
        counts = {name: f"{summary[name]:,}" for name in ("subjects", "sessions", "slices")}
        information = _describe_registration(summary["registration"])
        totals = counts | totals | {"mutual information, T2w registered to T1w": information}
    return totals


def _describe_registration(registration: Mapping[str, float | None] | None) -> str:
    if not registration:
        return "not known"
    before, after = (
        format_number(registration[f"mutual_information_{when}"], 3) for when in ("before", "after")
    )
    return f"{before} {ARROW} {after}"


def _list_measured(summary: Mapping[str, Any]) -> set[str]:
    rows = [*summary["rows"], *summary["unpaired"]]
    return {row["model"] for row in rows if row["kind"] == "model"}


def describe_subject(summary: Mapping[str, Any]) -> str:
    """One sentence: which part of which datasets was measured."""
    names = ", ".join(summary["datasets"])
    part = MEANINGS.get(summary["split"], f"part {summary['split']}")
    return f"Measured on {names}: the {part}." if names else f"Measured on the {part}."


def describe_openings(summary: Mapping[str, Any]) -> tuple[str, bool]:
    """Say how often the folder records that the measured part was opened, and whether to worry."""
    split = summary["split"]
    part = PARTS.get(split, f"{split} part")
    openings = _list_openings(summary)
    models = {entry["sha256"] for entry in openings}
    if split in LOOKED_AT_OFTEN:
        return f"The {part} may be looked at often; the test part was not used here.", False
    if not openings:
        return f"There is no record of when the {part} was opened.", True
    first = format_time(min(entry["when"] for entry in openings))
    if len(openings) == 1:
        return f"One opening of the {part} is recorded in this folder, at {first}.", False
    count = len(openings)
    text = f"{count} openings of the {part} are recorded in this folder, the first at {first}"
    if len(models) == 1:
        return f"{text}, each time with the same model.", False
    return (
        f"{text}, with {len(models)} different models: if one was chosen by what the others "
        f"scored here, its figures flatter it.",
        True,
    )


def _list_openings(summary: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Those of the measured part of the measured dataset, which the last one is of.

    Where no dataset was noted, it may be the same one.
    """
    openings: list[Mapping[str, Any]] = summary["openings"]
    measured = openings[-1].get("dataset") if openings else None
    return [
        entry
        for entry in openings
        if entry["split"] in (summary["split"], "all")
        and (measured is None or entry.get("dataset", measured) == measured)
    ]


def format_time(when: str) -> str:
    """2026-11-23T02:00:00+00:00 as it is read aloud."""
    date, _, rest = when.partition("T")
    zone = " UTC" if rest.endswith(("+00:00", "Z")) else ""
    return f"{date} {rest[:5]}{zone}".strip()


def make_opening_table(summary: Mapping[str, Any]) -> Table | None:
    """Every recorded opening."""
    rows = [
        [
            text_cell(format_time(entry["when"])),
            text_cell(entry["split"]),
            text_cell(entry.get("dataset", DASH)[:SHORT]),
            text_cell(entry["sha256"][:SHORT]),
        ]
        for entry in summary["openings"]
    ]
    sums = (f"sha256 of the {what}, first {SHORT}" for what in ("dataset's table", "model"))
    heads = ("When", "Part", *sums)
    return Table("Openings on record", [Column(head) for head in heads], rows) if rows else None


def make_candidate_table(summary: Mapping[str, Any]) -> Table | None:
    """The candidates in the order of the key metric on validation, None for a single one."""
    candidates = summary["candidates"]
    figures = list(dict.fromkeys(name for each in candidates for name in each["validation"] or {}))
    if not figures:
        return None
    rows = [
        [
            text_cell(each["model"], "chosen" if each["model"] == summary["chosen"] else ""),
            *(_validation_cell(each, name) for name in figures),
        ]
        for each in candidates
    ]
    heads = [Column(name_validation(name), numeric=True) for name in figures]
    return Table("Candidates on the validation part", [Column("Model"), *heads], rows)


def _validation_cell(candidate: Mapping[str, Any], name: str) -> Any:
    quantity = find_quantity(name.partition("_")[2])
    return number_cell((candidate["validation"] or {}).get(name), quantity.decimals)


def name_validation(name: str | None) -> str:
    """`t2w_ssim` as "T2w SSIM"."""
    contrast, _, figure = (name or "").partition("_")
    contrast = {"t1w": "T1w", "t2w": "T2w"}.get(contrast, contrast)
    return f"{contrast} {find_quantity(figure).label}"

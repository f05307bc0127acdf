"""Evaluations side by side: ``python -m scripts.compare A B ... --help``, inside the bundle."""

from __future__ import annotations

import json
from pathlib import Path

from fire.decorators import SetParseFn

from scripts.command_line import run_command
from scripts.config_options import is_on
from scripts.evaluation.evaluation_folders import (
    find_mismatches,
    load_evaluations,
    select_common,
)
from scripts.evaluation.side_by_side import compare_evaluations
from scripts.report.comparison_page import format_csv, format_text, render_page
from scripts.whole_files import check_absent, write_text

FILES = ("comparison.html", "comparison.csv", "comparison.json")


@SetParseFn(str)  # a folder "1e3" is no number
def compare(
    *folders: str,
    output: str = "outputs/comparison",
    figures: str = "ssim,psnr",
    seed: int | str = 0,
    common: bool | str = False,
    overwrite: bool | str = False,
) -> str:
    """Compare evaluations of the same subjects: means, paired differences, corrected p-values.

    Args:
        folders: two or more folders that `run evaluate` wrote.
        output: folder for comparison.html, comparison.csv and comparison.json.
        figures: columns of metrics.csv, commas between.
        seed: of the bootstrap.
        common: true compares the subjects that all folders have, where they differ.
        overwrite: true replaces an earlier comparison in the output folder.
    """
    names = [name.strip() for name in figures.split(",") if name.strip()]
    if not names or not str(seed).isdigit():
        raise ValueError(
            f"Found --figures {figures} and --seed {seed}; expected names of columns with commas "
            "between, and a whole number from 0."
        )
    paths = [Path(output) / name for name in FILES]
    check_absent(paths, overwrite=is_on(overwrite))
    evaluations = load_evaluations([Path(folder) for folder in folders], figures=names)
    mismatches = find_mismatches(evaluations)
    if mismatches and not is_on(common):
        raise ValueError(
            f"The evaluations are of different data. {'. '.join(mismatches)}. Name others, or "
            "pass --common true to compare the subjects that all have."
        )
    evaluations, left_out = select_common(evaluations)
    content = compare_evaluations(evaluations, left_out, figures=names, seed=int(seed))
    text = json.dumps(content, indent=1, allow_nan=False) + "\n"
    pages = (render_page(content), format_csv(content), text)
    for path, page in zip(paths, pages, strict=True):
        write_text(path, page)
    return f"{format_text(content)}\n\nWritten: {', '.join(map(str, paths))}"


def main() -> None:
    """Compare."""
    run_command(compare, name="python -m scripts.compare")


if __name__ == "__main__":
    main()

"""The card's tables of an ablation are those of the figures that are kept beside it."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

from scripts import ablate
from scripts.ablation.plan import load_plan

from tests.slice_dataset_fixture import BUNDLE

ROWS = BUNDLE / "docs" / "ablation_rows"
CARD = (BUNDLE / "docs" / "README.md").read_text()
STEPS = BUNDLE / "configs" / "ablation" / "steps.json"


def take_up(folder: Path) -> list[Path]:
    """Copy the kept figures to where trainings leave them; returns their datasets' folders."""
    shutil.copytree(ROWS, folder / "rows")
    for summary in folder.glob("rows/*/*/*/*/summary.json"):
        (summary.parent / "report.html").touch()
    datasets = [folder / "data" / fold.name for fold in sorted(ROWS.iterdir())]
    for dataset in datasets:
        dataset.mkdir(parents=True)
        (dataset / "dataset.json").touch()
    return datasets


def test_its_tables_are_what_the_command_writes(tmp_path: Path) -> None:
    text = ablate.report(
        plan=str(STEPS),
        dataset_dirs=",".join(map(str, take_up(tmp_path))),
        output_dir=str(tmp_path / "rows"),
    )
    written, _ = text.split("\nWritten: ")
    told = re.search(r"<!-- ablation -->\n\n(.*?)\n\n<!-- end of ablation -->", CARD, re.DOTALL)
    assert told is not None
    assert told[1] == written.strip()


def test_the_kept_recipes_are_those_of_the_plan() -> None:
    kept = list(ROWS.glob("*/*/seed_*/recipe.json"))
    rows = {row.name: row.overlay for row in load_plan(STEPS, BUNDLE / "configs").rows}
    assert kept
    for path in kept:
        seed = int(path.parent.name.removeprefix("seed_"))
        assert json.loads(path.read_text()) == {**rows[path.parts[-3]], "seed": seed}, path

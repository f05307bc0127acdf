"""The card's tables of ablations are those of the figures that are kept beside it."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest
from scripts import ablate
from scripts.ablation.plan import load_plan

from tests.slice_dataset_fixture import BUNDLE

CONFIGS, DOCS = BUNDLE / "configs", BUNDLE / "docs"
CARD = (DOCS / "README.md").read_text()
PLANS = {"ablation": "steps.json", "cross-validation": "shipped.json", "scans": "scans.json"}
KEPT = {
    "ablation": "ablation_rows", "cross-validation": "cross_validation_rows", "scans": "scans_rows"
}  # fmt: skip
SPLITS = {"ablation": "validation", "cross-validation": "test", "scans": "test"}
each_table = pytest.mark.parametrize("name", PLANS)


def take_up(kept: Path, folder: Path) -> list[Path]:
    """Copy the kept figures to where trainings leave them; returns their datasets' folders."""
    shutil.copytree(kept, folder / "rows")
    for summary in folder.glob("rows/*/*/*/*/summary.json"):
        (summary.parent / "report.html").touch()
    datasets = [folder / "data" / fold.name for fold in sorted(kept.iterdir())]
    for dataset in datasets:
        dataset.mkdir(parents=True)
        (dataset / "dataset.json").touch()
    return datasets


def find_plan(name: str) -> Path:
    return CONFIGS / "ablation" / PLANS[name]


@each_table
def test_its_tables_are_what_the_command_writes(tmp_path: Path, name: str) -> None:
    text = ablate.report(
        plan=str(find_plan(name)),
        dataset_dirs=",".join(map(str, take_up(DOCS / KEPT[name], tmp_path))),
        output_dir=str(tmp_path / "rows"),
        split=SPLITS[name],
    )
    written, _ = text.split("\nWritten: ")
    told = re.search(rf"<!-- {name} -->\n\n(.*?)\n\n<!-- end of {name} -->", CARD, re.DOTALL)
    assert told is not None
    assert told[1] == written.strip()


@each_table
def test_the_kept_recipes_are_those_of_the_plan(name: str) -> None:
    kept = list((DOCS / KEPT[name]).glob("*/*/seed_*/recipe.json"))
    rows = {row.name: row.overlay for row in load_plan(find_plan(name), CONFIGS).rows}
    assert kept
    for path in kept:
        seed = int(path.parent.name.removeprefix("seed_"))
        assert json.loads(path.read_text()) == {**rows[path.parts[-3]], "seed": seed}, path

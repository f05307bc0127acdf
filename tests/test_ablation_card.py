"""The card's tables of an ablation are those of the figures that are kept beside it."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from scripts import ablate

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


@pytest.mark.parametrize(("fold", "options"), [("fold_1", {})])
def test_its_tables_are_what_the_command_writes(
    tmp_path: Path, fold: str, options: dict[str, str]
) -> None:
    datasets = [path for path in take_up(tmp_path) if path.name == fold]
    text = ablate.report(
        plan=str(STEPS),
        dataset_dirs=",".join(map(str, datasets)),
        output_dir=str(tmp_path / "rows"),
        **options,
    )
    tables = [block for block in text.split("\n\n") if block.startswith("|")]
    assert len(tables) == 3  # a direction each, and the goals
    for table in tables:
        assert table.strip() in CARD

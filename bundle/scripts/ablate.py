"""One change at a time, trained and compared: ``python -m scripts.ablate run --help``.

Any number of workers may run the same command; each may be stopped and started again at will.
"""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

from fire.decorators import SetParseFn

from scripts.ablation.comparison import compare_rows
from scripts.ablation.goals import judge_goals
from scripts.ablation.plan import Plan, load_plan
from scripts.ablation.table import format_tables
from scripts.command_line import run_long_command
from scripts.config_options import check_device
from scripts.report.comparison_page import format_csv, render_page
from scripts.tuning.full_trainings import LAST_WRITTEN, FullTraining, TrainingPlace, train_all
from scripts.tuning.options import read_seeds
from scripts.tuning.search_space import CHOSEN_ON
from scripts.whole_files import write_text

BUNDLE = Path(__file__).resolve().parents[1]
CONFIGS = BUNDLE / "configs"
SPLITS = (CHOSEN_ON, "test", "external")

logger = logging.getLogger(__name__)


@SetParseFn(str)
def run(
    *,
    plan: str,
    dataset_dirs: str,
    output_dir: str,
    rows: str = "",
    seeds: str = "",
    split: str = CHOSEN_ON,
    device: str = "",
) -> str:
    """Train every row of a plan with every seed on every dataset, evaluate, and write the table.

    Run it again to go on where it was stopped, or as often as there are GPUs: the trainings are
    shared out.

    Args:
        plan: JSON file of rows, see configs/ablation.
        dataset_dirs: slice datasets, commas between, such as the folds of a cross-validation.
        output_dir: folder of the trainings and of the table.
        rows: names of the plan's rows, commas between; all if absent.
        seeds: such as 0 or 0,1, of those that the plan has; all if absent.
        split: part that is evaluated: validation, to choose by; test or external, once all is
            chosen.
        device: of the trainings, such as cuda:1; what train.json chooses if absent.
    """
    if device:
        check_device(device)
    chosen, trainings = _read(plan, dataset_dirs, output_dir, rows, seeds, split)
    place = TrainingPlace(BUNDLE, device, chosen.evaluated)
    logger.info("%d trainings of %d rows", len(trainings), len(chosen.rows))
    failed = ", ".join(sorted(train_all(trainings, place)))
    if not failed:
        return write_results(chosen, trainings, Path(output_dir))
    if any((training.evaluation / LAST_WRITTEN).is_file() for training in trainings):
        write_results(chosen, trainings, Path(output_dir))
    raise ValueError(
        f"trainings failed of {failed}; the log in the folder of each says why. Run the same "
        "command again to try them again."
    )


@SetParseFn(str)
def report(
    *,
    plan: str,
    dataset_dirs: str,
    output_dir: str,
    rows: str = "",
    seeds: str = "",
    split: str = CHOSEN_ON,
) -> str:
    """Write the table of what is done so far; workers may be at it.

    Args:
        plan: as of `run`.
        dataset_dirs: as of `run`.
        output_dir: as of `run`.
        rows: as of `run`.
        seeds: as of `run`.
        split: as of `run`.
    """
    chosen, trainings = _read(plan, dataset_dirs, output_dir, rows, seeds, split)
    return write_results(chosen, trainings, Path(output_dir))


def _read(
    plan: str, dataset_dirs: str, output_dir: str, rows: str, seeds: str, split: str
) -> tuple[Plan, list[FullTraining]]:
    if split not in SPLITS:
        raise ValueError(f"--split {split}: expected one of {', '.join(SPLITS)}.")
    chosen = load_plan(Path(plan), CONFIGS)
    if rows:
        chosen = chosen.select(_split(rows))
    if seeds:
        chosen = chosen.select_seeds(read_seeds(seeds))
    datasets = [Path(name) for name in _split(dataset_dirs)]
    for folder in datasets:
        if not (folder / "dataset.json").is_file():
            raise FileNotFoundError(f"{folder}: no finished slice dataset (no dataset.json).")
    return chosen, chosen.list_trainings(datasets, Path(output_dir), split=split)


def _split(text: str) -> list[str]:
    return [part.strip() for part in text.strip("()[]").split(",") if part.strip()]


def write_results(plan: Plan, trainings: list[FullTraining], folder: Path) -> str:
    """Write `ablation.md`, `.csv`, `.json` and `.html`; returns the Markdown."""
    content: dict[str, Any] = compare_rows(plan, trainings, seed=0)
    goals = judge_goals(content, plan.goals) if plan.goals else []
    text = format_tables(plan, content, goals)
    write_text(folder / "ablation.md", text)
    write_text(folder / "ablation.csv", format_csv(content))
    write_text(folder / "ablation.json", json.dumps(content, indent=1, allow_nan=False) + "\n")
    write_text(folder / "ablation.html", render_page(content))
    return f"{text}\nWritten: {folder / 'ablation.md'}, .csv, .json and .html"


def main() -> None:
    """Ablate."""
    run_long_command({"run": run, "report": report}, name="python -m scripts.ablate")


if __name__ == "__main__":
    main()

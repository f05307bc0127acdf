"""A plan of a few small rows, and evaluations as the trainings of a plan leave them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from scripts.ablation.plan import Plan, load_plan
from scripts.evaluation.measurement import FIGURES
from scripts.tuning.full_trainings import FullTraining

from tests.slice_dataset_fixture import BUNDLE

CONFIGS = BUNDLE / "configs"
ROWS: dict[str, Any] = {
    "baseline": {"overlays": ["recipes/baseline.json"], "change": {"decay_epochs": 0}, "seeds": 2},
    "resize": {"_desc_": "no holes", "from": "baseline", "change": {"upsampling": "resize"}},
    "default": {"seeds": 2},
    "paired": {"from": "default", "overlays": ["recipes/paired.json"]},
}
GOALS = {
    "recipe": "default",
    "reference": "baseline",
    "ceiling": "paired",
    "ssim": 0.05,
    "psnr_db": 1.0,
    "p": 0.01,
    "gap_closed": 0.6,
    "dice_ratio": 0.95,
    "slice_ratio": [0.95, 1.05],
    "hidden_code_drop": 0.02,
    "checkerboard": 1.05,
}
SUBJECTS = 5


def write_plan(path: Path, **changes: Any) -> Path:
    content = {"rows": ROWS, "shortened": {"features": 8, "decay_epochs": 5}, "goals": GOALS}
    path.write_text(json.dumps({**content, **changes}))
    return path


def load_small_plan(tmp_path: Path, **changes: Any) -> Plan:
    return load_plan(write_plan(tmp_path / "plan.json", **changes), CONFIGS)


def write_evaluation(training: FullTraining, first: int, **figures: float) -> None:
    """As `run evaluate` writes it, of the subjects of a fold; others are trivial or real."""
    columns = ["model", "kind", "comparison", "dataset", "subject_id", "session", *FIGURES]
    lines = [",".join(columns)]
    for number in range(first, first + SUBJECTS):
        for comparison in ("t2w", "t1w", "t1w_cycle", "t2w_cycle"):
            for model, kind, gain in (
                ("chosen", "model", 0.0),
                ("copy", "trivial", -0.5),
                ("mean", "trivial", -0.4),
                ("lookup", "trivial", -0.02),
                ("real", "real", 0.1),
            ):
                values = {"ssim": 0.5, "psnr": 20.0, **dict.fromkeys(FIGURES[2:], 1.0)} | figures
                values["ssim"] += gain + number / 1000
                values["dice"] += gain
                row = [model, kind, comparison, "d", f"d_sub-{number:02d}", ""]
                lines.append(",".join([*row, *(str(values[name]) for name in FIGURES)]))
    training.evaluation.mkdir(parents=True)
    (training.evaluation / "metrics.csv").write_text("\n".join(lines) + "\n")
    summary = {"format_version": 1, "split": "test", "datasets": ["d"], "paired": True}
    (training.evaluation / "summary.json").write_text(json.dumps(summary))
    (training.evaluation / "report.html").touch()

"""Figures of an evaluation on disk: one row a subject, and their means."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from scripts.evaluation.evaluator import FIGURES, CycleGanEvaluator

logger = logging.getLogger(__name__)


def write_results(
    evaluator: CycleGanEvaluator, *, metrics: Sequence[Any], split: str, output_dir: str
) -> None:
    """Write `metrics.csv` (each subject) and `summary.json` (means), and log the means.

    Args:
        evaluator: has run.
        metrics: have `list_subjects()`.
        split: part of the dataset that was evaluated.
        output_dir: folder of the two files.
    """
    if not evaluator.state.metrics:
        raise ValueError(
            f"The split {split!r} has no registered pairs to evaluate. Choose another with "
            "--evaluated_split train, validation, test or external, or build a larger dataset."
        )
    table = pd.DataFrame(
        [
            {"model": model, "comparison": name, "subject_id": subject_id, **figures}
            for metric in metrics
            for model, name, subject_id, figures in metric.list_subjects()
        ]
    )
    means = table.groupby(["model", "comparison"], sort=False)[list(FIGURES)].mean().reset_index()
    folder = Path(output_dir)
    folder.mkdir(parents=True, exist_ok=True)
    table.to_csv(folder / "metrics.csv", index=False, float_format="%.6f")
    subjects = int(table["subject_id"].nunique())
    summary = {"split": split, "subjects": subjects, "means": means.to_dict("records")}
    (folder / "summary.json").write_text(json.dumps(summary, indent=4) + "\n", encoding="utf-8")
    shown = means.round(4).to_string(index=False)
    logger.info("Means over %d subjects (%s), in the brain mask:\n%s", subjects, split, shown)
    logger.info("Every subject is in %s", folder / "metrics.csv")

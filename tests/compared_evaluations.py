"""Evaluation folders by their contract, and what a comparison of them wrote."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from scripts.compare import compare

SSIM = (0.50, 0.52, 0.55, 0.47, 0.61, 0.58, 0.44, 0.53)  # of eight subjects
GAINS = (0.0123, 0.0211, 0.0307, 0.0389, 0.0516, 0.0602, 0.0691, 0.0761)
TRIVIAL_SSIM = {"copy": 0.30, "mean": 0.25}
Write = Callable[..., Path]


def make_metrics(
    ssim: Sequence[float], subjects: Sequence[str], session: str, models: Sequence[str]
) -> pd.DataFrame:
    """Rows of models (the second .1 below the first), of trivial rows and of the real target."""
    rows = []
    for subject_id, value in zip(subjects, ssim, strict=True):
        keys = {"dataset": "phantom", "subject_id": subject_id, "session": session}
        values = {model: ("model", value - 0.1 * place) for place, model in enumerate(models)}
        values |= {row: ("trivial", trivial) for row, trivial in TRIVIAL_SSIM.items()}
        for comparison in ("t2w", "t1w"):
            for model, (kind, figure) in values.items():
                figures = {"ssim": figure, "psnr": 20 + 10 * figure, "ngf": 0.8}
                rows.append(
                    {"model": model, "kind": kind, "comparison": comparison} | keys | figures
                )
            rows.append(
                {"model": "real", "kind": "real", "comparison": comparison, "ngf": 1} | keys
            )
        cycle = {"comparison": "t1w_cycle", "ssim": 0.9, "psnr": 30, "hidden_code_drop": 0.01}
        rows += [{"model": model, "kind": "model"} | cycle | keys for model in models]
    return pd.DataFrame(rows)


def write_evaluation(
    parent: Path,
    name: str,
    ssim: Sequence[float] = SSIM,
    *,
    first: int = 1,
    session: str = "",
    models: Sequence[str] = ("model",),
    change: Callable[[pd.DataFrame], pd.DataFrame] = lambda metrics: metrics,
    **changes: Any,
) -> Path:
    """Write an evaluation folder by the contract: metrics.csv and summary.json."""
    folder = parent / name
    folder.mkdir(parents=True)
    subjects = [f"phantom_sub-{number:02}" for number in range(first, first + len(ssim))]
    metrics = change(make_metrics(ssim, subjects, session, models))
    metrics.to_csv(folder / "metrics.csv", index=False, float_format="%.6f")
    summary = {"format_version": 1, "split": "test", "datasets": ["phantom"], "paired": True}
    (folder / "summary.json").write_text(json.dumps(summary | changes))
    return folder


def run_compare(parent: Path, *folders: Path, **options: Any) -> str:
    """Compare, by default into parent/out."""
    return compare(*map(str, folders), **{"output": str(parent / "out"), **options})


def read_content(tmp_path: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((tmp_path / "out" / "comparison.json").read_text())
    return content

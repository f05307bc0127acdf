"""One self-contained page about an evaluation: verdict first, then tables, figures and a viewer."""

from __future__ import annotations

import base64
import gzip
from os import PathLike
from pathlib import Path
from typing import Any

import pandas as pd

from scripts.evaluation.evaluation_folders import find_file, load_summary
from scripts.report.comparison_figure import MAX_ERROR
from scripts.report.figures import make_bar_charts, make_training_curves
from scripts.report.glossary import BETTER, find_quantity
from scripts.report.provenance import (
    describe_openings,
    describe_subject,
    describe_totals,
    make_candidate_table,
    make_opening_table,
    name_validation,
)
from scripts.report.rendering import render
from scripts.report.tables import (
    KEYS,
    list_figures,
    make_comparison_tables,
    make_difference_table,
    make_session_tables,
    make_subject_list,
    make_unpaired_tables,
)
from scripts.report.verdict import make_verdicts
from scripts.report.volumes import (
    ShownVolumes,
    describe_viewer,
    encode_volumes,
    format_gradient,
    load_shown,
    make_joint_histograms,
    make_pictures,
)
from scripts.whole_files import write_text

HERE = Path(__file__).parent
VIEWER = HERE / "assets" / "niivue.umd.js"
VIEWER_LICENCE = HERE / "assets" / "niivue.LICENSE.txt"


def write_page(
    evaluation_dir: str | PathLike[str], *, tensorboard_dir: str | PathLike[str] | None = None
) -> Path:
    """Write `report.html` into the folder of an evaluation.

    Args:
        evaluation_dir: holds `summary.json`, `metrics.csv` and `volumes`.
        tensorboard_dir: event files of the run, for its training curves; may be absent.

    Returns:
        The page, which holds all it shows and asks for nothing from a network.

    Raises:
        FileNotFoundError: a file of the evaluation is missing.
        ValueError: it is of another version.
    """
    folder = Path(evaluation_dir)
    summary = load_summary(folder)
    metrics = load_metrics(folder, paired=summary["paired"])
    shown = load_shown(folder, summary)
    events = Path(tensorboard_dir) if tensorboard_dir is not None else None
    context = {
        **describe_measurement(summary),
        **describe_figures(summary, metrics),
        **describe_pictures(shown),
        "curves": make_training_curves(events),
    }
    page = render("report.html.j2", context)
    report = folder / "report.html"
    write_text(report, page)
    return report


def load_metrics(folder: Path, *, paired: bool) -> pd.DataFrame:
    """Read `metrics.csv`, one row a model, comparison and session; none without pairs."""
    if not paired:
        return pd.DataFrame(columns=list(KEYS))
    path = find_file(folder, "metrics.csv")
    text = dict.fromkeys(KEYS, str)  # a model may be called "NA" or "40"
    metrics = pd.read_csv(path, dtype=text, keep_default_na=False, na_values=[""])
    missing = sorted(set(KEYS) - set(metrics.columns))
    if missing:
        raise ValueError(f"{path}: column {missing[0]} is missing. Evaluate again.")
    return metrics.fillna(dict.fromkeys(KEYS, ""))


def describe_measurement(summary: dict[str, Any]) -> dict[str, Any]:
    """What was measured on what."""
    openings, worrying = describe_openings(summary)
    return {
        "summary": summary,
        "totals": describe_totals(summary),
        "subject": describe_subject(summary),
        "openings": openings,
        "openings_worry": worrying,
        "opening_table": make_opening_table(summary),
        "candidate_table": make_candidate_table(summary) if summary["paired"] else None,
        "key_metric": name_validation(summary["key_metric"]),
    }


def describe_figures(summary: dict[str, Any], metrics: pd.DataFrame) -> dict[str, Any]:
    """Verdict, tables and charts; the paired ones are empty without pairs."""
    paired = summary["paired"]
    verdicts = make_verdicts(summary, metrics) if paired else []
    few = summary["subjects"] < summary["smallest_for_p"]
    return {
        "verdicts": [
            (each, make_subject_list(metrics, each.comparison, each.model) if few else None)
            for each in verdicts
        ],
        "comparison_tables": make_comparison_tables(summary) if paired else [],
        "difference_table": make_difference_table(summary) if paired else None,
        "session_tables": make_session_tables(metrics),
        "unpaired_tables": make_unpaired_tables(summary),
        "bar_charts": make_bar_charts(summary) if paired else [],
        "glossary": [find_quantity(key) for key in list_figures(summary, metrics)],
        "better": BETTER,
    }


def describe_pictures(shown: list[ShownVolumes]) -> dict[str, Any]:
    """Pictures, joint histograms and the viewer with its volumes."""
    return {
        "shown": [(one, make_pictures(one)) for one in shown],
        "joint_histograms": make_joint_histograms(shown),
        "viewer": describe_viewer(shown),
        "volumes": encode_volumes(shown),
        "viewer_code": encode_viewer() if shown else "",
        "viewer_licence": VIEWER_LICENCE.read_text(encoding="utf-8"),
        "gradient": format_gradient(),
        "max_error": MAX_ERROR,
    }


def encode_viewer() -> str:
    """NiiVue as base64 of its gzip stream, a third of its size."""
    return base64.b64encode(gzip.compress(VIEWER.read_bytes(), mtime=0)).decode()

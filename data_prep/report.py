"""One self-contained page that shows a slice dataset: counts, exclusions, pictures, outliers."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from tqdm import tqdm

from data_prep.report_figures import (
    make_pictures,
    plot_densities,
    plot_mutual_information,
    read_mutual_information,
)
from data_prep.session_summary import (
    NATIVE_T1W,
    NATIVE_T2W,
    REGISTERED,
    SessionSummary,
    add_remarks,
    compute_length,
    summarise_session,
)
from data_prep.store import write_bytes
from data_prep.verify import SPLITS
from data_prep.verify_form import check_form, load_tsv

TEMPLATES = Path(__file__).parent / "templates"
# How far up the brain: the ventricles; an unusual session is shown near the skull base too.
USUAL_HEIGHTS, UNUSUAL_HEIGHTS = (0.55,), (0.35, 0.6)


def write_report(dataset_dir: Path) -> Path:
    """Write `report.html` into a slice dataset.

    Args:
        dataset_dir: folder that `data_prep` wrote.

    Returns:
        The page, which holds its pictures and asks for nothing from a network.

    Raises:
        ValueError: the folder is not a slice dataset of this version.
    """
    dataset_dir = Path(dataset_dir)
    problems = list(check_form(dataset_dir))
    if problems:
        raise ValueError("; ".join(problems))
    sessions = load_sessions(dataset_dir)
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    page = environment.get_template("report.html.j2").render(describe(dataset_dir, sessions))
    report = dataset_dir / "report.html"
    write_bytes(report, page.encode())
    return report


def load_sessions(dataset_dir: Path) -> list[SessionSummary]:
    """Summarise every session behind a progress bar; the most unusual come first."""
    slices = pd.read_parquet(dataset_dir / "slices.parquet")
    groups = slices.groupby(["subject_id", "session"])
    bar = tqdm(groups, desc="reading", unit="session", total=groups.ngroups, leave=False)
    return add_remarks(summarise_session(dataset_dir, rows) for _, rows in bar)


def describe(dataset_dir: Path, sessions: Sequence[SessionSummary]) -> dict[str, Any]:
    """Gather what the template shows."""
    about = json.loads((dataset_dir / "dataset.json").read_text())
    subjects = load_tsv(dataset_dir / "subjects.tsv")
    names = sorted(set(subjects["dataset"]))
    registered = [one for one in sessions if read_mutual_information(one.registration)]
    exclusions = load_tsv(dataset_dir / "exclusions.tsv")
    return {
        "title": dataset_dir.resolve().name,
        "totals": describe_totals(dataset_dir, sessions, subjects, exclusions),
        "datasets": [describe_dataset(name, about, sessions, subjects) for name in names],
        "exclusions": exclusions.to_dict("records"),
        "sessions": [describe_session(one) for one in sessions],
        "mutual_information": plot_mutual_information(registered) if registered else None,
        "software": about["software"],
    }


def describe_totals(
    dataset_dir: Path,
    sessions: Sequence[SessionSummary],
    subjects: pd.DataFrame,
    exclusions: pd.DataFrame,
) -> dict[str, str]:
    """The figures at the top of the page."""
    size = sum(file.stat().st_size for file in dataset_dir.glob("shards/*/*"))
    return {
        "subjects": f"{len(subjects):,}",
        "sessions": f"{len(sessions):,}",
        "registered pairs": f"{sum(REGISTERED in one.series for one in sessions):,}",
        "slices for training": f"{sum(one.training_slices for one in sessions):,}",
        "files left out": f"{len(exclusions):,}",
        "on disk": f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{size / 1e6:.0f} MB",
    }


def describe_dataset(
    name: str, about: dict[str, Any], sessions: Sequence[SessionSummary], subjects: pd.DataFrame
) -> dict[str, Any]:
    """Counts, source and densities of one dataset."""
    members = [one for one in sessions if one.dataset == name]
    parts = subjects.loc[subjects["dataset"] == name, "split"].value_counts()
    return {
        "name": name,
        "source": about["sources"].get(name, {}),
        "subjects": int(parts.sum()),
        "sessions": len(members),
        "t1w": sum(one.count(*NATIVE_T1W) for one in members),
        "t2w": sum(one.count(*NATIVE_T2W) for one in members),
        "registered": sum(one.count(*REGISTERED) for one in members),
        "training": sum(one.training_slices for one in members),
        "parts": {part: int(parts[part]) for part in SPLITS if part in parts},
        "densities": plot_densities(members) if members else None,
    }


def describe_session(session: SessionSummary) -> dict[str, Any]:
    """One line of the table of sessions, and the session's pictures."""
    information = read_mutual_information(session.registration)
    return {
        "label": session.label,
        "dataset": session.dataset,
        "split": session.split,
        "t1w": session.count(*NATIVE_T1W),
        "t2w": session.count(*NATIVE_T2W),
        "registered": session.count(*REGISTERED),
        "training": session.training_slices,
        "volume": f"{session.brain_volume_cm3:.0f}",
        "before": f"{information[0]:.3f}" if information else "",
        "after": f"{information[1]:.3f}" if information else "",
        "translation": format_number(compute_length(session.registration, "translation_mm")),
        "rotation": format_number(compute_length(session.registration, "rotation_degrees")),
        "remarks": session.remarks,
        "pictures": make_pictures(session, UNUSUAL_HEIGHTS if session.remarks else USUAL_HEIGHTS),
    }


def format_number(value: float | None) -> str:
    """One decimal, empty for None."""
    return "" if value is None else f"{value:.1f}"

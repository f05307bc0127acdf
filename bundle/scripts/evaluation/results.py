"""What an evaluation writes: tables of sessions and slices, volumes to look at, a summary."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd

from scripts.checksums import compute_sha256
from scripts.evaluation.evaluation_folders import FORMAT_VERSION
from scripts.evaluation.figure_tables import SUBJECT, without_nan
from scripts.evaluation.measured import Measured, SessionTranslator
from scripts.evaluation.measurement import CONTRASTS, FIGURES
from scripts.evaluation.ranking import Choice
from scripts.evaluation.shown_sessions import save_shown
from scripts.evaluation.statistics import SMALLEST_FOR_P, compare_models, summarise_figures
from scripts.evaluation.trivial_rows import DIRECTIONS
from scripts.slice_tables import SlicePair, read_slices
from scripts.whole_files import open_whole, write_text

logger = logging.getLogger(__name__)

LOGGED_FIGURES = ("ssim", "psnr", "mae", "ngf", "dice")
COMPARED_FIGURES = ("ssim", "psnr", "mae")
OPENINGS = "openings.jsonl"
NOT_PAIRED: dict[str, Any] = {"rows": [], "differences": [], "shown": [], "registration": None}


def write_results(
    *,
    choice: Choice,
    translator: SessionTranslator,
    measured: Measured,
    unpaired: Sequence[dict[str, Any]],
    views: int,
    dataset_dir: str,
    split: str,
    evaluation_dir: str,
) -> None:
    """Write `metrics`, `slices`, `volumes` and `summary.json`, and log the means.

    Args:
        choice: the model that was measured, and the others.
        translator: of the sessions, to save those that are shown.
        measured: figures of pairs; may be empty.
        unpaired: rows of `measure_unpaired`.
        views: in which each slice was translated.
        dataset_dir: slice dataset that was evaluated.
        split: part of it.
        evaluation_dir: folder of the results; files of an earlier evaluation are replaced.

    Raises:
        ValueError: the part holds neither pairs nor images of both contrasts.
    """
    if not (len(translator) or unpaired):
        raise ValueError(
            f"{dataset_dir}: the split {split!r} has no registered pairs and not both contrasts. "
            "Choose another with --evaluated_split train, validation, test, external or all, or "
            "build a larger dataset."
        )
    folder = Path(evaluation_dir)
    summary = _describe_models(choice, translator) | {
        "split": split,
        "openings": note_opening(
            folder, dataset_dir=dataset_dir, split=split, sha256=choice.chosen.sha256
        ),
        "views": views,
        "unpaired": list(unpaired),
    }
    if len(translator):
        summary |= _summarise(translator, measured, choice.chosen.label, folder)
    else:
        summary |= NOT_PAIRED | count_images(read_slices(dataset_dir, split=split))
    summary["models_note"] = _describe_absent(summary)
    write_text(folder / "summary.json", json.dumps(without_nan(summary), indent=1) + "\n")
    logger.info("Figures are in %s", folder)


def _describe_models(choice: Choice, translator: SessionTranslator) -> dict[str, Any]:
    """What does not depend on the figures."""
    return {
        "format_version": FORMAT_VERSION,
        "paired": len(translator) > 0,
        "seed": translator.settings.seed,
        "key_metric": choice.key_metric,
        "chosen": choice.chosen.label,
        "candidates": [
            {"model": each.label, "validation": each.validation, "sha256": each.sha256}
            for each in choice.ranked
        ],
        "smallest_for_p": SMALLEST_FOR_P,
    }


def _summarise(
    translator: SessionTranslator, measured: Measured, label: str, folder: Path
) -> dict[str, Any]:
    """What follows from pairs; writes their tables and volumes."""
    table, seed = measured.sessions, translator.settings.seed
    write_table(folder / "metrics", table)
    write_table(folder / "slices", measured.slices)
    _log_means(table)
    figures = [name for name in FIGURES if name in table]
    trivial = table.loc[table["kind"] == "trivial", "model"].unique().tolist()
    translations = table[table["comparison"].isin(DIRECTIONS)]
    return {
        "datasets": sorted(table["dataset"].unique()),
        "subjects": int(table["subject_id"].nunique()),
        "sessions": len(translator),
        "slices": sum(map(len, translator.sessions)),
        "registration": summarise_registration([pairs[0] for pairs in translator.sessions]),
        "rows": summarise_figures(table, figures, seed=seed),
        "differences": compare_models(
            translations, COMPARED_FIGURES, models=[label], others=trivial, seed=seed
        ),
        "shown": save_shown(translator, table, folder),
    }


def count_images(table: pd.DataFrame) -> dict[str, Any]:
    """Datasets, subjects, sessions and native slices of a part without pairs."""
    native = table[table["space"] == "native"]
    return {
        "datasets": sorted(native["dataset"].unique()),
        "subjects": int(native["subject_id"].nunique()),
        "sessions": len(native[["subject_id", "session"]].drop_duplicates()),
        "slices": len(native),
    }


def _describe_absent(summary: dict[str, Any]) -> str:
    """Say which rows and figures the data leave no room for."""
    rows = summary["rows"]
    notes = []
    if not summary["paired"]:
        notes.append("This part has no registered pairs: only what needs none is measured.")
    if absent := _list_unfitted(summary):
        notes.append(
            f"The dataset has no {' and no '.join(absent)} slices that train, so neither mean nor "
            "look-up table is fitted."
        )
    elif summary["paired"] and not any(row["model"] == "lookup" for row in rows):
        notes.append("There are no registered training pairs, so there is no look-up table.")
    if summary["paired"] and not any(row["figure"] == "dice" for row in rows):
        notes.append("No true tissues are known, so there is no Dice.")
    return " ".join(notes)


def _list_unfitted(summary: dict[str, Any]) -> list[str]:
    """Contrasts that have no mean of training slices to compare with."""
    ways = [(row["model"], row["comparison"]) for row in summary["rows"]]
    ways += [(row["model"], row["direction"]) for row in summary["unpaired"]]
    fitted = {target for model, target in ways if model == "mean"}
    return [contrast for target, contrast in CONTRASTS.items() if target not in fitted]


def _log_means(table: pd.DataFrame) -> None:
    shown = [name for name in LOGGED_FIGURES if name in table]
    paired = table[table["kind"] != "real"]
    keys = ["model", "comparison"]
    by_subject = paired.groupby([*keys, *SUBJECT], sort=False)[shown].mean()
    means = by_subject.groupby(level=keys, sort=False).mean().reset_index()
    subjects = table["subject_id"].nunique()
    text = means.round(4).to_string(index=False, na_rep="")
    logger.info("Means over %d subjects, in the brain mask:\n%s", subjects, text)


def summarise_registration(pairs: Sequence[SlicePair]) -> dict[str, float] | None:
    """Mean normalised mutual information before and after registration, a pair a session."""
    sides = [
        json.loads(Path(pair.t2w.shard).with_suffix(".json").read_text(encoding="utf-8"))
        for pair in pairs
    ]
    known = [side["registration"] for side in sides if side.get("registration")]
    names = ("mutual_information_before", "mutual_information_after")
    if not known:
        return None
    return {name: sum(each[name] for each in known) / len(known) for name in names}


def note_opening(
    folder: Path, *, dataset_dir: str, split: str, sha256: dict[str, str]
) -> list[dict[str, Any]]:
    """Add a line to a folder's log of what was evaluated when, and return the whole log.

    The dataset is told by the checksum of its table.
    """
    path = folder / OPENINGS
    now = datetime.now(UTC).isoformat(timespec="seconds")
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    dataset = compute_sha256(Path(dataset_dir) / "slices.parquet")
    digest = "+".join(sha256.values())
    entry = {"when": now, "split": split, "sha256": digest, "dataset": dataset}
    lines.append(json.dumps(entry))
    write_text(path, "\n".join(lines) + "\n")
    return [json.loads(line) for line in lines]


def write_table(path: Path, table: pd.DataFrame) -> None:
    """Write a table as `.parquet` and `.csv`."""
    write_text(path.with_suffix(".csv"), table.to_csv(index=False, float_format="%.6f"))
    with open_whole(path.with_suffix(".parquet")) as file:
        table.to_parquet(file, index=False)

"""Cross-validation: a finished slice dataset dealt out anew, so that every pair is tested once.

A fold is a slice dataset of its own whose images are those of the first, by links; training and
evaluation take it like any other.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pandas as pd

from data_prep.splits import SALT, rank_group
from data_prep.store import (
    SESSIONS,
    SHARDS,
    SOURCES,
    read_json,
    write_bytes,
    write_json,
    write_parquet,
    write_tsv,
)
from data_prep.tables import describe_counts, describe_subjects

LINKED = (SHARDS, SESSIONS, SOURCES)
READ = ("dataset.json", "slices.parquet", "splits.tsv", "exclusions.tsv")


def write_folds(dataset_dir: Path, output_dir: Path, *, folds: int, seed: int) -> list[Path]:
    """Write ``fold_1`` and on, each with another part of the groups to test on.

    Groups with registered pairs are dealt out, those of each dataset evenly: a fold tests on one
    part, validates on the next one, and trains on all others. Groups without a pair always train;
    groups that are external stay so.

    Args:
        dataset_dir: finished slice dataset.
        output_dir: of the folds; new or empty.
        folds: number of parts, 3 or more.
        seed: of the order in which groups are dealt out.

    Raises:
        FileNotFoundError: there is no finished slice dataset.
        FileExistsError: the folder holds something already.
        ValueError: fewer groups with pairs than folds.
    """
    _check(dataset_dir, output_dir, folds)
    slices = pd.read_parquet(dataset_dir / "slices.parquet")
    splits = pd.read_csv(dataset_dir / "splits.tsv", sep="\t", dtype=str, keep_default_na=False)
    parts = _deal_out(slices, splits, folds, seed)
    written = []
    for fold in range(1, folds + 1):
        of_group = {group: _name_split(part, fold, folds) for group, part in parts.items()}
        folder = output_dir / f"fold_{fold}"
        _write_fold(dataset_dir, folder, slices, splits, of_group, {"fold": fold, "of": folds})
        written.append(folder)
    return written


def _check(dataset_dir: Path, output_dir: Path, folds: Any) -> None:
    if not isinstance(folds, int) or folds < 3:
        raise ValueError(f"folds is {folds!r}; expected a whole number, 3 or more.")
    if missing := [name for name in READ if not (dataset_dir / name).is_file()]:
        raise FileNotFoundError(
            f"{dataset_dir}: no finished slice dataset (no {', '.join(missing)})."
        )
    if output_dir.exists() and any(output_dir.iterdir()):
        raise FileExistsError(f"{output_dir}: is not empty. Name a new folder.")


def _deal_out(slices: pd.DataFrame, splits: pd.DataFrame, folds: int, seed: int) -> dict[str, int]:
    """Part, from 1, of each group that has a pair and is not external."""
    external = set(splits.loc[splits["split"] == "external", "group"])
    paired = slices.loc[slices["space"] == "T1w", ["dataset", "group"]].drop_duplicates()
    homes: dict[Any, str] = paired.groupby("group")["dataset"].min().to_dict()
    groups = sorted(
        (home, rank_group(group, f"{SALT} {seed}"), group)
        for group, home in homes.items()
        if group not in external
    )
    if len(groups) < folds:
        raise ValueError(
            f"{len(groups)} groups of subjects have registered pairs. Expected at least as many as "
            f"--folds {folds}."
        )
    return {group: n % folds + 1 for n, (_, _, group) in enumerate(groups)}


def _name_split(part: int, fold: int, folds: int) -> str:
    if part == fold:
        return "test"
    return "validation" if part == fold % folds + 1 else "train"


def _write_fold(
    dataset_dir: Path,
    folder: Path,
    slices: pd.DataFrame,
    splits: pd.DataFrame,
    of_group: dict[str, str],
    facts: dict[str, int],
) -> None:
    """Links first, then tables, and last ``dataset.json``, without which there is no dataset."""
    folder.mkdir(parents=True)
    _link_images(dataset_dir, folder)
    splits, slices = splits.copy(), slices.copy()
    for table in (splits, slices):
        dealt = table["group"].map(of_group)
        stays = table["split"].where(table["split"] == "external", "train")
        table["split"] = dealt.where(dealt.notna(), stays)
    write_tsv(folder / "splits.tsv", splits)
    write_tsv(folder / "subjects.tsv", describe_subjects(slices))
    write_parquet(folder / "slices.parquet", slices)
    write_bytes(folder / "exclusions.tsv", (dataset_dir / "exclusions.tsv").read_bytes())
    description = read_json(dataset_dir / "dataset.json")
    changes = {"counts": describe_counts(slices), "cross_validation": facts}
    write_json(folder / "dataset.json", description | changes)


def _link_images(dataset_dir: Path, folder: Path) -> None:
    """Link what a fold shares, by relative paths; FileNotFoundError where a link leads nowhere."""
    for name in LINKED:
        if (dataset_dir / name).is_dir():
            target = (dataset_dir / name).resolve()
            # ".." of a link counts from where the folder really lies
            (folder / name).symlink_to(os.path.relpath(target, folder.resolve()))
            (folder / name).resolve(strict=True)

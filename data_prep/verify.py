"""Check a slice dataset: all there, unchanged, in range, paired one to one and split by group."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from tqdm import tqdm

from data_prep.verify_form import SLICE_TYPES, TABLES, check_form, load_tsv
from data_prep.verify_shards import check_shard, load_array

SPLITS = ("train", "validation", "test", "external")
SERIES = ["subject_id", "session", "contrast", "space"]  # what one shard holds
# Two folders or more from the root (not part of a URL, not "T1w/T2w"), or a Windows drive.
ABSOLUTE_PATH = re.compile(r"(?<![\w:/.<])/[\w.-]+/[\w./-]+|\b[A-Za-z]:\\+\w[^\s\"']*")
TIME = re.compile(r"\b(?:19|20)\d\d-\d\d-\d\d[T ]\d\d:\d\d[\d:.]*")


@dataclass(frozen=True)
class Tables:
    """The tables of a slice dataset; text tables hold strings only."""

    subjects: pd.DataFrame
    splits: pd.DataFrame
    slices: pd.DataFrame


def verify_dataset(dataset_dir: Path) -> list[str]:
    """Compare a slice dataset with its tables, hashes and contract.

    Args:
        dataset_dir: folder that `data_prep` wrote.

    Returns:
        One sentence per problem; empty when the dataset is fine. Where the tables themselves
        cannot be read, only that is reported.
    """
    dataset_dir = Path(dataset_dir)
    problems = [*check_form(dataset_dir)]
    if problems:
        return problems
    tables = Tables(
        load_tsv(dataset_dir / "subjects.tsv"),
        load_tsv(dataset_dir / "splits.tsv"),
        pd.read_parquet(dataset_dir / "slices.parquet"),
    )
    return [
        *check_private_text(dataset_dir, tables.slices),
        *check_splits(tables.splits),
        *check_subjects(tables),
        *check_slice_order(tables.slices),
        *check_pairs(tables.slices),
        *check_shards(dataset_dir, tables.slices),
    ]


def group_rows(table: pd.DataFrame, by: str | list[str]) -> dict[Any, pd.DataFrame]:
    """Rows of a table by the value of a column, or by the tuple of several."""
    groups: dict[Any, pd.DataFrame] = dict(iter(table.groupby(by)))
    return groups


def check_private_text(dataset_dir: Path, slices: pd.DataFrame) -> Iterator[str]:
    """Yield absolute paths and times: they would make equal datasets differ."""
    texts = {name: (dataset_dir / name).read_text() for name in TABLES if name != "slices.parquet"}
    strings = [name for name, kind in SLICE_TYPES.items() if kind == "string" and name != "sha256"]
    texts["slices.parquet"] = "\n".join(
        value for name in strings for value in slices[name].unique() if isinstance(value, str)
    )
    for file in sorted(dataset_dir.glob("shards/*/*.json")):
        texts[file.relative_to(dataset_dir).as_posix()] = file.read_text()
    for name, text in texts.items():
        for what, pattern in (("an absolute path", ABSOLUTE_PATH), ("a time", TIME)):
            if found := pattern.search(text):
                yield f"{name} holds {what}: {found[0]}"


def check_splits(splits: pd.DataFrame) -> Iterator[str]:
    """Yield groups that stand in more than one part, or in a part that does not exist."""
    for row in splits[~splits["split"].isin(SPLITS)].itertuples():
        yield f"splits.tsv: group {row.group} is in {row.split!r}, expected one of {SPLITS}"
    for group, rows in group_rows(splits, "group").items():
        parts = sorted(rows["split"].unique())
        if len(parts) > 1:
            yield f"splits.tsv: group {group} is in {len(parts)} parts: {', '.join(parts)}"


def check_subjects(tables: Tables) -> Iterator[str]:
    """Yield subjects on which subjects.tsv, splits.tsv and slices.parquet disagree."""
    subjects = tables.subjects
    for subject_id in subjects["subject_id"][subjects["subject_id"].duplicated()]:
        yield f"subjects.tsv: {subject_id} is listed twice"
    split_of = tables.splits.set_index(["dataset", "group"])["split"].to_dict()
    for row in subjects.itertuples():
        split = split_of.get((row.dataset, row.group))
        if split is None:
            yield f"{row.subject_id}: its group {row.group} of {row.dataset} is not in splits.tsv"
        elif split != row.split:
            yield f"{row.subject_id}: {row.split} in subjects.tsv, {split} in splits.tsv"
    slices_of = group_rows(tables.slices, "subject_id")
    for subject_id in sorted(set(slices_of) - set(subjects["subject_id"])):
        yield f"{subject_id}: has slices but is not in subjects.tsv"
    for row in subjects.itertuples():
        yield from check_subject(row, slices_of.get(row.subject_id, tables.slices.iloc[:0]))


def check_subject(subject: Any, slices: pd.DataFrame) -> Iterator[str]:
    """Yield where one line of subjects.tsv disagrees with the subject's slices."""
    for name in ("group", "dataset", "split"):
        listed = getattr(subject, name)
        others = sorted(set(slices[name]) - {listed})
        if others:
            yield (
                f"{subject.subject_id}: {name} {listed!r} in subjects.tsv, "
                f"{', '.join(map(repr, others))} in slices.parquet"
            )
    registered = (slices["contrast"] == "T2w") & (slices["space"] == "T1w")
    has = {
        "has_t1w": bool((slices["contrast"] == "T1w").any()),
        "has_t2w": bool((slices["contrast"] == "T2w").any()),
        "has_pair": bool(registered.any()),
    }
    for name, value in has.items():
        listed = getattr(subject, name)
        if listed != str(value).lower():
            yield f"{subject.subject_id}: {name} is {listed!r}, its slices say {value}"


def check_slice_order(slices: pd.DataFrame) -> Iterator[str]:
    """Yield slices out of order: the table, and the positions within each shard."""
    key = [*SERIES, "row"]
    if not slices[key].equals(slices[key].sort_values(key, ignore_index=True)):
        yield f"slices.parquet is not sorted by {', '.join(key)}"
    for series, rows in group_rows(slices, SERIES).items():
        if (count := rows["shard"].nunique()) != 1:
            yield f"{' '.join(filter(None, series))}: {count} shards, expected one"
    for shard, rows in group_rows(slices, "shard").items():
        for name in ("slice_index", "position_mm"):
            if not (rows.sort_values("row")[name].diff().iloc[1:] > 0).all():
                yield f"{shard}: {name} does not rise from row to row"


def check_pairs(slices: pd.DataFrame) -> Iterator[str]:
    """Yield registered T2w whose rows are not, one by one, those of the subject's T1w."""
    grid = ["row", "slice_index", "position_mm"]
    t1w = slices[(slices["contrast"] == "T1w") & (slices["space"] == "native")]
    t1w_of = group_rows(t1w, ["subject_id", "session"])
    registered = slices[(slices["contrast"] == "T2w") & (slices["space"] == "T1w")]
    for key, t2w in group_rows(registered, ["subject_id", "session"]).items():
        label = " ".join(filter(None, key))
        if key not in t1w_of:
            yield f"{label}: a registered T2w without its T1w"
        elif len(t1w_of[key]) != len(t2w):
            yield f"{label}: {len(t1w_of[key])} T1w slices, {len(t2w)} registered T2w slices"
        else:
            left, right = (table.sort_values("row")[grid] for table in (t1w_of[key], t2w))
            for name in (n for n in grid if (left[n].to_numpy() != right[n].to_numpy()).any()):
                yield f"{label}: {name} differs between T1w and registered T2w"


def check_image_sizes(dataset_dir: Path, lengths: dict[str, int]) -> Iterator[str]:
    """Yield the shards whose images are larger or smaller than most; unreadable ones are left."""
    sizes: dict[str, tuple[int, ...]] = {}
    for shard, length in sorted(lengths.items()):
        with suppress(ValueError, OSError):
            sizes[shard] = load_array(dataset_dir / shard, "uint16", length).shape[1:]
    usual = max(set(sizes.values()), key=list(sizes.values()).count, default=())
    for shard, size in sizes.items():
        if size != usual:
            yield f"{shard}: images of {size}, expected {usual} as in the other shards"


def check_shards(dataset_dir: Path, slices: pd.DataFrame) -> Iterator[str]:
    """Yield what is wrong with the shards, one after the other, behind a progress bar."""
    shards = group_rows(slices, "shard")
    yield from check_image_sizes(dataset_dir, {name: len(rows) for name, rows in shards.items()})
    for name, rows in tqdm(shards.items(), desc="verifying", unit="shard", leave=False):
        yield from check_shard(dataset_dir, name, rows.sort_values("row"))

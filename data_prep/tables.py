"""The group step: from the records of all sessions to splits, tables and ``dataset.json``."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pandas as pd

from data_prep.bids import NOT_A_FILE
from data_prep.bids_derivative import write_descriptions
from data_prep.session_records import NOT_DONE, TOOLS
from data_prep.source_records import list_held_out, read_groups_of_sources, read_sources
from data_prep.splits import assign_splits, read_splits
from data_prep.store import (
    FORMAT_VERSION,
    SESSIONS,
    SHARDS,
    read_json,
    write_json,
    write_parquet,
    write_tsv,
)

SLICE_TYPES = {
    "subject_id": "str",
    "group": "str",
    "session": "str",
    "dataset": "str",
    "contrast": "str",
    "space": "str",
    "slice_index": "int32",
    "position_mm": "float64",
    "brain_fraction": "float32",
    "train": "bool",
    "split": "str",
    "shard": "str",
    "row": "int32",
    "sha256": "str",
}
SORTED_BY = ["subject_id", "session", "contrast", "space", "row"]
EXCLUSION_COLUMNS = ["dataset", "subject_id", "session", "file", "reason"]


def read_records(output_dir: Path) -> list[dict[str, Any]]:
    """The records of all finished sessions, in the order of their names."""
    return [read_json(path) for path in sorted((output_dir / SESSIONS).glob("*/*.json"))]


def read_slice_rows(output_dir: Path, groups: dict[str, str]) -> Iterator[dict[str, Any]]:
    """One row a slice, but for its split."""
    for record in read_records(output_dir):
        for stem in record["shards"]:
            path = output_dir / SHARDS / f"{stem}.json"
            shard = read_json(path)
            common = {
                "subject_id": shard["subject_id"],
                "group": groups[shard["subject_id"]],
                "session": shard["session"],
                "dataset": shard["dataset"],
                "contrast": shard["contrast"],
                "space": shard["space"],
                "shard": (SHARDS / f"{stem}.npy").as_posix(),
            }
            for row in shard["slices"]:
                yield {**common, **row}


def list_missing(output_dir: Path) -> list[str]:
    """Sessions that were planned and have no record yet, as ``dataset/sub-01_ses-1``."""
    planned = {
        f"{name}/{session}"
        for name, source in read_sources(output_dir).items()
        for session in source["sessions"]
    }
    done = (output_dir / SESSIONS).glob("*/*.json")
    return sorted(planned.difference(f"{path.parent.name}/{path.stem}" for path in done))


def check_alike(output_dir: Path) -> None:
    """Raise ValueError where sessions of one dataset were made by other methods or programs.

    It happens where jobs of an array had other options, or part of an older dataset was done again.
    The preprocessing is the same for all datasets.
    """
    first: dict[str, dict[str, Any]] = {}
    for record in read_records(output_dir):
        if record["key"] == NOT_DONE:
            continue
        own = first.setdefault(record["dataset"], record)
        others = {"preprocessing": next(iter(first.values()))}
        others |= dict.fromkeys(("brain_extraction", "brain_limits", "tools"), own)
        for field, other in others.items():
            if record.get(field) != other.get(field):
                names = [f"{r['subject']} {r['session']}".strip() for r in (other, record)]
                raise ValueError(
                    f"{record['dataset']}: {names[1]} was made with {field} {record.get(field)}, "
                    f"{names[0]} of {other['dataset']} with {other.get(field)}. Run the build "
                    "again for all of it, with the same options, so that all are made alike."
                )


def write_group(output_dir: Path, section: dict[str, Any]) -> int:
    """The whole group step, from what all sessions left behind; it may be done again at any time.

    Returns:
        How many images were left out because they failed; ``exclusions.tsv`` says why.

    Raises:
        ValueError: no session gave a slice, or sessions of a dataset were made in other ways.
    """
    check_alike(output_dir)
    failed = write_exclusions(output_dir)
    write_tables(output_dir, section)
    write_descriptions(output_dir, read_sources(output_dir))
    return failed


def write_tables(output_dir: Path, section: dict[str, Any]) -> None:
    """Write splits, tables and, last, ``dataset.json``: without it a reader sees no dataset.

    Splits stored before stay as they are.

    Raises:
        ValueError: no session gave a slice.
    """
    sources = read_sources(output_dir)
    groups = read_groups_of_sources(sources)
    slices = pd.DataFrame(read_slice_rows(output_dir, groups))
    if slices.empty:
        raise ValueError(
            "no image could be used: see exclusions.tsv for the reason of each. "
            f"Sessions read: {len(read_records(output_dir))}."
        )
    pairs = set(zip(slices["dataset"], slices["group"], strict=True))
    pairs |= {(dataset, groups[subject_id]) for dataset, subject_id in list_pending(output_dir)}
    splits = update_splits(output_dir, sorted(pairs), list_held_out(sources))
    slices = slices.merge(splits, on=["dataset", "group"], validate="many_to_one")
    slices = slices[list(SLICE_TYPES)].astype(SLICE_TYPES).sort_values(SORTED_BY)
    subjects = describe_subjects(slices)
    write_tsv(output_dir / "splits.tsv", splits)
    write_tsv(output_dir / "subjects.tsv", subjects)
    write_parquet(output_dir / "slices.parquet", slices.reset_index(drop=True))
    write_json(output_dir / "dataset.json", describe_dataset(section, sources, slices))


def list_pending(output_dir: Path) -> set[tuple[str, str]]:
    """Dataset and subject_id of sessions that a later run may still bring.

    They have a part already, so that a run that was disturbed deals out as one that was not.
    """
    names = list_missing(output_dir)
    names += [
        f"{record['dataset']}/{record['subject']}"
        for record in read_records(output_dir)
        if record["key"] == NOT_DONE
    ]
    parts = (name.split("/") for name in names)
    return {(dataset, f"{dataset}_{session.split('_')[0]}") for dataset, session in parts}


def update_splits(
    output_dir: Path, pairs: Sequence[tuple[str, str]], hold_out: Sequence[str]
) -> pd.DataFrame:
    """Dataset, group and split, sorted; earlier assignments are kept."""
    existing = read_splits(output_dir / "splits.tsv")
    assigned = assign_splits(pairs, hold_out=hold_out, existing=existing)
    rows = [(dataset, group, split) for (dataset, group), split in sorted(assigned.items())]
    return pd.DataFrame(rows, columns=["dataset", "group", "split"])


def describe_subjects(slices: pd.DataFrame) -> pd.DataFrame:
    """One row a subject: its group and split, its sessions, and the contrasts that it has."""
    rows = []
    for subject_id, own in slices.groupby("subject_id", sort=True):
        first = own.iloc[0]
        rows.append(
            {
                "subject_id": subject_id,
                "group": first["group"],
                "dataset": first["dataset"],
                "split": first["split"],
                "sessions": own["session"].nunique(),
                "has_t1w": bool((own["contrast"] == "T1w").any()),
                "has_t2w": bool((own["contrast"] == "T2w").any()),
                "has_pair": bool((own["space"] == "T1w").any()),
            }
        )
    return pd.DataFrame(rows)


def write_exclusions(output_dir: Path) -> int:
    """Write ``exclusions.tsv`` from sources and records, and count the images that failed.

    Names that are no T1w or T2w, or a second one of a session, are listed but not counted; broken
    links are.
    """
    failed = [row for record in read_records(output_dir) for row in record["exclusions"]]
    passed_over = [row for source in read_sources(output_dir).values() for row in source["index"]]
    table = pd.DataFrame(failed + passed_over, columns=EXCLUSION_COLUMNS)
    write_tsv(output_dir / "exclusions.tsv", table.sort_values(EXCLUSION_COLUMNS))
    return len(failed) + sum(row["reason"] == NOT_A_FILE for row in passed_over)


def describe_dataset(
    section: dict[str, Any], sources: dict[str, dict[str, Any]], slices: pd.DataFrame
) -> dict[str, Any]:
    """Content of ``dataset.json``."""
    return {
        "format_version": FORMAT_VERSION,
        "preprocessing": section,
        "sources": {name: source["description"] for name, source in sources.items()},
        "software": {name: version(name) for name in TOOLS},
        "counts": describe_counts(slices),
    }


def describe_counts(slices: pd.DataFrame) -> dict[str, Any]:
    """Subjects and slices, and slices by split, contrast and space."""
    per_split = slices[["split", "contrast", "space"]].agg(" ".join, axis=1).value_counts()
    return {
        "subjects": int(slices["subject_id"].nunique()),
        "slices": len(slices),
        "training_slices": int((slices["train"] & (slices["split"] == "train")).sum()),
        "slices_per_split": {str(name): int(count) for name, count in per_split.items()},
    }

"""Check the form of a slice dataset: its tables are there, readable, and of this version."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow.parquet as pq

from data_prep.store import FORMAT_VERSION, read_json

TABLES = ("dataset.json", "subjects.tsv", "splits.tsv", "slices.parquet", "exclusions.tsv")
COLUMNS = {
    "subjects.tsv": [
        *("subject_id", "group", "dataset", "split"),
        *("sessions", "has_t1w", "has_t2w", "has_pair"),
    ],
    "splits.tsv": ["dataset", "group", "split"],
    "exclusions.tsv": ["dataset", "subject_id", "session", "file", "reason"],
}
SLICE_TYPES = {
    "subject_id": "string", "group": "string", "session": "string", "dataset": "string",
    "contrast": "string", "space": "string", "slice_index": "int32", "position_mm": "double",
    "brain_fraction": "float", "train": "bool", "split": "string", "shard": "string",
    "row": "int32", "sha256": "string",
}  # fmt: skip


def load_tsv(file: Path) -> pd.DataFrame:
    """Read a tab-separated table, every cell as text."""
    return pd.read_csv(file, sep="\t", dtype=str, keep_default_na=False)


def check_form(dataset_dir: Path) -> Iterator[str]:
    """Yield what keeps the tables from being read: missing files, another version, columns."""
    missing = [name for name in TABLES if not (dataset_dir / name).is_file()]
    if missing:
        yield (
            f"{', '.join(missing)} missing in {dataset_dir}: not a finished slice dataset; "
            "run the build again to finish it"
        )
        return
    damaged = [*check_readable(dataset_dir)]
    if damaged:
        yield from damaged
        return
    found = read_json(dataset_dir / "dataset.json").get("format_version")
    if found != FORMAT_VERSION:
        yield (
            f"dataset.json: format_version {found!r}, expected {FORMAT_VERSION}; "
            "build the dataset again with this version of data_prep"
        )
        return
    for name, expected in COLUMNS.items():
        columns = list(load_tsv(dataset_dir / name).columns)
        if columns != expected:
            yield f"{name}: columns {columns}, expected {expected}"
    yield from check_slice_types(dataset_dir / "slices.parquet")


def check_readable(dataset_dir: Path) -> Iterator[str]:
    """Yield the tables that are damaged."""
    load: dict[str, Callable[[Path], Any]] = {
        ".json": read_json,
        ".tsv": load_tsv,
        ".parquet": pd.read_parquet,
    }
    for name in TABLES:
        try:
            load[Path(name).suffix](dataset_dir / name)
        except (ValueError, OSError) as error:
            yield f"{name}: damaged ({error}); run the build again to write it anew"


def check_slice_types(file: Path) -> Iterator[str]:
    """Yield the columns of slices.parquet that are absent or of another type."""
    types = {field.name: str(field.type).removeprefix("large_") for field in pq.read_schema(file)}
    for name, expected in SLICE_TYPES.items():
        if types.get(name) != expected:
            yield f"slices.parquet: column {name} is {types.get(name)}, expected {expected}"

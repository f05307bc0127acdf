"""Each fault that can befall a slice dataset is found and named; a sound one passes."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from data_prep.verify import ABSOLUTE_PATH, TIME, verify_dataset
from tests.tiny_dataset import write_tiny_dataset

T1W = "shards/pairs/sub-01_T1w"
PAIRED_T2W = "shards/pairs/sub-01_space-T1w_T2w"


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_dataset(tmp_path_factory.mktemp("sound"))


@pytest.fixture
def dataset(sound: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(sound, tmp_path / "dataset"))


def edit_array(file: Path, edit: Callable[[np.ndarray], Any]) -> None:
    array = np.load(file)
    edited = edit(array)
    np.save(file, array if edited is None else edited)


def edit_slices(dataset: Path, edit: Callable[[pd.DataFrame], Any]) -> None:
    table = pd.read_parquet(dataset / "slices.parquet")
    edited = edit(table)
    (table if edited is None else edited).to_parquet(dataset / "slices.parquet", index=False)


def edit_json(file: Path, **changes: Any) -> None:
    file.write_text(json.dumps({**json.loads(file.read_text()), **changes}))


def edit_text(file: Path, old: str, new: str) -> None:
    assert old in file.read_text()
    file.write_text(file.read_text().replace(old, new))


def set_where(table: pd.DataFrame, column: str, value: Any, **conditions: Any) -> None:
    chosen = np.logical_and.reduce([table[name] == wanted for name, wanted in conditions.items()])
    assert chosen.any()
    table.loc[chosen, column] = value


def flip_one_bit(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[-1200] ^= 1  # in the last slice, inside the brain
    file.write_bytes(content)


def swap_two_images(dataset: Path) -> None:
    edit_array(dataset / f"{T1W}.npy", lambda images: images[[1, 0, 2, 3, 4, 5]])


def put_group_into_two_parts(dataset: Path) -> None:
    with (dataset / "splits.tsv").open("a") as file:
        file.write("singles\tpairs_sub-05\ttrain\n")


def drop_last_row(table: pd.DataFrame) -> pd.DataFrame:
    return table[~((table["shard"] == f"{PAIRED_T2W}.npy") & (table["row"] == 5))]


def truncate(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:500])


FAULTS: dict[str, tuple[Callable[[Path], Any], str]] = {
    "another format version": (
        lambda d: edit_json(d / "dataset.json", format_version=2),
        "format_version 2, expected 1",
    ),
    "no table of slices": (
        lambda d: (d / "slices.parquet").unlink(),
        "slices.parquet missing",
    ),
    "half a table of slices": (
        lambda d: truncate(d / "slices.parquet"),
        "slices.parquet: damaged",
    ),
    "half a dataset.json": (
        lambda d: (d / "dataset.json").write_text('{"format_version"'),
        "dataset.json: damaged",
    ),
    "an empty table of subjects": (
        lambda d: (d / "subjects.tsv").write_text(""),
        "subjects.tsv: damaged",
    ),
    "a column of another type": (
        lambda d: edit_slices(d, lambda t: t.astype({"row": "int64"})),
        "column row is int64, expected int32",
    ),
    "a shard that is gone": (
        lambda d: (d / f"{T1W}.npy").unlink(),
        "sub-01_T1w.npy is missing",
    ),
    "a mask that is gone": (
        lambda d: (d / f"{T1W}_mask.npy").unlink(),
        "sub-01_T1w_mask.npy is missing",
    ),
    "a truncated shard": (
        lambda d: truncate(d / f"{T1W}.npy"),
        f"{T1W}.npy: cannot be read",
    ),
    "an empty shard": (
        lambda d: (d / f"{T1W}.npy").write_bytes(b""),
        f"{T1W}.npy: cannot be read (sub-01_T1w.npy is empty, expected uint16 with 6 slices)",
    ),
    "an empty mask": (
        lambda d: (d / f"{T1W}_mask.npy").write_bytes(b""),
        f"{T1W}.npy: cannot be read (sub-01_T1w_mask.npy is empty",
    ),
    "half a JSON": (
        lambda d: truncate(d / f"{T1W}.json"),
        f"{T1W}.npy: cannot be read",
    ),
    "a shard of floats": (
        lambda d: edit_array(d / f"{T1W}.npy", lambda a: a.astype(np.float32)),
        "float32 (6, 32, 32), expected uint16 with 6 slices",
    ),
    "a shard with a slice less": (
        lambda d: edit_array(d / f"{T1W}.npy", lambda a: a[:5]),
        "uint16 (5, 32, 32), expected uint16 with 6 slices",
    ),
    "images of another size": (
        lambda d: edit_array(d / f"{T1W}.npy", lambda a: a[:, :30]),
        "images of (30, 32), expected (32, 32)",
    ),
    "one bit that flipped": (
        lambda d: flip_one_bit(d / f"{T1W}.npy"),
        f"{T1W}.npy: row 5 changed since the build",
    ),
    "two slices swapped": (
        swap_two_images,
        f"{T1W}.npy: rows 0, 1 changed since the build",
    ),
    "a mask of 0 and 2": (
        lambda d: edit_array(d / f"{T1W}_mask.npy", lambda a: a * 2),
        "the mask holds [0 2], expected 0 and 1",
    ),
    "a mask that lost a part": (
        lambda d: edit_array(d / f"{T1W}_mask.npy", lambda a: a * (np.arange(32) > 16)),
        "not zero outside the mask",
    ),
    "a brain fraction of another mask": (
        lambda d: edit_slices(
            d, lambda t: set_where(t, "brain_fraction", 0.5, shard=f"{T1W}.npy", row=2)
        ),
        f"{T1W}.npy: brain_fraction of row 2 is not that of the mask",
    ),
    "a truth with a fifth tissue": (
        lambda d: np.save(d / f"{T1W}_dseg.npy", np.full((6, 32, 32), 4, np.uint8)),
        "the truth beside it is (6, 32, 32) of [4]",
    ),
    "a blank volume": (
        lambda d: edit_array(d / f"{T1W}.npy", lambda a: a * 0),
        f"{T1W}.npy: blank",
    ),
    "a JSON of another subject": (
        lambda d: edit_json(d / f"{T1W}.json", subject_id="pairs_sub-02"),
        "subject_id is 'pairs_sub-02' in its JSON",
    ),
    "an affine that is not finite": (
        lambda d: edit_json(d / f"{T1W}.json", affine=[[float("nan")] * 4] * 4),
        "not a finite 4 x 4 matrix",
    ),
    "a row listed twice": (
        lambda d: edit_slices(d, lambda t: set_where(t, "row", 0, shard=f"{T1W}.npy", row=1)),
        f"{T1W}.npy: slices.parquet does not list every row",
    ),
    "a pair that lacks a slice": (
        lambda d: edit_slices(d, drop_last_row),
        "pairs_sub-01: 6 T1w slices, 5 registered T2w slices",
    ),
    "a pair on shifted slices": (
        lambda d: edit_slices(
            d, lambda t: set_where(t, "position_mm", 99.0, shard=f"{PAIRED_T2W}.npy", row=5)
        ),
        "pairs_sub-01: position_mm differs between T1w and registered T2w",
    ),
    "a pair without its T1w": (
        lambda d: edit_slices(d, lambda t: t[t["shard"] != f"{T1W}.npy"]),
        "pairs_sub-01: a registered T2w without its T1w",
    ),
    "slices that go back": (
        lambda d: edit_slices(
            d, lambda t: set_where(t, "position_mm", -1.0, shard=f"{T1W}.npy", row=3)
        ),
        f"{T1W}.npy: position_mm does not rise from row to row",
    ),
    "an unsorted table": (
        lambda d: edit_slices(d, lambda t: t.iloc[::-1]),
        "slices.parquet is not sorted",
    ),
    "a group in two parts": (
        put_group_into_two_parts,
        "group pairs_sub-05 is in 2 parts: test, train",
    ),
    "a part that does not exist": (
        lambda d: edit_text(d / "splits.tsv", "validation", "training"),
        "group pairs_sub-04 is in 'training'",
    ),
    "a group without a part": (
        lambda d: edit_text(d / "splits.tsv", "pairs_sub-05", "other"),
        "its group pairs_sub-05 of pairs is not in splits.tsv",
    ),
    "slices in another part than their subject": (
        lambda d: edit_slices(
            d, lambda t: set_where(t, "split", "train", subject_id="pairs_sub-05", row=0)
        ),
        "pairs_sub-05: split 'test' in subjects.tsv, 'train' in slices.parquet",
    ),
    "a subject that is not listed": (
        lambda d: edit_text(d / "subjects.tsv", "pairs_sub-05\tpairs_sub-05", "x\tpairs_sub-05"),
        "pairs_sub-05: has slices but is not in subjects.tsv",
    ),
    "a contrast that is not there": (
        lambda d: edit_text(d / "subjects.tsv", "true\tfalse\tfalse", "true\ttrue\tfalse"),
        "singles_sub-01: has_t2w is 'true', its slices say False",
    ),
    "an absolute path in a table": (
        lambda d: edit_text(d / "exclusions.tsv", "truncated file", "truncated /home/me/a.nii.gz"),
        "exclusions.tsv holds an absolute path: /home/me/a.nii.gz",
    ),
    "a time in a JSON": (
        lambda d: edit_json(d / f"{T1W}.json", made="2026-01-31T10:20:30"),
        f"{T1W}.json holds a time: 2026-01-31T10:20:30",
    ),
}  # fmt: skip


def test_a_sound_dataset_has_no_problem(sound: Path) -> None:
    assert verify_dataset(sound) == []


def test_a_name_with_a_dot_in_it_is_no_problem(dataset: Path) -> None:
    dotted = T1W.replace("_T1w", "_acq-0.8mm_T1w")
    for end in (".npy", "_mask.npy", ".json"):
        (dataset / f"{T1W}{end}").rename(dataset / f"{dotted}{end}")
    names = {f"{T1W}.npy": f"{dotted}.npy"}
    edit_slices(dataset, lambda table: table.replace({"shard": names}))
    assert verify_dataset(dataset) == []


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_is_named(name: str, dataset: Path) -> None:
    inject, expected = FAULTS[name]
    inject(dataset)
    problems = verify_dataset(dataset)
    assert any(expected in problem for problem in problems), problems


def test_problems_do_not_say_where_the_dataset_lies(dataset: Path) -> None:
    truncate(dataset / f"{T1W}.npy")
    (dataset / f"{PAIRED_T2W}.npy").unlink()
    problems = verify_dataset(dataset)
    assert len(problems) == 2
    assert not [problem for problem in problems if str(dataset) in problem]


@pytest.mark.parametrize(
    "text",
    ["T1w/T2w", "doi: https://doi.org/10.1/x", "10.18112/openneuro.ds1.v1", "either / or", "</a>"],
)
def test_slashes_that_are_no_path_are_left_alone(text: str) -> None:
    assert ABSOLUTE_PATH.search(text) is None


@pytest.mark.parametrize("text", ["/mnt/a/b.nii", "'/data/x'", "C:\\data\\x", '"C:\\\\data"'])
def test_absolute_paths_are_recognised(text: str) -> None:
    assert ABSOLUTE_PATH.search(text)


def test_versions_and_dates_are_no_times() -> None:
    assert TIME.search("1.2.3 2024-07-25 sub-2024-01-01") is None

"""Cross-validation: every group with a pair is tested on once, and never where it trained."""

from __future__ import annotations

import shutil
from pathlib import Path

import pandas as pd
import pytest
from scripts.datasets import EvaluationSlices
from scripts.slice_tables import load_pairs

from data_prep.folds import write_folds
from data_prep.output_folder import check_output
from data_prep.report import write_report
from data_prep.store import read_json
from data_prep.verify import verify_dataset
from data_prep.verify_form import load_tsv
from tests.slice_dataset_fixture import write_slice_dataset
from tests.tiny_dataset import write_tiny_dataset

SPLITS = (*["train"] * 5, "test", "external", "train")
EXTERNAL, ALONE = "blobs_sub-07", "blobs_sub-08"


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight subjects, of whom one is external and one has no T2w."""
    folder = write_slice_dataset(
        tmp_path_factory.mktemp("data"), splits=SPLITS, contrasts={7: ("T1w",)}, slices=5
    )
    table = pd.read_parquet(folder / "slices.parquet")
    splits = table[["dataset", "group", "split"]].drop_duplicates()
    splits.to_csv(folder / "splits.tsv", sep="\t", index=False)
    (folder / "exclusions.tsv").write_text("dataset\tsubject_id\tsession\tfile\treason\n")
    return folder


def read_splits(fold: Path) -> dict[str, str]:
    table = pd.read_csv(fold / "subjects.tsv", sep="\t")
    return dict(zip(table["group"], table["split"], strict=True))


def test_every_group_with_a_pair_is_tested_on_exactly_once(dataset: Path, tmp_path: Path) -> None:
    folds = [read_splits(fold) for fold in write_folds(dataset, tmp_path, folds=3, seed=0)]
    groups = [group for group in folds[0] if group not in (EXTERNAL, ALONE)]
    assert len(groups) == 6
    for group in groups:
        assert sorted(fold[group] for fold in folds).count("test") == 1, group
    for fold in folds:
        assert {"train", "validation", "test"} <= set(fold.values())
        assert fold[EXTERNAL] == "external"
        assert fold[ALONE] == "train"


def test_a_group_may_be_called_na(dataset: Path, tmp_path: Path) -> None:
    """As pandas takes for a missing value unless it is told otherwise."""
    named = Path(shutil.copytree(dataset, tmp_path / "named"))
    table = pd.read_parquet(named / "slices.parquet").replace({"group": {"blobs_sub-01": "NA"}})
    table.to_parquet(named / "slices.parquet")
    text = (named / "splits.tsv").read_text()
    (named / "splits.tsv").write_text(text.replace("\tblobs_sub-01\t", "\tNA\t"))
    for fold in write_folds(named, tmp_path / "folds", folds=3, seed=0):
        splits = load_tsv(fold / "splits.tsv").set_index("group")["split"]
        slices = pd.read_parquet(fold / "slices.parquet").groupby("group")["split"].first()
        assert splits["NA"] == slices["NA"]


def test_a_fold_is_read_like_any_dataset(dataset: Path, tmp_path: Path) -> None:
    fold = write_folds(dataset, tmp_path, folds=3, seed=0)[0]
    options = {"training_slices": False, "max_subjects": None, "slice_step": 4}
    pairs = load_pairs(str(fold), split="test", **options, slices=1, slice_distance_mm=3.0)
    tested = {group for group, split in read_splits(fold).items() if split == "test"}
    assert {pair.t1w.subject_id for pair in pairs} <= tested
    assert EvaluationSlices(pairs)[0]["t1w"].shape == (1, 128, 128)


def test_links_lead_to_the_images_where_the_path_of_the_folds_is_a_link_itself(
    dataset: Path, tmp_path: Path
) -> None:
    (tmp_path / "disk" / "mine").mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "disk" / "mine")
    for fold in write_folds(dataset, tmp_path / "link" / "folds", folds=3, seed=0):
        assert (fold / "shards").samefile(dataset / "shards")


def test_a_fold_verifies_has_a_report_and_keeps_what_was_left_out(tmp_path: Path) -> None:
    data = write_tiny_dataset(tmp_path / "data")
    fold = write_folds(data, tmp_path / "folds", folds=3, seed=0)[0]
    assert verify_dataset(fold) == []
    assert "truncated file: 10 of 20 voxels" in write_report(fold).read_text()


def test_no_build_writes_into_a_fold(dataset: Path, tmp_path: Path) -> None:
    fold = write_folds(dataset, tmp_path, folds=3, seed=0)[1]
    section = read_json(dataset / "dataset.json")["preprocessing"]
    check_output(dataset, section)
    with pytest.raises(ValueError, match="fold 2 of 3, whose images are links to another slice"):
        check_output(fold, section)


def test_a_seed_gives_the_same_folds_and_another_seed_others(dataset: Path, tmp_path: Path) -> None:
    drawn = [
        [read_splits(fold) for fold in write_folds(dataset, tmp_path / name, folds=3, seed=seed)]
        for name, seed in (("a", 0), ("b", 0), ("c", 3))
    ]
    assert drawn[0] == drawn[1]
    assert drawn[0] != drawn[2]


def test_what_cannot_be_dealt_out_is_refused(dataset: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"groups of subjects have registered pairs.*--folds 99"):
        write_folds(dataset, tmp_path / "a", folds=99, seed=0)
    with pytest.raises(ValueError, match="folds is 2"):
        write_folds(dataset, tmp_path / "a", folds=2, seed=0)
    with pytest.raises(FileNotFoundError, match="no finished slice dataset"):
        write_folds(tmp_path, tmp_path / "a", folds=3, seed=0)
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "mine.txt").touch()
    with pytest.raises(FileExistsError, match="is not empty"):
        write_folds(dataset, tmp_path / "b", folds=3, seed=0)
    write_tiny_dataset(tmp_path / "c")
    (tmp_path / "c" / "exclusions.tsv").unlink()
    with pytest.raises(FileNotFoundError, match=r"no finished slice dataset \(no exclusions.tsv"):
        write_folds(tmp_path / "c", tmp_path / "a", folds=3, seed=0)
    assert not (tmp_path / "a").exists()

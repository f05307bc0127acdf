"""Jobs of an array prepare parts of a dataset; together they make the bytes of one run."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
from filelock import FileLock

from data_prep.bids_inputs import BidsInputs, build_from_bids
from data_prep.build import BuildOptions, Outcome, build_group
from data_prep.cluster import Workers
from data_prep.dataset_options import DatasetOptions
from data_prep.job_array import JobShard, parse_shard, select_shard
from data_prep.output_folder import lock_output
from tests.slice_dataset_files import read_files
from tests.small_heads import make_quick_bundle, save_dataset


def build(out: Path, folder: Path, shard: str = "", **options) -> Outcome:
    inputs = BidsInputs({"heads": folder}, DatasetOptions({"heads": "none"}, [], {}))
    return build_from_bids(
        out, inputs, BuildOptions(make_quick_bundle(), Workers(1), parse_shard(shard), **options)
    )


@pytest.fixture(scope="module")
def heads(tmp_path_factory) -> Path:
    return save_dataset(tmp_path_factory.mktemp("study") / "heads", t1w_only=3)


def test_every_item_is_in_one_shard_and_all_shards_have_some():
    items = list("abcdefg")
    parts = [select_shard(items, JobShard(index, 3)) for index in (1, 2, 3)]
    assert parts == [["a", "d", "g"], ["b", "e"], ["c", "f"]]
    assert select_shard(items, None) == items


@pytest.mark.parametrize("text", ["0/3", "4/3", "1", "1/", "a/b", "1/2/3", "-1/2", "0/0"])
def test_a_shard_that_there_is_not_is_refused(text):
    with pytest.raises(ValueError, match="Expected i/n with i from 1 to n"):
        parse_shard(text)


def test_shards_in_any_order_and_a_group_step_make_the_bytes_of_one_run(heads, tmp_path):
    build(tmp_path / "whole", heads)
    out = tmp_path / "out"
    assert not build(out, heads, "2/2").has_tables
    assert not (out / "dataset.json").exists()
    with pytest.raises(ValueError, match="2 sessions are not prepared yet, heads/sub-01 among"):
        build_group(out, make_quick_bundle(), partial_dataset=False)
    build_group(out, make_quick_bundle(), partial_dataset=True)
    assert pd.read_csv(out / "subjects.tsv", sep="\t")["subject_id"].tolist() == ["heads_sub-02"]
    build(out, heads, "1/2")
    assert build_group(out, make_quick_bundle(), partial_dataset=False) == Outcome(
        0, has_tables=True
    )
    assert read_files(out) == read_files(tmp_path / "whole")


def test_the_group_step_needs_a_dataset(tmp_path):
    with pytest.raises(ValueError, match="Run the jobs of the array first"):
        build_group(tmp_path / "absent", make_quick_bundle(), partial_dataset=False)


def test_jobs_of_an_array_write_beside_each_other_but_not_beside_a_whole_run(tmp_path, monkeypatch):
    first, second = JobShard(1, 2), JobShard(2, 2)
    with lock_output(tmp_path, first), lock_output(tmp_path, second):
        for shard in (first, None):
            with pytest.raises(ValueError, match="another run is writing there"):
                lock_output(tmp_path, shard)
    monkeypatch.setattr("data_prep.output_folder.PATIENCE_SECONDS", 0)
    with lock_output(tmp_path), pytest.raises(ValueError, match="another run is writing there"):
        lock_output(tmp_path, first)
    lock_output(tmp_path).release()
    assert not FileLock(tmp_path / ".lock").is_locked


def test_a_subject_does_not_change_its_group(heads, tmp_path):
    build(tmp_path / "out", heads)
    with pytest.raises(ValueError, match="would belong to site:heads now. Splits never change"):
        build(tmp_path / "out", heads, split_by_site=True)

"""What was built before and what is built now agree, or nothing is touched and it is said why."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pandas as pd
import pytest

from data_prep import build as build_step
from data_prep import subject
from data_prep.bids_inputs import BidsInputs, build_from_bids
from data_prep.build import BuildOptions, Outcome, build_group
from data_prep.cluster import Workers
from data_prep.command_line import name_folders
from data_prep.dataset_options import DatasetOptions
from data_prep.job_array import parse_shard
from data_prep.output_folder import check_output
from data_prep.subject import describe_error
from tests.slice_dataset_files import read_files
from tests.small_heads import make_quick_bundle, save_dataset, save_head


def build(out: Path, folder: Path, *, name: str = "heads", method="none", **options) -> Outcome:
    chosen = {key: options.pop(key) for key in ("hold_out", "labels") if key in options}
    datasets = DatasetOptions({name: method}, chosen.get("hold_out", ()), {})
    inputs = BidsInputs({name: folder}, datasets, chosen.get("labels"))
    bundle = options.pop("bundle", make_quick_bundle())
    return build_from_bids(out, inputs, BuildOptions(bundle, Workers(1), **options))


@pytest.fixture(scope="module")
def heads(tmp_path_factory) -> Path:
    return save_dataset(tmp_path_factory.mktemp("study") / "heads", t1w_only=3)


@pytest.fixture(scope="module")
def built(heads, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("built") / "out"
    build(out, heads)
    return out


@pytest.fixture
def out(built, tmp_path) -> Path:
    return Path(shutil.copytree(built, tmp_path / "out"))


def make_coarse_bundle(folder: Path) -> Path:
    """Another resolution in plane."""
    shutil.copytree(make_quick_bundle(), folder, symlinks=True)
    config = folder / "configs" / "inference.json"
    config.write_text(config.read_text().replace('"spacing_mm": 1.5', '"spacing_mm": 2.5'))
    return folder


def test_another_dataset_of_the_same_name_is_refused_and_can_be_named(out, tmp_path):
    other = save_dataset(tmp_path / "other" / "heads", t1w_only=1)
    (other / "dataset_description.json").write_text('{"Name": "Other heads"}')
    before = read_files(out)
    with pytest.raises(
        ValueError, match="its name was 'Small heads' in an earlier run and is 'Oth"
    ):
        build(out, other)
    assert read_files(out) == before
    assert name_folders([f"mine={other}", str(other)]) == {"mine": other, "heads": other}
    with pytest.raises(ValueError, match="two inputs are called heads.*--inputs OTHER="):
        name_folders([str(other), f"heads={tmp_path}"])


def test_a_rebuild_with_other_options_that_was_stopped_leaves_nothing_wrong(
    heads, out, tmp_path, monkeypatch
):
    before = read_files(out)
    save_head(tmp_path / "changed", "sub-01", "T1w", seed=9)
    changed = shutil.copytree(heads, tmp_path / "heads")
    shutil.copytree(tmp_path / "changed", changed, dirs_exist_ok=True)

    def stop(*_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(subject, "write_record", stop)
        build(out, changed)
    assert build(out, heads).left_out == 0
    assert read_files(out) == before


def test_a_shard_that_belongs_to_other_work_is_made_again(heads, out):
    before = read_files(out)
    side = out / "shards" / "heads" / "sub-01_T1w.json"
    side.write_text(json.dumps(json.loads(side.read_text()) | {"key": "other"}))
    build(out, heads)
    assert read_files(out) == before


@pytest.mark.parametrize("end", [".npy", "_mask.npy", ".json"])
def test_a_shard_that_a_crash_left_empty_is_made_again(heads, out, end):
    before = read_files(out)
    (out / "shards" / "heads" / f"sub-01_T1w{end}").write_bytes(b"")
    build(out, heads)
    assert read_files(out) == before


def test_jobs_with_different_preprocessing_make_no_dataset(heads, tmp_path):
    out, coarse = tmp_path / "out", make_coarse_bundle(tmp_path / "bundle")
    build(out, heads, shard=parse_shard("1/2"))
    build(out, heads, shard=parse_shard("2/2"), bundle=coarse)
    for bundle in (make_quick_bundle(), coarse):
        with pytest.raises(ValueError, match=r"heads: sub-0\d was made with preprocessing"):
            build_group(out, bundle, partial_dataset=False)
    assert not (out / "dataset.json").exists()


def test_a_failure_that_may_pass_is_tried_again_and_costs_no_other_session(
    heads, built, tmp_path, monkeypatch
):
    """A device without memory, a full disk, a fault of the program."""
    full = OSError(28, "No space left on device", "/a/b")
    real, faults = subject.prepare_alone, iter([RuntimeError("CUDA out of memory"), full, None])

    def fail(*arguments, **options):
        if error := next(faults):
            raise error
        return real(*arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr(subject, "prepare_alone", fail)
        assert build(tmp_path / "out", heads).left_out == 2
    reasons = pd.read_csv(tmp_path / "out" / "exclusions.tsv", sep="\t")["reason"].tolist()
    assert reasons == ["RuntimeError: CUDA out of memory", "b: No space left on device"]
    assert build(tmp_path / "out", heads).left_out == 0
    assert read_files(tmp_path / "out") == read_files(built)


def test_a_scan_that_cannot_be_read_for_a_moment_keeps_its_finished_session(
    heads, out, monkeypatch
):
    def fail(*_, **__):
        raise OSError(5, "Input/output error")

    before = read_files(out)
    with monkeypatch.context() as patch:
        patch.setattr(subject, "compute_key", fail)
        build(out, heads)
    assert read_files(out) == before


@pytest.mark.parametrize("name", ["raw", "bids", "sources", "sessions", "shards", "downloads"])
def test_a_folder_of_the_users_is_refused_whatever_its_folders_are_called(heads, tmp_path, name):
    (tmp_path / name).mkdir()
    (tmp_path / "subjects.tsv").write_text("mine")
    with pytest.raises(ValueError, match="nothing of yours is overwritten"):
        build(tmp_path, heads)
    assert (tmp_path / "subjects.tsv").read_text() == "mine"


def test_a_finished_dataset_without_hidden_files_is_still_ours(out):
    section = json.loads((out / "dataset.json").read_text())["preprocessing"]
    (out / ".lock").unlink()
    check_output(out, section)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("haeds\tsub-01\tp1", "names the dataset haeds"),
        ("heads\tsub-01\tn/a", "a value is missing"),
    ],
)
def test_a_table_of_groups_that_cannot_be_meant_is_refused(heads, out, tmp_path, row, message):
    table = tmp_path / "groups.tsv"
    table.write_text(f"dataset\tsubject\tgroup\n{row}\n")
    with pytest.raises(ValueError, match=message):
        build(out, heads, groups=table)


def test_a_subject_of_the_table_of_groups_that_is_not_there_is_named(heads, out, tmp_path, caplog):
    table = tmp_path / "groups.tsv"
    table.write_text("dataset\tsubject\tgroup\nheads\tsub-01\theads_sub-01\nheads\t1O\tp\n")
    build(out, heads, groups=table)
    assert "names 1 subjects of which this run has no scan, heads sub-1O first" in caplog.text


def test_images_that_are_links_to_nowhere_count_as_left_out(tmp_path):
    folder = save_dataset(tmp_path / "heads", t1w_only=2)
    path = folder / "sub-02" / "anat" / "sub-02_T1w.nii.gz"
    path.unlink()
    path.symlink_to("/nowhere/annex")
    assert build(tmp_path / "out", folder).left_out == 1
    masks = folder / "derivatives" / "tool" / "sub-01" / "anat"
    masks.mkdir(parents=True)
    (masks / "sub-01_desc-brain_mask.nii.gz").symlink_to("/nowhere/annex")
    assert build(tmp_path / "with_masks", folder).left_out == 1


def test_a_file_name_that_is_no_utf8_is_listed(tmp_path):
    folder = save_dataset(tmp_path / "heads", t1w_only=1)
    name = os.fsencode(str(folder / "sub-01" / "anat")) + b"/sub-01_caf\xe9_T1w.nii.gz"
    with open(name, "wb"):  # noqa: PTH123
        pass
    build(tmp_path / "out", folder)
    assert "caf\\udce9" in (tmp_path / "out" / "exclusions.tsv").read_text()


def test_a_hold_out_that_comes_too_late_is_refused_before_any_work(heads, out, monkeypatch):
    before = read_files(out)
    monkeypatch.setattr(build_step, "prepare_all", lambda *_: pytest.fail("worked"))
    with pytest.raises(ValueError, match="cannot be held out"):
        build(out, heads, hold_out=["heads"])
    assert read_files(out) == before


def test_exclusions_of_subjects_that_a_later_run_leaves_aside_stay(tmp_path):
    folder = save_dataset(tmp_path / "heads", t1w_only=2)
    save_head(folder, "sub-02", "T1w", seed=1)
    (folder / "sub-02" / "anat" / "sub-02_FLAIR.nii.gz").write_bytes(b"")
    build(tmp_path / "out", folder)
    before = (tmp_path / "out" / "exclusions.tsv").read_text()
    assert "FLAIR is neither" in before
    build(tmp_path / "out", folder, labels=["01"])
    assert (tmp_path / "out" / "exclusions.tsv").read_text() == before


def test_volumes_that_are_there_do_not_make_a_run_without_them_begin_anew(
    heads, tmp_path, monkeypatch
):
    build(tmp_path / "out", heads, write_volumes=True, labels=["01"])
    monkeypatch.setattr(subject, "prepare_volumes", lambda *_: pytest.fail("worked"))
    assert build(tmp_path / "out", heads, labels=["01"]) == Outcome(0, has_tables=True)


def test_reasons_hold_no_place_of_this_machine():
    error = RuntimeError("applying transform")
    error.__cause__ = FileNotFoundError(2, "No such file", "/home/jane/scan.nii.gz")
    assert describe_error(error) == "scan.nii.gz: No such file"
    itk = ValueError("ITK: ERROR: MattesMetricv4(0x55fefa498470): too many samples")
    assert describe_error(itk) == "ITK: ERROR: MattesMetricv4: too many samples"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Empty file: '/home/jane/my study/t.nii'", "Empty file: 't.nii'"),
        ("got 15 bytes from /home/jane/t.nii\n - damaged?", "got 15 bytes from t.nii - damaged?"),
        ("no weights at C:\\Users\\jane\\w.pth.", "no weights at w.pth."),
        ("T1w/T2w, see https://example.org/a/b", "T1w/T2w, see https://example.org/a/b"),
    ],
)
def test_reasons_name_files_without_their_folders(text, expected):
    assert describe_error(ValueError(text)) == expected

"""Building a slice dataset: every stage, wrong options, stopped and run again."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from data_prep import build_commands
from data_prep import subject as subject_stage
from data_prep.build import Outcome
from data_prep.build_commands import labels, phantom
from data_prep.command_line import COMPLETE, FAILED, split_list
from data_prep.output_folder import lock_output
from data_prep.verify import verify_dataset
from tests.small_builds import build, run_cli
from tests.small_heads import save_dataset


def read_bytes(out: Path) -> dict[str, bytes]:
    """Everything a run leaves, but for its lock."""
    return {
        path.relative_to(out).as_posix(): path.read_bytes()
        for path in sorted(out.rglob("*"))
        if path.is_file() and path.name != ".lock"
    }


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> tuple[Path, Path]:
    """A dataset of three pairs, one T1w and one T2w alone, and what was built from it."""
    root = tmp_path_factory.mktemp("built")
    folder = save_dataset(root / "heads", pairs=3, t1w_only=1, t2w_only=1)
    assert build(root / "out", folder) == 0
    return folder, root / "out"


def test_what_is_built_verifies_and_holds_what_went_in(built):
    _, out = built
    assert verify_dataset(out) == []
    slices = pd.read_parquet(out / "slices.parquet")
    shards = set(slices["shard"])
    expected = {f"shards/heads/sub-0{n}_T1w.npy" for n in (1, 2, 3, 4)}
    expected |= {f"shards/heads/sub-0{n}_T2w.npy" for n in (1, 2, 3, 5)}
    expected |= {f"shards/heads/sub-0{n}_space-T1w_T2w.npy" for n in (1, 2, 3)}
    assert shards == expected
    description = json.loads((out / "dataset.json").read_text())
    assert description["sources"]["heads"]["license"] == "CC0"
    assert description["counts"]["subjects"] == 5


def test_pairs_lie_row_on_row(built):
    _, out = built
    slices = pd.read_parquet(out / "slices.parquet")
    t1w = slices[slices["shard"] == "shards/heads/sub-01_T1w.npy"]
    t2w = slices[slices["shard"] == "shards/heads/sub-01_space-T1w_T2w.npy"]
    assert t1w["slice_index"].tolist() == t2w["slice_index"].tolist()
    first = np.load(out / "shards/heads/sub-01_T1w.npy").astype(float)
    second = np.load(out / "shards/heads/sub-01_space-T1w_T2w.npy").astype(float)
    inside = np.load(out / "shards/heads/sub-01_T1w_mask.npy") > 0
    # Bright in one is dark in the other, in the same place.
    assert np.corrcoef(first[inside], second[inside])[0, 1] < -0.6


def test_nothing_that_is_stored_names_a_place_or_a_time(built):
    folder, out = built
    for name, content in read_bytes(out).items():
        assert str(folder.parent).encode() not in content, name


def test_a_second_run_changes_no_byte_and_does_no_work(built, monkeypatch):
    folder, out = built
    before = read_bytes(out)

    def fail(*_):
        raise AssertionError("a finished session was prepared again")

    monkeypatch.setattr(subject_stage, "prepare_volumes", fail)
    build(out, folder)
    assert read_bytes(out) == before


@pytest.mark.parametrize(
    "stop_after",
    [*(pytest.param(number, marks=pytest.mark.slow) for number in (1, 4, 7)), 11],
)
def test_stopped_anywhere_it_ends_with_the_same_bytes(built, tmp_path, monkeypatch, stop_after):
    folder, _ = built
    from data_prep import store

    real, calls = store.write_bytes, []

    def stop(path, content):
        calls.append(path)
        if len(calls) == stop_after:
            raise KeyboardInterrupt
        real(path, content)

    # A build of part of the subjects keeps this quick; the reference is made the same way.
    small = tmp_path / "heads"
    for name in ("sub-01", "sub-05"):
        shutil.copytree(folder / name, small / name)
    build(tmp_path / "undisturbed", small)
    monkeypatch.setattr(store, "write_bytes", stop)
    with pytest.raises(KeyboardInterrupt):
        build(tmp_path / "out", small)
    monkeypatch.setattr(store, "write_bytes", real)
    assert not (tmp_path / "out" / "dataset.json").exists()
    build(tmp_path / "out", small)
    assert read_bytes(tmp_path / "out") == read_bytes(tmp_path / "undisturbed")


@pytest.mark.slow
def test_workers_and_order_change_no_byte(built, tmp_path):
    folder, out = built
    build(tmp_path / "out", folder, workers=2)
    assert read_bytes(tmp_path / "out") == read_bytes(out)


@pytest.mark.slow
def test_killed_without_warning_it_ends_with_the_same_bytes(built, tmp_path):
    folder, out = built
    command = [sys.executable, "-m", "data_prep", "bids", str(tmp_path / "out")]
    command += ["--inputs", str(folder), "--brain_extraction", "heads=none", "--workers", "1"]
    for seconds in (12, 16):
        process = subprocess.Popen(command, start_new_session=True)
        time.sleep(seconds)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    assert subprocess.run(command, check=False).returncode == COMPLETE
    assert read_bytes(tmp_path / "out") == read_bytes(out)


def test_inputs_added_later_leave_splits_as_they_were(built, tmp_path):
    _, out = built
    extended = tmp_path / "out"
    shutil.copytree(out, extended)
    before = pd.read_csv(out / "splits.tsv", sep="\t")
    other = save_dataset(tmp_path / "other", t1w_only=1, t2w_only=1)
    build(extended, other, hold_out=["other"])
    after = pd.read_csv(extended / "splits.tsv", sep="\t")
    pd.testing.assert_frame_equal(after[after["dataset"] == "heads"].reset_index(drop=True), before)
    assert set(after.loc[after["dataset"] == "other", "split"]) == {"external"}
    assert verify_dataset(extended) == []


@pytest.mark.parametrize(
    ("prepare", "message"),
    [
        (lambda folder: None, "does not exist"),
        (lambda folder: folder.mkdir(), "is empty"),
        (lambda folder: (folder / "sub-01" / "anat").mkdir(parents=True), "no usable T1w or T2w"),
    ],
)
def test_a_folder_without_scans_is_one_clear_line(tmp_path, prepare, message, capsys):
    folder = tmp_path / "heads"
    prepare(folder)
    assert run_cli("bids", tmp_path / "out", inputs=folder) == FAILED
    error = capsys.readouterr().err.strip()
    assert error.startswith("error: ")
    assert message in error


def test_a_wrong_option_is_refused_before_anything_runs(tmp_path, capsys):
    code = run_cli("bids", tmp_path / "out", inputs=tmp_path, brain_extration="A=none")
    assert code == FAILED
    words = "bids has no option --brain_extration (did you mean --brain_extraction?)"
    assert words in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_method_that_there_is_not_is_refused_before_anything_is_read(built, tmp_path, capsys):
    folder, _ = built
    method = f"{folder.name}=nonsense"
    assert run_cli("bids", tmp_path / "out", inputs=folder, brain_extraction=method) == FAILED
    assert "brain_extraction 'nonsense'. Expected auto" in capsys.readouterr().err


@pytest.mark.parametrize("value", [19, (55, 66), "19", "55,66"])
def test_numbers_are_names_too(value):
    assert split_list(value) in (["19"], ["55", "66"])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"brain_extraction": "other=none"}, "--brain_extraction names other"),
        ({"brain_extraction": "none"}, "expected NAME=METHOD"),
        ({"hold_out": "other"}, "--hold_out names other"),
        ({"groups": "absent.tsv"}, "absent.tsv"),
        ({"bundle": "nowhere"}, "Name the bundle's folder"),
        ({"workers": -1}, "Expected 1 or more"),
    ],
)
def test_bad_options_name_what_was_expected(built, tmp_path, options, message, capsys):
    folder, _ = built
    assert run_cli("bids", tmp_path / "out", inputs=folder, **options) == FAILED
    assert message in capsys.readouterr().err


def test_a_folder_that_holds_something_else_is_left_alone(built, tmp_path):
    folder, _ = built
    (tmp_path / "thesis.docx").write_text("mine")
    with pytest.raises(ValueError, match="nothing of yours is overwritten"):
        build(tmp_path, folder)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.docx"]


def test_another_preprocessing_needs_another_folder(built, tmp_path):
    folder, out = built
    shutil.copytree(out, tmp_path / "out")
    path = tmp_path / "out" / "dataset.json"
    path.write_text(path.read_text().replace("1.5", "1.0"))
    with pytest.raises(ValueError, match="another preprocessing"):
        build(tmp_path / "out", folder)


def test_two_runs_into_one_folder_do_not_mix(built, tmp_path):
    from filelock import FileLock

    folder, _ = built
    (tmp_path / "out").mkdir()
    with (
        FileLock(tmp_path / "out" / ".lock"),
        pytest.raises(ValueError, match="another run is writing"),
    ):
        build(tmp_path / "out", folder)


SIMULATIONS = {"phantom": phantom, "labels": partial(labels, "maps")}


@pytest.mark.parametrize("name", SIMULATIONS)
def test_a_second_simulation_leaves_what_the_first_is_writing_alone(tmp_path, name):
    from filelock import FileLock

    written = tmp_path / "out" / "bids" / name / ".unfinished-x"
    written.parent.mkdir(parents=True)
    written.touch()
    with (
        FileLock(tmp_path / "out" / ".lock"),
        pytest.raises(ValueError, match="another run is writing"),
    ):
        SIMULATIONS[name](str(tmp_path / "out")).run()
    assert written.is_file()


@pytest.mark.parametrize("name", SIMULATIONS)
def test_a_simulation_locks_the_folder_and_leaves_it_to_the_build(tmp_path, name, monkeypatch):
    def simulate(*_, **__):
        with pytest.raises(ValueError, match="another run is writing"):
            lock_output(tmp_path / "out")

    def build_dataset(out, *_):
        with lock_output(out):
            return Outcome(0, has_tables=True)

    monkeypatch.setattr(build_commands, "build_phantom", simulate)
    monkeypatch.setattr(build_commands, "simulate_labels", simulate)
    monkeypatch.setattr(build_commands, "build_from_bids", build_dataset)
    assert SIMULATIONS[name](str(tmp_path / "out")).run() == COMPLETE

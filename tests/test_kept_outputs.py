"""What lies in an output's place: kept, gone on with, or replaced where that is asked for."""

from __future__ import annotations

import os
import shutil

import pytest
from scripts.inference.output_folder import remove_leftovers

from tests.inference_runs import SYNTHETIC, run, save_model
from tests.small_heads import save_dataset, save_head
from tests.training_runs import find_error


def test_outputs_that_are_there_stay_unless_they_shall_be_replaced(tmp_path):
    save_model(tmp_path)
    source = save_head(tmp_path / "heads", "sub-01", "T1w", seed=1)
    run(tmp_path, input=str(source))
    path = tmp_path / "out" / f"{SYNTHETIC}.nii.gz"
    before, time = path.read_bytes(), path.stat().st_mtime_ns
    (outcome,) = run(tmp_path, input=str(source))
    assert outcome.status == "exists"
    assert path.stat().st_mtime_ns == time
    save_model(tmp_path, seed=1)
    (outcome,) = run(tmp_path, input=str(source))
    assert "ANOTHER MODEL" in outcome.message
    assert path.read_bytes() == before
    (outcome,) = run(tmp_path, input=str(source), overwrite=True)
    assert outcome.status == "done"
    assert path.read_bytes() != before


@pytest.mark.parametrize("name", [f"{SYNTHETIC}.png", "sub-01_space-T1w_desc-brain_mask.nii.gz"])
def test_files_of_others_are_not_replaced_unless_it_is_said(tmp_path, name):
    save_model(tmp_path)
    source = save_head(tmp_path / "heads", "sub-01", "T1w", seed=1)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / name).write_text("corrected by hand")
    with pytest.raises(RuntimeError) as caught:
        run(tmp_path, input=str(source))
    assert f"{name}: already there, without a {SYNTHETIC}.json" in find_error(caught)
    assert "--overwrite true" in find_error(caught)
    assert (tmp_path / "out" / name).read_text() == "corrected by hand"
    assert not list((tmp_path / "out").glob(".sub-*"))
    (outcome,) = run(tmp_path, input=str(source), overwrite=True)
    assert outcome.status == "done"


def test_a_run_that_was_killed_between_its_files_goes_on_unasked(tmp_path, monkeypatch):
    save_model(tmp_path)
    source = save_head(tmp_path / "heads", "sub-01", "T1w", seed=1)

    def kill(*_):
        raise OSError(5, "killed here")

    with monkeypatch.context() as patch:
        patch.setattr("scripts.inference.save_scan.SaveScand._write_side_car", kill)
        with pytest.raises(RuntimeError):
            run(tmp_path, input=str(source))
    assert (tmp_path / "out" / f"{SYNTHETIC}.nii.gz").is_file()
    (outcome,) = run(tmp_path, input=str(source))
    assert outcome.status == "done"
    assert not list((tmp_path / "out").glob(".sub-*"))


def test_a_file_that_another_job_has_just_finished_is_no_leftover(tmp_path):
    """A link to nowhere is one that is listed and gone when it is looked at."""
    for name in ("old", "new"):
        (tmp_path / f".unfinished-{name}").touch()
    os.utime(tmp_path / ".unfinished-old", (0, 0))
    (tmp_path / ".unfinished-gone").symlink_to(tmp_path / "nowhere")
    remove_leftovers(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        ".unfinished-gone", ".unfinished-new"
    ]  # fmt: skip


def test_another_input_of_the_same_name_is_not_taken_for_done(tmp_path):
    save_model(tmp_path)
    for number in (1, 2):
        save_head(tmp_path / f"study-{number}", "sub-01", "T1w", seed=number)
    paths = [next((tmp_path / f"study-{n}").rglob("*.nii.gz")) for n in (1, 2)]
    run(tmp_path, input=str(paths[0]))
    before = (tmp_path / "out" / f"{SYNTHETIC}.nii.gz").read_bytes()
    with pytest.raises(RuntimeError) as caught:
        run(tmp_path, input=str(paths[1]))
    assert "tells of another sub-01_T1w.nii.gz" in find_error(caught)
    assert (tmp_path / "out" / f"{SYNTHETIC}.nii.gz").read_bytes() == before


def test_other_settings_replace_nothing_even_where_an_output_is_missing(tmp_path):
    save_model(tmp_path)
    source = save_head(tmp_path / "heads", "sub-01", "T1w", seed=1)
    run(tmp_path, input=str(source))
    before = (tmp_path / "out" / f"{SYNTHETIC}.nii.gz").read_bytes()
    for change in ({"views": 4, "uncertainty": True}, {"largest_value": 4000}):
        (outcome,) = run(tmp_path, input=str(source), **change)
        assert outcome.status == "exists"
        assert "OTHER PARAMETERS" in outcome.message
    assert (tmp_path / "out" / f"{SYNTHETIC}.nii.gz").read_bytes() == before


def test_an_overwrite_that_fails_half_way_is_not_taken_for_done(tmp_path, monkeypatch):
    save_model(tmp_path)
    source = save_head(tmp_path / "heads", "sub-01", "T1w", seed=1)
    run(tmp_path, input=str(source))
    save_model(tmp_path, seed=1)

    def fail(*_, **__):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("scripts.inference.save_scan.save_volume", fail)
        with pytest.raises(RuntimeError):
            run(tmp_path, input=str(source), overwrite=True)
    (outcome,) = run(tmp_path, input=str(source))
    assert outcome.status == "done"


def test_damaged_side_cars_and_long_names_are_rows_and_no_scan_is_lost(tmp_path):
    save_model(tmp_path)
    study = save_dataset(tmp_path / "study", t1w_only=3)
    long = study / "sub-01" / "anat" / f"sub-01_acq-{'x' * 215}_T1w.nii.gz"
    (study / "sub-01" / "anat" / "sub-01_T1w.nii.gz").rename(long)
    run(tmp_path, input=str(study), participant_label="02")
    side_car = next((tmp_path / "out").rglob("*.json"))
    next((tmp_path / "out" / "sub-02").rglob("*.json")).write_text("")
    assert side_car
    rows = run(tmp_path, input=str(study))
    assert [row.status for row in rows] == ["failed", "failed", "done"]
    assert "damaged" in rows[1].message


def test_an_output_that_is_missing_is_made_again(tmp_path):
    save_model(tmp_path)
    source = save_head(tmp_path / "heads", "sub-01", "T1w", seed=1)
    run(tmp_path, input=str(source), mosaic=False)
    (outcome,) = run(tmp_path, input=str(source))
    assert outcome.status == "done"


def test_rows_of_other_scans_stay_in_the_table(tmp_path):
    save_model(tmp_path)
    for number in (1, 2):
        source = save_head(tmp_path / "heads", f"sub-0{number}", "T1w", seed=number)
        outcomes = run(tmp_path, input=str(source))
    assert [outcome.source for outcome in outcomes] == ["sub-01_T1w.nii.gz", "sub-02_T1w.nii.gz"]


def test_a_folder_that_holds_its_own_outputs_is_not_translated_again(tmp_path):
    save_model(tmp_path)
    source = save_head(tmp_path / "heads", "sub-01", "T1w", seed=1)
    folder = tmp_path / "flat"
    folder.mkdir()
    shutil.copy(source, folder / "head.nii.gz")
    for _ in range(2):
        outcomes = run(tmp_path, input=str(folder), output_dir=str(folder))
    assert [(outcome.source, outcome.status) for outcome in outcomes] == [("head.nii.gz", "exists")]

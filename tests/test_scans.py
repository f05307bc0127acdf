"""What is taken from a file, a folder, a pattern, a BIDS dataset, a slice dataset or DICOM."""

from __future__ import annotations

import shutil
from pathlib import Path

import nibabel as nib
import pytest
from scripts.inference.scans import check_mask_file, list_scans

from tests.small_heads import make_head, save_dataset, save_head
from tests.tiny_dataset import write_tiny_dataset


def list_sources(source: Path | str, direction: str = "t1w_to_t2w", **options) -> list[str]:
    return [scan["source"] for scan in list_scans(str(source), direction, **options)]


def save_images(folder: Path, *names: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        nib.save(make_head(0, "T1w"), folder / name)
    return folder


def test_a_file_is_taken_whatever_its_name(tmp_path):
    folder = save_images(tmp_path, "sub-01_T2w.nii.gz")
    assert list_sources(folder / "sub-01_T2w.nii.gz") == ["sub-01_T2w.nii.gz"]


def test_of_a_bids_dataset_raw_images_of_the_contrast_are_taken(tmp_path):
    study = tmp_path / "study"
    for session in ("ses-1", "ses-2"):
        save_head(study, "sub-01", "T1w", seed=1, session=session)
    save_head(study, "sub-02", "T2w", seed=1)
    save_images(study / "derivatives" / "x" / "sub-01" / "anat", "sub-01_T1w.nii.gz")
    save_images(study / "sub-01" / "ses-1" / "func", "sub-01_ses-1_T1w.nii.gz")
    assert list_sources(study) == [
        f"sub-01/ses-{session}/anat/sub-01_ses-{session}_T1w.nii.gz" for session in (1, 2)
    ]
    assert list_sources(study, "t2w_to_t1w") == ["sub-02/anat/sub-02_T2w.nii.gz"]


def test_participants_are_chosen_by_label(tmp_path):
    study = save_dataset(tmp_path / "study", t1w_only=3)
    both = ["sub-01/anat/sub-01_T1w.nii.gz", "sub-03/anat/sub-03_T1w.nii.gz"]
    assert list_sources(study, participant_label="01,sub-03") == both
    assert list_sources(study, participant_label=("01", "03")) == both
    with pytest.raises(ValueError, match="no T1w of sub-07. Found 3 subjects such as sub-01"):
        list_sources(study, participant_label="01,07")


def test_in_a_plain_folder_what_is_named_as_another_contrast_is_left_out(tmp_path, caplog):
    names = ("a_T1w.nii.gz", "a_T2w.nii.gz", "a_FLAIR.nii.gz", "b.nii", "deep/c_T1w.nii")
    folder = save_images(tmp_path, *names, "b_space-T1w_desc-synthetic_T2w.nii.gz", ".hidden.nii")
    assert list_sources(folder) == ["a_T1w.nii.gz", "b.nii", "deep/c_T1w.nii"]
    assert "2 images are named as no T1w, or derivatives; left out" in caplog.text
    assert list_sources(folder, "t2w_to_t1w") == ["a_T2w.nii.gz", "b.nii"]


def test_a_pattern_is_followed_below_its_fixed_part(tmp_path):
    save_images(tmp_path, "x/one/scan.nii.gz", "x/two/scan.nii.gz", "x/two/notes_T2w.nii.gz")
    assert list_sources(tmp_path / "x" / "*" / "scan.nii.gz") == [
        "one/scan.nii.gz", "two/scan.nii.gz"
    ]  # fmt: skip
    assert len(list_sources(tmp_path / "**" / "*.nii.gz")) == 3


def test_two_inputs_whose_outputs_would_have_one_name_are_refused(tmp_path):
    folder = save_images(tmp_path / "one", "a.nii", "a.nii.gz")
    with pytest.raises(ValueError, match=r"a\.nii and a\.nii\.gz: their outputs"):
        list_sources(folder)
    folder = save_images(tmp_path / "other", "a_T1w.nii.gz", "a_desc-preproc_T1w.nii.gz")
    with pytest.raises(ValueError, match=r"their outputs would have one name"):
        list_sources(folder)


def refuse_inside(folder: str, method):
    def refuse(path: Path, *args, **options):
        if path.parent.name == folder:
            raise PermissionError(13, "Permission denied", str(path))
        return method(path, *args, **options)

    return refuse


def test_what_may_not_be_read_ends_no_listing(tmp_path, monkeypatch, caplog):
    folder = save_images(tmp_path, "a_T1w.nii.gz", "locked/b_T1w.nii.gz")
    for name in ("stat", "open"):  # root, who may run the tests, may read everything
        monkeypatch.setattr(Path, name, refuse_inside("locked", getattr(Path, name)))
    assert list_sources(folder) == ["a_T1w.nii.gz", "locked/b_T1w.nii.gz"]
    (folder / "a_T1w.nii.gz").unlink()
    (folder / "locked" / "b_T1w.nii.gz").rename(folder / "locked" / "IM1")
    with pytest.raises(ValueError, match="nothing to translate"):
        list_sources(folder)
    assert "IM1: cannot be read (Permission denied), so locked is no DICOM series" in caplog.text


def test_series_are_looked_for_only_where_there_is_no_image(tmp_path, monkeypatch, caplog):
    """For that every file is opened; beside images their names must do."""
    folder = save_images(tmp_path, "a_T1w.nii.gz")
    (folder / "exam").mkdir()
    (folder / "exam" / "IM1.DCM").touch()
    monkeypatch.delattr("scripts.inference.scans.holds_dicom")
    assert list_sources(folder) == ["a_T1w.nii.gz"]
    assert "NIfTI files are taken, 1 DICOM files are left out" in caplog.text


def test_links_to_nowhere_are_listed_and_folders_named_derivatives_can_be_named(tmp_path):
    folder = save_images(tmp_path / "derivatives" / "bet", "a_desc-brain_T1w.nii.gz")
    (folder / "b_T1w.nii.gz").symlink_to(folder / "nowhere")
    assert list_sources(folder) == ["a_desc-brain_T1w.nii.gz", "b_T1w.nii.gz"]


def test_a_mask_file_is_for_one_scan(tmp_path):
    save_images(tmp_path, "mask.nii.gz")
    scans = [{"image": "a", "source": "a"}, {"image": "b", "source": "b"}]
    check_mask_file("deepbet", scans)
    check_mask_file(str(tmp_path / "mask.nii.gz"), scans[:1])
    with pytest.raises(ValueError, match="one mask file for 2 scans"):
        check_mask_file(str(tmp_path / "mask.nii.gz"), scans)
    with pytest.raises(FileNotFoundError, match=r"absent\.nii: there is no such mask file"):
        check_mask_file("absent.nii", scans[:1])


def test_of_a_slice_dataset_the_volumes_on_their_own_grids_are_taken(tmp_path):
    dataset = write_tiny_dataset(tmp_path / "data")
    pairs = [f"pairs/sub-0{number}" for number in range(1, 6)]
    assert list_sources(dataset) == [
        *[f"{stem}_T1w.npy" for stem in pairs], "singles/sub-01_ses-1_T1w.npy"
    ]  # fmt: skip
    assert list_sources(dataset, "t2w_to_t1w") == [
        *[f"{stem}_T2w.npy" for stem in pairs], "singles/sub-02_ses-1_T2w.npy"
    ]  # fmt: skip


def test_what_holds_nothing_is_refused_by_name(tmp_path, monkeypatch):
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path / "empty")
    with pytest.raises(ValueError, match="current folder, as no --input .*: nothing to translate"):
        list_scans(".", "t1w_to_t2w")
    with pytest.raises(ValueError, match="empty: nothing to translate. Expected a NIfTI file"):
        list_sources(tmp_path / "empty")
    with pytest.raises(FileNotFoundError, match="no such file or folder"):
        list_sources(tmp_path / "absent")
    with pytest.raises(ValueError, match="nothing to translate"):
        list_sources(tmp_path / "*.nii")
    with pytest.raises(ValueError, match="Expected one of"):
        list_sources(tmp_path, "t1w")


def test_a_folder_inside_bids_keeps_its_place(tmp_path):
    study = save_dataset(tmp_path / "study", t1w_only=1)
    shutil.copytree(study / "sub-01", tmp_path / "alone" / "sub-01")
    assert list_sources(tmp_path / "alone" / "sub-01") == ["anat/sub-01_T1w.nii.gz"]

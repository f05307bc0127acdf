"""Brain masks that a dataset ships: found by name, used where asked and where they fit."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest

from data_prep.bids import ScanSession
from data_prep.bids_inputs import BidsInputs, build_from_bids
from data_prep.build import BuildOptions
from data_prep.cluster import Workers
from data_prep.dataset_options import DatasetOptions
from data_prep.session_records import SessionTask
from data_prep.shipped_masks import find_shipped_mask, list_shipped_masks, select_stages
from data_prep.stages import DEFAULT_BUNDLE
from tests.small_heads import make_quick_bundle, save_dataset

MASK = "derivatives/fmriprep/sub-01/anat/sub-01_desc-brain_mask.nii.gz"


def session(name: str, folder: str | None = None) -> ScanSession:
    return ScanSession("study", "sub-01", folder, Path("study") / name, None)


@pytest.mark.parametrize(
    ("path", "image", "is_found"),
    [
        (MASK, "sub-01_T1w.nii.gz", True),
        (MASK, "sub-01_run-1_T1w.nii.gz", False),
        (MASK.replace("_desc", "_run-1_desc"), "sub-01_run-1_T1w.nii.gz", True),
        (MASK.replace("_desc", "_space-MNI_desc"), "sub-01_T1w.nii.gz", False),
        (MASK.replace("brain", "ribbon"), "sub-01_T1w.nii.gz", False),
        (MASK.replace(".nii.gz", ".json"), "sub-01_T1w.nii.gz", False),
        (MASK.replace("01", "02"), "sub-01_T1w.nii.gz", False),
        (MASK.replace("derivatives/fmriprep/", ""), "sub-01_T1w.nii.gz", False),
    ],
)
def test_the_mask_has_the_entities_of_the_t1w_and_no_space(path, image, is_found):
    assert find_shipped_mask([path], session(image)) == (path if is_found else None)


def test_a_mask_of_a_session_lies_in_its_session():
    path = "derivatives/fmriprep/sub-01/ses-2/anat/sub-01_ses-2_desc-brain_mask.nii.gz"
    assert find_shipped_mask([path], session("sub-01_ses-2_T1w.nii.gz", "ses-2")) == path
    assert find_shipped_mask([path], session("sub-01_ses-1_T1w.nii.gz", "ses-1")) is None


def save_mask(folder: Path, *, shift: int = 0) -> None:
    """The head of sub-01 without its left tenth, in another orientation, on its grid or beside."""
    head = nib.load(folder / "sub-01" / "anat" / "sub-01_T1w.nii.gz")
    inside = head.get_fdata() > 0
    inside[:10] = False
    affine = head.affine.copy()
    affine[0, 3] += shift
    turned = nib.Nifti1Image(inside.astype(np.uint8), affine).as_reoriented(
        nib.orientations.axcodes2ornt(("L", "P", "S"))
    )
    path = folder / MASK
    path.parent.mkdir(parents=True)
    nib.save(turned, path)


def build(
    out: Path, folder: Path, method: str | None, bundle: Path = DEFAULT_BUNDLE
) -> dict[str, str]:
    """How the brain of each shard was found."""
    methods = {folder.name: method} if method else {}
    inputs = BidsInputs({folder.name: folder}, DatasetOptions(methods, (), {}))
    build_from_bids(out, inputs, BuildOptions(bundle, Workers(1)))
    sides = {path.stem: json.loads(path.read_text()) for path in out.glob("shards/*/*.json")}
    return {name: side["brain_extraction"] for name, side in sides.items()}


def test_a_shipped_mask_is_used_where_asked_and_a_session_without_is_left_out(tmp_path):
    folder = save_dataset(tmp_path / "heads", t1w_only=2)
    save_mask(folder)
    assert list_shipped_masks(folder) == [MASK]
    assert build(tmp_path / "out", folder, "derivatives") == {"sub-01_T1w": "mask file"}
    exclusions = pd.read_csv(tmp_path / "out" / "exclusions.tsv", sep="\t")
    assert exclusions["file"].tolist() == ["sub-02_T1w.nii.gz"]
    assert "no brain mask among the dataset's derivatives" in exclusions["reason"][0]
    record = json.loads((tmp_path / "out" / "shards/heads/sub-01_T1w.json").read_text())
    assert set(record["inputs"]) == {"T1w", "mask"}


@pytest.mark.parametrize(("shift", "expected"), [(0, "mask file"), (3, "none")])
def test_auto_takes_a_shipped_mask_only_where_it_fits(tmp_path, monkeypatch, shift, expected):
    folder = save_dataset(tmp_path / "heads", t1w_only=1)
    save_mask(folder, shift=shift)
    monkeypatch.setenv("HDBET_WEIGHTS", str(tmp_path))
    asked = []

    def find_brain(image):
        asked.append(image)
        return image.get_fdata() > 0, "none"

    monkeypatch.setattr("scripts.brain_extraction.select_automatically", find_brain)
    assert build(tmp_path / "out", folder, None) == {"sub-01_T1w": expected}
    assert len(asked) == (1 if shift else 0)


def cut_short(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def write_pointer(path: Path) -> None:
    path.write_text("/annex/objects/MD5E-s5843--d41d8cd98f00b204e9800998ecf8427e.nii.gz\n")


@pytest.fixture
def task(tmp_path: Path) -> SessionTask:
    """A T1w with a shipped mask that fits, brain extraction auto."""
    folder = save_dataset(tmp_path / "heads", t1w_only=1)
    save_mask(folder)
    t1w = folder / "sub-01" / "anat" / "sub-01_T1w.nii.gz"
    scans = ScanSession("heads", "sub-01", None, t1w, None)
    return SessionTask(scans, tmp_path, DEFAULT_BUNDLE, None, None, shipped_mask=folder / MASK)


@pytest.mark.parametrize("damage", [lambda path: path.write_bytes(b""), write_pointer, cut_short])
def test_auto_passes_over_a_shipped_mask_that_cannot_be_read(task, damage):
    assert select_stages(task).brain_extraction == str(task.shipped_mask)
    damage(task.shipped_mask)
    assert select_stages(task).brain_extraction == "auto"


def test_a_disk_that_fails_for_a_moment_says_nothing_of_a_shipped_mask(task, monkeypatch):
    def fail(_):
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(nib, "load", fail)
    with pytest.raises(OSError, match="Input/output error"):
        select_stages(task)


def test_a_damaged_t1w_with_a_shipped_mask_does_not_cost_the_t2w(tmp_path, monkeypatch):
    folder = save_dataset(tmp_path / "heads", pairs=1)
    save_mask(folder)
    (folder / "sub-01" / "anat" / "sub-01_T1w.nii.gz").write_bytes(b"")
    monkeypatch.setenv("HDBET_WEIGHTS", str(tmp_path))
    monkeypatch.setattr(
        "scripts.brain_extraction.select_automatically",
        lambda image: (image.get_fdata() > 0, "none"),
    )
    assert build(tmp_path / "out", folder, None, make_quick_bundle()) == {"sub-01_T2w": "none"}
    exclusions = pd.read_csv(tmp_path / "out" / "exclusions.tsv", sep="\t")
    assert exclusions["file"].tolist() == ["sub-01_T1w.nii.gz"]
    assert "cannot be read as NIfTI" in exclusions["reason"][0]
    assert str(tmp_path) not in exclusions["reason"][0]

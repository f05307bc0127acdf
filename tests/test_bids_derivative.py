"""Volumes, masks and transforms are written as a BIDS derivative that other programs read."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk

from data_prep.bids_derivative import describe_derivative
from data_prep.bids_inputs import BidsInputs, build_from_bids
from data_prep.build import BuildOptions
from data_prep.cluster import Workers
from data_prep.dataset_options import DatasetOptions
from data_prep.stages import DEFAULT_BUNDLE
from data_prep.verify import verify_dataset
from tests.slice_dataset_files import read_files
from tests.small_heads import make_head, save_dataset

STEM = "volumes/heads/sub-01/anat/sub-01"


def build(out: Path, folder: Path, *, write_volumes: bool) -> None:
    inputs = BidsInputs({"heads": folder}, DatasetOptions({"heads": "none"}, (), {}))
    options = BuildOptions(DEFAULT_BUNDLE, Workers(1), write_volumes=write_volumes)
    assert build_from_bids(out, inputs, options).left_out == 0


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> Path:
    """A pair whose T2w lies 6 mm to the right of the T1w, by its affine."""
    root = tmp_path_factory.mktemp("derivative")
    folder = save_dataset(root / "heads", pairs=1)
    image = make_head(0, "T2w")
    image.header["descrip"] = b"DOE JANE"
    affine = image.affine.copy()
    affine[0, 3] += 6
    image.set_sform(affine, 1)
    image.set_qform(affine, 1)
    nib.save(image, folder / "sub-01" / "anat" / "sub-01_T2w.nii.gz")
    build(root / "out", folder, write_volumes=True)
    return root / "out"


def test_the_files_are_those_of_a_derivative(built):
    names = {path.relative_to(built).as_posix() for path in built.glob("volumes/**/*.*")}
    endings = (
        "desc-preproc_T1w.nii.gz", "desc-preproc_T1w.json",
        "desc-brain_mask.nii.gz", "desc-brain_mask.json",
        "desc-preproc_T2w.nii.gz", "desc-preproc_T2w.json",
        "space-T2w_desc-brain_mask.nii.gz", "space-T2w_desc-brain_mask.json",
        "space-T1w_desc-preproc_T2w.nii.gz", "space-T1w_desc-preproc_T2w.json",
        "from-T2w_to-T1w_mode-image_xfm.txt",
    )  # fmt: skip
    expected = {f"{STEM}_{ending}" for ending in endings}
    top = {".bidsignore", "dataset_description.json"}
    assert names == expected | {f"volumes/heads/{name}" for name in top}
    assert verify_dataset(built) == []


def test_itk_moves_the_t2w_onto_the_t1w_by_the_transform(built):
    """What another program makes of the file is what is stored beside it."""
    fixed, moving, stored = (
        sitk.ReadImage(str(built / f"{STEM}_{name}.nii.gz"))
        for name in ("desc-preproc_T1w", "desc-preproc_T2w", "space-T1w_desc-preproc_T2w")
    )
    transform = sitk.ReadTransform(str(built / f"{STEM}_from-T2w_to-T1w_mode-image_xfm.txt"))
    moved = sitk.GetArrayFromImage(sitk.Resample(moving, fixed, transform, sitk.sitkLinear, 0.0))
    np.testing.assert_allclose(moved, sitk.GetArrayFromImage(stored), atol=1e-3 * moved.max())
    # 6 mm to the right in RAS are -6 in ITK's coordinates; registration is good to a voxel's part.
    x, y, z = transform.TransformPoint((0.0, 0.0, 0.0))
    assert (x, y, z) == pytest.approx((-6, 0, 0), abs=0.5)


def test_the_volume_keeps_the_grid_and_the_intensities_of_its_input(built):
    image = nib.load(built / f"{STEM}_desc-preproc_T1w.nii.gz")
    source = make_head(0, "T1w")
    np.testing.assert_allclose(image.affine, source.affine)
    inside = nib.load(built / f"{STEM}_desc-brain_mask.nii.gz").get_fdata() > 0
    found, expected = image.get_fdata()[inside], source.get_fdata()[inside]
    assert np.corrcoef(found, expected)[0, 1] > 0.98
    assert np.median(found / expected) == pytest.approx(1, abs=0.15)
    assert image.header.get_xyzt_units()[0] == "mm"


def test_headers_and_side_cars_name_nobody_and_no_place(built):
    for name, content in read_files(built).items():
        assert b"DOE JANE" not in content, name
        assert str(built).encode() not in content, name
    assert (
        bytes(nib.load(built / f"{STEM}_desc-preproc_T2w.nii.gz").header["descrip"]).strip(b"\0")
        == b""
    )


def test_volumes_asked_for_later_are_made_then(built, tmp_path):
    folder = built.parent / "heads"
    build(tmp_path, folder, write_volumes=False)
    assert not (tmp_path / "volumes").exists()
    build(tmp_path, folder, write_volumes=True)
    assert read_files(tmp_path) == read_files(built)


def test_the_description_names_its_maker_and_its_source(built):
    found = json.loads((built / "volumes/heads/dataset_description.json").read_text())
    assert found["DatasetType"] == "derivative"
    assert found["GeneratedBy"][0]["Name"] == "data_prep"
    assert "SourceDatasets" not in found  # nothing is known of it
    source = {"name": "A study", "version": "1.1.0", "doi": "10.1/ds1.v1.1.0", "license": "CC0"}
    described = describe_derivative("ds1", source)
    assert described["SourceDatasets"] == [{"DOI": "doi:10.1/ds1.v1.1.0", "Version": "1.1.0"}]
    assert described["License"] == "CC0"

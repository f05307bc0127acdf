"""Label maps: which tissue each label is, which maps are refused, and where the brain ends."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from data_prep.label_maps import LabelledHead, close_brain, list_label_maps, load_head
from data_prep.label_tissues import MATERIAL_NAMES, MATERIALS, find_materials
from data_prep.mr_signal import TISSUES
from tests.label_map_fixture import SPACING_MM, draw_labels, write_label_map


@pytest.fixture(scope="module")
def head(tmp_path_factory: pytest.TempPathFactory) -> LabelledHead:
    return load_head(write_label_map(tmp_path_factory.mktemp("maps") / "head.nii.gz"))


@pytest.mark.parametrize(
    ("label", "name"),
    [
        (0, "air"),
        (2, "white matter"),
        (42, "cortex"),
        (2035, "cortex"),
        (12175, "cortex"),
        (3001, "white matter"),
        (52, "pallidum"),
        (77, "lesion"),
        (24, "subarachnoid CSF"),
        (515, "bone"),
    ],
)
def test_labels_are_freesurfers(label: int, name: str) -> None:
    assert MATERIAL_NAMES[find_materials(np.array([[label]]))[0, 0]] == name


def test_unknown_labels_are_named() -> None:
    with pytest.raises(ValueError, match="labels 29, 9999 are neither FreeSurfer's ids"):
        find_materials(np.array([0, 2, 29, 9999]))


def test_no_material_holds_more_than_itself_and_all_tissues_are_known() -> None:
    for name, material in MATERIALS.items():
        assert set(material.shares) <= set(TISSUES), name
        assert 0 <= sum(material.shares.values()) <= 1 + 1e-9, name


def test_the_pallidum_relaxes_as_fast_as_was_measured() -> None:
    # Gelman et al. 1999: R2 25.8 per second in the pallidum and 14.4 in the prefrontal cortex
    assert MATERIALS["pallidum"].relative_r2 == pytest.approx(25.8 / 14.4, rel=0.02)


def test_the_head_is_turned_to_ras_and_its_origin_is_the_brains_centre(head: LabelledHead) -> None:
    left, right = (np.argwhere(head.labels == label).mean(0) for label in (4, 43))
    assert right[0] - left[0] == pytest.approx(24 / SPACING_MM, abs=0.2)
    solid = np.isin(head.classes, (2, 3))
    centre = np.argwhere(solid).mean(0) * head.spacing_mm + head.corner_mm
    np.testing.assert_allclose(centre, 0, atol=1e-6)


def test_distance_is_negative_in_the_brain_and_its_ventricles_and_grows_outwards(
    head: LabelledHead,
) -> None:
    ventricles = np.isin(head.labels, (4, 43))
    assert (head.distance_mm[np.isin(head.classes, (2, 3)) | ventricles] < 0).all()
    rim = (head.distance_mm <= 2) & (head.labels == 24)
    surface_mm2 = 4 * np.pi * 66 * 70  # about
    assert rim.sum() * SPACING_MM**3 / surface_mm2 == pytest.approx(2.0, abs=0.8)
    # bone and skin begin 4 and 10 mm outside the cortex; distances are of every second voxel
    assert head.distance_mm[head.labels == 515].min() == pytest.approx(4, abs=2)
    assert head.distance_mm[head.labels == 511].min() == pytest.approx(10, abs=2)


@pytest.mark.parametrize("size", [60, 61])
def test_distance_is_measured_from_where_the_surface_is(size: int) -> None:
    centre, radius = np.array([28.3, 29.1, 30.7]), 20.0
    offsets = np.indices((size,) * 3) - centre.reshape(3, 1, 1, 1)
    truth = np.linalg.norm(offsets, axis=0) - radius
    distance = close_brain(truth <= 0, np.ones(3))
    near = np.abs(truth) < 6
    error = (distance - truth)[near]
    assert error.mean() == pytest.approx(0, abs=0.1)
    for along in offsets:  # a shift of the surface would go with the direction
        assert np.polyfit(along[near], error, 1)[0] == pytest.approx(0, abs=0.002)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (np.zeros((40, 40, 40), np.int16), "bad.nii.gz: 0 ml of grey and white matter"),
        (draw_labels()[..., None].repeat(2, 3), "bad.nii.gz: shape .* Expected one volume"),
        (draw_labels() + np.float32(0.5), "no whole numbers. Expected labels, not an image"),
        (np.where(draw_labels() < 24, draw_labels(), 0), "bad.nii.gz: 100% of the space .* is 0"),
        (np.where(draw_labels() == 77, 29, draw_labels()), "bad.nii.gz: labels 29 are neither"),
    ],
)
def test_what_is_no_label_map_of_a_head_is_refused(
    tmp_path: Path, labels: np.ndarray, message: str
) -> None:
    path = write_label_map(tmp_path / "bad.nii.gz", labels)
    with pytest.raises(ValueError, match=message):
        load_head(path)


def test_a_map_of_coarse_voxels_is_refused(tmp_path: Path) -> None:
    path = write_label_map(tmp_path / "bad.nii.gz", draw_labels())
    image = nib.load(path)
    image.header.set_zooms((1.5, 1.5, 3.0))
    nib.save(nib.Nifti1Image(image.dataobj, np.diag([1.5, 1.5, 3, 1])), path)
    with pytest.raises(ValueError, match="voxels of 1.50 x 1.50 x 3.00 mm. Expected at most 1.5"):
        load_head(path)


def test_a_map_whose_header_does_not_tell_left_from_right_is_refused(tmp_path: Path) -> None:
    image = nib.load(write_label_map(tmp_path / "map.nii.gz"))
    image.set_sform(None, code=0)
    image.set_qform(None, code=0)
    nib.save(image, tmp_path / "bad.nii.gz")
    with pytest.raises(ValueError, match=r"bad\.nii\.gz: no usable affine \(sform and qform"):
        load_head(tmp_path / "bad.nii.gz")


def test_a_map_of_colours_is_refused(tmp_path: Path) -> None:
    colours = np.zeros((40, 40, 40), [("R", "u1"), ("G", "u1"), ("B", "u1")])
    nib.save(nib.Nifti1Image(colours, np.eye(4)), tmp_path / "bad.nii.gz")
    with pytest.raises(ValueError, match=r"bad\.nii\.gz: voxels are .*Expected one whole number"):
        load_head(tmp_path / "bad.nii.gz")


def test_an_mgz_is_read_like_a_nifti(tmp_path: Path, head: LabelledHead) -> None:
    image = nib.load(write_label_map(tmp_path / "map.nii.gz"))
    nib.save(nib.MGHImage(np.asarray(image.dataobj), image.affine), tmp_path / "map.mgz")
    assert np.array_equal(load_head(tmp_path / "map.mgz").labels, head.labels)


def test_a_file_that_is_no_image_is_named(tmp_path: Path) -> None:
    (tmp_path / "bad.nii.gz").write_bytes(b"nothing")
    with pytest.raises(ValueError, match=r"bad\.nii\.gz: "):
        load_head(tmp_path / "bad.nii.gz")


def test_maps_are_subjects_named_by_letters_and_digits(tmp_path: Path) -> None:
    for name in ("seg_01.nii.gz", "seg_02.mgz", ".hidden.nii.gz", "notes.txt"):
        (tmp_path / name).touch()
    found = list_label_maps(tmp_path)
    assert {name: path.name for name, path in found.items()} == {
        "sub-seg01": "seg_01.nii.gz",
        "sub-seg02": "seg_02.mgz",
    }
    (tmp_path / "seg-01.nii").touch()
    with pytest.raises(ValueError, match="both become sub-seg01"):
        list_label_maps(tmp_path)


def test_a_folder_without_maps_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no label map"):
        list_label_maps(tmp_path)
    with pytest.raises(FileNotFoundError, match="no such folder"):
        list_label_maps(tmp_path / "none")

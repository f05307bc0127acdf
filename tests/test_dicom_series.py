"""A DICOM series is read with its geometry, and nothing of the patient is carried over."""

from __future__ import annotations

import locale
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
from scripts.dicom_series import check_distances, load_series
from scripts.inference.scans import list_scans

from tests.inference_runs import run, save_model
from tests.small_heads import make_head

MR_IMAGE_STORAGE = "1.2.840.10008.5.1.4.1.1.4"


def save_series(image: nib.Nifti1Image, folder: Path, *, uid: str = "1.2.3.4") -> Path:
    """Write a volume as one DICOM file a slice, as a scanner would, last slice first."""
    before = locale.setlocale(locale.LC_ALL)
    folder.mkdir(parents=True, exist_ok=True)
    voxels = np.asarray(image.dataobj)
    lps = np.diag([-1, -1, 1, 1]) @ image.affine
    spacing = np.linalg.norm(lps[:3, :3], axis=0)
    direction = lps[:3, :3] / spacing
    writer = sitk.ImageFileWriter()
    writer.KeepOriginalImageUIDOn()
    for number in range(voxels.shape[2]):
        position = (lps @ [0, 0, number, 1])[:3]
        plane = np.transpose(voxels[:, :, number]).astype(np.int16)
        slice_ = sitk.GetImageFromArray(plane[np.newaxis])
        slice_.SetSpacing([float(size) for size in spacing])
        slice_.SetDirection([float(value) for value in direction.ravel()])
        slice_.SetOrigin([float(value) for value in position])
        tags = {
            "0008|0016": MR_IMAGE_STORAGE, "0008|0060": "MR", "0010|0010": "Roe^Jane",
            "0020|000d": "1.2.3", "0020|000e": uid, "0008|0018": f"{uid}.{number + 1}",
            "0020|0013": str(number), "0020|0032": "\\".join(f"{v:.6f}" for v in position),
            "0020|0037": "\\".join(f"{v:.6f}" for v in direction[:, :2].T.ravel()),
        }  # fmt: skip
        for key, value in tags.items():
            slice_.SetMetaData(key, value)
        writer.SetFileName(str(folder / f"IM{99 - number:03d}"))
        writer.SetImageIO("GDCMImageIO")
        writer.Execute(slice_)
    # GDCM's writer leaves the process in the "C" locale, where Python reads text as ASCII.
    locale.setlocale(locale.LC_ALL, before)
    return folder


def turned_head() -> nib.Nifti1Image:
    """A small head, 10 degrees about the first axis."""
    head = make_head(1, "T1w")
    angle = np.deg2rad(10)
    rotation = np.eye(4)
    rotation[1:3, 1:3] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    return nib.Nifti1Image(np.rint(head.get_fdata()), rotation @ head.affine)


def test_a_series_lies_where_it_was(tmp_path):
    head = turned_head()
    found = load_series(save_series(head, tmp_path / "series"))
    # ITK may order slices and rows otherwise; what lies at a place in mm must not change.
    aligned = nib.as_closest_canonical(found)
    expected = nib.as_closest_canonical(head)
    np.testing.assert_allclose(aligned.affine, expected.affine, atol=1e-3)
    np.testing.assert_array_equal(aligned.get_fdata(), expected.get_fdata())


def test_reading_a_series_leaves_the_processs_locale(tmp_path):
    save_series(turned_head(), tmp_path / "series")
    before = locale.setlocale(locale.LC_ALL)
    load_series(tmp_path / "series")
    assert locale.setlocale(locale.LC_ALL) == before != "C"


def test_a_folder_of_series_is_translated_without_the_patients_name(tmp_path):
    save_model(tmp_path)
    save_series(turned_head(), tmp_path / "exams" / "t1_mprage")
    scans = list_scans(str(tmp_path / "exams"), "t1w_to_t2w")
    assert [scan["source"] for scan in scans] == ["t1_mprage"]
    (outcome,) = run(tmp_path, input=str(tmp_path / "exams"))
    assert outcome.status == "done", outcome.message
    result = nib.load(tmp_path / "out" / outcome.output)
    assert result.shape == load_series(tmp_path / "exams" / "t1_mprage").shape
    for path in (tmp_path / "out").rglob("*"):
        assert not path.is_file() or b"Roe" not in path.read_bytes(), path.name


def test_two_series_in_one_folder_are_refused(tmp_path):
    for uid in ("1.2.3.4", "1.2.3.5"):
        save_series(make_head(1, "T1w").slicer[:, :, 20:24], tmp_path / uid, uid=uid)
    for number, path in enumerate(sorted((tmp_path / "1.2.3.5").iterdir())):
        path.rename(tmp_path / "1.2.3.4" / f"other{number}")
    with pytest.raises(ValueError, match=r"1\.2\.3\.4: 2 DICOM series"):
        load_series(tmp_path / "1.2.3.4")


@pytest.mark.filterwarnings("ignore")
def test_a_missing_slice_is_an_error(tmp_path):
    folder = save_series(make_head(1, "T1w").slicer[:, :, 20:26], tmp_path / "series")
    (folder / "IM097").unlink()
    with pytest.raises(ValueError, match=r"3\.00 to 6\.00 mm apart"):
        load_series(folder)


def test_slices_at_one_place_are_a_series_in_time():
    with pytest.raises(ValueError, match="lie at one place"):
        check_distances(np.zeros((5, 3)), name="series")


def test_even_distances_pass_whatever_their_direction():
    positions = np.outer(np.arange(5), [0.5, 0.2, -3.0])
    check_distances(positions, name="series")

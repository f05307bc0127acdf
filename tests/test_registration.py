"""Poses that are known come back, coordinates survive the way to ITK, failures say why."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
from nibabel.affines import apply_affine
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter
from scipy.spatial.transform import Rotation
from skimage.metrics import normalized_mutual_information

from data_prep import registration
from data_prep.mutual_information import compute_normalised_mutual_information
from data_prep.registration import (
    RegistrationError,
    register_rigid,
    resample_to,
    to_itk,
)

FAR = np.array([120.0, -80.0, 200.0])  # a head far from the scanner's origin
OBLIQUE = nib.affines.from_matvec(
    Rotation.from_euler("xyz", [20, -30, 40], degrees=True).as_matrix() @ np.diag([-1.2, 0.7, 3]),
    [7.0, -11.0, 13.0],
)
SHEARED = OBLIQUE @ np.array([[1, 0.2, 0, 0], [0, 1, 0.1, 0], [0, 0, 1, 0], [0, 0, 0, 1.0]])


def rigid(translation: list[float], degrees: list[float], centre: NDArray) -> NDArray:
    """Turn about a centre, then shift; mm, RAS."""
    turn = Rotation.from_euler("xyz", degrees, degrees=True).as_matrix()
    return nib.affines.from_matvec(turn, np.asarray(translation) + centre - turn @ centre)


def moved(image: nib.Nifti1Image, pose: NDArray) -> nib.Nifti1Image:
    """The same voxels for a head that lies elsewhere: no interpolation, exact truth."""
    return nib.Nifti1Image(np.asarray(image.dataobj), pose @ image.affine)


def mean_error_mm(found: NDArray, truth: NDArray, mask: nib.Nifti1Image) -> float:
    points = apply_affine(mask.affine, np.argwhere(np.asarray(mask.dataobj) > 0))
    apart = apply_affine(found, points) - apply_affine(truth, points)
    return float(np.linalg.norm(apart, axis=1).mean())


def make_pair() -> tuple[nib.Nifti1Image, nib.Nifti1Image, nib.Nifti1Image]:
    """A lumpy ball of 50 mm in two contrasts with noise, 2 mm voxels, and its mask."""
    rng = np.random.default_rng(3)
    grid = np.linalg.norm(np.indices((64, 64, 64)) - 31.5, axis=0)
    ball = grid < 25
    lumps = gaussian_filter(rng.standard_normal(ball.shape), 3)
    tissue = np.digitize(lumps / lumps.std(), [-0.5, 0.5])  # three classes
    affine = nib.affines.from_matvec(np.diag([2.0, 2, 2]), FAR - 63)
    levels = {"first": np.array([20, 60, 100]), "second": np.array([100, 40, 70])}
    first, second = (
        gaussian_filter(np.where(ball, values[tissue], 0.0), 0.5) + rng.normal(0, 2, ball.shape)
        for values in levels.values()
    )
    images = [nib.Nifti1Image(v.astype(np.float32), affine) for v in (first, second)]
    return images[0], images[1], nib.Nifti1Image(ball.astype(np.uint8), affine)


def halve(image: nib.Nifti1Image) -> nib.Nifti1Image:
    """Means of 2 x 2 x 2 voxels; the shape must be even."""
    x, y, z = (size // 2 for size in image.shape)
    voxels = image.get_fdata(dtype=np.float32).reshape(x, 2, y, 2, z, 2).mean(axis=(1, 3, 5))
    return nib.Nifti1Image(voxels, image.affine @ nib.affines.from_matvec(np.eye(3) * 2, [0.5] * 3))


def load_cstar(shared_data: Path) -> tuple[nib.Nifti1Image, nib.Nifti1Image, nib.Nifti1Image]:
    folder = shared_data / "cstar" / "sub-01" / "anat"
    t1w, t2w = (nib.load(folder / f"sub-01_{c}.nii.gz") for c in ("T1w", "T2w"))
    return t1w, t2w, nib.Nifti1Image((t1w.get_fdata() > 0).astype(np.uint8), t1w.affine)


@pytest.mark.parametrize("affine", [np.eye(4), np.diag([-1.0, 1, -2, 1]), OBLIQUE, SHEARED])
def test_every_voxel_lies_where_its_affine_says(affine: NDArray) -> None:
    voxels = np.arange(2 * 3 * 4, dtype=np.float32).reshape(2, 3, 4)
    image = to_itk(nib.Nifti1Image(voxels, affine))
    for index in np.ndindex(voxels.shape):
        x, y, z = apply_affine(affine, index)
        assert image.TransformIndexToPhysicalPoint(index) == pytest.approx((-x, -y, z), abs=1e-9)
        assert image.GetPixel(index) == voxels[index]


@pytest.mark.parametrize("interpolation", ["linear", "nearest", "bspline"])
@pytest.mark.parametrize("codes", ["LPS", "PSR", "LIA"])
def test_a_turned_grid_shows_the_same_voxels(codes: str, interpolation: str) -> None:
    voxels = np.random.default_rng(0).standard_normal((5, 6, 7)).astype(np.float32)
    image = nib.Nifti1Image(voxels, OBLIQUE)
    turn = nib.orientations.ornt_transform(
        nib.io_orientation(OBLIQUE), nib.orientations.axcodes2ornt(codes)
    )
    turned = image.as_reoriented(turn)
    sampled = resample_to(turned, image, np.eye(4), interpolation=interpolation)
    np.testing.assert_allclose(sampled.get_fdata(), turned.get_fdata(), atol=1e-4)
    np.testing.assert_array_equal(sampled.affine, turned.affine)


def test_the_matrix_leads_from_the_grid_to_the_moving_volume() -> None:
    voxels = np.arange(3 * 4 * 5, dtype=np.float32).reshape(3, 4, 5)
    image = nib.Nifti1Image(voxels, np.eye(4))
    to_the_right = nib.affines.from_matvec(np.eye(3), [1, 0, 0])
    sampled = resample_to(image, image, to_the_right, interpolation="linear").get_fdata()
    np.testing.assert_array_equal(sampled[:2], voxels[1:])
    assert not sampled[2].any()  # beyond the moving volume


def test_a_known_pose_is_found_to_a_tenth_of_a_voxel_bit_for_bit() -> None:
    first, second, mask = make_pair()
    truth = rigid([4, -3, 2], [3, -4, 2], FAR)
    found = register_rigid(first, moved(second, truth), fixed_mask=mask)
    assert mean_error_mm(found.matrix, truth, mask) < 0.2
    assert found.mutual_information_after > found.mutual_information_before + 0.05
    assert found.translation_mm == pytest.approx(np.sqrt(29), abs=0.2)
    assert found.rotation_degrees == pytest.approx(5.36, abs=0.2)  # of the three turns together
    assert found.flags == ()
    again = register_rigid(first, moved(second, truth), fixed_mask=mask)
    np.testing.assert_array_equal(found.matrix, again.matrix)


def test_a_head_that_only_turns_does_not_translate_however_far_from_the_origin() -> None:
    first, second, mask = make_pair()
    found = register_rigid(first, moved(second, rigid([0, 0, 0], [0, 0, 4], FAR)), fixed_mask=mask)
    assert found.rotation_degrees == pytest.approx(4, abs=0.1)
    assert found.translation_mm < 0.2
    assert np.linalg.norm(found.matrix[:3, 3]) > 9  # 144 mm from the axis, 4 degrees


def test_without_a_mask_the_head_is_found_by_its_brightness() -> None:
    first, second, mask = make_pair()
    truth = rigid([2, 2, -2], [1, 1, 1], FAR)
    found = register_rigid(first, moved(second, truth), fixed_mask=None)
    assert mean_error_mm(found.matrix, truth, mask) < 0.2


def test_an_implausible_pose_is_flagged(monkeypatch: pytest.MonkeyPatch) -> None:
    first, second, mask = make_pair()

    def go_astray(*arguments: object) -> None:
        transform = next(a for a in arguments if isinstance(a, sitk.Euler3DTransform))
        transform.SetTranslation((0, 0, 21))
        transform.SetRotation(0.3, 0, 0)  # 17.2 degrees

    monkeypatch.setattr(registration, "_optimise", go_astray)
    flags = register_rigid(first, second, fixed_mask=mask).flags
    assert flags[0].startswith("mutual information fell from 1.")
    assert flags[1:] == ("|t| 21.0 mm > 20 mm", "|r| 17.2 > 15 degrees")


@pytest.mark.parametrize(
    ("counts", "expected"),
    [
        ([[4, 0], [0, 4]], 2.0),
        ([[2, 2], [2, 2]], 1.0),
        ([[3, 1], [1, 3]], 2 / (3 - 0.75 * np.log2(3))),  # H = 3 - 6/8 log2(3) bits
        ([[8, 0], [0, 0]], 1.0),
    ],
)
def test_mutual_information_of_tables_worked_out_by_hand(
    counts: list[list[int]], expected: float
) -> None:
    pairs = [(i, j) for i in (0, 1) for j in (0, 1) for _ in range(counts[i][j])]
    first, second = np.array(pairs, dtype=float).T
    found = compute_normalised_mutual_information(first, second, bins=2)
    assert found == pytest.approx(expected)


def test_mutual_information_is_that_of_scikit_image() -> None:
    first, second, mask = make_pair()
    inside = np.asarray(mask.dataobj) > 0
    x, y = (image.get_fdata()[inside] for image in (first, second))
    clipped = (np.clip(part, *np.percentile(part, [0.5, 99.5])) for part in (x, y))
    expected = normalized_mutual_information(*clipped, bins=32)
    found = compute_normalised_mutual_information(x, y, bins=32)
    assert found == pytest.approx(expected, rel=1e-9)


def test_what_cannot_be_registered_says_why() -> None:
    first, second, mask = make_pair()
    with pytest.raises(RegistrationError, match="share too little space"):
        register_rigid(first, moved(second, rigid([400, 0, 0], [0] * 3, FAR)), fixed_mask=mask)
    empty = nib.Nifti1Image(np.zeros(mask.shape, np.uint8), mask.affine)
    with pytest.raises(ValueError, match="mask is empty"):
        register_rigid(first, second, fixed_mask=empty)
    with pytest.raises(ValueError, match="on another grid"):
        register_rigid(first, second, fixed_mask=moved(mask, OBLIQUE))
    with pytest.raises(ValueError, match="'cubic': expected linear, nearest, bspline"):
        resample_to(first, second, np.eye(4), interpolation="cubic")
    series = nib.Nifti1Image(np.zeros((2, 2, 2, 2), np.float32), np.eye(4))
    with pytest.raises(ValueError, match="expected three dimensions"):
        to_itk(series)


def test_a_real_t2w_moved_by_a_known_transform_is_recovered(shared_data: Path) -> None:
    t1w, t2w, mask = (halve(image) for image in load_cstar(shared_data))
    truth = rigid([5, -5, 5], [5, -5, 5], apply_affine(mask.affine, np.array(mask.shape) / 2))
    found = register_rigid(t1w, moved(t2w, truth), fixed_mask=mask)
    assert mean_error_mm(found.matrix, truth, mask) < 0.5
    assert found.mutual_information_after > found.mutual_information_before + 0.01
    assert found.flags == ()


def test_thick_slices_in_two_directions_stay_where_headers_put_them(shared_data: Path) -> None:
    folder = shared_data / "ixi_thick" / "sub-IXI002" / "anat"
    t1w, t2w = (nib.load(folder / f"sub-IXI002_{c}.nii.gz") for c in ("T1w", "T2w"))
    found = register_rigid(t1w, t2w, fixed_mask=None)
    assert found.translation_mm < 1
    assert found.rotation_degrees < 1


@pytest.mark.slow
def test_a_real_t2w_on_thick_oblique_slices_is_recovered(shared_data: Path) -> None:
    t1w, t2w, mask = load_cstar(shared_data)
    truth = rigid([5, -5, 5], [5, -5, 5], apply_affine(mask.affine, np.array(mask.shape) / 2))
    profile = nib.Nifti1Image(gaussian_filter(t2w.get_fdata(), [0, 0, 1.3]), t2w.affine)
    spacing = nib.affines.from_matvec(np.diag([0.7, 0.7, 4]), [0.3, -0.4, 1.2])
    grid = nib.Nifti1Image(np.zeros((180, 230, 35), np.uint8), truth @ t2w.affine @ spacing)
    thick = resample_to(grid, moved(profile, truth), np.eye(4), interpolation="linear")
    found = register_rigid(t1w, thick, fixed_mask=mask)
    assert mean_error_mm(found.matrix, truth, mask) < 0.5
    assert found.flags == ()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "apart_mm"),  # as headers have it; both mostly along the slice axis
    [("sub-03_ses-2", (5.5, 6.5)), ("sub-12_ses-1", (2.2, 3.2))],
)
def test_sessions_known_to_be_off_are_brought_in(
    shared_data: Path, name: str, apart_mm: tuple[float, float]
) -> None:
    from deepbet import BrainExtraction

    folder = shared_data / "openms_raw" / name.replace("_", "/") / "anat"
    t1w, t2w = (nib.load(folder / f"{name}_{c}.nii.gz") for c in ("T1w", "T2w"))
    _, mask, _ = BrainExtraction(no_gpu=True).run(t1w)
    mask = nib.Nifti1Image(np.asarray(mask.dataobj, dtype=np.uint8), t1w.affine)
    found = register_rigid(t1w, t2w, fixed_mask=mask)
    assert apart_mm[0] < mean_error_mm(found.matrix, np.eye(4), mask) < apart_mm[1]
    assert found.mutual_information_after > found.mutual_information_before + 0.01
    assert found.flags == ()
    elsewhere = rigid([4, -3, 2], [3, -4, 2], np.array([0.0, 0, 0]))
    second = register_rigid(t1w, moved(t2w, elsewhere), fixed_mask=mask)
    assert mean_error_mm(second.matrix, elsewhere @ found.matrix, mask) < 0.1

"""Every way to store a scan comes back on its own grid, landmarks within half a voxel."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from nibabel.orientations import axcodes2ornt, io_orientation, ornt_transform
from numpy.typing import NDArray
from scipy.ndimage import center_of_mass, gaussian_filter

from tests.inference_runs import run, save_model

# Places of bright landmarks in a head, mm from its middle: no two alike under any mirroring.
LANDMARKS_MM = ((30, 10, 12), (-24, 38, -12), (8, -44, 24), (-36, -20, 6))
RADII_MM = (63.0, 78.0, 62.0)


def make_scan(spacing_mm: tuple[float, float, float], rotation: NDArray | None = None):
    """A grey ellipsoid with four bright blobs, RAS+ or rotated."""
    shape = [int(np.ceil(170 / size)) for size in spacing_mm]
    index = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), axis=-1)
    middle = (np.array(shape) - 1) / 2
    offset = (index - middle) * spacing_mm
    brain = ((offset / RADII_MM) ** 2).sum(-1) < 1
    generator = np.random.default_rng(0)
    voxels = brain * (600 + gaussian_filter(generator.normal(size=shape), 1) * 200)
    for place in LANDMARKS_MM:
        distance = ((offset - place) ** 2).sum(-1)
        voxels += 600 * np.exp(-distance / (2 * 5.0**2))
    voxels = np.where(brain, np.maximum(voxels, 1), 0)
    matrix = (np.eye(3) if rotation is None else rotation) @ np.diag(spacing_mm)
    affine = nib.affines.from_matvec(matrix, -matrix @ middle + (3, -7, 11))
    image = nib.Nifti1Image(voxels.astype(np.float32), affine)
    image.set_sform(affine, 2)
    image.set_qform(affine, 1)
    return image


def turn(codes: str) -> Callable[[nib.Nifti1Image], nib.Nifti1Image]:
    def change(image: nib.Nifti1Image) -> nib.Nifti1Image:
        target = axcodes2ornt(tuple(codes))
        return image.as_reoriented(ornt_transform(io_orientation(image.affine), target))

    return change


def rotate() -> NDArray[np.float64]:
    """20 degrees about the first and 10 about the third axis."""
    a, b = np.deg2rad([20, 10])
    first = np.array([[1, 0, 0], [0, np.cos(a), -np.sin(a)], [0, np.sin(a), np.cos(a)]])
    third = np.array([[np.cos(b), -np.sin(b), 0], [np.sin(b), np.cos(b), 0], [0, 0, 1]])
    return third @ first


def as_bytes_with_slope(image: nib.Nifti1Image) -> nib.Nifti1Image:
    scaled = nib.Nifti1Image(image.get_fdata(), image.affine, image.header)
    scaled.set_data_dtype(np.uint8)
    return scaled  # nibabel finds the slope when it saves


def without_sform(image: nib.Nifti1Image) -> nib.Nifti1Image:
    image.set_sform(None, 0)
    return image


def change_voxels(change: Callable[[NDArray], NDArray]):
    def apply(image: nib.Nifti1Image) -> nib.Nifti1Image:
        return nib.Nifti1Image(change(image.get_fdata(dtype=np.float32)), None, image.header)

    return apply


def add_ringing(voxels: NDArray[np.float32]) -> NDArray[np.float32]:
    """A negative background near the brain, as resampling leaves it."""
    blurred = gaussian_filter((voxels > 0).astype(np.float32), 1)
    return np.where(voxels > 0, voxels, -40 * blurred)


PLAIN = (2.0, 2.0, 2.0)
TRAPS = {
    "RAS": (make_scan(PLAIN), turn("RAS")),
    "LPS": (make_scan(PLAIN), turn("LPS")),
    "LAS": (make_scan(PLAIN), turn("LAS")),
    "PSR": (make_scan(PLAIN), turn("PSR")),
    "LIA": (make_scan(PLAIN), turn("LIA")),
    "oblique": (make_scan(PLAIN, rotate()), turn("LAS")),
    "thick axial slices": (make_scan((1.0, 1.0, 6.0)), turn("LPS")),
    "thick coronal slices": (make_scan((1.0, 6.0, 1.0)), turn("PSR")),
    "thick sagittal slices": (make_scan((3.5, 1.0, 1.0)), turn("RAS")),
    "bytes with a slope": (make_scan(PLAIN), as_bytes_with_slope),
    "qform only": (make_scan(PLAIN, rotate()), without_sform),
    "uncompressed": (make_scan(PLAIN), turn("LPS")),
    "huge floats": (make_scan(PLAIN), change_voxels(lambda voxels: voxels * 1e30)),
    "tiny floats": (make_scan(PLAIN), change_voxels(lambda voxels: voxels * 1e-20)),
    "negative values": (make_scan(PLAIN), change_voxels(add_ringing)),
}


def find_landmarks(image: nib.Nifti1Image, to_world: NDArray[np.float64]) -> NDArray[np.float64]:
    """Voxel coordinates of the four landmarks: the centre of what is bright around each."""
    voxels = np.maximum(np.asarray(image.get_fdata()), 0)
    voxels = voxels / voxels.max()
    places = np.stack(np.meshgrid(*map(np.arange, voxels.shape), indexing="ij"), axis=-1)
    world = nib.affines.apply_affine(image.affine, places)
    found = []
    for middle in nib.affines.apply_affine(to_world, LANDMARKS_MM):
        near = ((world - middle) ** 2).sum(-1) < 14.0**2
        found.append(center_of_mass(np.where(near, voxels**2, 0)))
    return np.array(found)


@pytest.mark.parametrize("name", TRAPS)
def test_landmarks_stay_within_half_a_voxel(name, tmp_path):
    scan, change = TRAPS[name]
    rotation = scan.affine[:3, :3] / np.linalg.norm(scan.affine[:3, :3], axis=0)
    to_world = nib.affines.from_matvec(rotation, (3, -7, 11))
    stored = change(scan)
    path = tmp_path / ("scan.nii" if name == "uncompressed" else "scan.nii.gz")
    nib.save(stored, path)
    save_model(tmp_path)
    (outcome,) = run(
        tmp_path, input=str(path), network_def={"_target_": "torch.nn.Identity"}, handlers=[],
        bias_correction=False, mosaic=False, refuse_unfit=False,
    )  # fmt: skip
    assert outcome.status == "done", outcome.message
    source, result = nib.load(path), nib.load(tmp_path / "out" / outcome.output)
    assert result.shape == source.shape
    for field in ("dim", "pixdim", "qform_code", "sform_code", "xyzt_units", "srow_x", "quatern_b"):
        np.testing.assert_array_equal(result.header[field], source.header[field])
    apart = np.abs(find_landmarks(source, to_world) - find_landmarks(result, to_world))
    assert apart.max() < 0.5
    mask = nib.load(next(Path(tmp_path / "out").glob("*_mask.nii.gz"))).get_fdata() > 0
    head = source.get_fdata() > 0
    assert 2 * np.sum(mask & head) / (mask.sum() + head.sum()) > 0.99

"""One DICOM series as a volume, read by SimpleITK (GDCM).

SimpleITK is needed for N4 anyway; the package ``itk`` behind MONAI's reader, loaded beside it in
another thread, crashed the process.
"""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

IMAGE_POSITION = "0020|0032"  # of the first voxel of a slice, mm in LPS
LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
LEAST_DISTANCE_MM = 0.01
LARGEST_IRREGULARITY = 0.02  # of the distance between slices; positions are rounded in headers


def load_series(folder: Path) -> nib.Nifti1Image:
    """Read the series that a folder holds; of its header only the geometry is kept.

    Returns:
        float32 image (x, y, z) with voxels in the scanner's units and the affine in RAS+ mm.

    Raises:
        ValueError: the folder holds no series or more than one, it cannot be read, is no stack
            of single slices, or slices are missing.
    """
    series = sitk.ImageSeriesReader.GetGDCMSeriesIDs(str(folder))
    if len(series) != 1:
        raise ValueError(
            f"{folder.name}: {len(series)} DICOM series. Expected one: put each into a folder of "
            "its own."
        )
    reader, image = _read_volume(folder, series[0])
    count = image.GetSize()[2]
    if count > 1:
        places = [reader.GetMetaData(number, IMAGE_POSITION) for number in range(count)]
        check_distances(parse_positions(places), name=folder.name)
    voxels = np.transpose(sitk.GetArrayFromImage(image)).astype(np.float32)
    volume = nib.Nifti1Image(voxels, compute_affine(image))
    volume.header.set_xyzt_units("mm")
    return volume


def _read_volume(folder: Path, series: str) -> tuple[sitk.ImageSeriesReader, sitk.Image]:
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(folder), series))
    reader.MetaDataDictionaryArrayUpdateOn()
    try:
        image = reader.Execute()
    except RuntimeError as error:
        cause = str(error).strip().splitlines()[-1]
        raise ValueError(f"{folder.name}: cannot be read as a DICOM series ({cause}).") from error
    if image.GetDimension() == 4 and image.GetSize()[3] == 1:
        raise ValueError(
            f"{folder.name}: a multi-frame DICOM file, which is not read. Convert it to NIfTI, for "
            "example with dcm2niix."
        )
    if image.GetDimension() != 3 or image.GetNumberOfComponentsPerPixel() != 1:
        raise ValueError(f"{folder.name}: {image.GetSize()} is no volume of one value a voxel.")
    return reader, image


def parse_positions(places: list[str]) -> NDArray[np.float64]:
    """Parse positions, whose coordinates backslashes part, to (slice, 3) in mm."""
    return np.array([[float(part) for part in place.split("\\")] for place in places])


def check_distances(positions_mm: NDArray[np.float64], *, name: str) -> None:
    """Raise ValueError where slices do not stand at even distances.

    Args:
        positions_mm: (slice, 3), in order.
        name: of the series' folder.
    """
    distances = np.linalg.norm(np.diff(positions_mm, axis=0), axis=1)
    usual = float(np.median(distances))
    if usual < LEAST_DISTANCE_MM:
        raise ValueError(
            f"{name}: its slices lie at one place. Expected a volume: this is a series in time."
        )
    uneven = np.abs(distances - usual) > LARGEST_IRREGULARITY * usual
    if uneven.any():
        raise ValueError(
            f"{name}: slices stand {distances.min():.2f} to {distances.max():.2f} mm apart. "
            "Expected even distances: some slices are missing, or the folder mixes two stacks."
        )


def compute_affine(image: sitk.Image) -> NDArray[np.float64]:
    """Voxel to mm in RAS+, from ITK's origin, spacing and direction in LPS."""
    affine = np.eye(4)
    affine[:3, :3] = np.reshape(image.GetDirection(), (3, 3)) @ np.diag(image.GetSpacing())
    affine[:3, 3] = image.GetOrigin()
    return np.asarray(LPS_TO_RAS @ affine)

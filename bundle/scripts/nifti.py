"""One 3-D volume that can be trusted, from a NIfTI, a shard of slices or a DICOM series."""

from __future__ import annotations

import gzip
import logging
import os
import zlib
from itertools import product
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from monai.data import NibabelReader
from nibabel.affines import apply_affine
from nibabel.filebasedimages import ImageFileError
from numpy.typing import NDArray

from scripts.dicom_series import load_series
from scripts.shard_volumes import load_shard

SUFFIXES = (".nii", ".nii.gz")
SHARD_SUFFIX = ".npy"
LARGEST_DISAGREEMENT_MM = 2.0
# Of scans of people; beyond, a unit is wrong or the affine is none.
VOXEL_SIZES_MM = (0.05, 50.0)
LARGEST_SHEAR_DEGREES = 0.5  # rounded headers reach some hundredths

logger = logging.getLogger(__name__)


def load_volume(path: str | Path) -> nib.Nifti1Image:
    """Read one NIfTI volume and refuse what no later step could use.

    Args:
        path: a ``.nii`` or ``.nii.gz`` file of two or three dimensions. Trailing axes of length
            one are dropped; a 2-D image is lifted to one slice, (width, height, 1).

    Returns:
        float32 image of shape (x, y, z) with the file's header and affine, voxels scaled by its
        slope and intercept.

    Raises:
        FileNotFoundError: nothing is there.
        ValueError: it is not a NIfTI, is damaged, has another number of dimensions, no usable
            affine, voxels that are not finite, or one value only.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path.name}: no such file.")
    image = _open(path)
    check_affine(image, name=path.name)
    voxels = _read_voxels(image, name=path.name)
    return nib.Nifti1Image(voxels, image.affine, image.header)


def _open(path: Path) -> nib.Nifti1Image:
    if not path.name.endswith(SUFFIXES):
        raise ValueError(f"{path.name}: not a NIfTI file. Expected a name that ends in {SUFFIXES}.")
    try:
        if path.name.endswith(".gz"):
            _read_to_the_end(path)
        return nib.load(path)
    except (ImageFileError, OSError, EOFError, zlib.error) as error:
        cause = str(error).replace(f"{path.parent}{os.sep}", "")
        raise ValueError(
            f"{path.name}: cannot be read as NIfTI ({cause}). Fetch or convert it again."
        ) from error


def _read_to_the_end(path: Path) -> None:
    """Read a gzip stream whole: only then is its checksum compared, and nibabel stops before."""
    with gzip.open(path, "rb") as file:
        while file.read(1 << 22):
            pass


def check_affine(image: nib.Nifti1Image, *, name: str) -> None:
    """Raise ValueError where the header does not say how voxels lie in the scanner."""
    header = image.header
    if int(header["sform_code"]) == 0 and int(header["qform_code"]) == 0:
        raise ValueError(
            f"{name}: no usable affine (sform and qform codes are both 0), so left and right, "
            "position and direction are unknown. Convert it again from DICOM, or set the form "
            "codes if you know that the stored orientation is right."
        )
    unit = header.get_xyzt_units()[0]
    if unit not in ("mm", "unknown"):
        raise ValueError(
            f"{name}: its lengths are in {unit}. Expected mm: correct the header if that is wrong, "
            "else convert the file."
        )
    _compare_forms(header, image.shape, name=name)
    affine = np.asarray(image.affine)
    if not np.all(np.isfinite(affine)) or abs(np.linalg.det(affine[:3, :3])) < 1e-9:
        raise ValueError(f"{name}: the affine is not invertible.\nFound: {affine.tolist()}")
    _check_voxel_axes(affine[:3, :3], name=name)


def _check_voxel_axes(axes: NDArray[np.float64], *, name: str) -> None:
    """Raise ValueError where voxels have no plausible size; warn where axes are sheared."""
    sizes = np.linalg.norm(axes, axis=0)
    if sizes.min() < VOXEL_SIZES_MM[0] or sizes.max() > VOXEL_SIZES_MM[1]:
        raise ValueError(
            f"{name}: voxels of {' x '.join(f'{size:.3g}' for size in sizes)} mm. Expected "
            f"{VOXEL_SIZES_MM[0]} to {VOXEL_SIZES_MM[1]} mm along each axis: correct the header."
        )
    cosines = np.abs(np.triu((axes / sizes).T @ (axes / sizes), k=1)).max()
    if (shear := float(np.degrees(np.arcsin(min(cosines, 1.0))))) > LARGEST_SHEAR_DEGREES:
        logger.warning(
            "%s: its axes are sheared by %.1f degrees, as after an affine registration, so slices "
            "are interpolated across each other. Better give the scan as it was before.",
            name,
            shear,
        )


def _compare_forms(header: nib.Nifti1Header, shape: tuple[int, ...], *, name: str) -> None:
    """Warn where sform and qform put the volume's corners at different places."""
    if int(header["sform_code"]) == 0 or int(header["qform_code"]) == 0:
        return
    corners = list(product(*([0, size - 1] for size in (*shape, 1, 1)[:3])))
    places = [apply_affine(form, corners) for form in (header.get_sform(), header.get_qform())]
    apart_mm = float(np.linalg.norm(places[0] - places[1], axis=1).max())
    if apart_mm > LARGEST_DISAGREEMENT_MM:
        logger.warning(
            "%s: sform and qform disagree by up to %.0f mm. The sform is taken; a viewer that "
            "takes the qform shows the images elsewhere, maybe mirrored.",
            name,
            apart_mm,
        )


def _read_voxels(image: nib.Nifti1Image, *, name: str) -> NDArray[np.float32]:
    """Voxels as float32 (x, y, z), checked."""
    if image.get_data_dtype().fields is not None or image.get_data_dtype().kind == "c":
        raise ValueError(
            f"{name}: voxels are {image.get_data_dtype()}. Expected one real value a voxel."
        )
    try:
        voxels = np.asarray(image.get_fdata(dtype=np.float32, caching="unchanged"))
    except (OSError, EOFError, zlib.error, ValueError) as error:
        raise ValueError(
            f"{name}: the voxel data are damaged or cut short ({error}). Fetch the file again."
        ) from error
    voxels = _as_three_dimensions(voxels, name=name)
    check_voxels(voxels, name=name)
    return voxels


def check_voxels(voxels: NDArray[np.float32], *, name: str) -> None:
    """Raise ValueError where voxels are not finite, or all the same."""
    if not np.all(np.isfinite(voxels)):
        bad = int(np.count_nonzero(~np.isfinite(voxels)))
        raise ValueError(
            f"{name}: {bad} of {voxels.size} voxels are NaN or infinite. Expected finite numbers: "
            "find out where they come from, or set them to 0 if they lie in the background."
        )
    if sorted(voxels.shape)[:2] == [1, 1]:
        raise ValueError(
            f"{name}: one row of voxels (shape {voxels.shape}). Expected a slice or a volume."
        )
    if voxels.size == 0 or voxels.min() == voxels.max():
        raise ValueError(f"{name}: the volume is empty or constant (shape {voxels.shape}).")


def _as_three_dimensions(voxels: NDArray[np.float32], *, name: str) -> NDArray[np.float32]:
    """Drop trailing axes of length one; lift a 2-D image to one slice."""
    shape = voxels.shape
    while voxels.ndim > 3 and voxels.shape[-1] == 1:
        voxels = voxels[..., 0]
    if voxels.ndim == 2:
        voxels = voxels[..., np.newaxis]
    if voxels.ndim != 3:
        raise ValueError(
            f"{name}: shape {shape}. Expected one 3-D volume: split a series into its volumes "
            "(for example with fslsplit or nibabel.four_to_three) and choose one."
        )
    return voxels


class VolumeReader(NibabelReader):
    """MONAI reader that gives the volume of ``load_volume``: checked, 3-D, float32.

    A folder is read as a DICOM series, a ``.npy`` as a shard of a slice dataset; the latter went
    through the preprocessing before, as its ``meta["is_prepared"]`` says.

    ``read`` only names the file and ``get_data`` reads it, since ``LoadImage`` hides what goes
    wrong in ``read`` behind the advice to install other readers.
    """

    def read(self, data: Any, **kwargs: Any) -> Path:
        """Name the one file."""
        paths = [data] if isinstance(data, (str, os.PathLike)) else list(data)
        if len(paths) != 1:
            raise ValueError(f"one file makes one volume. Found {len(paths)}: {paths}")
        self.filenames = [os.fspath(paths[0])]
        return Path(paths[0])

    def get_data(self, img: Path) -> tuple[Any, dict[Any, Any]]:
        """Read it; see ``load_volume`` for what is refused."""
        if img.is_dir():
            image = load_series(img)
            check_voxels(np.asarray(image.dataobj), name=img.name)
        else:
            image = load_shard(img) if img.suffix == SHARD_SUFFIX else load_volume(img)
        voxels, meta = super().get_data(image)
        meta["is_prepared"] = img.suffix == SHARD_SUFFIX
        return voxels, meta

    def _get_array_data(self, img: nib.Nifti1Image, filename: Any) -> NDArray[np.float32]:
        return np.asarray(img.dataobj, dtype=np.float32)

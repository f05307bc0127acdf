"""NIfTI out: a new volume on the grid of another, without its free text."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from scripts.nifti import SUFFIXES
from scripts.whole_files import open_whole

# Header fields of a NIfTI-1 or -2 that hold free text, and so may hold a name or a date of birth.
FREE_TEXT_FIELDS = ("descrip", "aux_file", "intent_name", "db_name", "data_type", "unused_str")
SCANNER = 1  # form code: coordinates of the scanner


def save_volume_like(
    voxels: NDArray[Any], reference: str | Path, path: str | Path, *, dtype: str
) -> None:
    """Write voxels on the grid of another file: same shape, sform, qform, units and codes.

    Fields of free text are emptied, slope and intercept reset. The file appears whole or not at
    all.

    Args:
        voxels: (x, y, z) on the reference's own axes; rounded where ``dtype`` is an integer.
        reference: NIfTI file whose header is taken over.
        path: ``.nii`` or ``.nii.gz`` to write.
        dtype: NumPy name of the stored type.

    Raises:
        ValueError: the number of voxels differs from the reference's.
    """
    source = nib.load(reference)
    if int(np.prod(source.shape)) != voxels.size:
        raise ValueError(
            f"{Path(path).name}: {voxels.shape} voxels cannot lie on the grid of "
            f"{Path(reference).name}, which is {source.shape}."
        )
    stored = np.asarray(voxels).reshape(source.shape)
    if np.issubdtype(np.dtype(dtype), np.integer):
        stored = np.rint(stored)
    header = source.header.copy()
    header.set_data_dtype(np.dtype(dtype))
    header.set_slope_inter(1.0, 0.0)
    header["cal_min"], header["cal_max"] = 0, 0
    empty_free_text(header)
    write_atomically(type(source)(stored.astype(dtype), None, header), path)


def empty_free_text(header: nib.Nifti1Header) -> None:
    """Empty every header field and extension that can name a person, in place."""
    for field in FREE_TEXT_FIELDS:
        if field in header:
            header[field] = b""
    header.extensions.clear()


def write_atomically(image: nib.Nifti1Image, path: str | Path) -> None:
    """Write a NIfTI that appears whole or not at all; its bytes hold no time and no file name."""
    path = Path(path)
    with open_whole(path) as file:
        if path.name.endswith(".gz"):
            with gzip.GzipFile("", "wb", compresslevel=1, fileobj=file, mtime=0) as stream:
                image.to_stream(stream)
        else:
            image.to_stream(file)


def save_volume(
    voxels: NDArray[Any], path: Path, *, source: Path, affine: NDArray[Any], dtype: str
) -> None:
    """Write voxels on the grid of their source: of its header, or of the affine if it has none.

    Args:
        voxels: (x, y, z) on the source's own axes.
        path: ``.nii`` or ``.nii.gz`` to write.
        source: NIfTI file, shard or DICOM folder.
        affine: (4, 4) of the source.
        dtype: NumPy name of the stored type.
    """
    if source.name.endswith(SUFFIXES) and source.is_file():
        save_volume_like(voxels, source, path, dtype=dtype)
        return
    stored = np.rint(voxels) if np.issubdtype(np.dtype(dtype), np.integer) else voxels
    image = nib.Nifti1Image(stored.astype(dtype), affine)
    image.set_qform(affine, SCANNER)
    image.set_sform(affine, SCANNER)
    image.header.set_xyzt_units("mm")
    write_atomically(image, path)

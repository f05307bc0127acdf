"""Preprocessed volumes, brain masks and transforms as a BIDS derivative dataset."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import SimpleITK as sitk
from monai.data import MetaTensor
from numpy.typing import NDArray

from data_prep.bids_names import format_stem
from data_prep.contrasts import PreparedVolume
from data_prep.registration import to_itk_transform
from data_prep.session_records import SessionTask
from data_prep.store import VOLUMES, encode_nifti, write_bytes, write_json

BIDS_VERSION = "1.10.0"
MILLIMETRES = "mm"
PREPROCESSED = "Bias corrected inside the brain by N4, RAS+, not masked"
README = """Volumes, brain masks and transforms that a slice dataset was cut from.

desc-preproc     bias corrected by N4, at the resolution of the input, in RAS+ orientation
desc-brain_mask  what lies inside; of the T2w on its own grid, space-T2w
from-T2w_to-T1w  rigid transform for ITK and ANTs
"""
# As in other derivatives: BIDS has no name for transforms yet.
IGNORED = "*_xfm.txt\n"


def write_session_volumes(task: SessionTask, volumes: Sequence[PreparedVolume]) -> list[str]:
    """Write what a session gave, at the inputs' own resolution.

    Each volume as ``desc-preproc`` (bias corrected, intensities as they were, not masked), its
    ``desc-brain_mask``, and for a pair the rigid transform from T2w to T1w, for ITK and ANTs.

    Returns:
        The files, relative to the slice dataset.
    """
    session = task.session
    folder = Path(session.subject, session.session or "", "anat")
    t1w = folder / f"{format_stem(session.t1w.name, desc='preproc') if session.t1w else ''}.nii.gz"
    files: dict[Path, bytes | dict[str, Any]] = {}
    for volume in volumes:
        made = make_files(volume, t1w.as_posix()).items()
        files |= {VOLUMES / session.dataset / folder / name: content for name, content in made}
    for name, content in files.items():
        path = task.output_dir / name
        write_bytes(path, content) if isinstance(content, bytes) else write_json(path, content)
    return [name.as_posix() for name in files]


def make_files(volume: PreparedVolume, t1w: str) -> dict[str, bytes | dict[str, Any]]:
    """Names and contents of one volume's files.

    Args:
        volume: of a session.
        t1w: path of the session's preprocessed T1w, relative to the derivative.
    """
    reference = describe_space(volume, t1w)
    space = volume.stem_space or ("T2w" if volume.contrast == "T2w" else None)
    placed = {"space": space} if space else {}
    # A T2w on its own grid needs no `space-`, but its mask must not be taken for the T1w's.
    image = format_stem(volume.file, desc="preproc", **(placed if volume.stem_space else {}))
    mask = format_stem(volume.file, suffix="mask", desc="brain", **placed)
    method = volume.brain_extraction
    extracted = method.startswith("none")
    files: dict[str, bytes | dict[str, Any]] = {
        f"{image}.nii.gz": encode_volume(volume.native["image"], select_shown(volume)),
        f"{image}.json": {"Description": PREPROCESSED, "SkullStripped": extracted, **reference},
        f"{mask}.nii.gz": encode_volume(volume.native["brain_mask"], None, np.uint8),
        f"{mask}.json": {"Description": f"by {method}", "Type": "Brain", **reference},
    }
    if volume.stem_space is None:
        return files
    del files[f"{mask}.nii.gz"], files[f"{mask}.json"]  # the T1w's own mask
    moved = format_stem(volume.file, suffix="xfm", **{"from": "T2w", "to": "T1w", "mode": "image"})
    return files | {f"{moved}.txt": encode_transform(volume.registration or {})}


def select_shown(volume: PreparedVolume) -> NDArray[np.bool_] | None:
    """Where a T2w on the T1w's grid shows anything; None for a volume on its own grid."""
    covered = volume.native.get("dseg") if volume.stem_space else None
    return None if covered is None else covered[0].numpy() > 0


def describe_space(volume: PreparedVolume, t1w: str) -> dict[str, str]:
    """Whose grid a volume lies on, as BIDS asks."""
    return {"SpatialReference": f"bids::{t1w}" if volume.stem_space else "orig"}


def encode_volume(
    volume: MetaTensor, shown: NDArray[np.bool_] | None, dtype: Any = np.float32
) -> bytes:
    """NIfTI of a volume (1, x, y, z) in mm, 0 where ``shown`` is false; its header names nobody."""
    voxels = volume[0].numpy()
    if shown is not None:
        voxels = np.where(shown, voxels, 0)
    image = nib.Nifti1Image(voxels.astype(dtype), volume.affine.numpy())
    image.set_sform(image.affine, 1)
    image.set_qform(image.affine, 1)
    image.header.set_xyzt_units(MILLIMETRES)
    return encode_nifti(image)


def encode_transform(registration: Mapping[str, Any]) -> bytes:
    """ITK's text format: it moves points of the T1w to the T2w, and so images the other way."""
    transform = to_itk_transform(np.array(registration["matrix"]))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "transform.txt"
        sitk.WriteTransform(transform, str(path))
        return path.read_bytes()


def write_descriptions(output_dir: Path, sources: Mapping[str, Mapping[str, Any]]) -> None:
    """Write ``dataset_description.json`` of each dataset whose volumes were written.

    Args:
        output_dir: of the slice dataset.
        sources: what is known of each input dataset, by name.
    """
    for name, source in sources.items():
        if (output_dir / VOLUMES / name).is_dir():
            folder = output_dir / VOLUMES / name
            description = describe_derivative(name, source["description"])
            write_json(folder / "dataset_description.json", description)
            write_bytes(folder / "README", README.encode())
            write_bytes(folder / ".bidsignore", IGNORED.encode())


def describe_derivative(name: str, source: Mapping[str, str]) -> dict[str, Any]:
    """Content of ``dataset_description.json``, as BIDS asks of a derivative."""
    doi = source["doi"]
    origin = {"DOI": f"doi:{doi}"} if doi else {}
    origin |= {"Version": source["version"]} if source["version"] else {}
    licence = {"License": source["license"]} if source["license"] else {}
    return {
        "Name": f"Bias-corrected volumes, brain masks and transforms of {source['name'] or name}",
        "BIDSVersion": BIDS_VERSION,
        "DatasetType": "derivative",
        **licence,
        "GeneratedBy": [
            {
                "Name": "data_prep",
                "Version": version("t1w-t2w-cyclegan"),
                "Description": "Brain extraction, N4 and rigid registration of T2w to T1w",
            }
        ],
        **({"SourceDatasets": [origin]} if origin else {}),
    }

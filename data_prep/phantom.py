"""A BIDS dataset of synthetic subjects, so that every stage runs without scans and without network.

How a subject is made stands in `simulation`; here it becomes files. A file appears whole or not
at all, and a subject is done when all its files are there, so that a build that was killed goes on
where it stopped and ends with the same bytes.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from data_prep.simulation import MPRAGE, SPIN_ECHO, Grid, Scan, Subject, simulate_subject
from data_prep.store import encode_nifti, write_bytes, write_json

# Another version makes other bytes: the two never share a folder.
PHANTOM_VERSION = 1
DESCRIPTION, TRUTH = Path("dataset_description.json"), Path("derivatives", "truth")
SPACING_RANGE_MM = (1.0, 6.0)  # the head model has 1 mm; beyond 6 mm nothing of a brain is left

LICENSE = (
    "Synthetic images computed from the ICBM 152 (2009a) tissue maps that nilearn (BSD-3-Clause) "
    "ships. nilearn's page on the template gives its license as 'unknown'; McGill's notice for the "
    "ICBM 152 2009 atlases reads: Copyright (C) 1993-2009 Louis Collins, McConnell Brain Imaging "
    "Centre, Montreal Neurological Institute, McGill University. Permission to use, copy, modify, "
    "and distribute this software and its documentation for any purpose and without fee is hereby "
    "granted, provided that the above copyright notice appear in all copies. The authors and "
    "McGill University make no representations about the suitability of this software for any "
    'purpose. It is provided "as is" without express or implied warranty. The authors are not '
    "responsible for any data loss, equipment damage, property loss, or injury to subjects or "
    "patients resulting from the use or misuse of this software package."
)
SIDECAR_T1W = {
    "MagneticFieldStrength": 3,
    "PulseSequenceType": "Inversion-prepared spoiled gradient echo (MPRAGE), simulated",
    "MRAcquisitionType": "3D",
    "ScanningSequence": ["GR", "IR"],
    "RepetitionTime": MPRAGE.repetition_time_s,
    "RepetitionTimePreparation": MPRAGE.repetition_time_s,
    "RepetitionTimeExcitation": MPRAGE.echo_spacing_s,
    "InversionTime": MPRAGE.inversion_time_s,
    "EchoTime": MPRAGE.echo_time_s,
    "FlipAngle": MPRAGE.flip_angle_deg,
    "NumberShots": MPRAGE.readouts,
}
SIDECAR_T2W = {
    "MagneticFieldStrength": 3,
    "PulseSequenceType": "Spin echo, simulated",
    "MRAcquisitionType": "2D",
    "ScanningSequence": "SE",
    "RepetitionTime": SPIN_ECHO.repetition_time_s,
    "EchoTime": SPIN_ECHO.echo_time_s,
    "FlipAngle": 90,
}


def build_phantom(output_dir: Path, *, subjects: int, seed: int, spacing_mm: float = 2.0) -> None:
    """Write subjects ``sub-01`` and on as a BIDS dataset, with the truth in its derivatives.

    A subject depends on the seed, the spacing and its own number only: asking for more later adds
    to what is there.

    Args:
        output_dir: of the dataset; new, empty, or an earlier phantom of the same seed and spacing.
        subjects: how many, at least 1.
        seed: 0 or more.
        spacing_mm: voxel size of the T1w; the T2w has it in plane and slices 1.25 times as thick.

    Raises:
        FileExistsError: the folder holds something else.
        ValueError: an argument is out of range, or the folder holds another phantom.
    """
    _check_arguments(subjects, seed, spacing_mm)
    facts = {"Version": PHANTOM_VERSION, "Seed": seed, "SpacingMm": float(spacing_mm)}
    names = [f"sub-{index:02d}" for index in range(1, subjects + 1)]
    _open_dataset(output_dir, facts, names)
    for index, name in enumerate(tqdm(names, desc="phantom", unit="subject"), start=1):
        files = [output_dir / path for path in list_files(name)]
        if not all(file.is_file() for file in files):
            simulated = simulate_subject(seed=seed, index=index, spacing_mm=float(spacing_mm))
            for file, content in zip(files, _encode_subject(*simulated), strict=True):
                write_bytes(file, content)
    rows = "\n".join(["participant_id", *names, ""])
    write_bytes(output_dir / "participants.tsv", rows.encode())


def _check_arguments(subjects: int, seed: int, spacing_mm: float) -> None:
    low, high = SPACING_RANGE_MM
    if not isinstance(subjects, int) or subjects < 1:
        raise ValueError(f"subjects is {subjects!r}; expected a whole number, 1 or more.")
    if not isinstance(seed, int) or seed < 0:
        raise ValueError(f"seed is {seed!r}; expected a whole number, 0 or more.")
    if not low <= spacing_mm <= high:
        raise ValueError(f"spacing_mm is {spacing_mm}; expected {low} to {high}.")


def _open_dataset(output_dir: Path, facts: dict[str, Any], names: list[str]) -> None:
    """Make the folder, or take it up again if it holds this very phantom."""
    output_dir.mkdir(parents=True, exist_ok=True)
    for leftover in output_dir.rglob(".unfinished-*"):  # of a write that was killed
        leftover.unlink()
    present = sorted(path.name for path in output_dir.iterdir())
    if present:
        _check_present(output_dir, facts, names, present)
    base = {
        "BIDSVersion": "1.10.0",
        "License": LICENSE,
        "GeneratedBy": [{"Name": "data_prep.phantom", "Version": str(PHANTOM_VERSION)}],
        "Phantom": facts,
    }
    name = "Phantom: synthetic T1w and T2w heads"
    truth = {"Name": f"{name}, truth", "DatasetType": "derivative", **base}
    write_json(output_dir / DESCRIPTION, {"Name": name, "DatasetType": "raw", **base})
    write_json(output_dir / TRUTH / DESCRIPTION, truth)


def _check_present(
    output_dir: Path, facts: dict[str, Any], names: list[str], present: list[str]
) -> None:
    found = _read_facts(output_dir / DESCRIPTION)
    if found is None:
        raise FileExistsError(
            f"{output_dir}: holds {', '.join(present[:5])} but is no phantom; "
            "expected a new or empty folder. Name another one."
        )
    if found != facts:
        raise ValueError(
            f"{output_dir}: holds a phantom made with {found}; asked for {facts}. "
            "Name another folder or ask for the same."
        )
    beyond = [name for name in present if name.startswith("sub-") and name not in names]
    if beyond:
        raise ValueError(
            f"{output_dir}: holds {', '.join(beyond[:5])}, beyond the {len(names)} subjects asked "
            "for. Ask for at least as many as there are, or name another folder."
        )


def _read_facts(path: Path) -> Any:
    """What a phantom's description says it was made with; None for anything else."""
    try:
        return json.loads(path.read_text()).get("Phantom")
    except (OSError, ValueError, AttributeError):
        return None


def list_files(name: str) -> list[Path]:
    """Files of one subject relative to the dataset, in the order of writing."""
    raw, truth = Path(name, "anat"), TRUTH / name / "anat"
    return [
        raw / f"{name}_T1w.json",
        raw / f"{name}_T1w.nii.gz",
        raw / f"{name}_T2w.json",
        raw / f"{name}_T2w.nii.gz",
        truth / f"{name}_space-T1w_desc-brain_mask.nii.gz",
        truth / f"{name}_space-T1w_dseg.json",
        truth / f"{name}_space-T1w_dseg.nii.gz",
        truth / f"{name}_from-T2w_to-T1w_mode-image_xfm.json",
    ]


def _encode_subject(subject: Subject, scan: Scan) -> list[bytes]:
    """Contents of the files of ``list_files``."""
    tissues = {name: asdict(tissue) for name, tissue in subject.tissues.items()}
    labels = {"1": "cerebrospinal fluid", "2": "grey matter", "3": "white matter", "0": "other"}
    transform = {
        "Description": "T1w point = Matrix @ T2w point, both (x, y, z, 1) in scanner RAS mm",
        "Matrix": subject.t1w_from_t2w.tolist(),
    }
    return [
        _encode_json(SIDECAR_T1W),
        _encode_nifti(scan.t1w, scan.t1w_grid),
        _encode_json(SIDECAR_T2W),
        _encode_nifti(scan.t2w, scan.t2w_grid),
        _encode_nifti(scan.brain_mask, scan.t1w_grid),
        _encode_json({"Labels": labels, "Tissues": tissues}),
        _encode_nifti(scan.dseg, scan.t1w_grid),
        _encode_json(transform),
    ]


def _encode_json(content: Any) -> bytes:
    return (json.dumps(content, indent=1) + "\n").encode()


def _encode_nifti(volume: NDArray[np.integer[Any]], grid: Grid) -> bytes:
    """A compressed NIfTI file whose bytes hold no time; both forms say scanner space."""
    image = nib.Nifti1Image(volume, grid.affine)
    image.set_qform(grid.affine, code=1)
    image.set_sform(grid.affine, code=1)
    image.header.set_xyzt_units("mm", "sec")
    return encode_nifti(image)

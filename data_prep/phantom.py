"""A BIDS dataset of synthetic subjects, so that every stage runs without scans and without network.

How a subject is made stands in `simulation`; here it becomes the files of a `simulated_dataset`.
"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

from tqdm import tqdm

from data_prep.simulated_dataset import (
    LABELS,
    TRUTH,
    Simulation,
    describe_transform,
    encode_json,
    encode_volume,
    open_folder,
    write_participants,
)
from data_prep.simulation import MPRAGE, SPIN_ECHO, Scan, Subject, simulate_subject
from data_prep.store import write_bytes

# Another version makes other bytes: the two never share a folder.
PHANTOM_VERSION = 1
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
    title = "Phantom: synthetic T1w and T2w heads"
    open_folder(
        output_dir, Simulation("Phantom", title, "data_prep.phantom", LICENSE, facts), names
    )
    for index, name in enumerate(tqdm(names, desc="phantom", unit="subject"), start=1):
        files = [output_dir / path for path in list_files(name)]
        if not all(file.is_file() for file in files):
            simulated = simulate_subject(seed=seed, index=index, spacing_mm=float(spacing_mm))
            for file, content in zip(files, _encode_subject(*simulated), strict=True):
                write_bytes(file, content)
    write_participants(output_dir, names)


def _check_arguments(subjects: int, seed: int, spacing_mm: float) -> None:
    low, high = SPACING_RANGE_MM
    if not isinstance(subjects, int) or subjects < 1:
        raise ValueError(f"subjects is {subjects!r}; expected a whole number, 1 or more.")
    if not isinstance(seed, int) or seed < 0:
        raise ValueError(f"seed is {seed!r}; expected a whole number, 0 or more.")
    if not low <= spacing_mm <= high:
        raise ValueError(f"spacing_mm is {spacing_mm}; expected {low} to {high}.")


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
    return [
        encode_json(SIDECAR_T1W),
        encode_volume(scan.t1w, scan.t1w_grid),
        encode_json(SIDECAR_T2W),
        encode_volume(scan.t2w, scan.t2w_grid),
        encode_volume(scan.brain_mask, scan.t1w_grid),
        encode_json({"Labels": LABELS, "Tissues": tissues}),
        encode_volume(scan.dseg, scan.t1w_grid),
        encode_json(describe_transform(subject.t1w_from_t2w)),
    ]

"""The BIDS folder of simulated scans: one simulation's alone, and written file by file.

A file appears whole or not at all, and a scan is done when all its files are there, so that a
simulation that was killed goes on where it stopped and ends with the same bytes.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from data_prep.head_space import Grid
from data_prep.store import UNFINISHED, encode_nifti, write_bytes, write_json

DESCRIPTION, TRUTH = Path("dataset_description.json"), Path("derivatives", "truth")
LABELS = {"1": "cerebrospinal fluid", "2": "grey matter", "3": "white matter", "0": "other"}


@dataclass(frozen=True)
class Simulation:
    """What a folder of simulated scans is, and what it was made with.

    Attributes:
        kind: one word, under which the description holds the facts.
        title: name of the dataset.
        module: that made it.
        licence: of the scans.
        facts: what decides the bytes, `Version` among them; two that differ never share a folder.
    """

    kind: str
    title: str
    module: str
    licence: str
    facts: dict[str, Any]


def open_folder(output_dir: Path, simulation: Simulation, subjects: Sequence[str]) -> None:
    """Make the folder, or take it up again if it holds this very simulation.

    Nobody else may be writing there.

    Raises:
        FileExistsError: the folder holds something else.
        ValueError: it holds another simulation, or more subjects.
    """
    output_dir.mkdir(parents=True, exist_ok=True)
    names = sorted(path.name for path in output_dir.iterdir())
    if present := [name for name in names if not name.startswith(UNFINISHED)]:
        _check_present(output_dir, simulation, subjects, present)
    for leftover in output_dir.rglob(f"{UNFINISHED}*"):  # of a write that was killed
        leftover.unlink()
    base = {
        "BIDSVersion": "1.10.0",
        "License": simulation.licence,
        "GeneratedBy": [{"Name": simulation.module, "Version": str(simulation.facts["Version"])}],
        simulation.kind: simulation.facts,
    }
    title = simulation.title
    truth = {"Name": f"{title}, truth", "DatasetType": "derivative", **base}
    write_json(output_dir / DESCRIPTION, {"Name": title, "DatasetType": "raw", **base})
    write_json(output_dir / TRUTH / DESCRIPTION, truth)


def _check_present(
    output_dir: Path, simulation: Simulation, subjects: Sequence[str], present: list[str]
) -> None:
    kind = simulation.kind.lower()
    found = _read_facts(output_dir / DESCRIPTION, simulation.kind)
    if found is None:
        raise FileExistsError(
            f"{output_dir}: holds {', '.join(present[:5])} but is no {kind}; "
            "expected a new or empty folder. Name another one."
        )
    if found != simulation.facts:
        raise ValueError(
            f"{output_dir}: holds a {kind} made with {found}; asked for {simulation.facts}. "
            "Name another folder or ask for the same."
        )
    beyond = [name for name in present if name.startswith("sub-") and name not in subjects]
    if beyond:
        raise ValueError(
            f"{output_dir}: holds {', '.join(beyond[:5])}, beyond the {len(subjects)} subjects "
            "asked for. Ask for at least as many as there are, or name another folder."
        )


def _read_facts(path: Path, kind: str) -> Any:
    """What a folder's description says it was made with; None for anything else."""
    try:
        return json.loads(path.read_text()).get(kind)
    except (OSError, ValueError, AttributeError):
        return None


def write_participants(output_dir: Path, subjects: Sequence[str]) -> None:
    """Write the table that BIDS wants, once all subjects are there."""
    rows = "\n".join(["participant_id", *subjects, ""])
    write_bytes(output_dir / "participants.tsv", rows.encode())


def describe_transform(t1w_from_t2w: NDArray[np.float64]) -> dict[str, Any]:
    """The truth that a registration is to find."""
    return {
        "Description": "T1w point = Matrix @ T2w point, both (x, y, z, 1) in scanner RAS mm",
        "Matrix": t1w_from_t2w.tolist(),
    }


def encode_json(content: Any) -> bytes:
    """JSON as the files of a simulation have it."""
    return (json.dumps(content, indent=1) + "\n").encode()


def encode_volume(volume: NDArray[np.integer[Any]], grid: Grid) -> bytes:
    """A compressed NIfTI file whose bytes hold no time; both forms say scanner space."""
    image = nib.Nifti1Image(volume, grid.affine)
    image.set_qform(grid.affine, code=1)
    image.set_sform(grid.affine, code=1)
    image.header.set_xyzt_units("mm", "sec")
    return encode_nifti(image)

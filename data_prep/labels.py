"""A BIDS dataset of simulated scans of labelled heads, with the truth that no scan has.

How a session is made stands in `label_simulation`; here it becomes the files of a
`simulated_dataset`. A session depends on the seed, its head and its number: asking for more
sessions later adds to what is there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tqdm import tqdm

from data_prep.cluster import Workers
from data_prep.executor import run_for_each
from data_prep.label_maps import check_label_map, list_label_maps, load_head
from data_prep.label_protocols import describe_protocol
from data_prep.label_simulation import LabelScan, simulate_session
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
from data_prep.store import compute_sha256, write_bytes

# Another version makes other bytes: the two never share a folder.
LABELS_VERSION = 4
MODULE = "data_prep.labels"
LICENCE = (
    "Simulated images of the anatomy in label maps: the licence of those maps applies, and they "
    "are to be named with the images."
)


@dataclass(frozen=True)
class HeadTask:
    """The sessions of one head that are to be simulated, and where their files go."""

    output_dir: Path
    subject: str
    label_map: Path
    sessions: tuple[int, ...]
    seed: int


def simulate_labels(
    labels_dir: Path, output_dir: Path, *, sessions: int, seed: int, licence: str, workers: Workers
) -> None:
    """Write sessions ``ses-01`` and on of every label map of a folder as a BIDS dataset.

    Args:
        labels_dir: folder with NIfTI or MGZ files of whole heads, labelled by FreeSurfer's ids.
        output_dir: of the dataset; new, empty, or an earlier one of the same maps and seed.
        sessions: of each head, at least 1: another scanner, other relaxation times and lesions,
            and a head of another shape.
        seed: 0 or more.
        licence: of the label maps, for the dataset's description; "" for one that names none.
        workers: processes of this machine; each takes 1.5 GB.

    Raises:
        FileNotFoundError, FileExistsError: a folder that is missing, or holds something else.
        ValueError: a label map that cannot be used, an argument out of range, other maps or seed.
    """
    _check_arguments(sessions, seed)
    maps = list_label_maps(labels_dir)
    facts = {
        "Version": LABELS_VERSION,
        "Seed": seed,
        "LabelMaps": {name: compute_sha256(path) for name, path in maps.items()},
    }
    simulation = Simulation(
        "Simulation", "Simulated T1w and T2w of labelled heads", MODULE, licence or LICENCE, facts
    )
    tasks = [
        HeadTask(output_dir, subject, path, missing, seed)
        for subject, path in maps.items()
        if (missing := _list_missing(output_dir, subject, sessions))
    ]
    for task in tasks:  # an opened folder is bound to these very maps
        check_label_map(task.label_map)
    open_folder(output_dir, simulation, list(maps))
    _run(tasks, workers)
    write_participants(output_dir, list(maps))


def _check_arguments(sessions: Any, seed: Any) -> None:
    if not isinstance(sessions, int) or not 1 <= sessions <= 99:
        raise ValueError(f"sessions is {sessions!r}; expected a whole number, 1 to 99.")
    if not isinstance(seed, int) or seed < 0:
        raise ValueError(f"seed is {seed!r}; expected a whole number, 0 or more.")


def _list_missing(output_dir: Path, subject: str, sessions: int) -> tuple[int, ...]:
    return tuple(
        number
        for number in range(1, sessions + 1)
        if not all((output_dir / path).is_file() for path in list_files(subject, number))
    )


def _run(tasks: Sequence[HeadTask], workers: Workers) -> None:
    total = sum(len(task.sessions) for task in tasks)
    with tqdm(total=total, desc="simulation", unit="session") as progress:
        for done in run_for_each(
            simulate_head,
            tasks,
            workers=workers,
            name=lambda task: task.subject,
            on_death=_give_up,
            check=lambda: "",
        ):
            progress.update(done)


def _give_up(task: HeadTask, reason: str) -> int:
    raise ValueError(f"{task.label_map.name}: {reason}")


def simulate_head(task: HeadTask) -> int:
    """Simulate and write the sessions of one head; returns their number."""
    head = load_head(task.label_map)
    for number in task.sessions:
        scan = simulate_session(head, name=task.subject, seed=task.seed, number=number)
        files = list_files(task.subject, number)
        for file, content in zip(files, _encode_session(scan), strict=True):
            write_bytes(task.output_dir / file, content)
    return len(task.sessions)


def list_files(subject: str, number: int) -> list[Path]:
    """Files of one session relative to the dataset, in the order of writing."""
    session = f"ses-{number:02d}"
    stem = f"{subject}_{session}"
    raw = Path(subject, session, "anat")
    truth = TRUTH / raw
    return [
        raw / f"{stem}_T1w.json",
        raw / f"{stem}_T1w.nii.gz",
        raw / f"{stem}_T2w.json",
        raw / f"{stem}_T2w.nii.gz",
        truth / f"{stem}_desc-brain_mask.nii.gz",
        truth / f"{stem}_space-T1w_dseg.json",
        truth / f"{stem}_space-T1w_dseg.nii.gz",
        truth / f"{stem}_space-T1w_desc-input_dseg.nii.gz",
        truth / f"{stem}_from-T2w_to-T1w_mode-image_xfm.json",
    ]


def _encode_session(scan: LabelScan) -> list[bytes]:
    """Contents of the files of ``list_files``."""
    t1w, t2w = scan.protocols
    grid, t2w_grid = scan.grids
    return [
        encode_json(describe_protocol(t1w)),
        encode_volume(scan.t1w, grid),
        encode_json(describe_protocol(t2w)),
        encode_volume(scan.t2w, t2w_grid),
        encode_volume(scan.brain_mask, grid),
        encode_json({"Labels": LABELS}),
        encode_volume(scan.dseg, grid),
        encode_volume(scan.labels, grid),
        encode_json(describe_transform(scan.t1w_from_t2w)),
    ]

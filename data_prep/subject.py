"""One session of one subject: from its T1w and T2w files to shards, once, whatever happens."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import SimpleITK as sitk

from data_prep.bids import Exclusion, ScanSession
from data_prep.bids_names import shard_stem
from data_prep.contrasts import (
    PreparedVolume,
    prepare_alone,
    prepare_moved,
    prepare_registered,
)
from data_prep.slices import stack_slices
from data_prep.stages import Stages, load_stages
from data_prep.store import (
    FORMAT_VERSION,
    SESSIONS,
    SHARDS,
    compute_sha256,
    read_json,
    write_json,
    write_shard,
)

# Whose version changes what lands in a shard.
TOOLS = ("monai", "SimpleITK", "nibabel", "numpy", "scipy", "deepbet")


@dataclass(frozen=True)
class SessionTask:
    """What a worker needs to prepare one session.

    Attributes:
        session: files to read.
        output_dir: of the slice dataset.
        bundle: whose preprocessing is used.
        brain_extraction: method for this dataset; None takes the bundle's.
        truth: tissue classes on the T1w's grid, where they are known.
    """

    session: ScanSession
    output_dir: Path
    bundle: Path
    brain_extraction: str | None
    truth: Path | None


def compute_key(task: SessionTask, section: dict[str, Any]) -> tuple[str, dict[str, str]]:
    """Hash of everything that the shards depend on, and the sha256 of each input."""
    files = {"T1w": task.session.t1w, "T2w": task.session.t2w, "dseg": task.truth}
    inputs = {name: compute_sha256(path) for name, path in files.items() if path is not None}
    parts = {
        "format_version": FORMAT_VERSION,
        "inputs": inputs,
        "preprocessing": section,
        "brain_extraction": task.brain_extraction,
        "tools": {name: version(name) for name in TOOLS},
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest(), inputs


def record_path(output_dir: Path, session: ScanSession) -> Path:
    """Where it is kept that a session is done."""
    name = "_".join(filter(None, (session.subject, session.session)))
    return output_dir / SESSIONS / session.dataset / f"{name}.json"


def is_done(task: SessionTask, key: str) -> bool:
    """Whether the same work on the same inputs was finished before, and its files are there."""
    path = record_path(task.output_dir, task.session)
    if not path.is_file():
        return False
    record = read_json(path)
    shards = task.output_dir / SHARDS
    endings = (".npy", "_mask.npy", ".json")
    files = (shards / f"{stem}{ending}" for stem in record["shards"] for ending in endings)
    return record["key"] == key and all(file.is_file() for file in files)


def prepare_session(task: SessionTask) -> list[Exclusion]:
    """Write the shards of one session, and last the record that vouches for them.

    What fails is left out and listed, never raised: a damaged file, a mask that fails quality
    control, a registration that did not work. The record is the same for the same inputs.

    Returns:
        What was left out, with reasons.
    """
    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(1)
    stages = load_stages(task.bundle, task.brain_extraction)
    key, inputs = compute_key(task, stages.section)
    if is_done(task, key):
        record = read_json(record_path(task.output_dir, task.session))
        return [Exclusion(**row) for row in record["exclusions"]]
    volumes, exclusions = prepare_volumes(task, stages)
    stems = [_write_volume(task, volume, key, inputs) for volume in volumes]
    record = {
        "key": key,
        "dataset": task.session.dataset,
        "subject": task.session.subject,
        "session": task.session.session or "",
        "shards": stems,
        "exclusions": [asdict(exclusion) for exclusion in exclusions],
    }
    write_json(record_path(task.output_dir, task.session), record)
    return exclusions


def _write_volume(
    task: SessionTask, volume: PreparedVolume, key: str, inputs: dict[str, str]
) -> str:
    session = task.session
    stem = Path(session.dataset) / shard_stem(volume.file, space=volume.stem_space)
    spacing = [round(value, 4) for value in volume.data["image"].meta["source_spacing_mm"]]
    network = [float(value) for value in volume.data["image"].pixdim]
    facts = {
        "subject_id": session.subject_id,
        "session": session.session or "",
        "dataset": session.dataset,
        "contrast": volume.contrast,
        "space": volume.stem_space or "native",
        "percentiles": [round(value, 6) for value in volume.data["image"].meta["percentiles"]],
        "source_spacing_mm": spacing,
        "effective_resolution_mm": [
            round(max(pair), 4) for pair in zip(spacing, network, strict=True)
        ],
        "brain_extraction": volume.brain_extraction,
        "registration": volume.registration,
        "inputs": inputs,
        "key": key,
    }
    write_shard(task.output_dir, stem, stack_slices(volume.data), facts)
    return stem.as_posix()


def prepare_volumes(
    task: SessionTask, stages: Stages
) -> tuple[list[PreparedVolume], list[Exclusion]]:
    """Prepare what a session has: T1w, T2w on its own grid, and T2w on the T1w's."""
    session = task.session
    exclusions: list[Exclusion] = []

    def attempt(path: Path, step: Callable[[], PreparedVolume]) -> PreparedVolume | None:
        try:
            return step()
        except (ValueError, OSError, RuntimeError) as error:
            place = (session.dataset, session.subject_id, session.session or "", path.name)
            exclusions.append(Exclusion(*place, describe_error(error)))
            return None

    t1w = moved = registered = None
    if (path := session.t1w) is not None:
        t1w = attempt(path, partial(prepare_alone, stages, path, "T1w", truth=task.truth))
    if (path := session.t2w) is not None and t1w is None:
        moved = attempt(path, partial(prepare_alone, stages, path, "T2w", truth=None))
    elif path is not None and t1w is not None:
        moved = attempt(path, partial(prepare_moved, stages, path, t1w))
        if moved is not None:
            registered = attempt(path, partial(prepare_registered, stages, t1w, moved))
    return [volume for volume in (t1w, moved, registered) if volume is not None], exclusions


def describe_error(error: BaseException) -> str:
    """One line that says what went wrong: MONAI wraps an error once per transform around it."""
    while isinstance(error, RuntimeError) and error.__cause__ is not None:
        error = error.__cause__
    if not isinstance(error, (ValueError, OSError, RuntimeError)):
        raise error  # a fault of the program, not of the data
    return " ".join(str(error).split())

"""What vouches for a finished session: a record of its shards, keyed by all they depend on."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

from data_prep.bids import Exclusion, ScanSession
from data_prep.stages import Stages
from data_prep.store import (
    FORMAT_VERSION,
    SESSIONS,
    SHARD_ENDS,
    SHARDS,
    compute_sha256,
    read_json,
    write_json,
)

# Whose version changes what lands in a shard.
TOOLS = ("monai", "SimpleITK", "nibabel", "numpy", "scipy", "torch", "deepbet")
# The key of a session that could not be worked on; no session has it, so it is tried again.
NOT_DONE = "not done"


@dataclass(frozen=True)
class SessionTask:
    """What a worker needs to prepare one session.

    Attributes:
        session: files to read.
        output_dir: of the slice dataset.
        bundle: whose preprocessing is used.
        brain_extraction: method for this dataset; None takes the bundle's.
        truth: tissue classes on the T1w's grid, where they are known.
        shipped_mask: brain mask of the T1w that the dataset ships, where it does.
        write_volumes: whether the volumes are written too, as a BIDS derivative.
        checksums: sha256 of files that were verified before and may have been removed since.
    """

    session: ScanSession
    output_dir: Path
    bundle: Path
    brain_extraction: str | None
    truth: Path | None
    shipped_mask: Path | None = None
    write_volumes: bool = False
    checksums: Mapping[Path, str] = field(default_factory=dict)


def name_session(session: ScanSession) -> str:
    """Subject and session, as the start of a BIDS name."""
    return "_".join(filter(None, (session.subject, session.session)))


def record_path(output_dir: Path, session: ScanSession) -> Path:
    """Where it is kept that a session is done."""
    return output_dir / SESSIONS / session.dataset / f"{name_session(session)}.json"


def compute_key(
    task: SessionTask, *, stages: Stages, method: str, reread: bool = True
) -> tuple[str, dict[str, str]]:
    """Hash of everything that the shards depend on, and the sha256 of each input.

    Args:
        task: the session.
        stages: of the preprocessing.
        method: what the brain extraction that was asked for means here and now.
        reread: whether files are read again whose checksum was verified before.

    Raises:
        FileNotFoundError: an input is not there, and its checksum is not known either.
        ValueError: an input is not what was verified.
    """
    session = task.session
    files = {"T1w": session.t1w, "T2w": session.t2w, "dseg": task.truth}
    files["mask"] = task.shipped_mask
    inputs = {
        name: compute_checksum(path, task.checksums.get(path), reread=reread)
        for name, path in files.items()
        if path is not None
    }
    parts = {
        "format_version": FORMAT_VERSION,
        "inputs": inputs,
        **describe_making(stages, method),
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest(), inputs


def describe_making(stages: Stages, method: str) -> dict[str, Any]:
    """What is the same for all sessions of a dataset: preprocessing, method, limits, programs."""
    text = json.dumps(stages.section, sort_keys=True)
    return {
        "preprocessing": hashlib.sha256(text.encode()).hexdigest(),
        "brain_extraction": method,
        "brain_limits": stages.brain_limits,
        "tools": describe_tools(),
    }


def describe_tools() -> dict[str, str]:
    """Versions of the programs whose results land in a shard."""
    return {name: version(name) for name in TOOLS}


def compute_checksum(path: Path, verified: str | None, *, reread: bool) -> str:
    """The sha256 of a file, or the verified one of a file that was removed since."""
    if verified is not None and not (reread and path.exists()):
        return verified
    found = compute_sha256(path)
    if verified not in (None, found):
        raise ValueError(
            f"{path.name}: has changed since it was verified. Expected sha256 {verified}, found "
            f"{found}. Delete it, and run again to fetch it anew."
        )
    return found


def is_done(task: SessionTask, key: str) -> bool:
    """Whether the same work on the same inputs was finished before, and its files are there."""
    path = record_path(task.output_dir, task.session)
    if not path.is_file():
        return False
    record = read_json(path)
    if record["key"] != key or (task.write_volumes and record["shards"] and not record["volumes"]):
        return False
    shards = task.output_dir / SHARDS
    files = [shards / f"{stem}{end}" for stem in record["shards"] for end in (".npy", "_mask.npy")]
    files += [task.output_dir / name for name in record["volumes"]]
    sides = [shards / f"{stem}.json" for stem in record["shards"]]
    # a crash of the machine may leave names without content
    is_whole = all(file.is_file() and file.stat().st_size > 0 for file in (*files, *sides))
    return is_whole and all(read_json(side)["key"] == key for side in sides)


def read_exclusions(task: SessionTask) -> list[Exclusion]:
    """What a finished session left out."""
    record = read_json(record_path(task.output_dir, task.session))
    return [Exclusion(**row) for row in record["exclusions"]]


def write_record(
    task: SessionTask,
    key: str,
    made_by: Mapping[str, Any],
    *,
    shards: list[str],
    volumes: list[str],
    exclusions: list[Exclusion],
) -> None:
    """Vouch for a session: its shards and volumes are complete.

    Args:
        task: the session.
        key: of all that they depend on.
        made_by: of that, what is the same for all sessions of a dataset.
        shards: stems, relative to the folder of shards.
        volumes: files, relative to the slice dataset.
        exclusions: images that gave nothing.
    """
    record = {
        "key": key,
        "dataset": task.session.dataset,
        "subject": task.session.subject,
        "session": task.session.session or "",
        **made_by,
        "shards": shards,
        "volumes": volumes,
        "exclusions": [asdict(exclusion) for exclusion in exclusions],
    }
    write_json(record_path(task.output_dir, task.session), record)


def withdraw(task: SessionTask) -> dict[str, Any]:
    """Take back what an earlier run made of a session: tables that count it, record, images.

    The group step writes the tables again; until then a reader sees no finished dataset.

    Returns:
        The record that it had; without shards and volumes where it had none.
    """
    path = record_path(task.output_dir, task.session)
    record: dict[str, Any] = {"shards": [], "volumes": []}
    if path.is_file():
        record = read_json(path)
    files = [task.output_dir / name for name in record["volumes"]]
    for stem in record["shards"]:
        files += [task.output_dir / SHARDS / f"{stem}{end}" for end in SHARD_ENDS]
    if files:
        (task.output_dir / "dataset.json").unlink(missing_ok=True)
    path.unlink(missing_ok=True)  # first: it would vouch for files that are about to go
    for file in files:
        file.unlink(missing_ok=True)
    return record


def leave_out(
    task: SessionTask, reason: str, files: Mapping[str, str] | None = None
) -> list[Exclusion]:
    """Record that a whole session could not be worked on; a later run tries it again.

    A session that was finished before stays as it was.

    Args:
        task: the session.
        reason: for all of its images.
        files: reasons by the name of an image, where they differ.
    """
    exclusions = [
        exclude(task.session, path.name, (files or {}).get(path.name, reason))
        for path in list_images(task.session)
    ]
    path = record_path(task.output_dir, task.session)
    if not path.is_file() or read_json(path)["key"] == NOT_DONE:
        write_record(task, NOT_DONE, {}, shards=[], volumes=[], exclusions=exclusions)
    return exclusions


def list_images(session: ScanSession) -> Iterator[Path]:
    """The T1w and the T2w of a session, as far as it has them."""
    yield from (path for path in (session.t1w, session.t2w) if path is not None)


def exclude(session: ScanSession, file: str, reason: str) -> Exclusion:
    """A line of `exclusions.tsv` for one image of a session."""
    return Exclusion(session.dataset, session.subject_id, session.session or "", file, reason)

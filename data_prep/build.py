"""Builds a slice dataset from BIDS folders: index, prepare every session, write the tables."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from tqdm import tqdm

from data_prep.bids import Exclusion, ScanSession, index_dataset
from data_prep.dataset_description import read_dataset_description
from data_prep.executor import run_for_each
from data_prep.splits import read_groups
from data_prep.stages import load_stages
from data_prep.store import SOURCES, read_json, write_json
from data_prep.subject import SessionTask, describe_error, prepare_session
from data_prep.tables import write_exclusions, write_tables

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Inputs:
    """What is built from what.

    Attributes:
        folders: of the BIDS datasets, by dataset name.
        brain_extraction: method by dataset name; the bundle's where a name is absent.
        hold_out: datasets kept for an external test.
        groups: table of subjects that must stay together, or None.
        participant_label: subjects to take, or None for all.
    """

    folders: Mapping[str, Path]
    brain_extraction: Mapping[str, str]
    hold_out: Sequence[str]
    groups: Path | None
    participant_label: Sequence[str] | None


def build_from_bids(output_dir: Path, inputs: Inputs, *, bundle: Path, workers: int) -> int:
    """Build or extend a slice dataset; run again, it goes on where it was stopped.

    Args:
        output_dir: folder of the slice dataset, new or made by an earlier run.
        inputs: datasets and how to treat them.
        bundle: whose preprocessing is used.
        workers: processes.

    Returns:
        How many images were left out because they failed; ``exclusions.tsv`` says why.

    Raises:
        FileNotFoundError, ValueError: an input that cannot be used at all, or an output folder
            that holds something else.
    """
    section = load_stages(bundle).section
    check_output(output_dir, section)
    output_dir.mkdir(parents=True, exist_ok=True)
    with lock_output(output_dir):
        tasks = plan_sessions(output_dir, inputs, bundle)
        failures: Counter[str] = Counter()
        results = run_for_each(prepare_session, tasks, workers=workers)
        for exclusions in tqdm(results, total=len(tasks), unit="session", desc="sessions"):
            for exclusion in exclusions:
                logger.warning("%s", format_exclusion(exclusion))
                failures[exclusion.dataset] += 1
        failed = write_exclusions(output_dir)
        write_tables(output_dir, section, inputs.hold_out)
    return failed


def format_exclusion(exclusion: Exclusion) -> str:
    """One line for people."""
    place = " ".join(filter(None, (exclusion.subject_id, exclusion.session, exclusion.file)))
    return f"left out {place}: {exclusion.reason}"


def check_output(output_dir: Path, section: dict[str, Any]) -> None:
    """Raise ValueError where the folder is not ours, or was made with another preprocessing."""
    if not output_dir.exists():
        return
    if not output_dir.is_dir():
        raise ValueError(f"{output_dir}: is a file. Expected a new folder or a slice dataset.")
    ours = {"sessions", "sources", "shards", "dataset.json", "bids", ".lock"}
    names = {path.name for path in output_dir.iterdir()}
    if names and not names & ours:
        raise ValueError(
            f"{output_dir}: holds {', '.join(sorted(names)[:3])} and no slice dataset. "
            "Choose a new folder: nothing of yours is overwritten."
        )
    stored = output_dir / "dataset.json"
    if stored.is_file() and read_json(stored)["preprocessing"] != section:
        raise ValueError(
            f"{output_dir}: was built with another preprocessing section than the bundle's. "
            "Choose a new folder, or use the bundle that it was built with."
        )


def lock_output(output_dir: Path) -> FileLock:
    """Lock that two runs into one folder cannot both hold; ValueError where it is held."""
    lock = FileLock(output_dir / ".lock", timeout=0)
    try:
        lock.acquire()
    except Timeout as error:
        raise ValueError(f"{output_dir}: another run is writing there. Wait for it.") from error
    return lock


def plan_sessions(output_dir: Path, inputs: Inputs, bundle: Path) -> list[SessionTask]:
    """Index the inputs and keep what is known of them; one task a session.

    Raises:
        ValueError: a name in the options that is no input, or a method that there is not.
    """
    check_names(inputs.brain_extraction, inputs.folders, option="brain_extraction")
    check_names(inputs.hold_out, inputs.folders, option="hold_out")
    for wanted in sorted(set(inputs.brain_extraction.values())):
        check_method(bundle, wanted)
    groups = read_groups(inputs.groups) if inputs.groups else {}
    tasks = []
    for name, folder in inputs.folders.items():
        sessions, passed_over = index_dataset(
            folder, participant_label=inputs.participant_label, dataset=name
        )
        save_source(output_dir, name, folder, sessions, passed_over, groups)
        method = inputs.brain_extraction.get(name)
        for session in sessions:
            truth = find_truth(folder, session)
            tasks.append(SessionTask(session, output_dir, bundle.resolve(), method, truth))
    return tasks


def check_method(bundle: Path, method: str) -> None:
    """Raise ValueError for a brain extraction that the bundle refuses."""
    try:
        load_stages(bundle.resolve(), method)
    except RuntimeError as error:
        raise ValueError(describe_error(error)) from error


def check_names(given: Sequence[str] | Mapping[str, str], known: Any, *, option: str) -> None:
    """Raise ValueError for a dataset name that is no input."""
    if unknown := sorted(set(given) - set(known)):
        raise ValueError(
            f"--{option} names {', '.join(unknown)}. Expected names of inputs: "
            f"{', '.join(sorted(known))}."
        )


def find_truth(folder: Path, session: ScanSession) -> Path | None:
    """Tissue classes on the T1w's grid that a dataset ships as ``derivatives/truth``."""
    parts = [session.subject, *([session.session] if session.session else [])]
    name = f"{'_'.join(parts)}_space-T1w_dseg.nii.gz"
    path = folder.joinpath("derivatives", "truth", *parts, "anat", name)
    return path if path.is_file() else None


def save_source(
    output_dir: Path,
    name: str,
    folder: Path,
    sessions: Sequence[ScanSession],
    passed_over: Sequence[Exclusion],
    groups: Mapping[tuple[str, str], str],
) -> None:
    """Keep an input's description, its groups, and the names that were passed over."""
    path = output_dir / SOURCES / f"{name}.json"
    known = read_json(path)["groups"] if path.is_file() else {}
    own = {
        session.subject_id: groups.get((name, session.subject), session.subject_id)
        for session in sessions
    }
    source = {
        "description": read_dataset_description(folder),
        "groups": {**known, **own},
        "index": [asdict(exclusion) for exclusion in passed_over],
    }
    write_json(path, source)

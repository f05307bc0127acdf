"""Builds a slice dataset: plan, prepare every session, then the tables of all of them."""

from __future__ import annotations

import logging
import os
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from pathlib import Path

from tqdm import tqdm

from data_prep.bids import Exclusion, ScanSession
from data_prep.cluster import Workers
from data_prep.executor import run_for_each
from data_prep.job_array import JobShard, select_shard
from data_prep.output_folder import check_output, claim_output, lock_output, remove_unfinished
from data_prep.session_records import SessionTask, leave_out, list_images, name_session
from data_prep.shipped_masks import SHIPPED, find_shipped_mask, uses_masks
from data_prep.source_records import PlannedDataset, save_sources
from data_prep.splits import read_groups
from data_prep.stages import load_stages
from data_prep.subject import prepare_session
from data_prep.tables import list_missing, write_group
from data_prep.worker_check import describe_problem, describe_software

logger = logging.getLogger(__name__)


class Supply:
    """Where the files of sessions come from: these are there already, and stay."""

    def check_room(self, tasks: Sequence[SessionTask]) -> None:
        """Raise ValueError where the disk is too small for what the sessions lack."""

    def fetch(self, tasks: Sequence[SessionTask]) -> tuple[Sequence[SessionTask], int]:
        """Bring what the sessions of one dataset need.

        Returns:
            Those that can be worked on, and how many images of the others were left out.
        """
        return tasks, 0

    def release(self, tasks: Sequence[SessionTask]) -> None:
        """Called once the sessions of a dataset were worked on."""


@dataclass(frozen=True)
class BuildOptions:
    """How a dataset is built.

    Attributes:
        bundle: whose preprocessing is used.
        workers: who does the work.
        shard: part of the sessions that this job of an array prepares; None prepares all and
            writes the tables.
        write_volumes: whether volumes, masks and transforms are written too.
        groups: table of subjects that must stay together, or None.
        split_by_site: whether whole sites are dealt out.
    """

    bundle: Path
    workers: Workers
    shard: JobShard | None = None
    write_volumes: bool = False
    groups: Path | None = None
    split_by_site: bool = False


@dataclass(frozen=True)
class Outcome:
    """What a run came to: images that were left out, and whether the tables were written."""

    left_out: int
    has_tables: bool


def build_dataset(
    output_dir: Path,
    plan: Callable[[], Sequence[PlannedDataset]],
    options: BuildOptions,
    *,
    supply: Supply | None = None,
) -> Outcome:
    """Build or extend a slice dataset; run again, it goes on where it was stopped.

    Args:
        output_dir: folder of the slice dataset, new or made by an earlier run.
        plan: indexes the inputs, once the folder is locked.
        options: how to build.
        supply: brings the files of the sessions that need work, one dataset after the other;
            None where all are there.

    Raises:
        FileNotFoundError, ValueError: an input that cannot be used at all, or an output folder
            that holds something else.
    """
    section = load_stages(options.bundle).section
    claim_output(output_dir, section)
    with lock_output(output_dir, options.shard):
        if options.shard is None:
            remove_unfinished(output_dir)
        datasets = plan()
        groups = read_groups(options.groups) if options.groups else {}
        save_sources(output_dir, datasets, groups, split_by_site=options.split_by_site)
        tasks = [task for each in datasets for task in make_tasks(output_dir, each, options)]
        tasks, left_out = select_shard(tasks, options.shard), 0
        (supply or Supply()).check_room(tasks)
        for batch in select_batches(tasks, supply):
            left_out += prepare_batch(output_dir.resolve(), batch, options, supply or Supply())
        if options.shard is not None:
            return Outcome(left_out, has_tables=False)
        remove_unfinished(output_dir)  # of workers that died
        return Outcome(write_group(output_dir, section), has_tables=True)


def build_group(output_dir: Path, bundle: Path, *, partial_dataset: bool) -> Outcome:
    """Write the tables from what the jobs of an array prepared.

    Raises:
        ValueError: there is nothing, or sessions are missing and may not be.
    """
    section = load_stages(bundle).section
    if not output_dir.is_dir():
        raise ValueError(f"{output_dir}: no such folder. Run the jobs of the array first.")
    check_output(output_dir, section)
    with lock_output(output_dir):
        remove_unfinished(output_dir)
        missing = list_missing(output_dir)
        if missing and not partial_dataset:
            raise ValueError(
                f"{output_dir}: {len(missing)} sessions are not prepared yet, {missing[0]} among "
                "them. Run their jobs (again), or build without them by --partial true."
            )
        return Outcome(write_group(output_dir, section), has_tables=True)


def select_batches(
    tasks: Sequence[SessionTask], supply: Supply | None
) -> Iterator[list[SessionTask]]:
    """The sessions of one dataset after the other where they must be fetched, else all at once."""
    if supply is None:
        yield list(tasks)
        return
    for _, batch in groupby(tasks, key=lambda task: task.session.dataset):
        yield list(batch)


def prepare_batch(
    folder: Path, tasks: Sequence[SessionTask], options: BuildOptions, supply: Supply
) -> int:
    """Fetch, prepare and release some sessions; returns how many images were left out."""
    ready, left_out = supply.fetch(tasks)
    left_out += prepare_all(folder, ready, options)
    supply.release(ready)
    return left_out


def make_tasks(
    output_dir: Path, dataset: PlannedDataset, options: BuildOptions
) -> Iterator[SessionTask]:
    """One task a session, in the order of the index."""
    masks = dataset.masks if uses_masks(options.bundle, dataset.brain_extraction) else ()
    for session in dataset.sessions:
        mask = find_shipped_mask(masks, session)
        yield SessionTask(
            session,
            output_dir.resolve(),
            options.bundle.resolve(),
            dataset.brain_extraction,
            find_truth(dataset.folder, session),
            shipped_mask=dataset.folder / mask if mask else None,
            write_volumes=options.write_volumes,
        )


def prepare_all(folder: Path, tasks: Sequence[SessionTask], options: BuildOptions) -> int:
    """Prepare every session of a slice dataset; returns how many images were left out."""
    bundle = options.bundle.resolve()
    methods = {task.brain_extraction for task in tasks} - {SHIPPED}
    software = describe_software(bundle, methods)
    results = run_for_each(
        prepare_session,
        tasks,
        workers=options.workers,
        name=lambda task: f"{task.session.dataset}/{name_session(task.session)}",
        on_death=leave_out,
        check=partial(describe_problem, bundle, list_folders(folder, tasks), methods, software),
    )
    left_out = 0
    for exclusions in tqdm(results, total=len(tasks), unit="session", desc="sessions"):
        for exclusion in exclusions:
            logger.warning("%s", format_exclusion(exclusion))
            left_out += 1
    return left_out


def list_folders(folder: Path, tasks: Sequence[SessionTask]) -> list[Path]:
    """The slice dataset's, and for each input the innermost one that holds all its scans."""
    holding: dict[str, list[Path]] = defaultdict(list)
    for task in tasks:  # folders of scans that were used may have been removed
        parents = [path.parent for path in list_images(task.session) if path.is_file()]
        holding[task.session.dataset] += parents
    return [folder, *(Path(os.path.commonpath(paths)) for paths in holding.values() if paths)]


def format_exclusion(exclusion: Exclusion) -> str:
    """One line for people."""
    place = " ".join(filter(None, (exclusion.subject_id, exclusion.session, exclusion.file)))
    return f"left out {place}: {exclusion.reason}"


def find_truth(folder: Path, session: ScanSession) -> Path | None:
    """Tissue classes on the T1w's grid that a dataset ships as ``derivatives/truth``."""
    parts = [session.subject, *([session.session] if session.session else [])]
    name = f"{'_'.join(parts)}_space-T1w_dseg.nii.gz"
    path = folder.joinpath("derivatives", "truth", *parts, "anat", name)
    return path if path.is_file() else None

"""Builds a slice dataset from OpenNeuro: plan from the listings, fetch, prepare, clean up."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import groupby
from pathlib import Path

from data_prep.bids import Exclusion
from data_prep.build import BuildOptions, Outcome, Supply, build_dataset
from data_prep.download import download_dataset, estimate
from data_prep.download_rounds import Patience
from data_prep.download_state import load_state
from data_prep.openneuro_answers import UnreachableError
from data_prep.openneuro_inputs import OpenNeuroInputs, plan_openneuro
from data_prep.session_records import SessionTask, compute_key, is_done, leave_out, list_images
from data_prep.shipped_masks import describe_method
from data_prep.sources import Source
from data_prep.stages import load_stages
from data_prep.store import RAW

logger = logging.getLogger(__name__)

# Jobs of an array fetch one after the other.
SHARED_PATIENCE = Patience(lock_wait_s=24 * 3600.0)
NOT_FETCHED = "another scan of this session could not be fetched"


UNANNOUNCED = (
    "OpenNeuro announces no checksum for it, so it could not be verified; "
    "--accept_unverified true takes it by its size"
)


@dataclass(frozen=True)
class FetchRules:
    """How scans are fetched.

    Attributes:
        clean: whether the scans of a dataset are removed once its sessions are done.
        accept_unverified: whether a scan without an announced checksum is taken by its size.
        patience: how long to try.
    """

    clean: bool = False
    accept_unverified: bool = False
    patience: Patience = SHARED_PATIENCE


def build_from_openneuro(
    output_dir: Path, inputs: OpenNeuroInputs, options: BuildOptions, rules: FetchRules
) -> Outcome:
    """Build or extend a slice dataset from OpenNeuro; see ``build_dataset``.

    Args:
        output_dir: of the slice dataset; scans go to ``raw`` in it.
        inputs: datasets and subjects.
        options: how to build.
        rules: how to fetch, and what becomes of scans.
    """
    output_dir = output_dir.resolve()
    plan = partial(plan_openneuro, output_dir, inputs, options.bundle, patience=rules.patience)
    supply = OpenNeuroSupply(output_dir, {s.accession: s for s in inputs.sources}, rules)
    return build_dataset(output_dir, plan, options, supply=supply)


@dataclass(frozen=True)
class OpenNeuroSupply(Supply):
    """Fetches the scans of sessions, and removes them afterwards where that was asked for."""

    output_dir: Path
    sources: Mapping[str, Source]
    rules: FetchRules

    def check_room(self, tasks: Sequence[SessionTask]) -> None:
        """Raise ValueError where the disk is too small; with ``clean`` datasets follow another."""
        missing = [
            self.count_missing_bytes(list(batch))
            for _, batch in groupby(tasks, key=lambda task: task.session.dataset)
        ]
        needed = max([0, *missing]) if self.rules.clean else sum(missing)
        free = shutil.disk_usage(self.output_dir).free
        if needed > free:
            raise ValueError(
                f"{needed / 1e9:.2f} GB are to be fetched into {self.output_dir}, where "
                f"{free / 1e9:.2f} GB are free. Make room, choose another folder or fewer "
                "datasets, or take --clean true, which removes the scans of each dataset once it "
                "is done."
            )

    def count_missing_bytes(self, tasks: Sequence[SessionTask]) -> int:
        """Bytes to fetch for the unfinished sessions of one dataset."""
        waiting = [task for task in self.add_checksums(tasks) if not is_finished(task)]
        root = self.find_root(tasks[0])
        wanted = [str(path.relative_to(root)) for task in waiting for path in list_files(task)]
        source = self.sources[tasks[0].session.dataset]
        return estimate(source, self.output_dir, lambda paths: wanted)

    def fetch(self, tasks: Sequence[SessionTask]) -> tuple[list[SessionTask], int]:
        """Fetch what the unfinished sessions of one dataset need; leave out what cannot be had."""
        vouched = self.add_checksums(tasks)
        waiting = [task for task in vouched if not is_finished(task)]
        if not waiting:
            return vouched, 0
        root = self.find_root(waiting[0])
        wanted = [str(path.relative_to(root)) for task in waiting for path in list_files(task)]
        source = self.sources[tasks[0].session.dataset]
        try:
            found = download_dataset(
                source, self.output_dir, lambda paths: wanted, patience=self.rules.patience
            )
        except (UnreachableError, ValueError) as error:  # the other datasets may fare better
            logger.warning("%s", error)
            left_out = sum(len(leave_out(task, f"not fetched: {error}")) for task in waiting)
            return [task for task in vouched if task not in waiting], left_out
        failed = {**dict.fromkeys(self.list_unannounced(root), UNANNOUNCED), **found.failed}
        reasons = {root / path: reason for path, reason in failed.items()}
        lost = [task for task in waiting if any(path in reasons for path in list_files(task))]
        left_out = sum(len(leave_out_lost(task, reasons)) for task in lost)
        return self.add_checksums([task for task in vouched if task not in lost]), left_out

    def release(self, tasks: Sequence[SessionTask]) -> None:
        """Remove the scans of finished sessions: only files that were fetched and verified."""
        for task in tasks if self.rules.clean else ():
            if is_finished(task):
                for path in task.checksums:
                    path.unlink(missing_ok=True)

    def list_unannounced(self, root: Path) -> list[str]:
        """Files of which only the size could be compared, where that is not enough."""
        state = load_state(self.output_dir, root.parent.name, root.name)
        if state is None or self.rules.accept_unverified:
            return []
        return [path for path, known in state.verified.items() if not known.announced]

    def find_root(self, task: SessionTask) -> Path:
        """Folder of the version that a session belongs to."""
        dataset = self.output_dir / RAW / task.session.dataset
        version = next(list_files(task)).relative_to(dataset).parts[0]
        return dataset / version

    def add_checksums(self, tasks: Sequence[SessionTask]) -> list[SessionTask]:
        """The same sessions with the sha256 of what was verified of them."""
        if not tasks:
            return []
        root = self.find_root(tasks[0])
        state = load_state(self.output_dir, root.parent.name, root.name)
        known = {root / path: each.sha256 for path, each in state.verified.items()} if state else {}
        return [
            replace(task, checksums={p: known[p] for p in list_files(task) if p in known})
            for task in tasks
        ]


def list_files(task: SessionTask) -> Iterator[Path]:
    """The scans of a session, and its mask where the dataset ships one."""
    yield from list_images(task.session)
    if task.shipped_mask is not None:
        yield task.shipped_mask


def is_finished(task: SessionTask) -> bool:
    """Whether a session was done before with the scans that it has now, or had."""
    try:
        stages = load_stages(task.bundle)
        key, _ = compute_key(task, stages=stages, method=describe_method(task), reread=False)
    except (OSError, ValueError):
        return False
    return is_done(task, key)


def leave_out_lost(task: SessionTask, reasons: Mapping[Path, str]) -> list[Exclusion]:
    """Record a session of which a scan could not be fetched; a later run tries again."""
    own = {
        path.name: f"not fetched: {reasons[path]}" for path in list_files(task) if path in reasons
    }
    return leave_out(task, NOT_FETCHED, own)

"""What a build from OpenNeuro would fetch, and how long it would take; nothing is fetched."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from data_prep.build import BuildOptions, make_tasks
from data_prep.download import plan_download
from data_prep.job_array import select_shard
from data_prep.openneuro_build import FetchRules, OpenNeuroSupply, is_finished, list_files
from data_prep.openneuro_inputs import OpenNeuroInputs, plan_openneuro
from data_prep.source_records import PlannedDataset

# What a home or a university gets of OpenNeuro's store in practice differs by ten times.
MEGABYTES_PER_SECOND = 10.0
# T1w and T2w of 1 mm and 0.7 mm, deepbet, one thread of a worker; see tests/benchmarks.
SECONDS_PER_SESSION = 60.0
# Slices, masks and side-cars of a session, against its scans of about 30 MB each.
SLICE_MEGABYTES_PER_SESSION = 20.0


@dataclass(frozen=True)
class Estimate:
    """What one dataset would take.

    Attributes:
        dataset: name and version.
        subjects: of these sessions.
        sessions: that are not done yet.
        pairs: sessions with T1w and T2w.
        missing_files: to fetch.
        missing_gb: to fetch, in 10^9 bytes.
    """

    dataset: str
    subjects: int
    sessions: int
    pairs: int
    missing_files: int
    missing_gb: float


def estimate_build(
    output_dir: Path, inputs: OpenNeuroInputs, options: BuildOptions
) -> list[Estimate]:
    """Say for each dataset what is still to be done; errors are those of ``plan_openneuro``."""
    sources = {source.accession: source for source in inputs.sources}
    supply = OpenNeuroSupply(output_dir, sources, FetchRules())
    planned = plan_openneuro(output_dir, inputs, options.bundle, patience=None)
    return [estimate_dataset(dataset, supply, options) for dataset in planned]


def estimate_dataset(
    dataset: PlannedDataset, supply: OpenNeuroSupply, options: BuildOptions
) -> Estimate:
    """Count the sessions of one dataset that are not done, and what is missing of their files."""
    tasks = select_shard(list(make_tasks(supply.output_dir, dataset, options)), options.shard)
    waiting = [task for task in supply.add_checksums(tasks) if not is_finished(task)]
    wanted = [
        str(path.relative_to(dataset.folder)) for task in waiting for path in list_files(task)
    ]
    plan = plan_download(supply.sources[dataset.name], supply.output_dir, lambda paths: wanted)
    sessions = [task.session for task in waiting]
    return Estimate(
        dataset=f"{dataset.name} {dataset.folder.name}",
        subjects=len({session.subject for session in sessions}),
        sessions=len(sessions),
        pairs=sum(bool(session.t1w and session.t2w) for session in sessions),
        missing_files=len(plan.missing),
        missing_gb=plan.missing_bytes / 1e9,
    )


def format_estimates(estimates: Sequence[Estimate], workers: int) -> str:
    """A table, and what all of it takes."""
    header = ("dataset", "subjects", "sessions", "pairs", "files to fetch", "GB to fetch")
    rows = [
        (
            each.dataset,
            each.subjects,
            each.sessions,
            each.pairs,
            each.missing_files,
            each.missing_gb,
        )
        for each in estimates
    ]
    lines = [f"{name:<22}" + "".join(map(format_cell, values)) for name, *values in (header, *rows)]
    gigabytes = sum(each.missing_gb for each in estimates)
    sessions = sum(each.sessions for each in estimates)
    fetching_h = gigabytes * 1000 / MEGABYTES_PER_SECOND / 3600
    preparing_h = sessions * SECONDS_PER_SESSION / workers / 3600
    disk_gb = gigabytes + sessions * SLICE_MEGABYTES_PER_SESSION / 1000
    return "\n".join(
        [
            *lines,
            f"Fetching {gigabytes:.1f} GB: {fetching_h:.1f} h at {MEGABYTES_PER_SECOND:.0f} MB/s. "
            f"Preparing {sessions} sessions: {preparing_h:.1f} h with {workers} workers of this "
            f"machine and deepbet. Disk: {disk_gb:.1f} GB.",
        ]
    )


def format_cell(value: object) -> str:
    """A heading, a number of files, or gigabytes."""
    return f"{value:>16.2f}" if isinstance(value, float) else f"{value:>16}"

"""Datasets of OpenNeuro as inputs of a slice dataset: which subjects, which files."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from data_prep.bids import index_listing
from data_prep.dataset_description import read_dataset_description
from data_prep.dataset_options import DatasetOptions
from data_prep.download import Plan, download_dataset, plan_download
from data_prep.download_rounds import Patience
from data_prep.shipped_masks import list_mask_paths
from data_prep.source_records import PlannedDataset, read_sources
from data_prep.sources import Source, with_version


@dataclass(frozen=True)
class OpenNeuroInputs:
    """What is built from what.

    Attributes:
        sources: datasets and their versions.
        options: of single datasets.
        subjects: labels, with or without ``sub-``, for every dataset that has them, or whole ids
            as ``ds002330_sub-01``; empty for all.
        max_subjects: of each dataset, the first ones; None for all.
    """

    sources: Sequence[Source]
    options: DatasetOptions
    subjects: Sequence[str] = field(default=())
    max_subjects: int | None = None


def plan_openneuro(
    output_dir: Path, inputs: OpenNeuroInputs, bundle: Path, *, patience: Patience | None
) -> list[PlannedDataset]:
    """Index the listings of all datasets.

    Args:
        output_dir: of the slice dataset.
        inputs: what is wanted.
        bundle: whose brain extraction is used.
        patience: with which to fetch the small files in which a dataset describes itself; None
            fetches nothing but the listings.

    Raises:
        ValueError: no such dataset, version or subject; OpenNeuro does not answer.
    """
    names = [source.accession for source in inputs.sources]
    inputs.options.check(names, bundle)
    known = read_sources(output_dir)
    sources = [settle_version(source, known) for source in inputs.sources]
    plans = [plan_download(source, output_dir, select_nothing) for source in sources]
    chosen = {plan.source.accession: choose_subjects(plan, inputs) for plan in plans}
    check_subjects(inputs, plans)
    return [
        plan_listing(output_dir, plan, chosen[plan.source.accession], inputs, patience=patience)
        for plan in plans
        if chosen[plan.source.accession]
    ]


def settle_version(source: Source, known: Mapping[str, Mapping[str, Any]]) -> Source:
    """Where no version was asked for, that of an earlier run; else the newest will be taken."""
    if source.version is not None or source.accession not in known:
        return source
    return with_version(source, known[source.accession]["description"]["version"])


def select_nothing(paths: tuple[str, ...]) -> Iterable[str]:
    """Only what describes a dataset."""
    return ()


def list_subjects(paths: Iterable[str]) -> set[str]:
    """Names of the subject folders of a listing."""
    return {path.split("/")[0] for path in paths if path.startswith("sub-") and "/" in path}


def choose_subjects(plan: Plan, inputs: OpenNeuroInputs) -> list[str]:
    """The subjects of a dataset that are wanted and have images, in natural order."""
    name = plan.source.accession
    present = list_subjects(plan.paths)
    wanted = present
    if inputs.subjects:
        wanted = present & {read_label(label, name) for label in inputs.subjects}
    if not wanted:
        return []
    sessions, _ = index_listing(
        plan.paths, plan.root, dataset=name, participant_label=sorted(wanted)
    )
    having = list(dict.fromkeys(session.subject for session in sessions))
    # Without a limit the others stay too, to be listed with the reason why they are of no use.
    return sorted(wanted) if inputs.max_subjects is None else having[: inputs.max_subjects]


def read_label(label: str, dataset: str) -> str:
    """The subject that a label means in a dataset: 01, sub-01 and ds002330_sub-01 are sub-01."""
    return f"sub-{label.removeprefix(f'{dataset}_').removeprefix('sub-')}"


def check_subjects(inputs: OpenNeuroInputs, plans: Sequence[Plan]) -> None:
    """Raise ValueError for a label that no dataset has."""
    for label in inputs.subjects:
        names = [plan.source.accession for plan in plans]
        if not any(read_label(label, p.source.accession) in list_subjects(p.paths) for p in plans):
            raise ValueError(
                f"--subjects names {label}, which is in none of {', '.join(names)}. Expected "
                "labels as 01 or sub-01, or ids as ds002330_sub-01."
            )


def plan_listing(
    output_dir: Path,
    plan: Plan,
    subjects: Sequence[str],
    inputs: OpenNeuroInputs,
    *,
    patience: Patience | None,
) -> PlannedDataset:
    """Index the listing of one dataset."""
    source, options = plan.source, inputs.options
    sessions, passed_over = index_listing(
        plan.paths, plan.root, dataset=source.accession, participant_label=subjects
    )
    if patience is not None:
        download_dataset(source, output_dir, select_nothing, patience=patience)
    return PlannedDataset(
        name=source.accession,
        folder=plan.root,
        sessions=sessions,
        passed_over=passed_over,
        description=describe_source(source, plan.root),
        brain_extraction=options.brain_extraction.get(source.accession),
        hold_out=source.accession in options.hold_out,
        site=options.sites.get(source.accession, source.site or source.accession),
        masks=list_mask_paths(plan.paths),
        has_fixed_version=True,
    )


def describe_source(source: Source, root: Path) -> dict[str, str]:
    """What the dataset says of itself; version and DOI are those that were asked for."""
    described = read_dataset_description(root)
    own = {"version": source.version or "", "doi": source.doi, "citation": source.citation}
    licence = described["license"] or source.licence
    return {**described, **own, "license": licence}

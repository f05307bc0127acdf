"""What a slice dataset keeps of each input: description, groups, planned sessions, hold-out."""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from data_prep.bids import Exclusion, ScanSession
from data_prep.session_records import name_session
from data_prep.splits import SITE_PREFIX, assign_splits, read_splits
from data_prep.store import SOURCES, read_json, write_json

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class PlannedDataset:
    """An input dataset, indexed.

    Attributes:
        name: of the dataset.
        folder: that its files lie in, or will.
        sessions: with at least one image each.
        passed_over: images that were not chosen, and why.
        description: name, version, DOI and licence; "" where unknown.
        brain_extraction: method; None takes the bundle's.
        hold_out: kept for an external test.
        site: where it was acquired; its name where that is not known.
        masks: paths of the brain masks that it ships, relative to its folder.
        has_fixed_version: whether its version stands for its content.
    """

    name: str
    folder: Path
    sessions: Sequence[ScanSession]
    passed_over: Sequence[Exclusion]
    description: Mapping[str, str]
    brain_extraction: str | None
    hold_out: bool
    site: str
    masks: Sequence[str] = ()
    has_fixed_version: bool = False


def save_sources(
    output_dir: Path,
    datasets: Sequence[PlannedDataset],
    groups: Mapping[tuple[str, str], str],
    *,
    split_by_site: bool,
) -> None:
    """Keep what is known of the inputs; what an earlier run knew of other subjects stays.

    Nothing is written unless all of it agrees with what is there.

    Raises:
        ValueError: a name means another dataset or version than before, the groups name an unknown
            dataset or would be torn apart, or a subject would change its group or part.
    """
    known = read_sources(output_dir)
    _check_groups(groups, {*known, *(dataset.name for dataset in datasets)})
    _warn_of_strangers(groups, datasets)
    new = {
        dataset.name: _describe(dataset, known.get(dataset.name, {}), groups, split_by_site)
        for dataset in datasets
    }
    merged = {**known, **new}
    _check_together(groups, read_groups_of_sources(merged))
    pairs = [(name, group) for name in merged for group in set(merged[name]["groups"].values())]
    stored = read_splits(output_dir / "splits.tsv")
    assign_splits(pairs, hold_out=list_held_out(merged), existing=stored)
    for name, source in new.items():
        write_json(output_dir / SOURCES / f"{name}.json", source)


def _describe(
    dataset: PlannedDataset,
    known: Mapping[str, Any],
    groups: Mapping[tuple[str, str], str],
    split_by_site: bool,
) -> dict[str, Any]:
    """What is kept of one input."""
    _check_same(dataset, known.get("description", dataset.description))
    own = {
        session.subject_id: _find_group(dataset, session, groups, split_by_site)
        for session in dataset.sessions
    }
    _check_unchanged(known.get("groups", {}), own)
    planned = {name_session(session) for session in dataset.sessions}
    looked_at = {*own, *(exclusion.subject_id for exclusion in dataset.passed_over)}
    others = [row for row in known.get("index", ()) if row["subject_id"] not in looked_at]
    return {
        "description": dict(dataset.description),
        "groups": {**known.get("groups", {}), **own},
        "hold_out": dataset.hold_out or known.get("hold_out", False),
        "index": [*others, *(asdict(exclusion) for exclusion in dataset.passed_over)],
        "sessions": sorted(planned.union(known.get("sessions", ()))),
    }


def _warn_of_strangers(
    groups: Mapping[tuple[str, str], str], datasets: Sequence[PlannedDataset]
) -> None:
    """A misspelt subject would be dealt out alone; one that was not selected is no matter."""
    own = {(each.name, session.subject) for each in datasets for session in each.sessions}
    names = {each.name for each in datasets}
    if strangers := sorted(key for key in groups if key[0] in names and key not in own):
        dataset, subject = strangers[0]
        logger.warning(
            "the table of groups names %d subjects of which this run has no scan, %s %s first",
            *(len(strangers), dataset, subject),
        )


def _check_groups(groups: Mapping[tuple[str, str], str], names: Collection[str]) -> None:
    if unknown := sorted({name for name, _ in groups}.difference(names)):
        raise ValueError(
            f"the table of groups names the dataset {unknown[0]}, which is no input. Expected one "
            f"of {', '.join(sorted(names))}: mend its name, leave its rows out until it is built, "
            "or give it to --inputs too."
        )


def _check_same(dataset: PlannedDataset, known: Mapping[str, str]) -> None:
    """ValueError where a name stands for other scans than before."""
    compared = ("name", "version") if dataset.has_fixed_version else ("name",)
    for field in compared:
        before, now = known[field], dataset.description[field]
        if before != now:
            raise ValueError(
                f"{dataset.name}: its {field} was {before!r} in an earlier run and is {now!r} now. "
                "Give it another name (--inputs NAME=FOLDER), keep to one version "
                "(--datasets ds000001@1.0.0), or build into a new folder."
            )


def _check_unchanged(known: Mapping[str, str], own: Mapping[str, str]) -> None:
    for subject_id, group in own.items():
        if known.get(subject_id, group) != group:
            raise ValueError(
                f"{subject_id}: belongs to group {known[subject_id]} since an earlier run, and "
                f"would belong to {group} now. Splits never change: keep --groups and --split_by, "
                "or build into a new folder."
            )


def _check_together(groups: Mapping[tuple[str, str], str], kept: Mapping[str, str]) -> None:
    """ValueError where subjects of one group of the table would be dealt out apart, as by site."""
    first: dict[str, str] = {}
    for (dataset, subject), group in groups.items():
        subject_id = f"{dataset}_{subject}"
        if subject_id not in kept:
            continue
        other = first.setdefault(group, subject_id)
        if kept[subject_id] != kept[other]:
            raise ValueError(
                f"the table of groups has {other} and {subject_id} in one group, {group}, but "
                f"they would be dealt out apart, as {kept[other]} and {kept[subject_id]}. Leave "
                "out --split_by site, give both inputs one site (--sites), or, if the group was "
                "not known when they were built, build into a new folder."
            )


def _find_group(
    dataset: PlannedDataset,
    session: ScanSession,
    groups: Mapping[tuple[str, str], str],
    split_by_site: bool,
) -> str:
    if split_by_site:
        return f"{SITE_PREFIX}{dataset.site}"
    return groups.get((dataset.name, session.subject), session.subject_id)


def read_sources(output_dir: Path) -> dict[str, dict[str, Any]]:
    """What is known of each input dataset, by its name."""
    return {path.stem: read_json(path) for path in sorted((output_dir / SOURCES).glob("*.json"))}


def read_groups_of_sources(sources: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    """Group of each subject_id; the subject itself where no other was given."""
    return {
        subject_id: group
        for source in sources.values()
        for subject_id, group in source["groups"].items()
    }


def list_held_out(sources: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Datasets that are kept for an external test."""
    return [name for name, source in sources.items() if source.get("hold_out", False)]

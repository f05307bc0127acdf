"""What a slice dataset keeps of each input: description, groups, planned sessions, hold-out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from data_prep.bids import Exclusion, ScanSession
from data_prep.session_records import name_session
from data_prep.splits import SITE_PREFIX
from data_prep.store import SOURCES, read_json, write_json


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


def save_source(
    output_dir: Path,
    dataset: PlannedDataset,
    groups: Mapping[tuple[str, str], str],
    *,
    split_by_site: bool,
) -> None:
    """Keep what is known of an input; what an earlier run knew of other subjects stays.

    Raises:
        ValueError: a subject would change its group, and with it maybe its part.
    """
    path = output_dir / SOURCES / f"{dataset.name}.json"
    known: dict[str, Any] = read_json(path) if path.is_file() else {}
    own = {
        session.subject_id: _find_group(dataset, session, groups, split_by_site)
        for session in dataset.sessions
    }
    _check_unchanged(known.get("groups", {}), own)
    planned = {name_session(session) for session in dataset.sessions}
    source = {
        "description": dict(dataset.description),
        "groups": {**known.get("groups", {}), **own},
        "hold_out": dataset.hold_out or known.get("hold_out", False),
        "index": [asdict(exclusion) for exclusion in dataset.passed_over],
        "sessions": sorted(planned.union(known.get("sessions", ()))),
    }
    write_json(path, source)


def _check_unchanged(known: Mapping[str, str], own: Mapping[str, str]) -> None:
    for subject_id, group in own.items():
        if known.get(subject_id, group) != group:
            raise ValueError(
                f"{subject_id}: belongs to group {known[subject_id]} since an earlier run, and "
                f"would belong to {group} now. Splits never change: keep --groups and --split_by, "
                "or build into a new folder."
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

"""BIDS folders as inputs of a slice dataset."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from data_prep.bids import index_dataset, list_subjects
from data_prep.build import BuildOptions, Outcome, build_dataset
from data_prep.dataset_description import read_dataset_description
from data_prep.dataset_options import DatasetOptions
from data_prep.shipped_masks import list_shipped_masks
from data_prep.source_records import PlannedDataset


@dataclass(frozen=True)
class BidsInputs:
    """What is built from what.

    Attributes:
        folders: of the BIDS datasets, by dataset name.
        options: of single datasets.
        participant_label: subjects to take, each in the folders that have it, or None for all.
    """

    folders: Mapping[str, Path]
    options: DatasetOptions
    participant_label: Sequence[str] | None = None


def build_from_bids(output_dir: Path, inputs: BidsInputs, options: BuildOptions) -> Outcome:
    """Build or extend a slice dataset from BIDS folders; see ``build_dataset``."""
    return build_dataset(output_dir, partial(plan_bids, inputs, options.bundle), options)


def plan_bids(inputs: BidsInputs, bundle: Path) -> list[PlannedDataset]:
    """Index the folders.

    Raises:
        FileNotFoundError, ValueError: a folder that cannot be used, or an option that names none.
    """
    inputs.options.check(inputs.folders.keys(), bundle)
    folders = {name: folder.resolve() for name, folder in inputs.folders.items()}
    chosen = choose_participants(folders, inputs.participant_label)
    return [plan_folder(name, folder, chosen[name], inputs) for name, folder in folders.items()]


def choose_participants(
    folders: Mapping[str, Path], participant_label: Sequence[str] | None
) -> dict[str, list[str] | None]:
    """Those of the subjects asked for that each folder has; None for all.

    Raises:
        ValueError: no folder has one of them, or a folder has none.
    """
    if participant_label is None:
        return dict.fromkeys(folders)
    wanted = [f"sub-{label.removeprefix('sub-')}" for label in participant_label]
    present = {name: list_subjects(folder) for name, folder in folders.items()}
    if missing := sorted(set(wanted).difference(*present.values())):
        found = "; ".join(f"{name}: {', '.join(subjects)}" for name, subjects in present.items())
        raise ValueError(f"no participant {', '.join(missing)} in any input. Found in {found}.")
    chosen: dict[str, list[str] | None] = {
        name: [label for label in wanted if label in subjects] for name, subjects in present.items()
    }
    if without := [name for name, labels in chosen.items() if not labels]:
        raise ValueError(
            f"{without[0]} has none of the participants {', '.join(wanted)}. Leave it out of "
            "--inputs, or name some of its own too."
        )
    return chosen


def plan_folder(
    name: str, folder: Path, participant_label: Sequence[str] | None, inputs: BidsInputs
) -> PlannedDataset:
    """Index one folder."""
    sessions, passed_over = index_dataset(folder, participant_label=participant_label, dataset=name)
    options = inputs.options
    return PlannedDataset(
        name=name,
        folder=folder,
        sessions=sessions,
        passed_over=passed_over,
        description=read_dataset_description(folder),
        brain_extraction=options.brain_extraction.get(name),
        hold_out=name in options.hold_out,
        site=options.sites.get(name, name),
        masks=list_shipped_masks(folder),
    )

"""Which slices a training draws from: of which subjects, in which contrast, and which pairs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from scripts.sampling import assign_sides
from scripts.slice_tables import (
    SliceImage,
    SlicePair,
    list_images,
    load_training_pairs,
    read_slices,
)


@dataclass(frozen=True)
class TrainingSlices:
    """The slices that are drawn for each contrast.

    Attributes:
        t1w: every T1w slice to draw from.
        t2w: every T2w slice to draw from; where paired, number i belongs to T1w number i.
        paired: whether both contrasts are drawn at the same position.
        pairs: registered pairs that are drawn beside them.
    """

    t1w: list[SliceImage]
    t2w: list[SliceImage]
    paired: bool
    pairs: list[SlicePair] = field(default_factory=list)

    def by_name(self) -> dict[str, list[SliceImage]]:
        """Every list of images to draw from, by the name of the image in a sample."""
        images = {"t1w": self.t1w, "t2w": self.t2w}
        if self.pairs:
            images["pair_t1w"] = [pair.t1w for pair in self.pairs]
            images["pair_t2w"] = [pair.t2w for pair in self.pairs]
        return images

    def __len__(self) -> int:
        return max(len(self.t1w), len(self.t2w))


def load_training_slices(
    dataset_dir: str,
    *,
    sampling: str,
    pair_subjects: int,
    pair_datasets: str | Sequence[str] | None,
    seed: int,
    slices: int,
    slice_distance_mm: float,
) -> TrainingSlices:
    """List the slices of the training split that a training draws from.

    Args:
        dataset_dir: slice dataset.
        sampling: "disjoint", T1w and T2w from two halves of the subjects; "shuffled", each from
            all of them; "paired", the same slice in both contrasts.
        pair_subjects: subjects whose registered pairs are drawn too, beside an unpaired sampling;
            0 for none.
        pair_datasets: names of those whose pairs may be drawn, also by sampling "paired"; None for
            all.
        seed: decides the halves.
        slices: see `list_images`.
        slice_distance_mm: see `list_images`.
    """
    if sampling not in ("disjoint", "shuffled", "paired"):
        raise ValueError(f"sampling is {sampling!r}; expected 'disjoint', 'shuffled' or 'paired'.")
    names = list_names(pair_datasets)
    _check_pair_options(sampling, pair_subjects, names)
    channels: dict[str, Any] = {"slices": slices, "slice_distance_mm": slice_distance_mm}
    of_pairs = {**channels, "datasets": names}
    if sampling == "paired":
        pairs = _load_pairs(dataset_dir, None, **of_pairs)
        return TrainingSlices([pair.t1w for pair in pairs], [pair.t2w for pair in pairs], True)
    pairs = _load_pairs(dataset_dir, pair_subjects, **of_pairs) if pair_subjects else []
    table = read_slices(dataset_dir, split="train")
    table = table[table["space"] == "native"]
    images = dict(
        zip(table.index, list_images(table, dataset_dir=dataset_dir, **channels), strict=True)
    )
    parts = {name: table[table["train"] & (table["contrast"] == name)] for name in ("T1w", "T2w")}
    _check_counts(dataset_dir, parts)
    if sampling == "disjoint":
        parts = _keep_sides(dataset_dir, parts, seed)
    t1w, t2w = ([images[index] for index in part.index] for part in parts.values())
    return TrainingSlices(t1w, t2w, False, pairs)


def list_names(names: str | Sequence[str] | None) -> list[str] | None:
    """Read names as the command line or JSON give them: one, several, or None for all."""
    if names is None:
        return None
    return [names] if isinstance(names, str) else list(names)


def _check_pair_options(sampling: str, pair_subjects: int, names: list[str] | None) -> None:
    if sampling == "paired" and pair_subjects:
        raise ValueError(
            f"sampling is 'paired', which draws the pairs of all subjects, and pair_subjects is "
            f"{pair_subjects}. Expected --pair_subjects 0, or --sampling disjoint or --sampling "
            "shuffled, beside which the pairs of so many subjects are drawn."
        )
    if names is not None and sampling != "paired" and not pair_subjects:
        raise ValueError(
            f"pair_datasets is {names}, but no pairs are drawn: sampling is {sampling!r} and "
            "pair_subjects 0. Expected --sampling paired, or the pairs of some subjects: "
            "--pair_subjects 3; or leave out --pair_datasets."
        )


def _check_names(dataset_dir: str, names: list[str] | None) -> None:
    table = read_slices(dataset_dir, split="train")
    found = sorted(table.loc[table["space"] == "T1w", "dataset"].unique())
    if names is not None and found and not set(names) <= set(found):
        raise ValueError(
            f"{dataset_dir}: pair_datasets is {names}, of which {sorted(set(names) - set(found))} "
            f"have no registered pairs in the training split. Expected names among {found}."
        )


def _load_pairs(dataset_dir: str, subjects: int | None, **options: Any) -> list[SlicePair]:
    _check_names(dataset_dir, options["datasets"])
    pairs = load_training_pairs(dataset_dir, max_subjects=subjects, **options)
    found = len({pair.t1w.subject_id for pair in pairs})
    if not found:
        raise ValueError(
            f"{dataset_dir}: no T1w slice of the training split has a registered T2w, which "
            "sampling 'paired' and --pair_subjects need (pair_datasets is "
            f"{options['datasets']}). Use --sampling disjoint or --sampling shuffled, and "
            "--pair_subjects 0."
        )
    if subjects is not None and found < subjects:
        raise ValueError(
            f"{dataset_dir}: pair_subjects is {subjects}, but {found} subjects of the training "
            "split have registered pairs. Expected at most as many."
        )
    return pairs


def _check_counts(dataset_dir: str, parts: dict[str, pd.DataFrame]) -> None:
    missing = [name for name, part in parts.items() if part.empty]
    if missing:
        found = ", ".join(f"{len(part)} {name}" for name, part in parts.items())
        raise ValueError(
            f"{dataset_dir}: the training split has no {' and no '.join(missing)} slices (found "
            f"{found}). Add a folder that has them: `python -m data_prep bids OUT --inputs ...`."
        )


def _keep_sides(
    dataset_dir: str, parts: dict[str, pd.DataFrame], seed: int
) -> dict[str, pd.DataFrame]:
    sides = assign_sides(parts["T1w"], parts["T2w"], seed=seed)
    kept = {name: part[part["group"].map(sides) == name] for name, part in parts.items()}
    for name, part in kept.items():
        if part.empty:
            raise ValueError(
                f"{dataset_dir}: sampling 'disjoint' leaves no subject for {name}, since the "
                f"training split has {len(sides)} group(s) of subjects. Use --sampling shuffled, "
                "or add subjects."
            )
    return kept

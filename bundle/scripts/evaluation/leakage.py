"""Whether what is evaluated was trained on: by content, since names may differ."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from scripts.evaluation.candidates import find_candidates
from scripts.slice_tables import read_slices
from scripts.trained_images import DIGITS, TRAINED_IMAGES, load_trained_images

MOST_NAMES = 5  # subjects in an error message

logger = logging.getLogger(__name__)


def check_unseen(dataset_dir: str, *, split: str, training_dir: str) -> None:
    """Fail when an image of a split is among the training images of a dataset.

    Args:
        dataset_dir: slice dataset that is evaluated.
        split: part of it. "train" is let through where both folders are one: asked for by name.
        training_dir: slice dataset that the model was trained on.

    Raises:
        ValueError: names the subjects.
    """
    if _is_asked_for(dataset_dir, split, training_dir):
        return
    seen = read_slices(training_dir, split="train")
    seen = seen[seen["train"]]  # others may be black, which all heads have in common
    evaluated = read_slices(dataset_dir, split=split)
    names = _name_subjects(evaluated[evaluated["sha256"].isin(seen["sha256"])])
    if names:
        raise ValueError(
            f"{dataset_dir}: {names} of the split {split!r} have images that are also in the "
            f"training part of {training_dir}. Figures of seen images say nothing: leave these "
            "subjects out of one of the two. Models of another training are evaluated on a "
            "dataset that is held out as a whole: `python -m data_prep bids OUT --inputs A "
            "--hold_out A`, then --evaluated_split external."
        )


def check_candidates_unseen(
    candidates: str | Sequence[str], *, dataset_dir: str, evaluated_dir: str, split: str
) -> None:
    """Fail when an image that chooses or measures a candidate is among those that trained it.

    What trained a candidate stands in a file beside it; one without such a file is named in the
    log.

    Args:
        candidates: see `find_candidates`.
        dataset_dir: slice dataset on whose validation part several candidates are compared.
        evaluated_dir: slice dataset that is evaluated.
        split: part of it, see `check_unseen`.

    Raises:
        ValueError: names candidate and subjects.
    """
    found = find_candidates(candidates)
    parts = [] if _is_asked_for(evaluated_dir, split, dataset_dir) else [(evaluated_dir, split)]
    if len(found) > 1:
        parts.append((dataset_dir, "validation"))
    tables = {part: read_slices(part[0], split=part[1]) for part in parts}
    for candidate in found:
        seen = load_trained_images(candidate.folder)
        if seen is None:
            logger.warning(
                "%s: no %s beside it says what trained it, so that only the training part of %s "
                "is known to be unseen.",
                *(candidate.path, TRAINED_IMAGES, dataset_dir),
            )
            continue
        for (folder, part), table in tables.items():
            names = _name_subjects(table[table["sha256"].str[:DIGITS].isin(seen)])
            if names:
                raise ValueError(
                    f"{candidate.path}: was trained on images of {names} of the split {part!r} of "
                    f"{folder}. Figures of seen images say nothing: evaluate it with the dataset "
                    "that it was trained on as --dataset_dir, or leave these subjects out."
                )


def _is_asked_for(dataset_dir: str, split: str, training_dir: str) -> bool:
    """Whether the training part is evaluated as such."""
    return split == "train" and Path(dataset_dir).resolve() == Path(training_dir).resolve()


def _name_subjects(table: pd.DataFrame) -> str:
    """How many and which, "" for none."""
    names = sorted(table["subject_id"].unique())
    return f"{len(names)} subject(s) ({', '.join(names[:MOST_NAMES])})" if names else ""

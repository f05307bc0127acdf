"""Whether what is evaluated was trained on: by content, since names may differ."""

from __future__ import annotations

from scripts.slice_tables import read_slices

MOST_NAMES = 5  # subjects in an error message


def check_unseen(dataset_dir: str, *, split: str, training_dir: str) -> None:
    """Fail when an image of a split is among the training images of a dataset.

    Args:
        dataset_dir: slice dataset that is evaluated.
        split: part of it. "train" is let through where both folders are one: asked for by name.
        training_dir: slice dataset that the model was trained on.

    Raises:
        ValueError: names the subjects.
    """
    if split == "train":
        return
    seen = read_slices(training_dir, split="train")
    seen = seen[seen["train"]]  # others may be black, which all heads have in common
    evaluated = read_slices(dataset_dir, split=split)
    shared = evaluated[evaluated["sha256"].isin(seen["sha256"])]
    names = sorted(shared["subject_id"].unique())
    if names:
        raise ValueError(
            f"{dataset_dir}: {len(names)} subject(s) of the split {split!r} have images that are "
            f"also in the training part of {training_dir}: {', '.join(names[:MOST_NAMES])}. "
            "Figures of seen images say nothing: leave these subjects out of one of the two. "
            "Models of another training are evaluated on a dataset that is held out as a whole: "
            "`python -m data_prep bids OUT --inputs A --hold_out A`, then --evaluated_split "
            "external."
        )

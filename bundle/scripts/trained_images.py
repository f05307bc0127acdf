"""Which images trained a model, noted beside it, so that none of them tests it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path

from ignite.engine import Engine, Events

from scripts.config_options import is_on
from scripts.slice_tables import read_slices
from scripts.whole_files import write_text

TRAINED_IMAGES = "trained_images.json"
FORMAT_VERSION = 1
DIGITS = 16  # of a checksum; among a million, two agree by chance once in ten million times


class TrainedImages:
    """Notes, when a training starts, which volumes it draws from: by checksums, without names.

    Args:
        dataset_dir: slice dataset.
        folders: of models and checkpoints.
        resume: whether the training goes on; what was noted before stays.
        pretrained: whether it began with the models in `pretrained_dir`.
        pretrained_dir: what is noted there trained too.
    """

    def __init__(
        self,
        *,
        dataset_dir: str,
        folders: Sequence[str],
        resume: bool | str,
        pretrained: bool | str,
        pretrained_dir: str,
    ) -> None:
        self.dataset_dir = dataset_dir
        self.folders = [Path(folder) for folder in dict.fromkeys(folders)]
        self.resume = is_on(resume)
        self.earlier = [Path(pretrained_dir)] if is_on(pretrained) else []

    def attach(self, engine: Engine) -> None:
        """Act at the start."""
        engine.add_event_handler(Events.STARTED, self)

    def __call__(self, engine: Engine) -> None:
        """Write the file."""
        if engine.state.rank > 0:
            return
        earlier = self.earlier + (self.folders if self.resume else [])
        images = list_trained_images(self.dataset_dir).union(
            *(load_trained_images(folder) or () for folder in earlier)
        )
        for folder in self.folders:
            save_trained_images(images, folder)


def list_trained_images(dataset_dir: str) -> set[str]:
    """First digits of the smallest checksum among the training slices of each volume.

    One is enough to find a volume again, since the table of a dataset lists all its slices.
    """
    table = read_slices(dataset_dir, split="train")
    table = table[table["train"]]  # others may be black, which all heads have in common
    return {checksum[:DIGITS] for checksum in table.groupby("shard")["sha256"].min()}


def save_trained_images(images: Iterable[str], folder: Path) -> None:
    """Write the file into a folder of models."""
    content = {"format_version": FORMAT_VERSION, "images": sorted(images)}
    write_text(folder / TRAINED_IMAGES, json.dumps(content, indent=1) + "\n")


def load_trained_images(folder: Path) -> set[str] | None:
    """Read the file of a folder of models; None where there is none.

    Raises:
        ValueError: it cannot be read, or is of another version.
    """
    path = folder / TRAINED_IMAGES
    if not path.is_file():
        return None
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        version, images = content["format_version"], set(content["images"])
    except (ValueError, TypeError, KeyError) as error:
        raise ValueError(
            f"{path}: cannot be read ({error}). Expected what a training writes there; move it "
            "away to go on without it."
        ) from error
    if version != FORMAT_VERSION:
        raise ValueError(f"{path}: found format_version {version}; expected {FORMAT_VERSION}.")
    return images

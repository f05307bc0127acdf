"""What a training keeps when it goes on although no weight shows it: its samples, its strides."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from scripts.engines import CycleGanTrainer
from scripts.shipped_models import list_unseen_sizes
from scripts.training_slices import TrainingSlices, list_names

SUBJECTS, CHECKSUM = "subjects", "samples_sha256"

logger = logging.getLogger(__name__)


def describe_fixed(trainer: CycleGanTrainer, sampled_by: Mapping[str, Any]) -> dict[str, Any]:
    """Name what a checkpoint must agree in, as plain values.

    Args:
        trainer: of which discriminators and samples are described.
        sampled_by: the options that decide which slices are drawn, by name.
    """
    names = list_names(sampled_by["pair_datasets"])
    return {
        **sampled_by,
        "pair_datasets": None if names is None else sorted(names),
        **list_unseen_sizes(trainer.discriminators.t1w),
        **_describe_samples(trainer.data_loader.dataset.data),
    }


def _describe_samples(data: TrainingSlices) -> dict[str, Any]:
    """Count the subjects of each list of images, and sum up which images they are.

    Not by their paths, since a dataset may be moved.
    """
    checksum = hashlib.sha256()
    for name, images in data.by_name().items():
        for each in images:
            scan = (each.dataset, each.subject_id, each.session, each.contrast, each.slice_index)
            checksum.update(repr((name, *map(str, scan))).encode())
    subjects = {
        name: len({each.subject_id for each in images}) for name, images in data.by_name().items()
    }
    return {SUBJECTS: subjects, CHECKSUM: checksum.hexdigest()}


def check_fixed(path: Path, content: dict[str, Any], *, found: dict[str, Any]) -> None:
    """Fail if a training would go on with other samples or strides than its checkpoint had.

    Checkpoints of before do not say them; they go on, and those that follow say what is found.
    """
    noted = content["trainer"].get("fixed")
    if noted is None:
        logger.warning(
            "%s: does not say from which samples it learned. It goes on with those of now.", path
        )
    else:
        _check_options(path, noted, found)
        _check_samples(path, noted, found)
    content["trainer"]["fixed"] = found


def _check_options(path: Path, noted: Mapping[str, Any], found: Mapping[str, Any]) -> None:
    for name in found:
        if name not in (SUBJECTS, CHECKSUM) and noted.get(name, found[name]) != found[name]:
            raise ValueError(
                f"{path}: was trained with --{name} {noted[name]}, found {found[name]}. Pass the "
                "former, or choose another --output_dir."
            )


def _check_samples(path: Path, noted: Mapping[str, Any], found: Mapping[str, Any]) -> None:
    if noted[CHECKSUM] != found[CHECKSUM]:
        before, now = (
            ", ".join(f"{count} for {name}" for name, count in each[SUBJECTS].items())
            for each in (noted, found)
        )
        raise ValueError(
            f"{path}: the training subjects of the dataset have changed, or their slices: it drew "
            f"from {before} subjects, found {now}. Gone on with, a network could see both "
            "contrasts of one head. Pass the --dataset_dir of before, or begin a training with "
            f"the new subjects from these models: --pretrained true --pretrained_dir "
            f"{path.parent}, with another --output_dir."
        )

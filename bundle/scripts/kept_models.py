"""A folder of generator pairs that validation liked best: what lies in it, and how it changes.

`epoch_0120/` holds one pair and `validation.json`, which says what it is worth and that we made
it. A pair that is no longer among the best moves to `.replaced-<iteration>/`, as long as there is
a checkpoint of before that iteration from which a training may go on.
"""

from __future__ import annotations

import csv
import io
import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import torch
from torch import nn

from scripts.directions import MODEL_FILES
from scripts.trained_images import TRAINED_IMAGES
from scripts.whole_files import UNFINISHED_FOLDER, open_whole, write_text, write_whole

TABLE = "best.csv"
DESCRIPTION = "validation.json"
REPLACED = ".replaced-"


@dataclass(frozen=True)
class KeptModel:
    """A pair of generators and what a validation found.

    Attributes:
        epoch: after which it was validated.
        iteration: likewise.
        metric: name of a figure.
        value: of that figure.
    """

    epoch: int
    iteration: int
    metric: str
    value: float

    @property
    def name(self) -> str:
        """Name of its folder; names sort as epochs do."""
        return f"epoch_{self.epoch:04d}"


def save_pair(
    model: KeptModel, networks: Mapping[str, nn.Module], folder: Path, *, models_dir: Path
) -> None:
    """Write a pair of generators, by direction; its folder appears whole or not at all.

    Args:
        model: describes the pair.
        networks: by direction.
        folder: of all pairs.
        models_dir: folder of the shipped generators; what is noted there of the images that
            trained them holds of the pair too.

    Raises:
        FileExistsError: something of that name is there.
    """
    if (folder / model.name).exists():
        raise FileExistsError(
            f"{folder / model.name}: is in the way of the models that are kept. Move it, then go "
            "on with --resume true."
        )
    with write_whole(folder / model.name) as path:
        path.mkdir()
        for direction, network in networks.items():
            torch.save(network.state_dict(), path / MODEL_FILES[direction])
        if (models_dir / TRAINED_IMAGES).is_file():
            shutil.copyfile(models_dir / TRAINED_IMAGES, path / TRAINED_IMAGES)
        (path / DESCRIPTION).write_text(json.dumps(asdict(model), indent=4), encoding="utf-8")


def list_kept(folder: Path) -> list[KeptModel]:
    """Pairs of a folder that we made, by epoch."""
    found = [_read_description(path.parent) for path in folder.glob(f"epoch_*/{DESCRIPTION}")]
    return sorted(found, key=lambda model: model.epoch)


def _read_description(folder: Path) -> KeptModel:
    path = folder / DESCRIPTION
    try:
        model = KeptModel(**json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, TypeError) as error:
        raise ValueError(
            f"{path}: cannot be read ({error}). Expected what a training writes there; move the "
            "folder away to go on without it."
        ) from error
    if model.name != folder.name:
        raise ValueError(f"{folder}: was made as {model.name}; name it so again, or move it away.")
    return model


def list_replaced(folder: Path) -> dict[Path, int]:
    """Folders of pairs that were replaced, each with the iteration at which they were."""
    found = {path: path.name.removeprefix(REPLACED) for path in folder.glob(f"{REPLACED}*")}
    return {path: int(since) for path, since in found.items() if since.isdigit()}


def replace_pairs(models: Sequence[KeptModel], folder: Path, *, iteration: int) -> None:
    """Hide pairs that are no longer among the best."""
    for model in models:
        target = folder / f"{REPLACED}{iteration:08d}" / model.name
        target.parent.mkdir(exist_ok=True)
        (folder / model.name).replace(target)


def return_to(folder: Path, *, iteration: int) -> list[KeptModel]:
    """Bring a folder back to an iteration: what was replaced later returns, what is newer goes.

    Returns:
        The pairs that went.
    """
    for unfinished in folder.glob(f"{UNFINISHED_FOLDER}*"):
        shutil.rmtree(unfinished)
    dropped = []
    for replaced, since in list_replaced(folder).items():
        if since > iteration:
            for model in list_kept(replaced):
                if model.iteration <= iteration:
                    (replaced / model.name).replace(folder / model.name)
            dropped += list_kept(replaced)
            shutil.rmtree(replaced)
    newer = [model for model in list_kept(folder) if model.iteration > iteration]
    for model in newer:
        shutil.rmtree(folder / model.name)
    return dropped + newer


def forget_replaced(folder: Path, *, oldest: int) -> None:
    """Remove pairs that were replaced before any checkpoint that is left, the oldest included."""
    for replaced, since in list_replaced(folder).items():
        if since <= oldest:
            shutil.rmtree(replaced)


def ship_pair(model: KeptModel, folder: Path, models_dir: Path) -> None:
    """Copy a pair to where the shipped generators lie."""
    for name in MODEL_FILES.values():
        with open_whole(models_dir / name) as file:
            file.write((folder / model.name / name).read_bytes())


def write_table(models: Sequence[KeptModel], folder: Path) -> None:
    """Write `best.csv`, a row a pair in the order given."""
    text = io.StringIO()
    writer = csv.DictWriter(text, [field.name for field in fields(KeptModel)], lineterminator="\n")
    writer.writeheader()
    writer.writerows(asdict(model) for model in models)
    write_text(folder / TABLE, text.getvalue())

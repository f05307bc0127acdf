"""How a training begins: anew, from shipped models, or where it stopped."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ignite.engine import Engine
from ignite.handlers import Checkpoint

from scripts.checkpoints import list_checkpoints, load_newest_checkpoint
from scripts.config_options import is_on
from scripts.directions import MODEL_FILES
from scripts.ema import MovingAverage
from scripts.errors import describe_mismatch
from scripts.processes import gather_objects, get_rank
from scripts.shipped_models import load_models
from scripts.whole_files import UNFINISHED

logger = logging.getLogger(__name__)


def start_training(
    trainer: Engine,
    *,
    objects: Mapping[str, Any],
    output_dir: str,
    models_dir: str,
    resume: bool | str,
    averages: Mapping[str, MovingAverage],
    pretrained: bool | str,
    pretrained_dir: str,
) -> None:
    """Make a training ready to run.

    Args:
        trainer: is told its epoch and iteration.
        objects: of the `CheckpointSaver`.
        output_dir: folder of the run.
        models_dir: folder that the models go to.
        resume: whether to go on from the newest checkpoint of the folder, if there is one.
        averages: of the generators, by direction.
        pretrained: whether a new training starts from shipped models, else from random weights.
        pretrained_dir: folder of the shipped models.
    """
    resume, pretrained = is_on(resume), is_on(pretrained)
    loaded = load_newest_checkpoint(output_dir) if resume else None
    _check_agreement(output_dir, loaded[0].name if loaded else None)
    if resume and get_rank() == 0:
        _remove_unfinished(output_dir, models_dir)
    if loaded is not None:
        _restore(trainer, objects, *loaded)
        return
    if not resume:
        _check_unused(output_dir, models_dir)
    if pretrained:
        load_models(models_dir=pretrained_dir, averages=averages)


def _check_agreement(output_dir: str, found: str | None) -> None:
    """Fail when processes would go on from different checkpoints, as without a shared folder."""
    every = gather_objects(found)
    if len(set(every)) > 1:
        raise ValueError(
            f"{output_dir}: the processes found different checkpoints ({every}). Expected a folder "
            "that all machines share; copy the newest one to every machine, or share the folder."
        )


def _remove_unfinished(*folders: str) -> None:
    """Remove what a killed training had not written to the end."""
    for path in [path for folder in folders for path in Path(folder).glob(f"{UNFINISHED}*")]:
        path.unlink(missing_ok=True)


def _check_unused(output_dir: str, models_dir: str) -> None:
    models = [Path(models_dir) / name for name in MODEL_FILES.values()]
    found = list_checkpoints(output_dir)[-1:] + [path for path in models if path.exists()]
    if found:
        raise FileExistsError(
            f"{found[0]}: a training has been here already. Go on with --resume true, or choose "
            "another --output_dir (and --models_dir)."
        )


def _restore(
    trainer: Engine, objects: Mapping[str, Any], path: Path, content: dict[str, Any]
) -> None:
    epoch_length = content["trainer"]["epoch_length"]
    if epoch_length != trainer.state.epoch_length:
        raise ValueError(
            f"{path}: was trained with --epoch_length {epoch_length}, found "
            f"{trainer.state.epoch_length}. Pass the former, or choose another --output_dir."
        )
    max_epochs = trainer.state.max_epochs
    try:
        Checkpoint.load_objects({**objects, "trainer": trainer}, content)
    except RuntimeError as error:
        raise ValueError(f"{path}: {describe_mismatch(error)}") from error
    trainer.state.max_epochs = max_epochs
    logger.info("Going on from %s (epoch %d).", path, trainer.state.epoch)

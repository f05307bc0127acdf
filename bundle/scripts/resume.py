"""How a training begins: anew, from shipped models, or where it stopped."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from ignite.engine import Engine
from ignite.handlers import Checkpoint
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from scripts.checkpoints import list_checkpoints, list_present, load_newest_checkpoint
from scripts.config_options import is_on
from scripts.directions import MODEL_FILES
from scripts.ema import MovingAverage
from scripts.engines import CycleGanTrainer
from scripts.errors import describe_mismatch
from scripts.fixed_options import check_fixed, describe_fixed
from scripts.learning_gif import FRAMES_FOLDER
from scripts.processes import gather_objects, get_rank
from scripts.shipped_models import load_discriminators, load_models
from scripts.whole_files import UNFINISHED

logger = logging.getLogger(__name__)


def start_training(
    trainer: CycleGanTrainer,
    *,
    objects: Mapping[str, Any],
    output_dir: str,
    models_dir: str,
    resume: bool | str,
    averages: Mapping[str, MovingAverage],
    pretrained: bool | str,
    pretrained_dir: str,
    pretrained_discriminators_dir: str,
    sampled_by: Mapping[str, Any],
) -> None:
    """Make a training ready to run.

    Args:
        trainer: is told its epoch and iteration.
        objects: of the `CheckpointSaver`.
        output_dir: folder of the run.
        models_dir: folder that the models go to.
        resume: whether to go on from the newest checkpoint of the folder, if there is one.
        averages: of the generators, by direction.
        pretrained: whether a new training starts from shipped models, else from random weights;
            as it did where it goes on.
        pretrained_dir: folder of the shipped models.
        pretrained_discriminators_dir: folder of the discriminators that they were trained with.
        sampled_by: the options that decide which slices are drawn, as a checkpoint had them.
    """
    resume, pretrained = is_on(resume), is_on(pretrained)
    loaded = load_newest_checkpoint(output_dir) if resume else None
    _check_agreement(
        checkpoint=loaded[0].name if loaded else None,
        precision=trainer.precision,
        slices=len(trainer.data_loader.dataset),
    )
    if resume and get_rank() == 0:
        run = Path(output_dir)
        _remove_unfinished(run, run / FRAMES_FOLDER, run / "best", Path(models_dir))
    trainer.state.fixed = describe_fixed(trainer, sampled_by)
    if loaded is not None:
        _check_start(*loaded, pretrained=pretrained)
        check_fixed(*loaded, found=trainer.state.fixed)
        _restore(trainer, list_present(objects), *loaded)
        return
    if not resume:
        _check_unused(output_dir, models_dir)
    trainer.state.pretrained = pretrained
    if pretrained:
        load_models(models_dir=pretrained_dir, averages=averages, option="pretrained_dir")
        _load_discriminators(trainer, pretrained_discriminators_dir)


def _load_discriminators(trainer: CycleGanTrainer, folder: str) -> None:
    judges = {"t1w": trainer.discriminators.t1w, "t2w": trainer.discriminators.t2w}
    try:
        load_discriminators(folder, judges)
    except ValueError as error:
        raise ValueError(
            f"{error} To begin them anew, name an empty folder with "
            "--pretrained_discriminators_dir."
        ) from error


def _check_agreement(**found: Any) -> None:
    """Fail when processes differ in what they go on from or train with."""
    every = gather_objects(found)
    different = {name: [each[name] for each in every] for name in found}
    different = {name: values for name, values in different.items() if len(set(values)) > 1}
    if different:
        raise ValueError(
            f"The processes found different things: {different}. Expected an --output_dir and a "
            "--dataset_dir that all machines share, and one --precision on GPUs of several kinds."
        )


def _remove_unfinished(*folders: Path) -> None:
    """Remove what a killed training had not written to the end."""
    for path in [path for folder in folders for path in folder.glob(f"{UNFINISHED}*")]:
        path.unlink(missing_ok=True)


def _check_unused(output_dir: str, models_dir: str) -> None:
    models = [Path(models_dir) / name for name in MODEL_FILES.values()]
    found = list_checkpoints(output_dir)[-1:] + [path for path in models if path.exists()]
    if found:
        raise FileExistsError(
            f"{found[0]}: a training has been here already. Go on with --resume true, or choose "
            "another --output_dir (and --models_dir)."
        )


def _check_start(path: Path, content: dict[str, Any], *, pretrained: bool) -> None:
    """Fail if a training began from other weights than is said now, on which losses depend.

    Checkpoints of before say nothing, which stays so.
    """
    began = content["trainer"].setdefault("pretrained", None)
    if began is not None and began != pretrained:
        expected, found = (str(each).lower() for each in (began, pretrained))
        raise ValueError(
            f"{path}: began with --pretrained {expected}, found {found}, by which the default of "
            f"--lambda_inversion would change. Pass --pretrained {expected}, or choose another "
            "--output_dir."
        )


def _check_contrast(path: Path, objects: Mapping[str, Any], content: Mapping[str, Any]) -> None:
    """Fail if only one of checkpoint and training has the networks of the contrastive loss."""
    had, has = "patch_contrast" in content, "patch_contrast" in objects
    if had and not has:
        raise ValueError(
            f"{path}: was trained with a --lambda_contrast above 0, found 0. Pass the former, or "
            "points such as [[1, 0.5], [2, 0.0]], which are 0 later on."
        )
    if has and not had:
        raise ValueError(
            f"{path}: was trained with --lambda_contrast 0, found more, whose networks it does not "
            "hold. Pass --lambda_contrast 0, or choose another --output_dir."
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
    _check_contrast(path, objects, content)
    max_epochs = trainer.state.max_epochs
    settings = _read_settings(objects)
    scales = bool(content["scaler"])  # those of before did not, unless in fp16
    restored = {name: each for name, each in objects.items() if name != "scaler" or scales}
    try:
        Checkpoint.load_objects({**restored, "trainer": trainer}, content)
    except RuntimeError as error:
        raise ValueError(f"{path}: {describe_mismatch(error)}") from error
    except ValueError as error:
        raise ValueError(
            f"{path}: is of a training with other parts ({error}). Pass the options that it was "
            "trained with, or choose another --output_dir."
        ) from error
    trainer.state.max_epochs = max_epochs
    _apply_settings(objects, settings)
    logger.info("Going on from %s (epoch %d).", path, trainer.state.epoch)


def _read_settings(objects: Mapping[str, Any]) -> dict[str, tuple[list[Any], list[Any]]]:
    """Learning rates and betas of the schedules' optimisers, as they were asked for now."""
    return {
        name: (schedule.base_lrs, [group["betas"] for group in schedule.optimizer.param_groups])
        for name, schedule in objects.items()
        if isinstance(schedule, LambdaLR)
    }


def _apply_settings(
    objects: Mapping[str, Any], settings: Mapping[str, tuple[list[Any], list[Any]]]
) -> None:
    """Let what is asked for now replace what was saved, and lay moments out as the weights are."""
    for name, (rates, betas) in settings.items():
        schedule = objects[name]
        if schedule.base_lrs != rates:
            logger.warning("The learning rate was %s and is %s now.", schedule.base_lrs, rates)
        schedule.base_lrs = rates
        groups = schedule.optimizer.param_groups
        for group, rate, beta, factor in zip(
            groups, rates, betas, schedule.lr_lambdas, strict=True
        ):
            group["initial_lr"], group["betas"] = rate, beta
            group["lr"] = rate * factor(schedule.last_epoch)
        _lay_out_moments(schedule.optimizer)


def _lay_out_moments(optimizer: Optimizer) -> None:
    """Fused optimisers walk through memory, so that moments must lie there as their weights do."""
    for parameter, state in optimizer.state.items():
        for name, value in state.items():
            if isinstance(value, Tensor) and value.shape == parameter.shape:
                state[name] = torch.empty_like(parameter, dtype=value.dtype).copy_(value)

"""What a training ships: one bare state dict a generator, and the discriminators beside them."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from ignite.engine import Engine
from torch import nn

from scripts.checkpoints import DAMAGED, save_whole
from scripts.directions import MODEL_FILES
from scripts.ema import MovingAverage
from scripts.errors import describe_mismatch
from scripts.evaluation.evaluator import CycleGanEvaluator
from scripts.finite_weights import check_weights
from scripts.handlers import when_validated
from scripts.whole_files import write_text

DISCRIMINATOR_FILES = {"t1w": "discriminator_t1w.pt", "t2w": "discriminator_t2w.pt"}
DISCRIMINATORS = "discriminators"  # of a training beside its model.pt, of a bundle beside `models`
MODELS = "models"
UNSEEN_SIZES = "sizes.json"  # beside discriminators: options that their weights do not show

logger = logging.getLogger(__name__)


class ModelSaver:
    """Saves the averaged generators whenever a validation finds them better than ever before.

    The discriminators of that moment are saved too, for those who fine-tune the generators.

    Args:
        models_dir: folder of `model.pt` (T1w to T2w) and `model_t2w_to_t1w.pt`.
        averages: of the generators, by direction.
        discriminators_dir: folder of `discriminator_t1w.pt` and `discriminator_t2w.pt`.
        discriminators: by the contrast that they judge.
        evaluator: knows the best epoch; where its key metric cannot be measured, every epoch is
            taken for best.
        interval: epochs between two validations.
    """

    def __init__(
        self,
        *,
        models_dir: str,
        averages: Mapping[str, MovingAverage],
        discriminators_dir: str,
        discriminators: Mapping[str, nn.Module],
        evaluator: CycleGanEvaluator,
        interval: int,
    ) -> None:
        self.models_dir = Path(models_dir)
        self.averages = averages
        self.discriminators_dir = Path(discriminators_dir)
        self.discriminators = discriminators
        self.evaluator = evaluator
        self.interval = interval

    def attach(self, engine: Engine) -> None:
        """Act after validations; attach it behind the ValidationHandler."""
        engine.add_event_handler(when_validated(self.interval), self)

    def __call__(self, engine: Engine) -> None:
        """Save if this epoch is the best."""
        best = self.evaluator.state.best_metric_epoch == engine.state.epoch
        if engine.state.rank == 0 and (best or not self.evaluator.measures_key_metric):
            check_weights(average.network for average in self.averages.values())
            for direction, average in self.averages.items():
                save_whole(average.network.state_dict(), self.models_dir / MODEL_FILES[direction])
            self._save_discriminators()

    def _save_discriminators(self) -> None:
        for name, judge in self.discriminators.items():
            save_whole(judge.state_dict(), self.discriminators_dir / DISCRIMINATOR_FILES[name])
            sizes = json.dumps(list_unseen_sizes(judge), indent=4) + "\n"
            write_text(self.discriminators_dir / UNSEEN_SIZES, sizes)


def load_models(*, models_dir: str, averages: Mapping[str, MovingAverage], option: str) -> None:
    """Load shipped generators into networks and averages, to fine-tune or to evaluate them.

    Args:
        models_dir: folder of both.
        averages: of the generators, by direction.
        option: by which another folder can be named.
    """
    for direction, average in averages.items():
        path = Path(models_dir) / MODEL_FILES[direction]
        if not path.is_file():
            raise FileNotFoundError(
                f"{path}: there is no such model. Train one, or name the folder that holds "
                f"{' and '.join(MODEL_FILES.values())} with --{option}."
            )
        load_weights(average.source, path)
        average.restart()


def locate_discriminators(models_dir: str | Path) -> str:
    """Name the folder of the discriminators that a folder of models was trained with.

    A training leaves them in `discriminators` beside its `model.pt`; of a bundle, whose models lie
    in `models`, the Model Zoo takes no other files there, so they lie beside that folder.
    """
    folder = Path(models_dir)
    inside = folder / DISCRIMINATORS
    is_bundle = folder.name == MODELS and not inside.is_dir()
    return str(folder.parent / DISCRIMINATORS if is_bundle else inside)


def load_discriminators(folder: str, discriminators: Mapping[str, nn.Module]) -> None:
    """Load discriminators that a training left; without any they begin anew, which is said."""
    paths = {name: Path(folder) / file for name, file in DISCRIMINATOR_FILES.items()}
    if not any(path.is_file() for path in paths.values()):
        logger.info("%s: no discriminators there; they begin anew.", folder)
        return
    for name, path in paths.items():
        if not path.is_file():
            raise FileNotFoundError(f"{path}: missing beside the other discriminator.")
        load_weights(discriminators[name], path)
        _check_unseen_sizes(discriminators[name], Path(folder) / UNSEEN_SIZES)
    logger.info("%s: the discriminators go on from these.", folder)


def list_unseen_sizes(discriminator: Any) -> dict[str, int]:
    """Sizes by option: a stride is no weight, so that discriminators of both kinds load others."""
    return {"discriminator_downsamplings": discriminator.downsamplings}


def _check_unseen_sizes(discriminator: nn.Module, path: Path) -> None:
    """ValueError for sizes that other discriminators were trained with; older ones say none."""
    if not path.is_file():
        return
    noted = json.loads(path.read_text(encoding="utf-8"))
    for name, found in list_unseen_sizes(discriminator).items():
        if noted.get(name, found) != found:
            raise ValueError(
                f"{path}: these discriminators were trained with --{name} {noted[name]}, found "
                f"{found}. Pass the former."
            )


def load_weights(network: nn.Module, path: Path) -> None:
    """Load a bare state dict into a network.

    Raises:
        ValueError: the file is damaged, is no bare state dict, or is of another network.
    """
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except DAMAGED as error:
        raise ValueError(
            f"{path}: cannot be read as weights ({str(error).splitlines()[0][:200]}). Expected a "
            "model.pt as training writes it."
        ) from error
    if not isinstance(content, Mapping) or not all(map(torch.is_tensor, content.values())):
        raise ValueError(
            f"{path}: this is no bare state dict of one network. Expected a model.pt as training "
            "writes it, not a checkpoint_*.pt to go on from."
        )
    try:
        network.load_state_dict(content)
    except RuntimeError as error:
        raise ValueError(f"{path}: {describe_mismatch(error)}") from error

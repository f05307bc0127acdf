"""The best few generator pairs of a training, kept to choose among them later."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from pathlib import Path

from ignite.engine import Engine, Events

from scripts.checkpoints import list_checkpoints
from scripts.config_options import is_on
from scripts.ema import MovingAverage
from scripts.evaluation.evaluator import CycleGanEvaluator
from scripts.evaluation.key_metric import rank_value
from scripts.handlers import when_validated
from scripts.kept_models import (
    KeptModel,
    forget_replaced,
    list_kept,
    replace_pairs,
    return_to,
    save_pair,
    ship_pair,
    write_table,
)

logger = logging.getLogger(__name__)


class BestModels:
    """Keeps the averaged generators of the best epochs by the evaluator's key metric.

    The folder itself is the memory, and a resumed training brings it back to its checkpoint: so
    it ends with the same pairs as one that never stopped, and what is shipped is the best of them
    again. Of equal values the earlier stays.

    Args:
        folder: of the pairs and their table, see `kept_models`.
        models_dir: folder of the shipped generators.
        checkpoints_dir: folder of the checkpoints from which the training may go on.
        averages: of the generators, by direction.
        evaluator: measures the key metric.
        interval: epochs between two validations.
        count: pairs that are kept; 1 keeps none beside those that are shipped.
        resume: whether the training goes on, and with it what the folder holds.
        checkpoint_interval: epochs between two checkpoints.
    """

    def __init__(
        self,
        *,
        folder: str,
        models_dir: str,
        checkpoints_dir: str,
        averages: Mapping[str, MovingAverage],
        evaluator: CycleGanEvaluator,
        interval: int,
        count: int,
        resume: bool | str,
        checkpoint_interval: int,
    ) -> None:
        if count < 1:
            raise ValueError(f"models_kept is {count}; expected 1 or more.")
        self.folder = Path(folder)
        self.models_dir = Path(models_dir)
        self.checkpoints_dir = Path(checkpoints_dir)
        self.averages = averages
        self.evaluator = evaluator
        self.interval = interval
        self.count = count
        self.resume = is_on(resume)
        self.checkpoint_interval = checkpoint_interval

    def attach(self, engine: Engine) -> None:
        """Act after validations; attach it behind the ValidationHandler."""
        if self.count > 1:
            engine.add_event_handler(Events.STARTED, self.start)
            engine.add_event_handler(when_validated(self.interval), self)

    def start(self, engine: Engine) -> None:
        """Bring the folder to where the training begins.

        Raises:
            FileExistsError: a new training found pairs of an earlier one, or one that should go on
                has lost its checkpoints, so that it would begin anew.
        """
        if engine.state.rank > 0:
            return
        if not self.resume and list_kept(self.folder):
            raise FileExistsError(
                f"{self.folder}: holds the best models of an earlier training. Go on with --resume "
                "true, or choose another --output_dir."
            )
        self._check_checkpoints(engine.state.iteration)
        if return_to(self.folder, iteration=engine.state.iteration):
            kept = self._rank(list_kept(self.folder))
            write_table(kept, self.folder)
            if kept and kept[0].epoch == self.evaluator.state.best_metric_epoch:
                ship_pair(kept[0], self.folder, self.models_dir)

    def _check_checkpoints(self, iteration: int) -> None:
        """Fail when pairs are there of after the first checkpoint, but no checkpoint."""
        later = [each for each in list_kept(self.folder) if each.epoch > self.checkpoint_interval]
        if iteration == 0 and later:
            raise FileExistsError(
                f"{self.folder / later[-1].name}: there is no checkpoint to go on from, and a "
                "training that begins anew would remove these models. Bring the checkpoints back, "
                "or choose another --output_dir."
            )

    def __call__(self, engine: Engine) -> None:
        """Keep this epoch's generators if they are among the best; then let the worst go."""
        name = self.evaluator.state.key_metric_name
        value = float(self.evaluator.state.metrics.get(name, math.nan))
        if engine.state.rank > 0 or not math.isfinite(value):
            return
        iteration = engine.state.iteration
        new = KeptModel(engine.state.epoch, iteration, name, value)
        present = list_kept(self.folder)
        kept = self._rank([*present, new])[: self.count]
        if new in kept:
            networks = {direction: each.network for direction, each in self.averages.items()}
            save_pair(new, networks, self.folder, models_dir=self.models_dir)
        gone = [model for model in present if model not in kept]
        replace_pairs(gone, self.folder, iteration=iteration)
        write_table(kept, self.folder)
        iterations = [int(path.stem[11:]) for path in list_checkpoints(self.checkpoints_dir)]
        forget_replaced(self.folder, oldest=min(iterations, default=iteration))

    def _rank(self, models: list[KeptModel]) -> list[KeptModel]:
        """Sort from the best to the worst, without those of another key metric."""
        name = self.evaluator.state.key_metric_name
        comparable = [model for model in models if model.metric == name]
        if len(comparable) < len(models):
            logger.warning(
                "%s: the key metric is %s now, so that %d models kept by another do not count.",
                self.folder,
                name,
                len(models) - len(comparable),
            )
        return sorted(comparable, key=lambda model: (rank_value(name, model.value), model.epoch))

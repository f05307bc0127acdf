"""The handler by which a training in a trial tells what validations found, and may be stopped."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping

from ignite.engine import Engine
from torch import nn

from scripts.evaluation.evaluator import VALIDATION_FIGURE_NAMES, CycleGanEvaluator
from scripts.handlers import when_validated

logger = logging.getLogger(__name__)

Judge = Callable[[int, Mapping[str, float], int, bool], bool]
"""Takes epoch, figures by name, parameters of the generators, and whether the training is done
with this epoch; says whether to stop."""


class ReportValidations:
    """Hands the figures of every validation to a judge, who may end the training.

    Attach it behind the validation.

    Args:
        evaluator: whose figures are told.
        interval: epochs between two validations.
        generators: both networks, whose size is told too.
        judge: gets them.
    """

    def __init__(
        self,
        *,
        evaluator: CycleGanEvaluator,
        interval: int,
        generators: Mapping[str, nn.Module],
        judge: Judge,
    ) -> None:
        self.evaluator = evaluator
        self.interval = interval
        self.generators = generators
        self.judge = judge

    def attach(self, engine: Engine) -> None:
        """Act after every validation."""
        engine.add_event_handler(when_validated(self.interval), self)

    def __call__(self, engine: Engine) -> None:
        """Tell, and end the training where the judge says so."""
        measured = self.evaluator.state.metrics  # tables of subjects too
        names = [name for name in VALIDATION_FIGURE_NAMES if name in measured]
        figures = {name: float(measured[name]) for name in names}
        size = sum(
            weights.numel() for each in self.generators.values() for weights in each.parameters()
        )
        is_last = engine.state.epoch == engine.state.max_epochs
        if self.judge(engine.state.epoch, figures, size, is_last):
            logger.info("Stopped after epoch %d: other trials were better.", engine.state.epoch)
            engine.terminate()

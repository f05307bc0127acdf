"""Handlers that watch a training: losses, numbers that are none, and a progress bar."""

from __future__ import annotations

import logging
import math
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from ignite.engine import CallableEventWithFilter, Engine, Events
from torch import Tensor
from tqdm import tqdm

from scripts.config_options import is_on
from scripts.evaluation.evaluator import CycleGanEvaluator
from scripts.finite_weights import describe_divergence
from scripts.processes import average_values

logger = logging.getLogger(__name__)

SECONDS_BETWEEN_LINES = 30.0  # of a progress bar that is written to a file
SHOWN_FIGURES = (  # those of them that a validation measures
    *("t2w_ssim", "t2w_psnr", "t1w_ssim", "t1w_psnr", "t1w_cycle_ssim", "t2w_cycle_ssim"),
    *("t2w_unpaired_error", "t2w_sliced_wasserstein", "t2w_ngf", "t1w_native_cycle_ssim"),
    *("t1w_unpaired_error", "t1w_sliced_wasserstein", "t1w_ngf", "t2w_native_cycle_ssim"),
)


def select_losses(output: list[dict[str, Tensor]]) -> dict[str, Tensor]:
    """Return the losses among what an iteration of the trainer gave."""
    return {name: value for name, value in output[0].items() if "_loss" in name}


def when_due(interval: int) -> CallableEventWithFilter:
    """Return the event of every `interval` iterations and of each epoch's last."""

    def is_due(engine: Engine, iteration: int) -> bool:
        return iteration % interval == 0 or iteration % engine.state.epoch_length == 0

    return Events.ITERATION_COMPLETED(event_filter=is_due)


def when_validated(interval: int) -> CallableEventWithFilter:
    """Return the event of every `interval` epochs and of the last, after which is validated.

    A training that is asked to go on beyond its last epoch has one validation more.
    """

    def is_due(engine: Engine, epoch: int) -> bool:
        return epoch % interval == 0 or epoch == engine.state.max_epochs

    return Events.EPOCH_COMPLETED(event_filter=is_due)


class LastValidation:
    """Validates after the last epoch if MONAI's handler, which knows an interval alone, does not.

    Args:
        evaluators: those of the ValidationHandlers, behind which it is attached.
        interval: theirs, in epochs.
    """

    def __init__(self, *, evaluators: Sequence[CycleGanEvaluator], interval: int) -> None:
        self.evaluators = evaluators
        self.interval = interval

    def attach(self, engine: Engine) -> None:
        """Act after epochs; attach it before those who read what a validation found."""
        engine.add_event_handler(when_validated(self.interval), self)

    def __call__(self, engine: Engine) -> None:
        """Validate, unless that has been done."""
        if engine.state.epoch % self.interval:
            for evaluator in self.evaluators:
                evaluator.run(engine.state.epoch)


class LossAverages:
    """Averages the losses between two readings into `engine.state.losses`, a dict of numbers.

    They are summed on the device; only a reading waits for it (and for other processes). Attach it
    before those who read.

    Args:
        interval: iterations between two readings.
    """

    def __init__(self, *, interval: int) -> None:
        self.interval = interval
        self._sum: Tensor | None = None
        self._count = 0

    def attach(self, engine: Engine) -> None:
        """Act on every iteration."""
        engine.add_event_handler(Events.ITERATION_COMPLETED, self)
        engine.add_event_handler(when_due(self.interval), self.read)

    def __call__(self, engine: Engine) -> None:
        """Add the losses of one iteration."""
        losses = torch.stack(list(select_losses(engine.state.output).values()))
        self._sum = losses if self._sum is None else self._sum + losses
        self._count += 1

    def read(self, engine: Engine) -> None:
        """Store the averages and begin anew."""
        if self._sum is not None:
            values = average_values(self._sum / self._count).tolist()
            names = select_losses(engine.state.output)
            engine.state.losses = dict(zip(names, values, strict=True))
        self._sum, self._count = None, 0


class StopOnNan:
    """Ends a training whose losses are no longer numbers, with an error that says what to do.

    It looks at the averages of `LossAverages`, behind which it is attached: those are the same in
    all processes, and a single loss that is no number makes its average none.

    Args:
        interval: iterations between two looks, as of `LossAverages`.
    """

    def __init__(self, *, interval: int) -> None:
        self.interval = interval

    def attach(self, engine: Engine) -> None:
        """Look after iterations."""
        engine.add_event_handler(when_due(self.interval), self)

    def __call__(self, engine: Engine) -> None:
        """Raise the error."""
        losses = engine.state.losses
        wrong = [name for name, loss in losses.items() if not math.isfinite(loss)]
        if wrong:
            found = f"Iteration {engine.state.iteration}: {', '.join(wrong)}"
            raise FloatingPointError(describe_divergence(found))


class ProgressBar:
    """Shows images per second, the time left, losses, and a line of figures per validation.

    Args:
        interval: iterations between two updates.
        val_interval: epochs between two validations.
        batch_size: images of each contrast in an iteration.
        evaluator: whose figures are shown.
        enabled: False for silence.
    """

    def __init__(
        self,
        *,
        interval: int,
        val_interval: int,
        batch_size: int,
        evaluator: CycleGanEvaluator,
        enabled: bool | str,
    ) -> None:
        self.interval = interval
        self.val_interval = val_interval
        self.batch_size = batch_size
        self.evaluator = evaluator
        self.enabled = is_on(enabled)
        self._bar: tqdm[Any] | None = None

    def attach(self, engine: Engine) -> None:
        """Act from the start to the end; attach it behind LossAverages and validation."""
        engine.add_event_handler(Events.STARTED, self.start)
        engine.add_event_handler(when_due(self.interval), self)
        engine.add_event_handler(when_validated(self.val_interval), self.report)

    def start(self, engine: Any) -> None:
        """Show the bar, which the engine closes at the end."""
        state = engine.state
        self._bar = engine.resources.enter_context(
            tqdm(
                total=state.max_epochs * state.epoch_length * self.batch_size,
                initial=state.iteration * self.batch_size,
                unit="image",
                disable=not self.enabled or state.rank > 0,
                mininterval=0.2 if sys.stderr.isatty() else SECONDS_BETWEEN_LINES,
                dynamic_ncols=True,
            )
        )

    def __call__(self, engine: Engine) -> None:
        """Move the bar."""
        if self._bar is not None:
            state = engine.state
            self._bar.set_postfix_str(
                f"epoch {state.epoch}/{state.max_epochs}, {_describe_losses(state.losses)}",
                refresh=False,
            )
            self._bar.update(state.iteration * self.batch_size - self._bar.n)

    def report(self, engine: Engine) -> None:
        """Log the figures of the validation that has just been."""
        if self._bar is not None and self.enabled and engine.state.rank == 0:
            self._bar.clear()
            logger.info("Epoch %d: %s", engine.state.epoch, describe_figures(self.evaluator))
            self._bar.refresh()


def _describe_losses(losses: Mapping[str, float]) -> str:
    short: dict[str, Callable[[str], bool]] = {
        "generators": lambda name: name == "generator_loss",
        "discriminators": lambda name: name.startswith("discriminator"),
    }
    return ", ".join(
        f"{label} {sum(value for name, value in losses.items() if chosen(name)):.3f}"
        for label, chosen in short.items()
    )


def describe_figures(evaluator: CycleGanEvaluator) -> str:
    """Say what the last validation found, and whether it is the best yet."""
    state = evaluator.state
    if not state.metrics:
        return "nothing to validate with: no registered pairs, no native slices of both contrasts"
    figures = ", ".join(
        f"{name} {state.metrics[name]:.3f}" for name in SHOWN_FIGURES if name in state.metrics
    )
    if state.best_metric_epoch == -1:
        return f"{figures} (no best {state.key_metric_name} yet)"
    best = f"best {state.key_metric_name} {state.best_metric:.4f}, epoch {state.best_metric_epoch}"
    return f"{figures} ({best})"

"""What TensorBoard shows of a training: losses, figures, learning rate and image panels."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ignite.engine import Engine, Events
from torch.optim import Optimizer
from torch.utils.tensorboard import SummaryWriter

from scripts.cyclegan import Images
from scripts.evaluation.evaluator import VALIDATION_FIGURE_NAMES, CycleGanEvaluator
from scripts.handlers import when_due, when_validated
from scripts.image_panels import make_panel


class TensorBoardLog:
    """Writes tags such as `training/generator_loss` and `validation/t2w_ssim` by iteration.

    After a resume, what an interrupted run wrote beyond its checkpoint is hidden.

    Args:
        log_dir: folder of the event files.
        interval: iterations between two writings of the losses.
        val_interval: epochs between two writings of figures and panels.
        evaluators: by the prefix of their tags, "training" or "validation".
        optimizer: whose learning rate is written.
        panel_images: images (of both contrasts) in a panel; 0 for no panels.
    """

    def __init__(
        self,
        *,
        log_dir: str,
        interval: int,
        val_interval: int,
        evaluators: Mapping[str, CycleGanEvaluator],
        optimizer: Optimizer,
        panel_images: int,
    ) -> None:
        self.log_dir = log_dir
        self.interval = interval
        self.val_interval = val_interval
        self.evaluators = evaluators
        self.optimizer = optimizer
        self.panel_images = panel_images
        self._writer: SummaryWriter | None = None

    def attach(self, engine: Engine) -> None:
        """Act from the start to the end; attach it behind LossAverages and ExampleSlices."""
        engine.add_event_handler(Events.STARTED, self.start)
        engine.add_event_handler(when_due(self.interval), self.write_losses)
        engine.add_event_handler(when_validated(self.val_interval), self)

    def start(self, engine: Any) -> None:
        """Open the event file, which the engine closes at the end."""
        if engine.state.rank == 0:
            writer = SummaryWriter(self.log_dir, purge_step=engine.state.iteration + 1)
            self._writer = engine.resources.enter_context(writer)

    def write_losses(self, engine: Engine) -> None:
        """Write the losses and the learning rate."""
        if self._writer is not None:
            rate = {"learning_rate": self.optimizer.param_groups[0]["lr"]}
            for name, value in (engine.state.losses | rate).items():
                self._writer.add_scalar(f"training/{name}", value, engine.state.iteration)

    def __call__(self, engine: Engine) -> None:
        """Write the figures and panels of the validation that has just been."""
        if self._writer is not None:
            step = engine.state.iteration
            for name, evaluator in self.evaluators.items():
                for figure in VALIDATION_FIGURE_NAMES:
                    if figure in evaluator.state.metrics:
                        value = evaluator.state.metrics[figure]
                        self._writer.add_scalar(f"{name}/{figure}", value, step)
            if self.panel_images > 0:
                self._write_panels(self._writer, engine.state)
            self._writer.flush()

    def _write_panels(self, writer: SummaryWriter, state: Any) -> None:
        shown: dict[str, Images] = {"training": state.output[0]}
        if state.examples.are_pairs:
            shown["validation"] = state.examples.images
        for name, images in shown.items():
            panel = make_panel(images, count=self.panel_images)
            writer.add_image(f"{name}/real_fake_cycle", panel, state.iteration)

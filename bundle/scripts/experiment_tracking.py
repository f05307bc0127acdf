"""What MLflow is told of a training that was started with MONAI's `--tracking mlflow`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ignite.engine import Engine
from monai.handlers import MLFlowHandler

from scripts.handlers import when_due


def adapt_mlflow(
    trainer: Engine, *, handlers: Sequence[Any], interval: int, output_dir: str
) -> None:
    """Let MONAI's handler log all losses at an interval, and the config that was run.

    As MONAI sets it up it waits for the device and for the disk in every iteration to log the
    generators' loss alone. Without such a handler nothing happens.

    Args:
        trainer: whose `state.losses` `LossAverages` keeps.
        handlers: of the trainer, among them what MONAI added; None for one that is switched off.
        interval: iterations between two values of the losses.
        output_dir: folder of the run.
    """
    is_due = when_due(interval).filter

    def read_losses(output: Any) -> dict[str, float] | None:
        if not is_due(trainer, trainer.state.iteration):
            return None  # which MONAI does not log
        rate = trainer.generator_optimizer.param_groups[0]["lr"]
        return {**trainer.state.losses, "learning_rate": rate}

    for handler in handlers:
        if isinstance(handler, MLFlowHandler):
            handler.output_transform = read_losses
            artifacts = [path for path in handler.artifacts if path]
            handler.artifacts = tuple(find_config(path, output_dir) for path in artifacts)


def find_config(path: str, output_dir: str) -> str:
    """Return the path of the config that MONAI saved as an artifact.

    For a plain `--output_dir DIR` MONAI 1.6.1 saves DIR/config_TIME.json and takes the text
    "DIR + '/config_TIME.json'" for its path (`ConfigWorkflow.patch_bundle_tracking`).
    """
    if Path(path).exists():
        return path
    return str(Path(output_dir) / Path(path).name.rstrip("'"))

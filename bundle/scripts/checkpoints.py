"""Checkpoints from which a training goes on; each appears whole or not at all."""

from __future__ import annotations

import logging
import pickle
import shutil
import signal
import sys
import threading
import zipfile
from collections.abc import Mapping
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from ignite.engine import Engine, Events
from torch import nn

from scripts.finite_weights import check_weights
from scripts.processes import get_rank, is_any, wait_for_all
from scripts.whole_files import open_whole

logger = logging.getLogger(__name__)

EXIT_CODE = 128 + signal.SIGTERM  # what a shell reports of a program that it ended
DAMAGED = (zipfile.BadZipFile, pickle.UnpicklingError, EOFError, RuntimeError)


def save_whole(content: Any, path: Path) -> None:
    """Save for `torch.load(weights_only=True)`; the file appears whole or not at all.

    Raises:
        OSError: it could not be written, as on a full disk.
    """
    try:
        with open_whole(path) as file:
            torch.save(content, file)
    except (OSError, RuntimeError) as error:
        cause = error.__context__ if isinstance(error.__context__, OSError) else error
        free = shutil.disk_usage(path.parent).free / 1e6
        raise OSError(
            f"{path}: could not be written ({str(cause).splitlines()[0]}); {free:.1f} MB are free "
            "there. What was saved before is sound: make room, then go on with --resume true."
        ) from error


def list_checkpoints(output_dir: str | Path) -> list[Path]:
    """Checkpoints of a folder, oldest first."""
    paths = Path(output_dir).glob("checkpoint_*.pt")
    return sorted((path for path in paths if path.stem[11:].isdigit()), key=_parse_iteration)


def _parse_iteration(path: Path) -> int:
    return int(path.stem[11:])


def load_newest_checkpoint(output_dir: str | Path) -> tuple[Path, dict[str, Any]] | None:
    """Load the newest checkpoint that is whole, and warn of damaged ones; None without any."""
    paths = list_checkpoints(output_dir)
    for path in reversed(paths):
        try:
            return path, load_checkpoint(path)
        except DAMAGED as error:
            logger.warning("%s is damaged and skipped: %s", path, error)
    if paths:
        raise ValueError(
            f"{output_dir}: all {len(paths)} checkpoints are damaged. Delete them, or choose "
            "another --output_dir, to start anew."
        )
    return None


def load_checkpoint(path: Path) -> dict[str, Any]:
    """Load one checkpoint whose checksums hold."""
    with zipfile.ZipFile(path) as archive:
        damaged = archive.testzip()  # torch.load does not compare checksums
    if damaged:
        raise zipfile.BadZipFile(f"checksum of {damaged} differs")
    content: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    return content


def list_present(objects: Mapping[str, Any]) -> dict[str, Any]:
    """Leave out what is None: parts of a training that are switched off."""
    return {name: each for name, each in objects.items() if each is not None}


class CheckpointSaver:
    """Saves everything that a training needs to go on, and keeps the newest few.

    MONAI's saver and ignite's remove an old checkpoint before the new one is on the disk.

    SIGTERM, by which schedulers take a machine back, ends a training after the step that runs
    (and after the validation, at the end of an epoch) with a checkpoint and exit code 143. Of
    several processes all end when one was asked to.

    Args:
        output_dir: folder of the run.
        objects: all that has a `state_dict`, by name, None for what is switched off; the trainer
            itself is added.
        interval: epochs between two checkpoints; the last epoch is always saved.
        n_saved: number of checkpoints that are kept.
    """

    def __init__(
        self, *, output_dir: str, objects: Mapping[str, Any], interval: int, n_saved: int
    ) -> None:
        self.output_dir = Path(output_dir)
        self.objects = list_present(objects)
        self.interval = interval
        self.n_saved = n_saved
        self.is_asked_to_stop = False

    def attach(self, engine: Engine) -> None:
        """Act after epochs; attach it last, so that it sees what other handlers changed."""
        engine.add_event_handler(Events.STARTED, self._listen)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._stop_within_epoch)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self)

    def __call__(self, engine: Engine) -> None:
        """Save if it is time, and stop if it was asked for."""
        epoch = engine.state.epoch
        is_due = epoch % self.interval == 0 or epoch == engine.state.max_epochs
        stops = is_any(self.is_asked_to_stop)
        if is_due or stops:
            self.save(engine)
        if stops:
            sys.exit(EXIT_CODE)

    def _listen(self, engine: Engine) -> None:
        """Take note of SIGTERM while the training runs; Python allows it in its main thread."""
        self.is_asked_to_stop = False
        if threading.current_thread() is threading.main_thread():
            earlier = signal.signal(signal.SIGTERM, self._take_note)
            engine.resources.callback(signal.signal, signal.SIGTERM, earlier)

    def _take_note(self, number: int, frame: FrameType | None) -> None:
        self.is_asked_to_stop = True
        logger.warning("SIGTERM: the training stops with a checkpoint.")

    def _stop_within_epoch(self, engine: Engine) -> None:
        """Leave the last step of an epoch to the handlers of its end, so that none is left out."""
        is_last = engine.state.iteration % engine.state.epoch_length == 0
        if not is_last and is_any(self.is_asked_to_stop):
            self.save(engine)
            sys.exit(EXIT_CODE)

    def save(self, engine: Engine) -> None:
        """Save in the first process, while the others wait.

        Raises:
            FloatingPointError: a weight is no number.
        """
        check_weights(each for each in self.objects.values() if isinstance(each, nn.Module))
        if get_rank() == 0:
            self._save(engine)
        wait_for_all()

    def _save(self, engine: Engine) -> None:
        """Save, then remove what is too old."""
        path = self.output_dir / f"checkpoint_{engine.state.iteration:08d}.pt"
        objects = {**self.objects, "trainer": engine}
        save_whole({name: each.state_dict() for name, each in objects.items()}, path)
        older = [
            other
            for other in list_checkpoints(self.output_dir)
            if _parse_iteration(other) < engine.state.iteration
        ]
        for other in older[: max(0, len(older) - self.n_saved + 1)]:
            other.unlink()

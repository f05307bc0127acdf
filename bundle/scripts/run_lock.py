"""One training at a time in a folder: a second one would mix its files with the first one's."""

from __future__ import annotations

import errno
import logging
from pathlib import Path

from filelock import FileLock, Timeout

from scripts.engines import CycleGanTrainer
from scripts.processes import get_rank

LOCK = ".training.lock"
UNSUPPORTED = (errno.ENOLCK, errno.ENOTSUP)  # of file systems; without flock, filelock finds a way

logger = logging.getLogger(__name__)


def lock_run(trainer: CycleGanTrainer, *, output_dir: str) -> None:
    """Keep others from training in a folder until this training ends or its process does.

    Args:
        trainer: gives the folder free when it has run.
        output_dir: folder of the run; made where it is not there.

    Raises:
        ValueError: another process trains there.
    """
    if get_rank() != 0:
        return
    Path(output_dir).mkdir(parents=True, exist_ok=True)
    lock = FileLock(Path(output_dir) / LOCK, timeout=0, is_singleton=True)
    try:
        lock.acquire()
    except Timeout as error:
        raise ValueError(
            f"{output_dir}: another training is writing there ({LOCK} is held). Wait for it, or "
            "choose another --output_dir; if there is none on any machine, delete that file."
        ) from error
    except OSError as error:
        if error.errno not in UNSUPPORTED:
            raise
        logger.warning("%s: this file system has no locks. Start no second training.", output_dir)
        return
    trainer.lock = lock

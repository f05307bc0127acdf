"""A training in a process of its own: what ends it, memory too, does not end the study."""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerContext
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from scripts.errors import find_cause

LOG = "training.log"
PATIENCE_S = 60  # for a training that has told its end, and only has to leave
# Imported once; each trial is a fork of the process that has done it.
PRELOADED = ["monai.bundle", "scripts.engines", "scripts.evaluation.evaluator", __name__]


class UnwantedError(Exception):
    """Nobody waits for a training any more."""


class TrialError(Exception):
    """A training that failed; the reason is for people."""


@dataclass(frozen=True)
class Validation:
    """What a training tells after a validation.

    Attributes:
        epoch: after which it was.
        figures: by name.
        parameters: of both generators.
        is_last: whether the training is done with this epoch.
    """

    epoch: int
    figures: Mapping[str, float]
    parameters: int
    is_last: bool


@dataclass(frozen=True)
class Order:
    """What a process is to run; see `running_trial`."""

    run_id: str
    files: tuple[str, ...]
    overrides: Mapping[str, Any]
    bundle: str
    judged: bool


class RunningTrial:
    """The worker's end of a training.

    Args:
        process: that trains.
        connection: to it.
    """

    def __init__(self, process: BaseProcess, connection: Connection) -> None:
        self._process = process
        self._connection = connection

    def __iter__(self) -> Iterator[Validation]:
        """Validations as they come; each waits for `answer`. Ends with the training.

        Raises:
            TrialError: the training failed, or its process died.
        """
        while True:
            try:
                told = self._connection.recv()
            except (EOFError, ConnectionResetError) as error:
                self._process.join()
                raise TrialError(describe_death(self._process.exitcode)) from error
            if told is None:
                return
            if isinstance(told, str):
                raise TrialError(told)
            yield told

    def wait(self) -> None:
        """Wait for the end of what tells nothing; errors are those of the iteration."""
        for _ in self:
            self.answer(stop=False)

    def answer(self, *, stop: bool) -> None:
        """Let the training go on, or end."""
        with suppress(OSError):  # where it died meanwhile, the next validation tells
            self._connection.send(stop)


@contextmanager
def running_trial(
    files: Sequence[Path],
    overrides: Mapping[str, Any],
    *,
    bundle: Path,
    run_id: str = "training",
    judged: bool = True,
) -> Iterator[RunningTrial]:
    """Run a training through MONAI's runner; leaving the block ends it, whatever it does.

    Args:
        files: configs, each upon the one before.
        overrides: upon those.
        bundle: folder of the bundle, in which it runs.
        run_id: what is run.
        judged: whether the configs have a handler that tells validations to the id `judge`.
    """
    context = start_server()
    ours, theirs = context.Pipe()
    order = Order(run_id, tuple(str(file) for file in files), dict(overrides), str(bundle), judged)
    process = context.Process(target=_carry_out, args=(order, theirs))
    process.start()
    theirs.close()
    try:
        yield RunningTrial(process, ours)
        process.join(PATIENCE_S)
    finally:
        process.kill()
        process.join()
        ours.close()


def start_server() -> ForkServerContext:
    """The context whose processes fork from one that has imported what a training needs."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    return context


def _carry_out(order: Order, connection: Connection) -> None:
    """What the process does; it tells validations, then None, or why it failed."""
    from monai.bundle import run

    _end_with_parent()
    os.chdir(order.bundle)
    _redirect_output(Path(order.overrides["output_dir"]) / LOG)

    def judge(epoch: int, figures: Mapping[str, float], parameters: int, is_last: bool) -> bool:
        try:
            connection.send(Validation(epoch, figures, parameters, is_last))
            return bool(connection.recv())
        except (EOFError, OSError) as error:
            raise UnwantedError("the worker is gone") from error

    options = {**order.overrides, **({"judge": judge} if order.judged else {})}
    try:
        run(order.run_id, config_file=list(order.files), **options)
    except Exception as error:
        if isinstance(find_cause(error), UnwantedError):
            return
        logging.getLogger(__name__).exception("The trial failed.")
        connection.send(describe_failure(find_cause(error)))
    else:
        connection.send(None)


def _end_with_parent() -> None:
    """Leave when the worker dies: another takes the trial over, and two must not write there."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the worker, which decides
    parent = multiprocessing.parent_process()

    def watch() -> None:
        if parent is not None:
            parent.join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _redirect_output(file: Path) -> None:
    """Send what the training prints to a file."""
    file.parent.mkdir(parents=True, exist_ok=True)
    handle = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    sys.stdout.flush()
    sys.stderr.flush()
    os.dup2(handle, 1)
    os.dup2(handle, 2)
    os.close(handle)
    print(time.strftime("%Y-%m-%d %H:%M:%S"), flush=True)


def describe_failure(error: BaseException) -> str:
    """One line about an error of a training."""
    lines = str(error).strip().splitlines() or [""]
    name = "out of memory" if is_memory_error(error) else type(error).__name__
    told = lines[-1] if lines[0].startswith("Caught") else lines[0]  # of a worker of the loader
    return f"{name}: {told}"[:500]


def is_memory_error(error: BaseException) -> bool:
    """Whether memory was short, on a GPU or beside it."""
    import torch

    said = str(error)
    return (
        isinstance(error, (MemoryError, torch.OutOfMemoryError)) or "can't allocate memory" in said
    )


def describe_death(exit_code: int | None) -> str:
    """One line about a process that said nothing."""
    if exit_code is not None and exit_code < 0:
        name = signal.Signals(-exit_code).name
        hint = "; it may have run out of memory" if name == "SIGKILL" else ""
        return f"its process was ended by {name}{hint}"
    return f"its process ended with code {exit_code}"

"""What a user reads when a command fails: the cause and the way out, not MONAI's words about it."""

from __future__ import annotations

import logging
import os
import signal
import sys
import textwrap
from types import FrameType, TracebackType

# How MONAI begins the errors that it wraps others into.
WRAPPERS = ("Failed to instantiate component", "Failed to evaluate", "applying transform")
OTHER_NETWORKS = "Error(s) in loading state_dict"  # of torch
# How ignite's engines begin what they log of an error that they raise.
ENGINE_STOPS = ("Engine run is terminating due to", "Current run is terminating due to")
JUDGE = "PatchDiscriminator"  # the class, as torch names it there
EXPECTED = (ValueError, OSError, FloatingPointError)  # faults of input, not of the program


def show_cause_last() -> None:
    """End the report of an error that nobody catches with its cause, and say it once.

    Only for a program that is MONAI's command line: another that loads the bundle keeps its own.
    """
    if is_command_line():
        sys.excepthook = _report
        for handler in logging.getLogger().handlers:
            handler.addFilter(_is_no_repetition)


def _is_no_repetition(record: logging.LogRecord) -> bool:
    """Engines log an error in all its lines before they raise it."""
    return not str(record.msg).startswith(ENGINE_STOPS)


def stop_on_termination() -> None:
    """On MONAI's command line, end by SIGTERM as by Ctrl-C: what is being written is finished."""
    if is_command_line():
        signal.signal(signal.SIGTERM, _stop)


def _stop(number: int, frame: FrameType | None) -> None:
    sys.exit(128 + number)  # what a shell reports of a program that a signal has ended


def is_command_line() -> bool:
    """Whether the program is `python -m monai.bundle`, and not another that loads the bundle."""
    specification = getattr(sys.modules["__main__"], "__spec__", None)
    return specification is not None and specification.name.startswith("monai.bundle")


def find_cause(error: BaseException) -> BaseException:
    """Return the error that MONAI wrapped into its own, maybe several times."""
    while str(error).startswith(WRAPPERS) and error.__cause__ is not None:
        error = error.__cause__
    return error


def describe_mismatch(error: RuntimeError) -> str:
    """Say what `load_state_dict` complains about, and what to do."""
    if "generator_optimizer" in str(error):
        return "this is a checkpoint of a training. Give the model.pt that the training wrote."
    first = (str(error).splitlines()[1:2] or [str(error)])[0]
    first = textwrap.shorten(first, width=200, placeholder=" ...").rstrip(".")
    if f"{OTHER_NETWORKS} for {JUDGE}" in str(error):
        return (
            f"this is of other discriminators ({first}). Pass the --discriminator_features, "
            "--discriminator_normalization and --slices that they were trained with."
        )
    return (
        f"this is of other networks ({first}). Pass the --features, --blocks, --upsampling and "
        "--slices that it was trained with."
    )


def _report(
    kind: type[BaseException], error: BaseException, traceback: TracebackType | None
) -> None:
    cause = find_cause(error)
    if OTHER_NETWORKS in str(cause) and isinstance(cause, RuntimeError):
        cause = ValueError(f"The model does not fit: {describe_mismatch(cause)}")
    if isinstance(cause, KeyboardInterrupt):
        sys.stderr.write(
            "\nInterrupted. The same command goes on; a training does with --resume true.\n"
        )
        return
    is_expected = isinstance(cause, EXPECTED)
    if not is_expected or os.environ.get("MONAI_DEBUG", "").lower() in ("1", "true"):
        sys.__excepthook__(kind, error, traceback)
    sys.stderr.write(f"\n{type(cause).__name__}: {cause}\n")

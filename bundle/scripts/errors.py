"""What a user reads last when a command fails: the cause, not MONAI's words about it."""

from __future__ import annotations

import sys
from types import TracebackType

WRAPPERS = ("Failed to instantiate component", "Failed to evaluate")  # of MONAI's config parser


def show_cause_last() -> None:
    """End the report of an error that nobody catches with its cause."""
    sys.excepthook = _report


def find_cause(error: BaseException) -> BaseException:
    """Return the error that MONAI's config parser wrapped into its own, maybe several times."""
    while str(error).startswith(WRAPPERS) and error.__cause__ is not None:
        error = error.__cause__
    return error


def _report(
    kind: type[BaseException], error: BaseException, traceback: TracebackType | None
) -> None:
    sys.__excepthook__(kind, error, traceback)
    cause = find_cause(error)
    if cause is not error:
        sys.stderr.write(f"\n{type(cause).__name__}: {cause}\n")

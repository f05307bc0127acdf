"""Commands beside MONAI's runner: wrong options are refused first, and errors are one line."""

from __future__ import annotations

import inspect
import logging
import signal
import sys
from collections.abc import Callable, Iterable, Mapping
from types import FrameType

import fire

from scripts.config_options import format_names
from scripts.errors import EXPECTED, find_cause

Command = Callable[..., object]
STOPPED = 130  # exit code, as of Ctrl-C

logger = logging.getLogger(__name__)


def run_command(command: Command | Mapping[str, Command], *, name: str) -> None:
    """Run the program's arguments; what can be expected to go wrong ends with one clear line.

    Args:
        command: one function, or several by the word that chooses them.
        name: of the program, for its help.
    """
    # fire takes -h for the first letter of an option
    sys.argv[1:] = ["--help" if text == "-h" else text for text in sys.argv[1:]]
    try:
        check_flags(command, sys.argv[1:])
        fire.Fire(command, name=name)
    except (*EXPECTED, RuntimeError) as error:
        cause = find_cause(error)
        if not isinstance(cause, EXPECTED):
            raise
        sys.exit(f"error: {cause}")


def run_long_command(commands: Mapping[str, Command], *, name: str) -> None:
    """The same for what takes long and goes on when it is run again: it logs, and can be stopped.

    Ctrl-C and SIGTERM, by which schedulers end a job, raise KeyboardInterrupt in the command.
    """
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s")
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        run_command(commands, name=name)
    except KeyboardInterrupt:
        logger.warning("Stopped. The same command goes on.")
        sys.exit(STOPPED)


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def check_flags(command: Command | Mapping[str, Command], arguments: Iterable[str]) -> None:
    """Fail when a command line holds an option that its command lacks.

    fire would say so too, but only after it has run the command without that option.
    """
    arguments = list(arguments)
    if isinstance(command, Mapping):
        if not arguments or arguments[0] not in command:
            return  # fire lists the commands
        command = command[arguments[0]]
    known = [*inspect.signature(command).parameters, "help"]
    flags = [text[2:].partition("=")[0] for text in arguments if text.startswith("--")]
    unknown = sorted({flag.replace("-", "_") for flag in flags if flag} - set(known))
    if unknown:
        raise ValueError(f"Unknown option {format_names(unknown, known)}. See --help.")

"""What a command line means: lists, pairs, folders, and the names of options."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# Exit codes: everything was used; some images were left out; it could not be done at all; Ctrl-C.
COMPLETE, LEFT_OUT, FAILED, INTERRUPTED = 0, 3, 1, 130


@dataclass(frozen=True)
class Command:
    """What a command line asks for, run only when the whole line was understood."""

    run: Callable[[], int]

    def __str__(self) -> str:
        return ""


def read_switch(value: Any, *, option: str) -> bool:
    """True and false, whichever way the command line passed them.

    Raises:
        ValueError: anything else.
    """
    words = {"true": True, "false": False}
    if (word := str(value).lower()) not in words:
        raise ValueError(f"--{option} {value}. Expected true or false.")
    return words[word]


def split_list(value: Any) -> list[str]:
    """Names separated by commas, whichever way the command line passed them; 2019 is a name too."""
    parts = value if isinstance(value, (tuple, list)) else str(value).split(",")
    return [str(part).strip() for part in parts if str(part).strip()]


def split_pairs(value: Any) -> dict[str, str]:
    """``A=none,B=auto`` as a dictionary.

    Raises:
        ValueError: a part without ``=``.
    """
    pairs = {}
    for part in split_list(value):
        name, separator, method = part.partition("=")
        if not separator:
            raise ValueError(f"{part!r}: expected NAME=METHOD, for example A=none,B=deepbet.")
        pairs[name] = method
    return pairs


def name_folders(inputs: list[str]) -> Mapping[str, Path]:
    """Input folders by name; ValueError where there is none or two have the same name."""
    folders: dict[str, Path] = {}
    for text in inputs:
        given, separator, rest = text.partition("=")
        folder = Path(rest if separator else text)
        name = given if separator else folder.resolve().name
        if name in folders:
            raise ValueError(
                f"two inputs are called {name}: {folders[name]} and {folder}. Name one of them: "
                f"--inputs OTHER={folder}."
            )
        folders[name] = folder
    if not folders:
        raise ValueError("no input. Name BIDS folders: --inputs A,B")
    return folders


def check_options(arguments: list[str], commands: Mapping[str, Callable[..., Any]]) -> None:
    """ValueError that names an option which the command does not have; fire would not."""
    if not arguments or arguments[0] not in commands:
        return
    known = [*inspect.signature(commands[arguments[0]]).parameters, "help"]
    for argument in arguments[1:]:
        name = argument.removeprefix("--").partition("=")[0].replace("-", "_")
        if argument.startswith("--") and name and name not in known:
            close = difflib.get_close_matches(name, known, n=1)
            hint = f" (did you mean --{close[0]}?)" if close else ""
            raise ValueError(f"{arguments[0]} has no option --{name}{hint}; see --help.")

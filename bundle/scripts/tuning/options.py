"""What the command line of the tuning gives: numbers, names, seeds and overlays, checked."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from scripts.config_references import load_config, without_description
from scripts.tuning.confirmation import DEFAULT


def read_recipes(names: str, folder: Path) -> dict[str, dict[str, Any]]:
    """Overlays by the names of their files, which may lie in the study's folder."""
    if names and not all(name.strip() for name in names.split(",")):
        raise ValueError(f"--recipes {names}: expected files, commas and no spaces between.")
    paths = [Path(name.strip()) for name in names.split(",") if names]
    found = {path.stem: load_config(_find(path, folder)) for path in paths}
    if len(found) < len(paths) or DEFAULT in found:
        raise ValueError(f"--recipes {names}: expected files of different names, none {DEFAULT!r}.")
    return found


def _find(path: Path, folder: Path) -> Path:
    inside = folder / path
    return inside if inside.is_file() and not path.is_file() else path


def read_seeds(text: str) -> tuple[int, ...]:
    """Different whole numbers from 0."""
    words = [word.strip() for word in text.strip("()[]").split(",")]
    if not words or not all(word.isdigit() for word in words) or len(set(words)) < len(words):
        raise ValueError(f"--seeds {text}: expected different whole numbers, commas between.")
    return tuple(int(word) for word in words)


def read_overrides(text: str) -> dict[str, Any]:
    """Values by id, from JSON."""
    try:
        found = json.loads(text)
    except json.JSONDecodeError as error:
        raise ValueError(f"--overrides {text}: no JSON ({error}).") from error
    if not isinstance(found, dict):
        raise ValueError(f'--overrides {text}: expected JSON such as {{"max_epochs": 20}}.')
    return found


def list_set(values: Mapping[str, Any], *, besides: Mapping[str, Any]) -> list[str]:
    """Ids that an overlay sets, without those that are set to the same anyway."""
    return [
        name
        for name, value in without_description(values).items()
        if not (name in besides and besides[name] == value)
    ]


def check_study_name(name: object) -> None:
    """Raise ValueError for what cannot be a folder's name."""
    text = str(name)
    if not text or text.startswith(".") or "/" in text or "\\" in text:
        raise ValueError(f"--study {text!r}: expected a name that can be that of a folder.")


def check_number(option: str, value: object, *, at_least: int) -> None:
    """Raise ValueError for what is no such number."""
    if isinstance(value, bool) or not isinstance(value, int) or value < at_least:
        raise ValueError(f"--{option} {value}: expected a whole number from {at_least}.")


def check_real(option: str, value: object) -> None:
    """Raise ValueError for what is no number from 0."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not value >= 0:
        raise ValueError(f"--{option} {value}: expected a number from 0.")

"""Whether a worker of a cluster can take part: the same software, the same folders."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path

from data_prep.session_records import TOOLS


def describe_software() -> dict[str, str]:
    """Versions that decide which bytes land in a shard."""
    return {"python": platform.python_version(), **{name: version(name) for name in TOOLS}}


def describe_problem(bundle: Path, output_dir: Path, expected: Mapping[str, str]) -> str:
    """What makes this process unfit to work for another; "" where nothing does.

    Args:
        bundle: whose preprocessing is used.
        output_dir: of the slice dataset.
        expected: software of the process that asks.
    """
    for folder in (bundle, output_dir):
        if not folder.is_dir():
            return f"it does not see {folder}. Expected a folder that all machines share."
    for name, found in describe_software().items():
        if found != expected[name]:
            return f"it has {name} {found}. Expected {expected[name]}, as where the run started."
    return ""

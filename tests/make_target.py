"""Targets of the Makefile, run with the Python of the tests and with small networks."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.slice_dataset_fixture import BUNDLE

PROJECT = BUNDLE.parent
SMALL = (
    "--features 4 --blocks 1 --discriminator_features 4 --max_epochs 2 --epoch_length 4 "
    "--val_interval 1 --workers 0 --device cpu --segmenter_steps 2 --unpaired_slices 0"
)


def make(target: str, **variables: str) -> str:
    """Run a target with this Python in place of .venv."""
    bin_dir = Path(sys.executable).parent
    given = [f"{name}={value}" for name, value in {"BIN": str(bin_dir), **variables}.items()]
    command = ["make", "--old-file=setup", target, *given]
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout

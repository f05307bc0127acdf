"""Files that appear whole or not at all, whatever stops the program."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

UNFINISHED = ".unfinished-"  # prefix of files that a killed write leaves behind


@contextmanager
def open_whole(path: Path) -> Iterator[BinaryIO]:
    """Open a file for writing under another name, and give it its own once it is on the disk."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=UNFINISHED, dir=path.parent)
    temporary = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.chmod(0o644)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)  # the new name survives a power cut too
    finally:
        os.close(folder)


def write_text(path: Path, text: str) -> None:
    """Write a text file, UTF-8."""
    with open_whole(path) as file:
        file.write(text.encode())

"""Files that appear whole or not at all, whatever stops the program."""

from __future__ import annotations

import os
import tempfile
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

UNFINISHED = ".unfinished-"  # prefix of files that a killed write leaves behind
UNFINISHED_FOLDER = ".unfinished_folder-"


@contextmanager
def open_whole(path: Path) -> Iterator[BinaryIO]:
    """Open a file for writing under another name, and give it its own once it is on the disk."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{UNFINISHED}{uuid.uuid4().hex}")
    try:
        with temporary.open("xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    _flush(path.parent)


@contextmanager
def write_whole(path: Path) -> Iterator[Path]:
    """Give a path of the same name in a hidden folder; what was written there moves to `path`.

    For writers that want a name: TorchScript's archives repeat it inside, and MONAI Deploy looks
    for their configs there. Folders are moved too. Nothing appears when the block fails.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=UNFINISHED_FOLDER, dir=path.parent) as folder:
        temporary = Path(folder) / path.name
        yield temporary
        for written in (file for file in [temporary, *temporary.rglob("*")] if file.is_file()):
            _flush(written)
        temporary.replace(path)
    _flush(path.parent)


def _flush(path: Path) -> None:
    """Wait until a file, or the names in a folder, survive a power cut."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def check_absent(paths: Iterable[Path], *, overwrite: bool) -> None:
    """Fail when anything is already there and was not said to be replaced.

    Raises:
        FileExistsError: names what is there.
    """
    existing = [str(path) for path in paths if path.exists()]
    if existing and not overwrite:
        raise FileExistsError(
            f"{', '.join(existing)}: already there. Choose another output, or pass "
            "--overwrite true."
        )


def write_text(path: Path, text: str) -> None:
    """Write a text file, UTF-8."""
    with open_whole(path) as file:
        file.write(text.encode())

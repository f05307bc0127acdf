"""Checksums that tell one input or one model from another of the same name."""

from __future__ import annotations

import hashlib
from functools import lru_cache
from pathlib import Path


def compute_sha256(path: str | Path) -> str:
    """Hash of a file's content, 64 hexadecimal digits."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def compute_sha256_once(path: Path) -> str:
    """Hash of a file, kept for as long as the file has the same size and time."""
    status = path.stat()
    return _keep_sha256(path.resolve(), status.st_size, status.st_mtime_ns)


@lru_cache(maxsize=64)
def _keep_sha256(path: Path, size: int, time_ns: int) -> str:
    return compute_sha256(path)


def compute_checksum(path: Path) -> str:
    """Hash of a scan: of its file, or of the files of its DICOM series in the order of names.

    Raises:
        FileNotFoundError: nothing is there.
    """
    if not path.exists():
        hint = " It is a link to nowhere: fetch the file first." if path.is_symlink() else ""
        raise FileNotFoundError(f"{path.name}: no such file.{hint}")
    if path.is_file():
        return compute_sha256(path)
    files = sorted(file for file in path.iterdir() if file.is_file())
    return hashlib.sha256("".join(map(compute_sha256, files)).encode()).hexdigest()

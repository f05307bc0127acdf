"""A folder as an archive of the same bytes everywhere, and the list of its large files."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

from scripts.checksums import compute_sha256

LARGE = 25 * 1000**2  # bytes: what the Model Zoo takes into its repository
EPOCH = (1980, 1, 1, 0, 0, 0)  # the first time that a zip archive can hold
PERMISSIONS = 0o100644 << 16  # a plain file, rw-r--r--


def list_files(folder: Path) -> list[Path]:
    """Return every file below a folder, in the same order on every machine."""
    files = (path for path in folder.rglob("*") if path.is_file())
    return sorted(files, key=lambda path: path.relative_to(folder).as_posix())


def write_archive(path: Path, folder: Path) -> None:
    """Write a zip archive whose one top folder has the folder's name.

    Nothing is compressed: weights gain nothing, and the bytes of Deflate differ between versions
    of zlib.
    """
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for file in list_files(folder):
            name = f"{folder.name}/{file.relative_to(folder).as_posix()}"
            entry = zipfile.ZipInfo(name, EPOCH)
            entry.external_attr = PERMISSIONS
            entry.create_system = 3  # Unix, wherever this runs
            archive.writestr(entry, file.read_bytes())


def format_large_files(folder: Path, url: str) -> tuple[list[str], str]:
    """List the files that are too large for the Model Zoo's repository.

    Args:
        folder: the bundle.
        url: of the folder that will hold the files; empty where it is not known yet.

    Returns:
        Their names, and the text of large_files.yml, in the form that the Zoo's bundles have.
    """
    large = [path for path in list_files(folder) if path.stat().st_size > LARGE]
    names = [path.relative_to(folder).as_posix() for path in large]
    lines = ["large_files:"]
    for path, name in zip(large, names, strict=True):
        address = f"{url.rstrip('/')}/{path.name}" if url else ""
        lines += [
            f"- path: {json.dumps(name)}",
            f"  url: {json.dumps(address)}",
            f"  hash_val: {json.dumps(compute_sha256(path))}",
            '  hash_type: "sha256"',
        ]
    return names, "\n".join(lines) + "\n"

"""What a build leaves, to compare it with what another one leaves."""

from __future__ import annotations

from pathlib import Path


def read_files(out: Path) -> dict[str, bytes]:
    """Every file of a slice dataset by its name, but for locks."""
    return {
        path.relative_to(out).as_posix(): path.read_bytes()
        for path in sorted(out.rglob("*"))
        if path.is_file() and not path.name.startswith(".lock")
    }

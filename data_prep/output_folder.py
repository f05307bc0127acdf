"""The folder of a slice dataset: whether it is ours, and who may write into it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from data_prep.job_array import JobShard
from data_prep.store import (
    DOWNLOADS,
    SESSIONS,
    SHARDS,
    SOURCES,
    UNFINISHED,
    VOLUMES,
    read_json,
)

LOCK = ".lock"  # also the mark of a folder that is ours
WRITTEN = (SHARDS, SESSIONS, SOURCES, VOLUMES, DOWNLOADS)
# Jobs of an array may start in the same moment; each looks whether a whole run is going on.
PATIENCE_SECONDS = 30


def check_output(output_dir: Path, section: dict[str, Any]) -> None:
    """Raise ValueError where the folder is not ours to build in, or has another preprocessing."""
    if not output_dir.exists():
        return
    if not output_dir.is_dir():
        raise ValueError(f"{output_dir}: is a file. Expected a new folder or a slice dataset.")
    names = {path.name for path in output_dir.iterdir()}
    stored = output_dir / "dataset.json"
    if (
        names
        and LOCK not in names
        and not (stored.is_file() and "preprocessing" in read_json(stored))
    ):
        raise ValueError(
            f"{output_dir}: holds {', '.join(sorted(names)[:3])} and no slice dataset. "
            "Choose a new folder: nothing of yours is overwritten."
        )
    if stored.is_file():
        _check_description(output_dir, read_json(stored), section)


def _check_description(
    output_dir: Path, description: dict[str, Any], section: dict[str, Any]
) -> None:
    if fold := description.get("cross_validation"):
        raise ValueError(
            f"{output_dir}: is fold {fold['fold']} of {fold['of']}, whose images are links to "
            "another slice dataset. Build into that one, and deal it out again (`folds`)."
        )
    if description["preprocessing"] != section:
        raise ValueError(
            f"{output_dir}: was built with another preprocessing section than the bundle's. "
            "Choose a new folder, or use the bundle that it was built with."
        )


def claim_output(output_dir: Path, section: dict[str, Any]) -> None:
    """Check a folder, and mark it as ours before anything is written."""
    check_output(output_dir, section)
    output_dir.mkdir(parents=True, exist_ok=True)
    (output_dir / LOCK).touch()


def remove_unfinished(output_dir: Path) -> None:
    """Remove what killed runs had begun to write; nobody else may be writing."""
    for folder in (output_dir, *(output_dir / name for name in WRITTEN)):
        pattern = f"{UNFINISHED}*" if folder == output_dir else f"**/{UNFINISHED}*"
        for path in folder.glob(pattern):
            path.unlink(missing_ok=True)


def lock_output(output_dir: Path, shard: JobShard | None = None) -> FileLock:
    """Lock out others: a whole run everybody, a job of an array whole runs and its own double.

    Raises:
        ValueError: another one is writing there.
    """
    whole = FileLock(output_dir / LOCK, timeout=0 if shard is None else PATIENCE_SECONDS)
    _acquire(whole, output_dir)
    try:
        if shard is None:
            for path in sorted(output_dir.glob(f"{LOCK}-shard-*")):
                _acquire(FileLock(path, timeout=0), output_dir).release()
            return whole
        own = FileLock(output_dir / f"{LOCK}-shard-{shard}", timeout=0)
        _acquire(own, output_dir)
    except ValueError:
        whole.release()
        raise
    whole.release()
    return own


def _acquire(lock: FileLock, output_dir: Path) -> FileLock:
    try:
        lock.acquire()
    except Timeout as error:
        raise ValueError(
            f"{output_dir}: another run is writing there ({Path(lock.lock_file).name} is held). "
            "Wait for it."
        ) from error
    return lock

"""Files of a dataset on disk: which are right, which are others', which must be fetched again."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from data_prep.download_state import (
    DownloadState,
    Verified,
    compute_checksums,
    save_state,
)
from data_prep.openneuro_answers import FileStatus, RemoteFile

SAVE_EVERY_BYTES = 1 << 28
"""Hashed between two writes of the state: about a second of work that a kill may cost."""

DESCRIPTION = "dataset_description.json"


def refuse_foreign(
    state: DownloadState, files: Sequence[RemoteFile], statuses: Mapping[str, FileStatus]
) -> None:
    """Raise ValueError for files that others put there and that are not the published ones.

    The client would replace them. A shorter file is taken for the beginning of the published one.
    """
    foreign = []
    for file in files:
        path = state.root / file.path
        if file.path in state.requested or not (path.exists() or path.is_symlink()):
            continue
        if path.is_file() and not path.is_symlink() and path.stat().st_size < file.size:
            continue
        md5 = statuses[file.path].md5
        if not path.is_file() or md5 is None or compute_checksums(path)[0] != md5:
            foreign.append(file.path)
    if foreign:
        raise ValueError(
            f"{state.root}: {', '.join(foreign[:5])} ({len(foreign)} files) differ from what "
            f"{state.name} holds and were not fetched by this program. Move them away."
        )


def verify_files(
    state: DownloadState, files: Sequence[RemoteFile], statuses: Mapping[str, FileStatus]
) -> dict[str, str]:
    """Take up whole files with the right checksum; delete fetched ones with a wrong one.

    Returns:
        Wrong checksums, by path.
    """
    wrong: dict[str, str] = {}
    unsaved = 0
    for file in files:
        path, announced = state.root / file.path, statuses[file.path].md5
        if state.is_present(file) or not path.is_file() or path.stat().st_size < file.size:
            continue
        md5, sha256 = compute_checksums(path)
        if path.stat().st_size == file.size and announced in (None, md5):
            known = Verified(file.size, md5, sha256, announced is not None)
            state.verified[file.path] = known
            unsaved += file.size
        else:
            wrong[file.path] = f"its MD5 is {md5}, announced was {announced}; it was deleted"
            state.verified.pop(file.path, None)
            path.unlink()
        if unsaved >= SAVE_EVERY_BYTES:
            save_state(state)
            unsaved = 0
    save_state(state)
    return wrong


@contextmanager
def description_set_aside(state: DownloadState) -> Iterator[None]:
    """Hide the dataset's description from openneuro-py, which refuses folders because of it.

    Real descriptions lack a DOI, or carry that of another version. The client fetches the file
    again each time; a verified one comes back to its place.
    """
    place, aside = state.root / DESCRIPTION, _aside(state)
    verified = any(f.path == DESCRIPTION and state.is_present(f) for f in state.listing.files)
    if place.is_file():
        place.replace(aside)
    try:
        yield
    finally:
        if aside.exists() and (verified or not place.exists()):
            aside.replace(place)
        aside.unlink(missing_ok=True)


def restore_description(state: DownloadState) -> None:
    """Put back what a run that was killed had set aside."""
    if _aside(state).is_file():
        state.root.mkdir(parents=True, exist_ok=True)
        _aside(state).replace(state.root / DESCRIPTION)


def _aside(state: DownloadState) -> Path:
    # Beside the folder, not in `downloads`: `raw` may be a link to another disk.
    return state.root.with_name(f".{state.listing.version}.description")

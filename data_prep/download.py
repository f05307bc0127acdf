"""Brings datasets of OpenNeuro onto this disk: plans, downloads, and checks again later."""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from data_prep.download_rounds import (
    RUN_AGAIN,
    Patience,
    compute_wait_s,
    count_missing_bytes,
    fetch_files,
)
from data_prep.download_state import (
    DownloadState,
    compute_checksums,
    list_stored_versions,
    load_state,
    locked,
    raw_folder,
    save_state,
)
from data_prep.downloaded_files import restore_description
from data_prep.openneuro_answers import Listing, RemoteFile, UnreachableError
from data_prep.openneuro_client import fetch_listing
from data_prep.sources import Source, with_version
from data_prep.store import DOWNLOADS

ESSENTIAL = (
    "dataset_description.json",
    "participants.tsv",
    "participants.json",
    "README",
    "README.md",
    "CHANGES",
    ".bidsignore",
)
"""Fetched with every selection, where a dataset has them: openneuro-py does not leave them out."""

LISTING_TRIES = 3  # when a run starts and somebody may be looking

Select = Callable[[tuple[str, ...]], Iterable[str]]
"""Chooses from the paths of a listing."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Plan:
    """What a selection needs.

    Attributes:
        source: with its version.
        root: folder of the dataset's files.
        paths: all that OpenNeuro lists.
        wanted: the selection and what describes the dataset.
        missing: of it, what is not there and verified.
        missing_bytes: to fetch; of an unfinished file, what is lacking.
    """

    source: Source
    root: Path
    paths: tuple[str, ...]
    wanted: tuple[RemoteFile, ...]
    missing: tuple[RemoteFile, ...]
    missing_bytes: int


@dataclass(frozen=True)
class Download:
    """What came of a download.

    Attributes:
        source: with its version.
        root: folder of the dataset's files.
        files: paths that are there and verified.
        failed: why the others of the selection are not, by path.
    """

    source: Source
    root: Path
    files: tuple[str, ...]
    failed: Mapping[str, str]


def plan_download(source: Source, folder: Path, select: Select) -> Plan:
    """Say what a selection needs, without fetching or writing a file.

    The listing of a version that was stored by an earlier run is used as it is.

    Raises:
        UnreachableError: the listing is needed, and OpenNeuro does not answer.
        ValueError: no such dataset or version, or openneuro-py is not installed.
    """
    return _make_plan(source, _find_state(source, folder, Patience())[0], select)


def estimate(source: Source, folder: Path, select: Select) -> int:
    """Bytes that are still to fetch for a selection; errors are those of `plan_download`."""
    return plan_download(source, folder, select).missing_bytes


def download_dataset(
    source: Source, folder: Path, select: Select, *, patience: Patience | None = None
) -> Download:
    """Fetch and verify what a selection needs; run again, it goes on where it was stopped.

    Nothing is asked of the network where everything is there and verified.

    Args:
        source: dataset; without a version the newest is taken.
        folder: output folder; files go to ``raw/<accession>/<version>/`` in it, and what is known
            of them to ``downloads/<accession>_<version>.json``.
        select: chooses paths from the listing.
        patience: how long to try.

    Returns:
        What is there and, by path, why the rest is not. A file that is not there costs its
        subject, not the dataset.

    Raises:
        UnreachableError: OpenNeuro does not answer, and nothing could be fetched.
        ValueError: no such dataset or version, too little space, another run at the same, files
            of others in the way, or openneuro-py is not installed.
    """
    patience = patience or Patience()
    state, is_fresh = _find_state(source, folder, patience)
    plan = _make_plan(source, state, select)
    if plan.missing:
        name = (state.listing.accession, state.listing.version)
        with locked(folder, *name, wait_s=patience.lock_wait_s):
            # The addresses in a listing of an earlier day may lead nowhere.
            tries = patience.outage_rounds
            listing = None if is_fresh else _fetch_listing(plan.source, folder, patience, tries)
            return _download(plan.source, folder, listing or state.listing, select, patience)
    return Download(plan.source, plan.root, tuple(file.path for file in plan.wanted), {})


def _download(
    source: Source, folder: Path, listing: Listing, select: Select, patience: Patience
) -> Download:
    """Fetch what is missing; the version must be locked."""
    state = load_state(folder, listing.accession, listing.version) or DownloadState(folder, listing)
    state.listing = listing
    restore_description(state)
    save_state(state)
    plan = _make_plan(source, state, select)
    failed = fetch_files(state, plan.missing, patience)
    for path, reason in failed.items():
        logger.warning("%s: %s: %s", source, path, reason)
    files = tuple(file.path for file in plan.wanted if file.path not in failed)
    return Download(source, plan.root, files, failed)


def verify_raw(folder: Path, accession: str, version: str) -> dict[str, str]:
    """Read the verified files again; those that have changed count as missing from now on.

    Files that are not there any more are no matter: scans may be removed once they were used.

    Returns:
        What is wrong, by path.

    Raises:
        ValueError: nothing was downloaded, or a download is under way.
    """
    with locked(folder, accession, version):
        state = load_state(folder, accession, version)
        if state is None:
            stored = ", ".join(list_stored_versions(folder, accession)) or "no version"
            raise ValueError(f"{folder}: no {accession} {version} was downloaded. Found: {stored}.")
        wrong = {}
        for path, known in state.verified.items():
            file = state.root / path
            if file.is_file() and compute_checksums(file)[1] != known.sha256:
                wrong[path] = "has changed since it was downloaded"
        if wrong:
            state.verified = {path: k for path, k in state.verified.items() if path not in wrong}
            save_state(state)
    return wrong


def verify_downloads(folder: Path) -> list[str]:
    """Check all that was downloaded into an output folder; one sentence per problem."""
    names = [path.stem.partition("_") for path in sorted((folder / DOWNLOADS).glob("*.json"))]
    return [
        f"{raw_folder(Path(), accession, version) / path}: {problem}"
        for accession, _, version in names
        for path, problem in verify_raw(folder, accession, version).items()
    ]


def _find_state(source: Source, folder: Path, patience: Patience) -> tuple[DownloadState, bool]:
    """What is known of a version, and whether its listing is of this moment."""
    if source.version is not None:
        state = load_state(folder, source.accession, source.version)
        if state is not None:
            return state, False
    listing = _fetch_listing(source, folder, patience, LISTING_TRIES)
    state = load_state(folder, listing.accession, listing.version) or DownloadState(folder, listing)
    state.listing = listing
    return state, True


def _make_plan(source: Source, state: DownloadState, select: Select) -> Plan:
    files = {file.path: file for file in state.listing.files}
    chosen = {*select(tuple(files)), *(path for path in ESSENTIAL if path in files)}
    if unknown := sorted(chosen - set(files)):
        raise ValueError(f"{state.name} has no file {unknown[0]} ({len(unknown)} such paths).")
    wanted = tuple(file for path, file in files.items() if path in chosen)
    missing = tuple(file for file in wanted if not state.is_present(file))
    return Plan(
        source=with_version(source, state.listing.version),
        root=raw_folder(state.folder, state.listing.accession, state.listing.version),
        paths=tuple(files),
        wanted=wanted,
        missing=missing,
        missing_bytes=count_missing_bytes(state, missing),
    )


def _fetch_listing(source: Source, folder: Path, patience: Patience, tries: int) -> Listing:
    """List a version; silence of OpenNeuro is borne a few times.

    Raises:
        UnreachableError: names the host, and what to do.
    """
    attempt, rng = 1, random.Random()
    while True:
        try:
            return fetch_listing(source.accession, source.version)
        except UnreachableError as error:
            if attempt >= tries:
                stored = list_stored_versions(folder, source.accession)
                known = f" Downloaded before: {', '.join(stored)}." if stored else ""
                raise UnreachableError(f"{source}: {error}. {RUN_AGAIN}{known}") from error
            time.sleep(compute_wait_s(attempt, patience, error.retry_after_s, rng))
            attempt += 1

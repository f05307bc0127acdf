"""What is known of a dataset's files on disk: the listing, and which files were verified."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path

from filelock import FileLock, Timeout

from data_prep.openneuro_answers import Listing, RemoteFile
from data_prep.store import DOWNLOADS, RAW, read_json, write_json

BLOCK_BYTES = 1 << 20

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Verified:
    """A file that was found right.

    Attributes:
        size: bytes.
        md5: of its content.
        sha256: of its content.
        announced: whether OpenNeuro announced this MD5. Where it announced none, only the size
            could be compared.
    """

    size: int
    md5: str
    sha256: str
    announced: bool


@dataclass
class DownloadState:
    """One version of a dataset in an output folder, as ``downloads/<accession>_<version>.json``.

    Attributes:
        folder: the output folder.
        listing: all files of the version.
        requested: paths that this program has begun to fetch; it may replace these files.
        verified: by path.
    """

    folder: Path
    listing: Listing
    requested: set[str] = field(default_factory=set)
    verified: dict[str, Verified] = field(default_factory=dict)

    @property
    def root(self) -> Path:
        """The dataset's own folder."""
        return raw_folder(self.folder, self.listing.accession, self.listing.version)

    @property
    def name(self) -> str:
        """For messages."""
        return f"{self.listing.accession} {self.listing.version}"

    def is_present(self, file: RemoteFile) -> bool:
        """Whether a file was verified and has the same size still."""
        known = self.verified.get(file.path)
        return known is not None and known.size == file.size == self.size_on_disk(file.path)

    def size_on_disk(self, path: str) -> int:
        """Bytes of a file; 0 where there is none."""
        file = self.root / path
        return file.stat().st_size if file.is_file() else 0


def raw_folder(folder: Path, accession: str, version: str) -> Path:
    """Where the files of a version lie; versions never share a folder."""
    return folder / RAW / accession / version


def state_file(folder: Path, accession: str, version: str, suffix: str = ".json") -> Path:
    """The file that tells of a version's download, or with another suffix one beside it."""
    return folder / DOWNLOADS / f"{accession}_{version}{suffix}"


def list_stored_versions(folder: Path, accession: str) -> list[str]:
    """Versions of a dataset of which a download was begun."""
    names = sorted((folder / DOWNLOADS).glob(f"{accession}_*.json"))
    return [path.name.removeprefix(f"{accession}_").removesuffix(".json") for path in names]


def load_state(folder: Path, accession: str, version: str) -> DownloadState | None:
    """What an earlier run left; None where there was none.

    Raises:
        ValueError: the file is damaged.
    """
    path = state_file(folder, accession, version)
    if not path.is_file():
        return None
    stored = read_json(path)
    try:
        files = tuple(RemoteFile(**file) for file in stored["files"])
        verified = {name: Verified(**known) for name, known in stored["verified"].items()}
        requested = set(stored["requested"])
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(
            f"{path}: not a download's state ({error}). Delete it; run again."
        ) from error
    return DownloadState(folder, Listing(accession, version, files), requested, verified)


def save_state(state: DownloadState) -> None:
    """Write the state; it appears whole or not at all."""
    listing = state.listing
    content = {
        "accession": listing.accession,
        "version": listing.version,
        "files": [asdict(file) for file in listing.files],
        "requested": sorted(state.requested),
        "verified": {path: asdict(known) for path, known in state.verified.items()},
    }
    write_json(state_file(state.folder, listing.accession, listing.version), content)


@contextmanager
def locked(folder: Path, accession: str, version: str, *, wait_s: float = 0.0) -> Iterator[None]:
    """Keep other runs from downloading the same version into the same folder.

    Args:
        folder: the output folder.
        accession: dataset.
        version: of it.
        wait_s: how long to wait for another run.

    Raises:
        ValueError: another run does, even after that time.
    """
    path = state_file(folder, accession, version, ".lock")
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path)
    try:
        with suppress(Timeout):
            lock.acquire(timeout=0)
        if not lock.is_locked and wait_s > 0:
            logger.info("%s %s: waiting for another run that downloads it", accession, version)
        if not lock.is_locked:
            lock.acquire(timeout=wait_s)
    except Timeout as error:
        raise ValueError(
            f"{accession} {version}: another run is downloading it into {folder}. Wait for it."
        ) from error
    try:
        yield
    finally:
        lock.release()


def compute_checksums(path: Path) -> tuple[str, str]:
    """MD5 and SHA-256 of a file, read once."""
    md5, sha256 = hashlib.md5(usedforsecurity=False), hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(BLOCK_BYTES):
            md5.update(block)
            sha256.update(block)
    return md5.hexdigest(), sha256.hexdigest()

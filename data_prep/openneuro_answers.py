"""What OpenNeuro says: of versions, of files, and of trouble."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import urlsplit

RETRIED_CODES = frozenset({408, 425, 429})
"""Of the answers 4xx those that ask for patience; the others are final, and no 5xx is."""


class UnreachableError(ConnectionError):
    """OpenNeuro does not answer, or asks to come back later."""

    def __init__(self, message: str, retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


@dataclass(frozen=True)
class RemoteFile:
    """A file of a published version; ``url`` is "" where OpenNeuro lists none, or no size."""

    path: str  # in the dataset, "sub-01/anat/sub-01_T1w.nii.gz"
    size: int  # bytes
    url: str


@dataclass(frozen=True)
class Listing:
    """All files of one version."""

    accession: str
    version: str
    files: tuple[RemoteFile, ...]


@dataclass(frozen=True)
class FileStatus:
    """What a server says of a file before it is fetched.

    Attributes:
        status: of HTTP, after redirects; 0 where no answer came.
        md5: of the content; None where none is announced.
        retry_after_s: how long the server asks to wait.
        reason: why the file cannot be had now; "" when it can.
    """

    status: int
    md5: str | None = None
    retry_after_s: float | None = None
    reason: str = ""


@dataclass(frozen=True)
class CallOutcome:
    """What openneuro-py says of a call. Only the files on disk tell what came of it."""

    reasons: Mapping[str, str]  # by path
    error: str  # of the call as a whole; "" when it ended as it should


def is_final(status: int) -> bool:
    """Whether asking again is useless: no such file, no access, or gone."""
    return 400 <= status < 500 and status not in RETRIED_CODES


def parse_file(file: Mapping[str, Any]) -> RemoteFile:
    """One entry of a listing; ValueError where its path leaves the dataset's folder."""
    path, urls, size = file["filename"], file["urls"], file["size"]
    parts = PurePosixPath(path)
    if parts.is_absolute() or ".." in parts.parts or "\\" in path or not parts.parts:
        raise ValueError(f"{path!r}: OpenNeuro lists a path that leaves the dataset's folder.")
    return RemoteFile(path, size or 0, urls[0] if urls and size is not None else "")


def read_answer(accession: str, address: str, content: Mapping[str, Any]) -> Any:
    """The one field of a GraphQL answer."""
    errors = content.get("errors") or []
    said = "; ".join(str(error.get("message", error)) for error in errors)
    if re.search(r"\b5\d\d\b|time.?out|timed out|fetch failed|ECONN", said):
        raise UnreachableError(f"{urlsplit(address).netloc} is out of order: {said}")
    found = next(iter((content.get("data") or {}).values()), None)
    if found is None:
        raise ValueError(
            f"{accession}: OpenNeuro has no such public dataset. It says: {said or 'nothing'}. "
            f"Look it up on https://openneuro.org/datasets/{accession}"
        )
    return found

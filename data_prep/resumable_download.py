"""Downloads a large file over HTTP, and goes on where a connection broke."""

from __future__ import annotations

import shutil
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from http.client import HTTPException
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from tqdm import tqdm

TIMEOUT_S = 30.0  # without a byte
PAUSES_S = (1.0, 4.0, 16.0)  # before a second, third and fourth attempt
WORTH_ANOTHER_ATTEMPT = (408, 429, 500, 502, 503, 504)
RANGE_NOT_SATISFIABLE = 416
BLOCK_BYTES = 2**20


def open_url(url: str, headers: dict[str, str] | None = None) -> Any:
    """Open an address for reading; ValueError unless it is https, or http on this machine."""
    parts = urlsplit(url)
    if parts.scheme != "https" and (parts.scheme, parts.hostname) != ("http", "127.0.0.1"):
        raise ValueError(f"{url}: expected an address that begins with https://.")
    request = urllib.request.Request(url, headers=headers or {})  # noqa: S310 checked above
    return urllib.request.urlopen(request, timeout=TIMEOUT_S)  # noqa: S310


def download_file(url: str, path: Path, *, pauses_s: Sequence[float] = PAUSES_S) -> None:
    """Download into a file; what it holds already is taken for the beginning and kept.

    Whether the parts fit together is for the caller to find out, by a checksum.

    Raises:
        ConnectionError: the server refused, or broke off once more than there are pauses.
        ValueError: not an address, or the disk has too little space.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    for pause_s in (*pauses_s, None):
        try:
            _download_rest(url, path)
            return
        except (OSError, HTTPException) as error:
            if isinstance(error, urllib.error.HTTPError):
                _check_worth_another_attempt(error, url, path)
            if pause_s is None:
                raise ConnectionError(
                    f"{url}: {error}. Tried {len(pauses_s) + 1} times; the same command goes on "
                    "from what has arrived."
                ) from error
            time.sleep(pause_s)


def _check_worth_another_attempt(error: urllib.error.HTTPError, url: str, path: Path) -> None:
    """ConnectionError for answers that will not change; a part that is too long is deleted."""
    error.close()
    if error.code == RANGE_NOT_SATISFIABLE:
        path.unlink(missing_ok=True)
    elif error.code not in WORTH_ANOTHER_ATTEMPT:
        raise ConnectionError(
            f"{url}: the server answers {error.code} {error.reason}. Expected a file; check the "
            "address."
        ) from error


def _download_rest(url: str, path: Path) -> None:
    held = path.stat().st_size if path.exists() else 0
    with open_url(url, {"Range": f"bytes={held}-"} if held else None) as response:
        if response.status != 206:  # no partial content: the file from its start
            held = 0
        rest = response.headers.get("Content-Length")
        total = held + int(rest) if rest is not None else None
        check_space(path.parent, int(rest or 0))
        with (
            path.open("ab" if held else "wb") as file,
            tqdm(total=total, initial=held, unit="B", unit_scale=True, disable=None) as bar,
        ):
            while block := response.read(BLOCK_BYTES):
                file.write(block)
                bar.update(len(block))
    if total is not None and path.stat().st_size != total:
        raise ConnectionError(f"broke off after {path.stat().st_size} of {total} bytes")


def check_space(folder: Path, needed_bytes: int) -> None:
    """ValueError where a disk has too little space."""
    free = shutil.disk_usage(folder).free
    if free < needed_bytes:
        raise ValueError(
            f"{folder}: {free / 1e6:.0f} MB free. Expected {needed_bytes / 1e6:.0f} MB or more: "
            "make space, or choose another folder."
        )

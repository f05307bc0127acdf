"""Downloads HD-BET's weights, on request only: nothing else in this project does."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
import shutil
import stat
import uuid
import zipfile
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path, PurePosixPath
from urllib.parse import unquote

from filelock import FileLock, Timeout

from data_prep.resumable_download import PAUSES_S, check_space, download_file, open_url
from data_prep.store import compute_sha256, write_json

logger = logging.getLogger(__name__)

# As in the bundle's hd_bet_weights.py, which opens these files and no others.
DEFAULT_FOLDER = Path("~/hd-bet_params/release_2.0.0")
CHECKPOINT = "fold_all/checkpoint_final.pth"
FILES = (CHECKPOINT, "plans.json", "dataset.json")
PINS = "weights.sha256.json"

LICENCE = (
    "HD-BET's code is under Apache-2.0. Its weights are a separate download from Zenodo, and "
    "neither HD-BET's package nor its repository says under which licence: read the record at the "
    "address below. They are not part of this project and must not be passed on with it."
)


def find_folder() -> Path:
    """Folder in which HD-BET's weights are looked for."""
    return Path(os.environ.get("HDBET_WEIGHTS") or DEFAULT_FOLDER).expanduser()


def find_url() -> str:
    """Address from which the installed HD-BET would download; ValueError without HD-BET."""
    if find_spec("HD_BET") is None:
        raise ValueError(
            f"{LICENCE}\nHD-BET is not installed, so this address is not known. Install the extra "
            "hdbet as the README says, or pass --url."
        )
    from HD_BET.paths import ZENODO_DOWNLOAD_URL

    return str(ZENODO_DOWNLOAD_URL)


def install_weights(
    folder: Path, *, url: str, accept_licence: bool, pauses_s: Sequence[float] = PAUSES_S
) -> str:
    """Download, check and unpack weights, and note their checksums beside them.

    The checksums show later that nothing has changed since. That the download was right, only the
    MD5 says that Zenodo announces, and only as far as Zenodo and the connection are trusted.

    Returns:
        The sha256 of the checkpoint.

    Raises:
        ConnectionError: the download failed.
        FileExistsError: the folder is there.
        ValueError: the licence was not accepted, another run is at it, or the archive is not what
            was expected.
    """
    if not accept_licence:
        raise ValueError(f"{LICENCE}\n{url}\nTo download them, add --accept_licence.")
    folder.parent.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(folder.with_name(f".{folder.name}.lock"), timeout=0):
            return _install(folder, url, pauses_s)
    except Timeout as error:
        raise ValueError(f"{folder}: another run downloads it already. Wait for it.") from error


def _install(folder: Path, url: str, pauses_s: Sequence[float]) -> str:
    """What ``install_weights`` does once nobody else is at it."""
    if folder.exists():
        raise FileExistsError(f"{folder}: already there, and left as it is. Move it away first.")
    record = read_record(url)
    archive = folder.with_name(f".{folder.name}.zip.part")
    download_file(url, archive, pauses_s=pauses_s)
    try:
        _check_md5(archive, record.get("md5"), url)
        pins = _unpack(archive, folder, {"url": url, **record})
    except (ValueError, zipfile.BadZipFile) as error:
        archive.unlink()  # going on from it would fail again
        raise ValueError(f"{url}: {error}. What was downloaded is deleted.") from error
    archive.unlink()
    return pins[CHECKPOINT]


def read_record(url: str) -> dict[str, str]:
    """What Zenodo says of a file: its ``md5`` and the ``licence`` of its record, where it does."""
    match = re.fullmatch(r"(\w+://[^/]+)/records?/(\d+)/files/([^?]+)(?:\?.*)?", url)
    if match is None:
        return {}
    host, number, name = match.groups()
    try:
        with open_url(f"{host}/api/records/{number}") as response:
            record = json.load(response)
        checksums = {file["key"]: file["checksum"] for file in record["files"]}
        found = {"md5": checksums[unquote(name)].removeprefix("md5:")}
        if licence := record["metadata"].get("license"):
            found["licence"] = str(licence["id"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        logger.warning("%s: its record could not be read (%r): no MD5 to compare.", url, error)
        return {}
    logger.info("Zenodo's record names the licence: %s", found.get("licence", "none"))
    return found


def _check_md5(archive: Path, expected: str | None, url: str) -> None:
    if expected is None:
        logger.warning("%s: no MD5 is announced, so the download is taken as it came.", url)
        return
    with archive.open("rb") as file:
        # Against damage, not against an attacker, who could announce another.
        found = hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
    if found != expected:
        raise ValueError(f"the archive has MD5 {found}, expected {expected}")


def _unpack(archive: Path, folder: Path, source: dict[str, str]) -> dict[str, str]:
    """Unpack beside the folder, note the checksums, and move it into place as a whole."""
    unfinished = folder.with_name(f".unfinished-{uuid.uuid4().hex}")
    try:
        with zipfile.ZipFile(archive) as opened:
            _check_members(opened)
            check_space(folder.parent, sum(opened.getinfo(name).file_size for name in FILES))
            for name in FILES:
                path = unfinished / name
                path.parent.mkdir(parents=True, exist_ok=True)
                with opened.open(name) as member, path.open("xb") as file:
                    shutil.copyfileobj(member, file)
        pins = {name: compute_sha256(unfinished / name) for name in FILES}
        write_json(unfinished / PINS, {"files": pins, "source": source})
        unfinished.rename(folder)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    return pins


def _check_members(archive: zipfile.ZipFile) -> None:
    """ValueError where a member would land elsewhere, is a link, or a needed one is missing."""
    for member in archive.infolist():
        path = PurePosixPath(member.filename)
        leaves = path.is_absolute() or ".." in path.parts or "\\" in member.filename
        if leaves or stat.S_ISLNK(member.external_attr >> 16):
            raise ValueError(f"the archive holds {member.filename!r}, which leaves its folder")
    names = archive.namelist()
    if missing := [name for name in FILES if name not in names]:
        raise ValueError(f"the archive holds {names[:8]}, expected {', '.join(missing)}")

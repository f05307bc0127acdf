"""OpenNeuro's interface: listings, checksums and downloads; the only user of openneuro-py."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from data_prep.openneuro_answers import (
    CallOutcome,
    FileStatus,
    Listing,
    RemoteFile,
    UnreachableError,
    is_final,
    parse_file,
    read_answer,
)
from data_prep.sources import VERSION

API_VARIABLE = "T1T2_OPENNEURO_API"
"""Environment variable with the address of another GraphQL interface: of a mirror or a test."""

LISTING_TIMEOUT_S, HEAD_TIMEOUT_S = 60.0, 15.0
HEADS_AT_ONCE = 8
TROUBLE = (RuntimeError, OSError, ValueError, LookupError, TypeError, AssertionError)
"""What openneuro-py raises: also what goes wrong inside it when an answer holds no data."""

logger = logging.getLogger(__name__)


def load_client() -> Any:
    """The module of openneuro-py that downloads, pointed at ``T1T2_OPENNEURO_API`` if that is set.

    Raises:
        ValueError: openneuro-py is not installed, or cannot make its folder for settings.
    """
    try:
        from openneuro import _download
    except ImportError as error:
        raise ValueError(
            f"openneuro-py cannot be imported ({error}). It is an optional part: "
            'pip install -c constraints.txt ".[openneuro]"'
        ) from error
    except OSError as error:
        raise ValueError(
            f"openneuro-py cannot make its folder for settings ({error}). Set XDG_CONFIG_HOME to "
            "a folder that can be written."
        ) from error
    if address := os.environ.get(API_VARIABLE):
        _download.gql_url = address
    return _download


def fetch_listing(accession: str, version: str | None) -> Listing:
    """List the files of a version, or of the newest when None.

    Raises:
        UnreachableError: OpenNeuro does not answer, or is out of order.
        ValueError: there is no such dataset or version, or the answer makes no sense.
    """
    fields = "{ id files(recursive: true) { filename urls size id } }"
    if version is None:
        answer = _ask(accession, f'dataset(id: "{accession}") {{ latestSnapshot {fields} }}')
        snapshot = answer.get("latestSnapshot")
    else:
        _check_version(accession, version)
        snapshot = _ask(accession, f'snapshot(datasetId: "{accession}", tag: "{version}") {fields}')
    try:
        files = tuple(parse_file(file) for file in snapshot["files"])
        resolved = str(snapshot["id"]).removeprefix(f"{accession}:")
    except (KeyError, TypeError) as error:
        raise ValueError(f"{accession}: OpenNeuro's listing is incomplete ({error!r}).") from error
    if not VERSION.fullmatch(resolved):  # it becomes the name of a folder
        raise ValueError(f"{accession}: OpenNeuro calls its newest version {resolved!r}.")
    return Listing(accession, resolved, files)


def _check_version(accession: str, version: str) -> None:
    answer = _ask(accession, f'dataset(id: "{accession}") {{ snapshots {{ id }} }}')
    published = [item["id"].removeprefix(f"{accession}:") for item in answer.get("snapshots") or []]
    if version not in published:
        raise ValueError(
            f"{accession} has no version {version}. Published: {', '.join(published)}. "
            f"Name one of these: {accession}@{published[-1] if published else 'VERSION'}"
        )


def _ask(accession: str, question: str) -> Any:
    """Answer to a GraphQL query of one field."""
    address = load_client().gql_url
    import niquests

    try:
        with niquests.Session(happy_eyeballs=True) as session:
            body = {"query": f"query {{ {question} }}"}
            response = session.post(address, json=body, timeout=LISTING_TIMEOUT_S)
            status, after = response.status_code or 0, _retry_after_s(response)
            content = response.json() if response.ok else {}
    except niquests.exceptions.RequestException as error:
        raise UnreachableError(_describe_silence(address, error)) from error
    if not response.ok:
        message = f"{urlsplit(address).netloc} answers HTTP {status} when asked for {accession}."
        raise ValueError(message) if is_final(status) else UnreachableError(message, after)
    return read_answer(accession, address, content)


def announce(files: Sequence[RemoteFile]) -> dict[str, FileStatus]:
    """Ask for the status and the MD5 of files, following redirects."""
    load_client()  # says what is missing where it is not installed
    import niquests

    session = niquests.Session(happy_eyeballs=True)
    with session, ThreadPoolExecutor(HEADS_AT_ONCE) as pool:
        statuses = pool.map(lambda file: _announce_one(session, file), files)
        return {file.path: status for file, status in zip(files, statuses, strict=True)}


def _announce_one(session: Any, file: RemoteFile) -> FileStatus:
    import niquests

    if not file.url:
        return FileStatus(404, reason="OpenNeuro lists no address or no size for it")
    try:
        response = session.head(file.url, allow_redirects=True, timeout=HEAD_TIMEOUT_S)
    except niquests.exceptions.RequestException as error:
        return FileStatus(0, reason=_describe_silence(file.url, error))
    if not response.ok:
        host, status = urlsplit(file.url).netloc, response.status_code
        reason = f"{host} answers HTTP {status}"
        return FileStatus(status, retry_after_s=_retry_after_s(response), reason=reason)
    # An upload in parts has no MD5 but "<32 digits>-<parts>".
    etag = re.fullmatch(r'"([0-9a-f]{32})"', response.headers.get("etag", ""))
    return FileStatus(response.status_code, md5=etag.group(1) if etag else None)


def _retry_after_s(response: Any) -> float | None:
    """Seconds that a server asks to wait; None where it does not say, or gives a date."""
    value = response.headers.get("retry-after", "")
    return float(value) if value.isdecimal() else None


def _describe_silence(address: str, error: Exception) -> str:
    return f"{urlsplit(address).netloc} does not answer as it should ({type(error).__name__})"


def download(
    accession: str,
    version: str,
    folder: Path,
    paths: Sequence[str],
    *,
    retries: int,
    connections: int,
) -> CallOutcome:
    """Fetch files, and the dataset's description and tables, into ``folder``.

    A shorter file that is there is resumed, another one with a wrong MD5 is replaced. The call
    tells of trouble by its outcome, not by an exception.

    Args:
        accession: dataset.
        version: of the dataset.
        folder: that gets the dataset's files.
        paths: literal paths in the dataset.
        retries: of one file.
        connections: files at a time.
    """
    client, error = load_client(), ""
    with _collected_messages() as messages:
        try:
            client.download(
                dataset=accession,
                tag=version,
                target_dir=folder,
                include=[_escape_pattern(path) for path in paths],
                verify_hash=True,  # by OpenNeuro's own checksums, not by those of a mirror
                max_retries=retries,
                max_concurrent_downloads=connections,
                source="openneuro",
            )
        except TROUBLE as caught:
            error = str(caught) or type(caught).__name__
    return CallOutcome(_read_reasons(messages), error)


def _escape_pattern(path: str) -> str:
    """A pattern that matches this path at the dataset's root and nothing else."""
    return "/" + re.sub(r"([\\*?\[\]])", r"\\\1", path)


def _read_reasons(messages: Sequence[str]) -> dict[str, str]:
    """Why files failed, from lines such as ``Failed to download PATH: REASON``."""
    found = (re.search(r"Failed to download (.+?): (.*\S)", message) for message in messages)
    return {match.group(1): match.group(2) for match in found if match}


@contextmanager
def _collected_messages() -> Iterator[list[str]]:
    """Keep the messages of openneuro-py from the terminal; its progress bar stays."""
    messages: list[str] = []

    class Collector(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            messages.append(record.getMessage())
            logger.debug("%s", record.getMessage())

    theirs = logging.getLogger("openneuro")
    before, theirs.handlers = theirs.handlers, [Collector()]
    try:
        yield messages
    finally:
        theirs.handlers = before

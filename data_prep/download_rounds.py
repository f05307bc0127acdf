"""Fetches what is missing of a dataset, round by round, until it is there or hopeless."""

from __future__ import annotations

import logging
import random
import re
import shutil
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from data_prep.download_state import DownloadState, save_state
from data_prep.downloaded_files import description_set_aside, refuse_foreign, verify_files
from data_prep.openneuro_answers import RemoteFile, UnreachableError, is_final
from data_prep.openneuro_client import announce, download

REPORT_EVERY_S = 60.0
NOT_FETCHED = "was not fetched"
RUN_AGAIN = "Check the network, and run the command again: it goes on where it was stopped."

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Patience:
    """How long to try.

    Attributes:
        rounds: that bring nothing, one after the other, before the download is given up.
        outage_rounds: as many where no server answered for any file: an outage of about an hour.
        first_wait_s: before the second round; it doubles from round to round.
        longest_wait_s: bound of any wait, also of those that a server asks for.
        retries: of one file within a round.
        wrong_contents: rounds that may end with a wrong checksum for the same file.
        connections: files at a time.
        lock_wait_s: for another run that downloads the same version into the same folder.
    """

    rounds: int = 7
    outage_rounds: int = 18
    first_wait_s: float = 5.0
    longest_wait_s: float = 300.0
    retries: int = 3
    wrong_contents: int = 2
    connections: int = 5
    lock_wait_s: float = 0.0


@dataclass(frozen=True)
class Round:
    """What is left after a round, and why."""

    reasons: Mapping[str, str]  # by path
    final: frozenset[str]  # paths that asking again cannot bring
    wrong: frozenset[str]  # paths whose content had another checksum
    unreachable: str  # why no server answered for any file; "" where one did
    retry_after_s: float | None


def fetch_files(
    state: DownloadState, wanted: Sequence[RemoteFile], patience: Patience
) -> dict[str, str]:
    """Fetch and verify files; what cannot be had is returned with its reason.

    Raises:
        UnreachableError: no server answered and nothing was fetched.
        ValueError: too little space, or a file is in the way that others put there.
    """
    given_up: dict[str, str] = {}
    wrong: Counter[str] = Counter()
    fruitless, rng, gained = 0, random.Random(), False
    while left := [f for f in wanted if not (state.is_present(f) or f.path in given_up)]:
        check_space(state, left)
        before = _count_progress(state, wanted)
        done = run_round(state, left, patience)
        wrong.update(done.wrong)
        hopeless = {path for path in done.wrong if wrong[path] >= patience.wrong_contents}
        given_up |= {path: done.reasons[path] for path in done.final | hopeless}
        fruitless = 0 if _count_progress(state, wanted) > before else fruitless + 1
        gained = gained or fruitless == 0
        if not set(done.reasons) - set(given_up):
            continue
        if fruitless >= (patience.outage_rounds if done.unreachable else patience.rounds):
            if done.unreachable and not gained:
                raise UnreachableError(f"{state.name}: {done.unreachable}. {RUN_AGAIN}")
            return {**done.reasons, **given_up}
        wait_s = compute_wait_s(fruitless, patience, done.retry_after_s, rng)
        missing = len(set(done.reasons) - set(given_up))
        why = f" ({done.unreachable})" if done.unreachable else ""
        logger.info("%s: %d files are missing%s; again in %.0f s", state.name, missing, why, wait_s)
        time.sleep(wait_s)
    return given_up


def compute_wait_s(
    fruitless: int, patience: Patience, retry_after_s: float | None, rng: random.Random
) -> float:
    """Seconds to wait: doubled after each fruitless round, spread so that runs do not meet."""
    doubled = patience.first_wait_s * 2.0 ** max(0, fruitless - 1) * rng.uniform(0.5, 1.0)
    return min(patience.longest_wait_s, max(doubled, retry_after_s or 0.0))


def _count_progress(state: DownloadState, wanted: Sequence[RemoteFile]) -> tuple[int, int]:
    """Verified files and bytes on disk: either grows where a round brought something."""
    verified = sum(state.is_present(file) for file in wanted)
    return verified, sum(state.size_on_disk(file.path) for file in wanted)


def count_missing_bytes(state: DownloadState, missing: Sequence[RemoteFile]) -> int:
    """Bytes still to fetch; what lies on disk of an unfinished file is not fetched again."""
    on_disk = {file.path: state.size_on_disk(file.path) for file in missing}
    return sum(max(0, file.size - on_disk[file.path]) for file in missing)


def check_space(state: DownloadState, missing: Sequence[RemoteFile]) -> None:
    """Raise ValueError where the disk is too small for what is missing."""
    place = next(path for path in (state.root, *state.root.parents) if path.exists())
    needed, free = count_missing_bytes(state, missing), shutil.disk_usage(place).free
    if needed > free:
        raise ValueError(
            f"{state.name}: {needed / 1e9:.2f} GB are to be fetched into {state.folder}, where "
            f"{free / 1e9:.2f} GB are free. Make room, or choose another folder."
        )


def run_round(state: DownloadState, left: Sequence[RemoteFile], patience: Patience) -> Round:
    """Ask for all missing files, adopt what is there, fetch the rest, and verify it."""
    statuses = announce(left)
    silent = [status.reason for status in statuses.values() if status.status == 0]
    available = [file for file in left if not statuses[file.path].reason]
    refuse_foreign(state, available, statuses)
    reasons = {path: status.reason for path, status in statuses.items() if status.reason}
    final = {path for path in reasons if is_final(statuses[path].status)}
    wrong = verify_files(state, available, statuses)
    absent = [file for file in available if not state.is_present(file)]
    if absent:
        told = request_files(state, absent, patience)
        wrong = verify_files(state, absent, statuses)
        for path in (file.path for file in absent if not state.is_present(file)):
            reasons[path] = wrong.get(path) or told.get(path) or told.get("", NOT_FETCHED)
            code = re.search(r"\bHTTP (\d{3})\b", told.get(path, ""))
            final |= {path} if code and is_final(int(code.group(1))) else set()
    waits = [status.retry_after_s or 0.0 for status in statuses.values()]
    unreachable = silent[0] if len(silent) == len(left) else ""
    return Round(reasons, frozenset(final), frozenset(wrong), unreachable, max(waits, default=None))


def request_files(
    state: DownloadState, absent: Sequence[RemoteFile], patience: Patience
) -> dict[str, str]:
    """One call of the client; why files failed, by path, and under "" the call's own error."""
    state.requested |= {file.path for file in absent}
    save_state(state)
    volume = count_missing_bytes(state, absent) / 1e9
    logger.info("%s: fetching %d files, %.2f GB", state.name, len(absent), volume)
    with description_set_aside(state), reported_progress(state, absent):
        outcome = download(
            state.listing.accession,
            state.listing.version,
            state.root,
            [file.path for file in absent],
            retries=patience.retries,
            connections=patience.connections,
        )
    return {**({"": outcome.error} if outcome.error else {}), **outcome.reasons}


@contextmanager
def reported_progress(state: DownloadState, absent: Sequence[RemoteFile]) -> Iterator[None]:
    """Log how far a call is, where no terminal shows the bar of openneuro-py."""
    total, ended = count_missing_bytes(state, absent), threading.Event()

    def report() -> None:
        while not ended.wait(REPORT_EVERY_S):
            left = count_missing_bytes(state, absent)
            logger.info("%s: %.2f of %.2f GB", state.name, (total - left) / 1e9, total / 1e9)

    thread = threading.Thread(target=report, daemon=True)
    if not sys.stderr.isatty():
        thread.start()
    try:
        yield
    finally:
        ended.set()
        if thread.ident is not None:
            thread.join()

"""Peak memory of a part of a program, seen from beside it."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

INTERVAL_S = 0.005


@dataclass
class Usage:
    """What a block took: seconds, and the resident gigabytes at its peak."""

    seconds: float = 0.0
    peak_gb: float = 0.0


def read_resident_gb() -> float:
    """Memory of this process now (Linux)."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e9


@contextmanager
def watched() -> Iterator[Usage]:
    """Measure a block; its figures are there when it ends."""
    usage, over = Usage(), threading.Event()

    def watch() -> None:
        while not over.wait(INTERVAL_S):
            usage.peak_gb = max(usage.peak_gb, read_resident_gb())

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    start = time.perf_counter()
    try:
        yield usage
    finally:
        usage.seconds = time.perf_counter() - start
        over.set()
        thread.join()
        usage.peak_gb = max(usage.peak_gb, read_resident_gb())

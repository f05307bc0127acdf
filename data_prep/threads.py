"""Threads of numerical libraries, of which a session gets one: their number changes results."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import SimpleITK as sitk
import torch
from distributed.system import MEMORY_LIMIT

# Pairs of 1 mm take up to 2 GB with deepbet (tests/benchmarks); those of 0.7 mm somewhat more.
SESSION_BYTES = 3e9


def count_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def count_workers() -> int:
    """Sessions that this machine can work on at once."""
    return max(1, min(count_cores(), int(MEMORY_LIMIT / SESSION_BYTES)))


@contextmanager
def single_threaded() -> Iterator[None]:
    """One thread for ITK and torch, so that masks and volumes are the same bits everywhere.

    Sums in another order differ in their last bits, and masks by a voxel. Many sessions at once
    use the cores better than many threads do.
    """
    before = torch.get_num_threads()
    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(1)
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)

"""Threads of numerical libraries, divided among the sessions that a machine works on at once."""

from __future__ import annotations

import os
from collections.abc import Mapping

import SimpleITK as sitk
import torch
from distributed import Worker, WorkerPlugin


def count_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class DividedThreads(WorkerPlugin):
    """Gives each worker its part of its machine's cores, also one that was started again.

    ITK stays on one thread: its results depend on how many there are.

    Args:
        sessions: that are worked on at once, by host; a host that joins later takes one thread.
    """

    def __init__(self, sessions: Mapping[str, int]) -> None:
        self.sessions = dict(sessions)

    def setup(self, worker: Worker) -> None:
        """Called by dask in each worker, once."""
        host = worker.address.split("://")[-1].rsplit(":", 1)[0]
        sessions = self.sessions.get(host, count_cores())
        torch.set_num_threads(max(1, count_cores() // sessions))
        sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(1)

"""Runs the same work for many sessions, on the cores of this machine."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

import torch
from distributed import Client, LocalCluster, as_completed

Item = TypeVar("Item")
Result = TypeVar("Result")


def count_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def run_for_each(
    work: Callable[[Item], Result], items: Sequence[Item], *, workers: int
) -> Iterator[Result]:
    """Results of ``work`` for every item, as they are finished.

    Args:
        work: a function that can be pickled. It handles its own errors: what it raises ends all.
        items: what to work on.
        workers: processes. 1 works in this process; each has its share of the cores for torch,
            while ITK is kept to one thread by the work itself.

    Raises:
        ValueError: fewer than one worker.
    """
    if workers < 1:
        raise ValueError(f"workers {workers}. Expected 1 or more.")
    if workers == 1 or len(items) <= 1:
        yield from map(work, items)
        return
    yield from _run_in_processes(work, items, min(workers, len(items)))


def _run_in_processes(
    work: Callable[[Item], Result], items: Sequence[Item], workers: int
) -> Iterator[Result]:
    threads = max(1, count_cores() // workers)
    cluster = LocalCluster(
        n_workers=workers,
        threads_per_worker=1,
        processes=True,
        host="127.0.0.1",
        dashboard_address="127.0.0.1:0",  # None would still open port 8787, which may be taken
        memory_limit=None,
        silence_logs=40,
    )
    with cluster, Client(cluster) as client:
        client.run(torch.set_num_threads, threads)
        futures: Any = client.map(work, items, pure=False, retries=1)
        for future in as_completed(futures):
            yield future.result()
            future.release()

"""Workers: processes of this machine, or those of a running dask cluster, and how to reach them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import dask
from distributed import Client, LocalCluster
from distributed.system import MEMORY_LIMIT
from tornado.ioloop import IOLoop

from data_prep.event_loop import running_loop

# A session that needs more memory than a worker has must not wait for ever (pause), and what is
# small must not go to the disk (target, spill): the worker is ended and started again.
RULES = {
    "distributed.worker.memory.target": False,
    "distributed.worker.memory.spill": False,
    "distributed.worker.memory.pause": False,
    "distributed.worker.memory.terminate": 0.95,
    "distributed.scheduler.allowed-failures": 1,  # then once more alone
}
CONNECT_SECONDS = 20


@dataclass(frozen=True)
class Workers:
    """Who does the work.

    Attributes:
        count: processes of this machine; 1 works in this process. Not used with a scheduler.
        memory_gb: that each process may take before it is ended and its session is done again
            elsewhere; 0 shares the machine's memory out.
        scheduler: address of a running dask scheduler, `tcp://host:8786`, or its file: its workers
            are used; "" for this machine.
    """

    count: int
    memory_gb: float = 0.0
    scheduler: str = ""

    def __post_init__(self) -> None:
        if self.count < 1:
            raise ValueError(f"workers {self.count}. Expected 1 or more.")
        if self.memory_gb < 0:
            raise ValueError(f"memory_gb {self.memory_gb}. Expected 0 or more.")

    def as_one(self) -> Workers:
        """One process of this machine with the memory of all."""
        return replace(self, count=1, memory_gb=self.memory_gb * self.count)


@contextmanager
def connect(workers: Workers, items: int) -> Iterator[Client]:
    """A client of a running scheduler, or of a cluster of this machine's that ends with it."""
    with running_loop() as loop:
        if workers.scheduler:
            with find_scheduler(workers.scheduler, loop) as client:
                yield client
            return
        count = min(workers.count, items)
        with (
            dask.config.set(RULES),
            LocalCluster(
                n_workers=count,
                threads_per_worker=1,
                processes=True,
                host="127.0.0.1",
                dashboard_address="127.0.0.1:0",  # None would open port 8787, which may be taken
                memory_limit=round(workers.memory_gb * 1e9) or MEMORY_LIMIT // count,
                silence_logs=40,
                loop=loop,
            ) as cluster,
            Client(cluster) as client,
        ):
            yield client


def find_scheduler(place: str, loop: IOLoop) -> Client:
    """A client of a scheduler, given by its address or by the file that it has written.

    Raises:
        ValueError: none answers.
    """
    try:
        if place.endswith(".json"):
            file = str(Path(place).resolve(strict=True))
            return Client(scheduler_file=file, timeout=CONNECT_SECONDS, loop=loop)
        return Client(place, timeout=CONNECT_SECONDS, loop=loop)
    except (OSError, TimeoutError, ValueError) as error:
        raise ValueError(
            f"no dask scheduler answers at {place!r} ({error}). Expected one that runs, as "
            "tcp://host:8786: start it with `dask scheduler`."
        ) from error

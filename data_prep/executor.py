"""Runs the same work for many sessions: on this machine's cores, or on a cluster's."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import dask
from distributed import CancelledError, Client, KilledWorker, LocalCluster, wait
from distributed.system import MEMORY_LIMIT

Item = TypeVar("Item")
Result = TypeVar("Result")

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
LOOK_SECONDS, PATIENCE_SECONDS = 10, 600  # how often to look for workers, how long to do without


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


def run_for_each(
    work: Callable[[Item], Result],
    items: Sequence[Item],
    *,
    workers: Workers,
    name: Callable[[Item], str],
    on_death: Callable[[Item, str], Result],
    check: Callable[[], str],
) -> Iterator[Result]:
    """Results of ``work`` for every item, as they are finished.

    Args:
        work: a function that can be pickled. It handles its own errors: what it raises ends all.
        items: what to work on.
        workers: who does it. An item whose worker died is done again by another, at last alone.
        name: of an item, unique among them.
        on_death: result for an item whose workers all died, with the reason.
        check: run once by each worker of a cluster; says what makes it unfit, "" where it is fit.

    Raises:
        ValueError: the scheduler cannot be reached, has no workers, has unfit ones, or is lost.
    """
    alone = workers.count == 1 or len(items) <= 1
    if alone and not workers.scheduler:
        yield from map(work, items)
        return
    with connect(workers, len(items)) as client:
        if workers.scheduler:
            check_workers(client, check)
        yield from _collect(client, work, items, name, on_death)


@contextmanager
def connect(workers: Workers, items: int) -> Iterator[Client]:
    """A client of a running scheduler, or of a cluster of this machine's that ends with it."""
    if workers.scheduler:
        try:
            client = find_scheduler(workers.scheduler)
        except (OSError, TimeoutError, ValueError) as error:
            raise ValueError(
                f"no dask scheduler answers at {workers.scheduler!r} ({error}). Expected one that "
                "runs, as tcp://host:8786: start it with `dask scheduler`."
            ) from error
        with client:
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
        ) as cluster,
        Client(cluster) as client,
    ):
        yield client


def find_scheduler(place: str) -> Client:
    """A client of a scheduler, given by its address or by the file that it has written."""
    if place.endswith(".json"):
        return Client(scheduler_file=str(Path(place).resolve(strict=True)), timeout=CONNECT_SECONDS)
    return Client(place, timeout=CONNECT_SECONDS)


def check_workers(client: Client, check: Callable[[], str]) -> None:
    """Raise ValueError where a cluster has no workers, or unfit ones."""
    info = client.scheduler_info(n_workers=-1)["workers"]
    if not info:
        raise ValueError(
            f"{client.scheduler.address}: no worker has joined this scheduler. Start some with "
            "`dask worker ADDRESS --nthreads 1 --nworkers N`."
        )
    if busy := [worker["host"] for worker in info.values() if worker["nthreads"] != 1]:
        raise ValueError(
            f"the worker on {busy[0]} runs several sessions in one process. Start workers with "
            "`--nthreads 1 --nworkers N`."
        )
    problems = {address: words for address, words in client.run(check).items() if words}
    for address, words in problems.items():
        raise ValueError(f"the worker {address} cannot be used: {words}")


def _collect(
    client: Client,
    work: Callable[[Item], Result],
    items: Sequence[Item],
    name: Callable[[Item], str],
    on_death: Callable[[Item, str], Result],
) -> Iterator[Result]:
    """All at once; then, each alone, those whose workers died: others may have killed them."""
    run = uuid.uuid4().hex[:8]
    futures: Any = client.map(
        work, items, key=[f"{name(item)}-{run}" for item in items], pure=False, retries=1
    )
    item_of = {future.key: item for future, item in zip(futures, items, strict=True)}
    lost: list[Item] = []
    for future in wait_for_each(client, futures):
        try:
            yield _wait_for(future)
        except KilledWorker:
            lost.append(item_of[future.key])
        future.release()
    for item in lost:
        try:
            (future,) = wait_for_each(client, [client.submit(work, item, pure=False)])
            yield _wait_for(future)
        except KilledWorker as error:
            yield on_death(item, describe_deaths(client, error.allowed_failures + 1))


def wait_for_each(client: Client, futures: Sequence[Any]) -> Iterator[Any]:
    """Futures as they are done.

    Raises:
        ValueError: all workers are gone, and none came back in a while.
    """
    waiting, last_seen = set(futures), time.monotonic()
    while waiting:
        try:
            done = wait(waiting, timeout=LOOK_SECONDS, return_when="FIRST_COMPLETED").done
        except TimeoutError:
            done = set()
        waiting -= done
        yield from done
        if client.scheduler_info(n_workers=-1)["workers"]:
            last_seen = time.monotonic()
        elif time.monotonic() - last_seen > PATIENCE_SECONDS:
            raise ValueError(
                "no worker is left. Start some, and run again: what is done stays done."
            )


def _wait_for(future: Any) -> Any:
    try:
        return future.result()
    except CancelledError as error:
        raise ValueError("the scheduler is lost. Run again: what is done stays done.") from error


def describe_deaths(client: Client, deaths: int) -> str:
    """Why an item was given up."""
    return (
        f"the process that worked on it died {deaths} times; it may need more memory than it has"
        f"{describe_limit(client)}. Take fewer --workers, then run again."
    )


def describe_limit(client: Client) -> str:
    """Memory of the smallest worker, in brackets; "" where none says."""
    info = client.scheduler_info(n_workers=-1)["workers"].values()
    limits = [worker["memory_limit"] for worker in info if worker["memory_limit"]]
    return f" ({min(limits) / 1e9:.1f} GB)" if limits else ""

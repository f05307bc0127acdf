"""Runs the same work for many sessions: on this machine's cores, or on a cluster's."""

from __future__ import annotations

import platform
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from distributed import CancelledError, Client, KilledWorker, wait

from data_prep.cluster import Workers, connect

Item = TypeVar("Item")
Result = TypeVar("Result")

LOOK_SECONDS, PATIENCE_SECONDS = 10, 600  # how often to look for workers, how long to do without


@dataclass(frozen=True)
class CheckedWork(Generic[Item, Result]):
    """Work that a worker does only where it is fit for it."""

    work: Callable[[Item], Result]
    check: Callable[[], str]

    def __call__(self, item: Item) -> Result:
        """Raise ValueError where the worker is unfit."""
        if problem := self.check():
            raise ValueError(f"the worker on {platform.node()} cannot be used: {problem}")
        return self.work(item)


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
        check: run by the workers of a cluster, at first and before each item, since more may
            join; says what makes a worker unfit, "" where it is fit.

    Raises:
        ValueError: the scheduler cannot be reached, has no workers, has unfit ones, or is lost.
    """
    alone = workers.count == 1 or len(items) <= 1
    if alone and not workers.scheduler:
        yield from map(work, items)
        return
    lost: list[Item] = []
    with connect(workers, len(items)) as client:
        if workers.scheduler:
            check_workers(client, check)
            work = CheckedWork(work, check)
        yield from _collect(client, work, items, name, lost)
        if workers.scheduler:
            yield from _try_alone(client, work, lost, on_death)
    if lost and not workers.scheduler:
        with connect(workers.as_one(), 1) as client:
            yield from _try_alone(client, work, lost, on_death)


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
    lost: list[Item],
) -> Iterator[Result]:
    """Results of all; those whose workers died are added to ``lost``."""
    run = uuid.uuid4().hex[:8]
    futures: Any = client.map(
        work, items, key=[f"{name(item)}-{run}" for item in items], pure=False, retries=1
    )
    item_of = {future.key: item for future, item in zip(futures, items, strict=True)}
    for future in wait_for_each(client, futures):
        try:
            yield _wait_for(future)
        except KilledWorker:
            lost.append(item_of[future.key])
        future.release()


def _try_alone(
    client: Client,
    work: Callable[[Item], Result],
    lost: Sequence[Item],
    on_death: Callable[[Item, str], Result],
) -> Iterator[Result]:
    """Each while no other is worked on: others may have killed its worker."""
    for item in lost:
        limit = describe_limit(client)  # afterwards the worker may be gone
        try:
            (future,) = wait_for_each(client, [client.submit(work, item, pure=False)])
            yield _wait_for(future)
        except KilledWorker as error:
            yield on_death(item, describe_deaths(error.allowed_failures + 1, limit))


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


def describe_deaths(deaths: int, limit: str) -> str:
    """Why an item was given up; the limit is that of the memory, in brackets."""
    return (
        f"the process that worked on it died {deaths} times; it may need more memory than it has"
        f"{limit}. Find a machine with more, then run again."
    )


def describe_limit(client: Client) -> str:
    """Memory of the smallest worker, in brackets; "" where none says."""
    info = client.scheduler_info(n_workers=-1)["workers"].values()
    limits = [worker["memory_limit"] for worker in info if worker["memory_limit"]]
    return f" ({min(limits) / 1e9:.1f} GB)" if limits else ""

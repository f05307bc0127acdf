"""The thread in which dask talks to its workers."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager

from distributed.utils import LoopRunner
from tornado.ioloop import IOLoop

ATTEMPTS = 6


@contextmanager
def running_loop() -> Iterator[IOLoop]:
    """An event loop in a thread of its own, for clusters and clients.

    dask would start one, but gives up with an AssertionError when its thread has not begun after
    ten seconds: so long may a machine stand still that is short of memory, or that was suspended.
    And it starts one under a lock, for which a client that is closed takes the same one: were one
    that failed to connect collected as garbage in between, it would wait for itself for ever.

    Raises:
        OSError: none has begun after a minute.
    """
    gc.collect()
    for _ in range(ATTEMPTS):
        runner = LoopRunner()
        try:
            runner.start()
        except AssertionError:
            continue
        try:
            yield runner.loop
        finally:
            runner.stop()
        return
    raise OSError("no thread begins to run: this machine is overloaded. Run again later.")

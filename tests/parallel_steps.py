"""Steps of a training in one or several processes, in float64, for tests to compare."""

from __future__ import annotations

import os
import socket
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from scripts.checkpoints import save_whole
from scripts.processes import get_rank, join_processes, leave_processes
from torch import multiprocessing

from tests.exact_training import make_exact
from tests.forked_processes import get_forking_context
from tests.training_runs import AUGMENTATION

OPTIONS: dict[str, Any] = {
    "batch_size": 4,
    "pool_size": 5,
    "lambda_structure": 1.0,
    "sampling": "shuffled",
    "augmentation": AUGMENTATION,
}


def list_objects(trainer: Any) -> dict[str, Any]:
    """All that a training goes on from."""
    return {
        **vars(trainer.generators),
        "discriminator_t1w": trainer.discriminators.t1w,
        "discriminator_t2w": trainer.discriminators.t2w,
        **{f"pool_{name}": pool for name, pool in trainer.pools.items()},
        **{f"average_{number}": average for number, average in enumerate(trainer.averages)},
        "generator_optimizer": trainer.generator_optimizer,
        "discriminator_optimizer": trainer.discriminator_optimizer,
    }


def take_steps(dataset: Path, state: Path, first: int, last: int) -> None:
    """Take steps `first` to `last` (not included), from and to the file `state`."""
    torch.set_num_threads(1)
    trainer = make_exact(dataset, **OPTIONS)
    objects = list_objects(trainer)
    if first:
        content = torch.load(state, weights_only=True)
        for name, each in objects.items():
            each.load_state_dict(content[name])
    trainer.data_loader.sampler.set_step(first)
    for batch in islice(trainer.data_loader, last - first):
        exact = {name: batch[name].double() for name in ("t1w", "t2w")}
        trainer._iteration(trainer, batch | exact)
    if get_rank() == 0:
        save_whole({name: each.state_dict() for name, each in objects.items()}, state)


def _take_part(rank: int, processes: int, port: int, *arguments: Any) -> None:
    os.environ |= {
        "RANK": str(rank),
        "WORLD_SIZE": str(processes),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
    }
    join_processes(device="cpu")
    take_steps(*arguments)
    leave_processes()


def take_steps_together(processes: int, *arguments: Any) -> None:
    """`take_steps` in several processes."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    get_forking_context()
    multiprocessing.start_processes(
        _take_part, (processes, port, *arguments), nprocs=processes, start_method="forkserver"
    )

"""What the processes of a training share: who they are, and sums, images and signals of all.

Each trains the same networks on its part of every batch. Gradients are averaged here, once per
optimiser step, not by DistributedDataParallel: so a step in parts (`accumulation`) needs no
exception, checkpoints have the same names with any number of processes, and a compiled step stays
in one piece. Without torchrun every function returns what it was given.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

logger = logging.getLogger(__name__)

BACKENDS = {"cuda": "cpu:gloo,cuda:nccl", "cpu": "gloo"}


def is_parallel() -> bool:
    """Whether torchrun started this process, be it the only one."""
    return dist.is_available() and dist.is_initialized()


def count_processes() -> int:
    """Number of processes, 1 without others."""
    return dist.get_world_size() if is_parallel() else 1


def get_rank() -> int:
    """Number of this process, from 0."""
    return dist.get_rank() if is_parallel() else 0


def select_device() -> torch.device:
    """Return the GPU of this process, one each in the order of a machine; without GPUs the CPU."""
    if torch.cuda.is_available():
        return torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
    return torch.device("cpu")


def join_processes(*, device: torch.device | str) -> None:
    """Meet the other processes that torchrun started: NCCL between GPUs, gloo between CPUs.

    Raises:
        RuntimeError: torchrun did not start this process.
    """
    if "WORLD_SIZE" not in os.environ:
        raise RuntimeError(
            "multi_gpu_train.json is for processes that torchrun starts, such as `torchrun "
            "--nproc_per_node=2 -m monai.bundle run training --config_file ...`. Leave it out to "
            "train in one process."
        )
    device = torch.device(device)
    if device.type == "cuda":
        torch.cuda.set_device(device)
    if not dist.is_initialized():
        dist.init_process_group(BACKENDS[device.type])
    logger.info("Process %d of %d on %s.", dist.get_rank(), dist.get_world_size(), device)
    if dist.get_rank():
        logging.getLogger().setLevel(logging.WARNING)  # what goes well is said once


def leave_processes() -> None:
    """Part from the other processes at the end."""
    if dist.is_initialized():
        dist.destroy_process_group()


def average_gradients(parameters: Sequence[nn.Parameter]) -> None:
    """Replace gradients by their means over the processes, in one message."""
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    if is_parallel() and gradients:
        averaged = average_values(torch.cat([gradient.flatten() for gradient in gradients]))
        parts = averaged.split([gradient.numel() for gradient in gradients])
        torch._foreach_copy_(
            gradients,
            [part.view_as(gradient) for part, gradient in zip(parts, gradients, strict=True)],
        )


def average_values(values: Tensor) -> Tensor:
    """Return the means of a tensor over the processes, without waiting for its device."""
    if is_parallel():
        values = values.clone()
        dist.all_reduce(values)
        values = values / dist.get_world_size()
    return values


def gather_batch(images: Tensor) -> Tensor:
    """Join the images (batch, ...) of all processes to the batch that one process would have."""
    if not is_parallel():
        return images
    images = images.contiguous()
    parts = [torch.empty_like(images) for _ in range(dist.get_world_size())]
    dist.all_gather(parts, images)
    return torch.cat(parts)


def take_share(batch: Tensor) -> Tensor:
    """Return this process's images of a joined batch; the inverse of `gather_batch`."""
    return batch.chunk(count_processes())[get_rank()]


def gather_objects(content: Any) -> list[Any]:
    """Return what each process holds, in their order."""
    found = [content] * count_processes()
    if is_parallel():
        dist.all_gather_object(found, content)
    return found


def is_any(statement: bool) -> bool:
    """Whether a statement holds in any process; each has to ask at the same moment."""
    if is_parallel():
        flag = torch.tensor(int(statement))  # on the CPU, so that no GPU is waited for
        dist.all_reduce(flag, op=dist.ReduceOp.MAX)
        return bool(flag)
    return statement


def wait_for_all() -> None:
    """Go on when every process has come here."""
    is_any(False)

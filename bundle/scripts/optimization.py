"""Optimisers over several networks, and the learning rate over the epochs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR


def list_parameters(*, networks: Sequence[nn.Module | None]) -> list[nn.Parameter]:
    """Join the parameters of networks that one optimiser trains; None stands for none."""
    present = [network for network in networks if network is not None]
    return [parameter for network in present for parameter in network.parameters()]


def check_betas(betas: Any) -> tuple[float, float]:
    """Return the two decays of Adam's moments; ValueError where they are not two in [0, 1)."""
    found = betas if isinstance(betas, (list, tuple)) else ()
    if len(found) != 2 or not all(isinstance(b, (int, float)) and 0 <= b < 1 for b in found):
        raise ValueError(f"betas is {betas}; expected two in [0, 1), as --betas [0.5,0.999].")
    return found[0], found[1]


def scale_learning_rate(learning_rate: float, *, batch_size: int, rule: str) -> float:
    """Return the learning rate for a batch.

    Args:
        learning_rate: for batches of one image of each contrast.
        batch_size: images of each contrast.
        rule: "sqrt", times the root of the batch size, as the noise of Adam's steps wants it
            (Malladi et al. 2022, arXiv:2205.10287, without its change of the betas); "linear",
            times the batch size (Goyal et al. 2017, arXiv:1706.02677, for SGD); "none".
    """
    factors = {"sqrt": math.sqrt(batch_size), "linear": float(batch_size), "none": 1.0}
    if rule not in factors:
        raise ValueError(f"learning_rate_rule is {rule!r}; expected one of {sorted(factors)}.")
    return learning_rate * factors[rule]


def linear_decay(epoch: int, *, constant_epochs: int, decay_epochs: int) -> float:
    """Factor of the learning rate: 1, then linearly to 0 (Zhu et al. 2017, appendix 7.1).

    Args:
        epoch: counted from 0.
        constant_epochs: epochs before the decay.
        decay_epochs: epochs of the decay, the first still at the full rate; the one after the last
            would reach 0. 0 for no decay.
    """
    if decay_epochs == 0:
        return 1.0
    return 1.0 - max(0, epoch - constant_epochs) / decay_epochs


def make_schedule(
    optimizer: Optimizer, *, constant_epochs: int, decay_epochs: int, max_epochs: int
) -> LambdaLR:
    """Let an optimiser's learning rate fall linearly.

    It does not depend on `max_epochs`, so that a training may stop early and go on later; but one
    that outlasts it would learn nothing, which is an error.
    """
    if decay_epochs > 0 and constant_epochs + decay_epochs < max_epochs:
        raise ValueError(
            f"The learning rate would be 0 after epoch {constant_epochs + decay_epochs}, but "
            f"max_epochs is {max_epochs}. Make --constant_epochs and --decay_epochs together at "
            "least that, or use --decay_epochs 0 for no decay."
        )

    def compute_factor(epoch: int) -> float:
        return linear_decay(epoch, constant_epochs=constant_epochs, decay_epochs=decay_epochs)

    return LambdaLR(optimizer, lr_lambda=compute_factor)

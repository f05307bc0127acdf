"""Weights that are no longer numbers, of which nothing must be saved."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import nn


def check_weights(networks: Iterable[nn.Module]) -> None:
    """Fail when a weight is not a finite number; waits for the device once.

    Raises:
        FloatingPointError: says what to do.
    """
    weights = [each.detach() for network in networks for each in network.parameters()]
    largest = torch.stack([each.float() for each in torch._foreach_norm(weights, float("inf"))])
    if not bool(largest.isfinite().all()):
        raise FloatingPointError(describe_divergence("a weight"))


def describe_divergence(what: str) -> str:
    """Say what a training can do whose numbers are none."""
    return (
        f"{what} is not a finite number. Nothing was saved of it: go on with --resume true from "
        "the last checkpoint and a lower --learning_rate, or with --precision fp32."
    )

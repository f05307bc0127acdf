"""Moving averages of a generator's weights: what is validated and shipped."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import nn

WARM_UP = 10  # updates; the average of a young training must not be its random start


class MovingAverage:
    """Exponential moving average of a network's parameters (Polyak and Juditsky 1992).

    torch's `AveragedModel` asks the device for its counter at every update, which would make the
    host wait; here the counter is a Python integer.

    Args:
        network: whose parameters are averaged; its buffers are not, instance norm has none.
        decay: weight of the average so far, reached after a warm-up: min(decay, (1 + n)/(10 + n)).
    """

    def __init__(self, network: nn.Module, *, decay: float) -> None:
        self.source = network
        self.network = copy.deepcopy(network).eval().requires_grad_(False)
        self.decay = decay
        self.updates = 0

    @torch.no_grad()
    def update(self) -> None:
        """Move towards the network as it is now."""
        decay = min(self.decay, (1 + self.updates) / (WARM_UP + self.updates))
        torch._foreach_lerp_(
            list(self.network.parameters()), list(self.source.parameters()), 1 - decay
        )
        self.updates += 1

    @torch.no_grad()
    def restart(self) -> None:
        """Forget the past: the average is the network as it is now."""
        for average, parameter in zip(
            self.network.parameters(), self.source.parameters(), strict=True
        ):
            average.copy_(parameter)
        self.updates = 0

    def state_dict(self) -> dict[str, Any]:
        """The average and its age."""
        return {"network": self.network.state_dict(), "updates": self.updates}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore `state_dict()`."""
        self.network.load_state_dict(state["network"])
        self.updates = state["updates"]

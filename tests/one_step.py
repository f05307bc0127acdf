"""One step of training, for the tests of what it does."""

from __future__ import annotations

from typing import Any

import torch
from monai.bundle import ConfigWorkflow
from torch import Tensor

from tests.training_runs import make_workflow

NETWORKS = ("t1w_to_t2w", "t2w_to_t1w", "discriminator_t1w", "discriminator_t2w")
CPU = torch.device("cpu")


class Step:
    """A trainer, its four networks and one batch."""

    def __init__(self, dataset_dir: str, **options: Any) -> None:
        plain = {"lambda_structure": 0.0, "lambda_inversion": 0.0}
        cycle = {"lambda_cycle_t1w": 10.0, "lambda_cycle_t2w": 10.0}
        options = {"augmentation": None, **plain, **cycle} | options
        workflow: ConfigWorkflow = make_workflow(dataset_dir=dataset_dir, **options)
        self.trainer = workflow.parser.get_parsed_content("train#trainer")
        self.networks = {name: workflow.parser.get_parsed_content(name) for name in NETWORKS}
        self.batch = next(iter(self.trainer.data_loader))

    def to_double(self) -> Step:
        """Compute in float64, where rounding does not grow into another training."""
        for network in [*self.networks.values(), *(a.network for a in self.trainer.averages)]:
            network.double()
        for name in ("t1w", "t2w"):
            self.batch[name] = self.batch[name].double()
        return self

    def prepare(self, batch: dict[str, Any]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        return self.trainer.prepare_batch(batch, CPU)

    def take(self) -> dict[str, Tensor]:
        output = self.trainer._iteration(self.trainer, self.batch)
        return output[0]

    def copy_weights(self, name: str) -> list[Tensor]:
        return [parameter.detach().clone() for parameter in self.networks[name].parameters()]

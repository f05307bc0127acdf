"""The generators of an inference: further ones of an ensemble, and their number format."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from pathlib import Path

import torch
from ignite.engine import Engine, Events
from torch import nn

from scripts.directions import select_model
from scripts.precision import select_precision
from scripts.shipped_models import load_weights


def load_ensemble(
    network_def: nn.Module, *, ensemble_dirs: Sequence[str] | str | None, direction: str
) -> list[nn.Module]:
    """Load further generators of the same sizes.

    Args:
        network_def: the first generator, of which the others are copies with other weights.
        ensemble_dirs: folders of models; on the command line with commas. None for no ensemble.
        direction: of the translation.

    Raises:
        FileNotFoundError: a folder has no model of that direction.
        ValueError: a model is of another size.
    """
    return [_load_copy(network_def, path) for path in list_ensemble(ensemble_dirs, direction)]


def list_ensemble(ensemble_dirs: Sequence[str] | str | None, direction: str) -> list[Path]:
    """Return the weights that lie in the folders of further models."""
    folders = ensemble_dirs.split(",") if isinstance(ensemble_dirs, str) else ensemble_dirs or []
    return [Path(select_model(folder, direction)) for folder in folders]


def _load_copy(network_def: nn.Module, path: Path) -> nn.Module:
    network = copy.deepcopy(network_def)
    load_weights(network, path)
    return network.eval()


class PrecisionCaster:
    """Casts generators to the number format of their device before the first scan.

    Weights and all are cast: autocast would cast them anew in every pass. Normalisation sums in
    float32 all the same.

    Args:
        networks: cast and moved in place, once their weights are loaded: attach it behind the
            loader.
        precision: as in training: auto, bf16, fp16 or fp32.
        device: where they compute.
    """

    def __init__(
        self, networks: Sequence[nn.Module], *, precision: str, device: torch.device | str
    ) -> None:
        self.networks = networks
        self.precision = precision
        self.device = torch.device(device)

    def attach(self, engine: Engine) -> None:
        """Act when the engine starts."""
        engine.add_event_handler(Events.STARTED, self)

    def __call__(self, engine: Engine) -> None:
        """Cast."""
        dtype = select_precision(self.precision, self.device)
        for network in self.networks:
            network.to(self.device, dtype)

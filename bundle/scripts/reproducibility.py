"""The same bytes from the same seed, or the fastest algorithms."""

from __future__ import annotations

import os

import torch

from scripts.config_options import is_on


def choose_algorithms(*, deterministic: bool | str) -> None:
    """Choose how a device computes; before anything is computed.

    Args:
        deterministic: True for algorithms whose sums have one order: the same seed gives the same
            bytes on the same device and software, and an operation that has no such algorithm is
            an error. False for the fastest, found by trying; on a CPU both are the same.
    """
    deterministic = is_on(deterministic)
    if deterministic:  # what cuBLAS wants for it
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(deterministic)
    # Filling memory that is written anyway is a help to find errors, no more.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    torch.backends.cudnn.benchmark = not deterministic

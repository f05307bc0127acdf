"""Compiled training steps, which spare a fast device the waiting for Python."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

KINDS = ("none", "default", "reduce-overhead", "max-autotune", "cudagraphs")


def compile_function(function: Callable[..., Any], kind: str) -> Callable[..., Any]:
    """Compile a function of tensors at its first call, which may take a minute.

    Args:
        function: in which every step has the same shapes.
        kind: "none"; "default", fused kernels; "reduce-overhead", these and CUDA graphs;
            "max-autotune", these and kernels chosen by measurement; "cudagraphs", PyTorch's own
            kernels in CUDA graphs, which needs no compiler.
    """
    if kind not in KINDS:
        raise ValueError(f"compilation is {kind!r}; expected one of {KINDS}.")
    if kind == "none":
        return function
    if kind == "cudagraphs":
        return torch.compile(function, backend=kind, dynamic=False)
    return torch.compile(function, mode=kind, dynamic=False)

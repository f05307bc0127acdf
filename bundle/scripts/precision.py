"""The number format of a device: what autocast computes in, and whether its losses are scaled."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def select_precision(name: str, device: torch.device) -> torch.dtype:
    """Return the format for a device.

    Args:
        name: "fp32", "bf16", "fp16", or "auto": bf16 where the device computes in it natively,
            fp16 on older GPUs, fp32 on other CPUs, which would only emulate bf16.
        device: where the networks are.
    """
    if name in PRECISIONS:
        return PRECISIONS[name]
    if name != "auto":
        raise ValueError(f"precision is {name!r}; expected 'auto' or one of {sorted(PRECISIONS)}.")
    if device.type == "cuda":
        # bf16 came with compute capability 8.0; is_bf16_supported() also counts emulation
        return torch.bfloat16 if torch.cuda.get_device_capability(device)[0] >= 8 else torch.float16
    if device.type == "cpu" and _has_native_bf16():
        return torch.bfloat16
    return torch.float32


def _has_native_bf16() -> bool:
    capabilities = torch.backends.cpu.get_cpu_capability()
    return capabilities == "AVX512" and bool(
        torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    )


@contextmanager
def autocast(device: torch.device, precision: torch.dtype) -> Iterator[None]:
    """Compute in `precision` where that is sound, in float32 elsewhere."""
    if precision == torch.float32:
        yield
    else:
        with torch.autocast(device.type, dtype=precision):
            yield


def make_scaler(*, precision: str, device: torch.device | str) -> torch.amp.GradScaler:
    """Scale losses in fp16, whose small gradients would vanish; do nothing in other formats."""
    device = torch.device(device)
    enabled = select_precision(precision, device) == torch.float16
    return torch.amp.GradScaler(device.type, enabled=enabled)

"""All that is claimed of a GPU, in one call of under eight minutes.

``python -m tests.benchmarks.gpu outputs/gpu.json`` measures speed, memory and growth of a training
step, the loader, a training by the documented command, NCCL with one process and inference, and
holds every way of computing to the plain one. Each part is written when it is done; what fails
says so and does not end the rest. ``--device cpu --features 4`` tries the program itself.
"""

from __future__ import annotations

import json
import tempfile
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fire
import torch

from tests.benchmarks.gpu_parts import (
    Bench,
    compare_memory,
    compare_way,
    describe_machine,
    find_waits,
    hold_to_plain,
    measure_determinism,
    measure_inference,
    measure_larger_batch,
    measure_loader,
    run_training,
)
from tests.benchmarks.step_table import measure_growth
from tests.slice_dataset_fixture import write_slice_dataset

LAST_START_SECONDS = 400  # after that no part begins, so that all ends within eight minutes
BATCHES = (4, 16, 32)


def list_parts(bench: Bench) -> dict[str, Callable[[], Any]]:
    """Every part, the most important first."""
    parts: dict[str, Callable[[], Any]] = {"machine": lambda: describe_machine(bench)}
    for way in ("fp32, equal losses", "bf16, equal losses", "default recipe"):
        parts[f"step, {way}"] = lambda way=way: compare_way(bench, way)
    short = {"max_epochs": 2, "val_interval": 1, "val_unpaired_slices": 0, "checkpoint_interval": 2}
    decay = {"constant_epochs": 1, "decay_epochs": 1}
    sizes = {"epoch_length": 100 if bench.device == "cuda" else 2, "batch_size": 16}
    for with_torchrun in (False, True):
        words = "by torchrun (NCCL with one process)" if with_torchrun else "by the command"
        parts[f"training {words}"] = lambda with_torchrun=with_torchrun: run_training(
            bench, with_torchrun=with_torchrun, **short, **decay, **sizes
        )
    parts["inference"] = lambda: measure_inference(bench)
    for batch_size in BATCHES:
        for way in ("default recipe", "channels_last"):
            parts[f"batch {batch_size}, {way}"] = lambda way=way, size=batch_size: (
                measure_larger_batch(bench, way, size)
            )
    for place in ("device", "disk"):
        parts[f"loader, {place}"] = lambda place=place: measure_loader(bench, place, 4)
    parts["memory"] = lambda: compare_memory(bench)
    for way in ("fp32, equal losses", "default recipe", "fp16", "cudagraphs"):
        parts[f"ten steps, {way}"] = lambda way=way: hold_to_plain(bench, way)
    parts["deterministic"] = lambda: measure_determinism(bench)
    parts["waits within a step"] = lambda: find_waits(bench)
    parts["growth"] = lambda: measure_growth(bench.folder, **bench.options())
    for way in ("channels_last", "cudagraphs", "compiled", "compiled with CUDA graphs"):
        parts[f"step, {way}"] = lambda way=way: compare_way(bench, way)
    parts["ten steps, compiled"] = lambda: hold_to_plain(bench, "compiled")
    return parts


def run(output: str, *, device: str = "cuda", features: int = 64) -> None:
    """Measure and write a JSON file.

    Args:
        output: the file.
        device: cuda, or cpu to try the program itself.
        features: of the networks.
    """
    target, began = Path(output), time.monotonic()
    target.parent.mkdir(parents=True, exist_ok=True)
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as name:
        bench = Bench(write_slice_dataset(Path(name)), device, features)
        for part, work in list_parts(bench).items():
            found[part] = run_part(work, time.monotonic() - began)
            print(f"{time.monotonic() - began:6.0f} s  {part}: {found[part]}", flush=True)
            target.write_text(json.dumps(found, indent=4) + "\n")


def run_part(work: Callable[[], Any], elapsed: float) -> Any:
    if elapsed > LAST_START_SECONDS:
        return "left out: no time"
    try:
        return work()
    except Exception as error:  # one part must not cost the others
        traceback.print_exc()
        return f"failed: {type(error).__name__}: {str(error)[-500:]}"
    finally:
        torch.compiler.reset()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()


if __name__ == "__main__":
    fire.Fire(run)

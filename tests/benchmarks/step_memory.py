"""Peak memory of training steps per image, ours against the earlier system's.

Each runs in a process of its own; what an image adds is the difference of batches of one and four,
so that Python, weights and optimisers do not count: they are the same in both.
``python -m tests.benchmarks.step_memory ours 4 cpu`` is one of the processes.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

import torch

from tests.benchmarks import PROJECT
from tests.benchmarks.training_step import EQUAL_LOSSES, make_earlier_step, make_our_step
from tests.slice_dataset_fixture import write_slice_dataset

BATCHES = (1, 4)
STEPS = 2


def measure_process(way: str, batch_size: int, device: str) -> float:
    """Peak megabytes of this process, or of its share of a GPU, after a few steps."""
    with tempfile.TemporaryDirectory() as name:
        folder = write_slice_dataset(Path(name) / "data")
        losses = EQUAL_LOSSES if way == "ours at equal losses" else {}
        step, trainer = make_our_step(folder, batch_size=batch_size, device=device, **losses)
        if way == "earlier":
            step = make_earlier_step(trainer)
        for _ in range(STEPS):
            step()
    if device == "cpu":
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3
    return torch.cuda.max_memory_allocated() / 1e6


def run_process(way: str, batch_size: int, device: str) -> float:
    module = ["-W", "ignore", "-m", "tests.benchmarks.step_memory"]
    command = [sys.executable, *module, way, str(batch_size), device]
    output = subprocess.run(command, cwd=PROJECT, check=True, capture_output=True, text=True)
    return float(json.loads(output.stdout.splitlines()[-1]))


def measure_ways(device: str) -> dict[str, float]:
    """Megabytes that an image adds, by the way of training."""
    few, many = BATCHES
    return {
        way: (run_process(way, many, device) - run_process(way, few, device)) / (many - few)
        for way in ("earlier", "ours at equal losses", "ours")
    }


def measure() -> list[dict[str, object]]:
    found = measure_ways("cpu")
    return [
        {
            "name": f"peak memory that an image adds to a step, 64 features, {way}",
            "value": round(found[way]),
            "unit": "MB",
            "reference": f"the earlier system's step in fp32: {found['earlier']:.0f}",
        }
        for way in ("ours at equal losses", "ours")
    ]


if __name__ == "__main__":
    print(json.dumps(measure_process(sys.argv[1], int(sys.argv[2]), sys.argv[3])))

"""The whole training step against the earlier system's, alternating in one run.

Same device, same networks, same batch. Ours runs as a training does, through the real train.json:
augmentation, image pool, moving average and all; only reading the slices is left out of both.
"""

from __future__ import annotations

import copy
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode

from tests.earlier_system import EarlierStep
from tests.exact_training import build_trainer
from tests.plain_networks import copy_plainly
from tests.slice_dataset_fixture import SIZE, write_slice_dataset

Step = Callable[[], Any]
ROUNDS, WARM_UP = 7, 2
LARGE = {"features": 64, "discriminator_features": 64}  # the earlier system's size
EQUAL_LOSSES = {"lambda_identity": 0.1, "lambda_structure": 0.0, "lambda_inversion": 0.0}


def make_trainer(folder: Path, **options: Any) -> Any:
    torch.backends.cudnn.benchmark = True
    return build_trainer(folder, **({"slices_on": "disk", "progress": False} | LARGE | options))


def read_batch(trainer: Any, size: int = SIZE) -> dict[str, Any]:
    """A batch of the loader, on the device, images and masks of another size where asked for."""
    batch = next(iter(trainer.data_loader))
    for name in ("t1w", "t2w", "t1w_mask", "t2w_mask"):
        resized = functional.interpolate(batch[name].float(), size=(size, size))
        batch[name] = resized.to(trainer.state.device).to(batch[name].dtype)
    return batch


def wait_for(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def make_our_step(folder: Path, *, size: int = SIZE, **options: Any) -> tuple[Step, Any]:
    trainer = make_trainer(folder, **options)
    batch = read_batch(trainer, size)

    def step() -> None:
        trainer._iteration(trainer, batch)
        wait_for(trainer.state.device)

    return step, trainer


def make_earlier_step(trainer: Any, *, size: int = SIZE) -> Step:
    """The earlier system's step on the trainer's networks, in plain layers, and on its data."""
    from scripts.cyclegan import Generators

    both = (trainer.generators.t1w_to_t2w, trainer.generators.t2w_to_t1w)
    device = trainer.state.device
    plain = Generators(*[copy_plainly(each, upsampling="resize").to(device) for each in both])
    step = EarlierStep(plain, copy.deepcopy(trainer.discriminators))
    batch = read_batch(trainer, size)

    def run() -> None:
        step(batch["t1w"], batch["t2w"])
        wait_for(device)

    return run


def time_alternating(steps: dict[str, Step], rounds: int = ROUNDS) -> dict[str, float]:
    """Median seconds of each step, one after the other in every round."""
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    for number in range(WARM_UP + rounds):
        for name, step in steps.items():
            start = time.perf_counter()
            step()
            if number >= WARM_UP:
                seconds[name].append(time.perf_counter() - start)
    return {name: statistics.median(found) for name, found in seconds.items()}


def count_gflop(step: Step) -> float:
    """Products and sums of all convolutions of a step, in 10^9."""
    with FlopCounterMode(display=False) as counter:
        step()
    return counter.get_total_flops() / 1e9


@dataclass(frozen=True)
class Comparison:
    """Seconds and GFLOP of a step, and of the earlier system's that alternated with it."""

    seconds: float
    gflop: float
    earlier_seconds: float
    earlier_gflop: float

    @property
    def ratio(self) -> float:
        return self.earlier_seconds / self.seconds


MEASURES: dict[str, dict[str, Any]] = {
    "no fake twice, joined batches": {**EQUAL_LOSSES, "precision": "fp32"},
    "and bf16": {**EQUAL_LOSSES, "precision": "bf16"},
    "default recipe": {"precision": "bf16"},
}


def compare(folder: Path, **options: Any) -> Comparison:
    """Alternate our step with the earlier one; pair by pair, since more share the caches."""
    step, trainer = make_our_step(folder, **options)
    earlier = make_earlier_step(trainer)
    seconds = time_alternating({"ours": step, "earlier": earlier})
    return Comparison(seconds["ours"], count_gflop(step), seconds["earlier"], count_gflop(earlier))


def compare_all(folder: Path, **options: Any) -> dict[str, Comparison]:
    return {name: compare(folder, **(options | each)) for name, each in MEASURES.items()}


def measure_reading(folder: Path, samples: int = 50, **options: Any) -> float:
    """Seconds that reading takes from the training itself: a sample, in this process."""
    trainer = make_trainer(folder, **options)
    batches = iter(trainer.data_loader)
    next(batches)
    start = time.perf_counter()
    for _ in range(samples):
        next(batches)
    return (time.perf_counter() - start) / samples


def measure() -> list[dict[str, object]]:
    """Images per second of a step over the earlier system's, and the share of the loader."""
    with tempfile.TemporaryDirectory() as name:
        folder = write_slice_dataset(Path(name) / "data")
        found = compare_all(folder)
        reading = measure_reading(folder)
    cores = os.cpu_count()
    rows = [("and bf16", "at equal losses", 2), ("default recipe", "in the default recipe", 3)]
    figures: list[dict[str, object]] = [
        {
            "name": f"training step {words}, 64 features, batch 1",
            "value": round(found[key].ratio, 2),
            "unit": "times the images per second",
            "reference": f"the earlier system's step in fp32, {found[key].earlier_seconds:.2f} s; "
            f"goal {goal} where bf16 is native; {cores} cores",
        }
        for key, words, goal in rows
    ]
    step = found["default recipe"].seconds
    share = {
        "name": "reading a sample, without workers, 64 features, batch 1",
        "value": round(100 * reading / (step + reading), 2),
        "unit": "percent of a step",
        "reference": f"a step of {step:.2f} s; goal below 2; {cores} cores",
    }
    return [*figures, share]

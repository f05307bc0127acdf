"""The whole training step against the earlier system's, alternating in one run.

Same device, same networks, same batch. Ours runs as a training does, through the real train.json:
augmentation, image pool, moving average and all; only reading the slices is left out of both.
``python -m tests.benchmarks.training_step`` prints the table of what each measure gives.
"""

from __future__ import annotations

import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

BUNDLE = Path(__file__).resolve().parents[2] / "bundle"
sys.path.insert(0, str(BUNDLE))

from tests.earlier_system import EarlierStep  # noqa: E402
from tests.plain_networks import copy_plainly  # noqa: E402
from tests.slice_dataset_fixture import write_slice_dataset  # noqa: E402

Step = Callable[[], Any]
ROUNDS, WARM_UP = 7, 2
EQUAL_LOSSES = {"lambda_identity": 0.1, "lambda_structure": 0.0}


def make_trainer(folder: Path, **options: Any) -> Any:
    """Return the trainer that train.json describes, and a batch on its way to it."""
    from monai.bundle import ConfigParser

    parser = ConfigParser()
    parser.read_config(str(BUNDLE / "configs" / "train.json"))
    settings = {
        "bundle_root": str(BUNDLE),
        "dataset_dir": str(folder),
        "output_dir": str(folder / "run"),
        "workers": 0,
        "progress": False,
        **options,
    }
    for name, value in settings.items():
        assert name in parser, name
        parser[name] = value
    parser["train"]["handlers"] = []
    trainer = parser.get_parsed_content("train#trainer")
    trainer.state.epoch = 1
    return trainer


def make_our_step(folder: Path, **options: Any) -> tuple[Step, Any]:
    trainer = make_trainer(folder, **options)
    batch = next(iter(trainer.data_loader))
    synchronize = torch.cuda.synchronize if trainer.state.device.type == "cuda" else lambda: None

    def step() -> None:
        trainer._iteration(trainer, batch)
        synchronize()

    return step, trainer


def make_earlier_step(trainer: Any) -> Step:
    """The earlier system's step on the trainer's networks, in plain layers, and on its data."""
    import copy

    from scripts.cyclegan import Generators

    both = (trainer.generators.t1w_to_t2w, trainer.generators.t2w_to_t1w)
    plain = Generators(*[copy_plainly(network, upsampling="resize") for network in both])
    step = EarlierStep(plain, copy.deepcopy(trainer.discriminators))
    device = trainer.state.device
    batch = next(iter(trainer.data_loader))
    t1w, t2w = (batch[name].to(device) for name in ("t1w", "t2w"))
    synchronize = torch.cuda.synchronize if device.type == "cuda" else lambda: None

    def run() -> None:
        step(t1w, t2w)
        synchronize()

    return run


def time_alternating(steps: dict[str, Step]) -> dict[str, float]:
    """Median seconds of each step, one after the other in every round."""
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    for number in range(WARM_UP + ROUNDS):
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


def compare(folder: Path, **options: Any) -> dict[str, tuple[float, float]]:
    """Seconds an image and GFLOP a step of the earlier step and of ours, by measure."""
    size = {"batch_size": 1, **options}
    exact, trainer = make_our_step(folder, **EQUAL_LOSSES, **size, precision="fp32")
    steps = {
        "earlier system": make_earlier_step(trainer),
        "no fake twice, joined batches": exact,
        "and bf16": make_our_step(folder, **EQUAL_LOSSES, **size, precision="bf16")[0],
        "default recipe": make_our_step(folder, **size, precision="bf16")[0],
    }
    seconds = time_alternating(steps)
    return {name: (seconds[name], count_gflop(step)) for name, step in steps.items()}


def measure() -> list[dict[str, object]]:
    """Images per second of a step over the earlier system's, at equal losses and by default."""
    with tempfile.TemporaryDirectory() as name:
        folder = write_slice_dataset(Path(name) / "data")
        found = compare(folder)
    earlier, _ = found["earlier system"]
    rows = [("and bf16", "at equal losses", 2), ("default recipe", "in the default recipe", 3)]
    return [
        {
            "name": f"training step {words}, 64 features, batch 1",
            "value": round(earlier / found[key][0], 2),
            "unit": "times the images per second",
            "reference": f"the earlier system's step in fp32, {earlier:.2f} s; goal {goal} where "
            f"bf16 is native; {os.cpu_count()} cores",
        }
        for key, words, goal in rows
    ]


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = write_slice_dataset(Path(name) / "data")
        found = compare(folder)
        earlier, _ = found["earlier system"]
        for measure_, (seconds, gflop) in found.items():
            print(f"{measure_:32} {seconds:6.3f} s {earlier / seconds:5.2f}x {gflop:7.1f} GFLOP",
                  flush=True)  # fmt: skip


if __name__ == "__main__":
    main()

"""What is measured of a GPU, part by part; see `gpu`."""

from __future__ import annotations

import datetime
import platform
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from scripts.cyclegan import Generators
from scripts.reproducibility import choose_algorithms

from tests.benchmarks import PROJECT, inference
from tests.benchmarks.step_table import measure_peak_gflops
from tests.benchmarks.training_step import (
    EQUAL_LOSSES,
    compare,
    make_earlier_step,
    make_our_step,
    make_trainer,
    read_batch,
    wait_for,
)
from tests.earlier_system import EarlierStep
from tests.plain_networks import copy_plainly

WAYS: dict[str, dict[str, Any]] = {
    "fp32, equal losses": {**EQUAL_LOSSES, "precision": "fp32"},
    "bf16, equal losses": EQUAL_LOSSES,
    "default recipe": {},
    "channels_last": {"memory_format": "channels_last"},
    "cudagraphs": {"compilation": "cudagraphs"},
    "compiled": {"compilation": "default"},
    "compiled with CUDA graphs": {"compilation": "reduce-overhead"},
    "fp16": {"precision": "fp16"},
}


@dataclass(frozen=True)
class Bench:
    """What the parts share."""

    folder: Path
    device: str
    features: int

    def options(self, **changes: Any) -> dict[str, Any]:
        sizes = {"features": self.features, "discriminator_features": self.features}
        precision = "bf16" if self.device == "cuda" else "fp32"
        return {"device": self.device, "precision": precision} | sizes | changes


def describe_machine(bench: Bench) -> dict[str, Any]:
    found = {"date": datetime.date.today().isoformat(), "torch": torch.__version__}
    if bench.device == "cuda":
        found |= {"gpu": torch.cuda.get_device_name(), "cuda": str(torch.version.cuda)}
    size = 8192 if bench.device == "cuda" else 1024
    peaks = {
        str(dtype)[6:]: round(measure_peak_gflops(dtype, bench.device, size) / 1e3, 3)
        for dtype in (torch.float32, torch.bfloat16)
    }
    return found | {"python": platform.python_version(), "peak_tflops": peaks}


def compare_way(bench: Bench, way: str) -> dict[str, Any]:
    """Our step in one way against the earlier system's, with the same batch."""
    start = time.perf_counter()
    found = compare(bench.folder, **bench.options(**WAYS[way]))
    return {
        "ratio": round(found.ratio, 2),
        "images_per_second": round(1 / found.seconds, 1),
        "earlier_images_per_second": round(1 / found.earlier_seconds, 1),
        "gflop_an_image": round(found.gflop, 1),
        "seconds_with_start": round(time.perf_counter() - start, 1),
    }


def measure_larger_batch(bench: Bench, way: str, batch_size: int) -> dict[str, Any]:
    """Images per second of a larger batch, and the peak gigabytes of its step."""
    step, trainer = make_our_step(bench.folder, **bench.options(**WAYS[way], batch_size=batch_size))
    return {**time_steps(step, batch_size), "peak_gb": measure_memory(step, trainer.state.device)}


def time_steps(step: Callable[[], Any], batch_size: int, count: int = 20) -> dict[str, Any]:
    for _ in range(3):
        step()
    start = time.perf_counter()
    for _ in range(count):
        step()
    return {"images_per_second": round(count * batch_size / (time.perf_counter() - start), 1)}


def measure_memory(step: Callable[[], Any], device: torch.device) -> float | None:
    """Peak gigabytes of a step."""
    if device.type != "cuda":
        return None
    torch.cuda.reset_peak_memory_stats(device)
    step()
    return round(torch.cuda.max_memory_allocated(device) / 1e9, 3)


def compare_memory(bench: Bench) -> dict[str, Any]:
    """Peak gigabytes of both at a batch of 8, the earlier one first."""
    step, trainer = make_our_step(bench.folder, **bench.options(batch_size=8))
    step()
    ours = measure_memory(step, trainer.state.device)
    return {"ours": ours, "both": measure_memory(make_earlier_step(trainer), trainer.state.device)}


def measure_loader(bench: Bench, place: str, batch_size: int) -> dict[str, Any]:
    """Percent of a step that new batches cost over the same one again and again."""
    workers = {"disk": 4, "device": 0}[place]
    options = bench.options(slices_on=place, workers=workers, batch_size=batch_size)
    trainer = make_trainer(bench.folder, **options)
    batches, same = iter(trainer.data_loader), None
    seconds = []
    for is_new in (True, False, True, False):
        same = next(batches) if same is None else same
        wait_for(trainer.state.device)
        start = time.perf_counter()
        for _ in range(30):
            trainer._iteration(trainer, next(batches) if is_new else same)
        wait_for(trainer.state.device)
        seconds.append(time.perf_counter() - start)
    return {"percent": round(100 * (seconds[2] - seconds[3]) / seconds[2], 2)}


def hold_to_plain(bench: Bench, way: str, steps: int = 10) -> dict[str, Any]:
    """Largest relative difference of a loss from the plain step in fp32, over ten steps."""
    changes = {"augmentation": None, "pool_size": 0, "batch_size": 2, "learning_rate_rule": "none"}
    options = {**WAYS[way], "lambda_identity": 0.1, "lambda_structure": 0.0, **changes}
    trainer = make_trainer(bench.folder, **bench.options(**options))
    batch = read_batch(trainer)
    both = (trainer.generators.t1w_to_t2w, trainer.generators.t2w_to_t1w)
    copies = [copy_plainly(each, upsampling="resize").to(bench.device) for each in both]
    judges = make_trainer(bench.folder, **bench.options(**options)).discriminators
    plain = EarlierStep(Generators(*copies), judges, fakes_once=True)
    worst = 0.0
    for _ in range(steps):
        ours, theirs = trainer._iteration(trainer, batch)[0], plain(batch["t1w"], batch["t2w"])
        found = [abs(float(ours[name]) / float(loss) - 1) for name, loss in theirs.items()]
        worst = max(worst, *found)
    return {"largest_relative_difference": round(worst, 5)}


def measure_determinism(bench: Bench) -> dict[str, Any]:
    """Whether two trainings of ten steps give the same bytes, and what a step then costs."""
    seconds = {False: time_step(bench)}
    choose_algorithms(deterministic=True)
    try:
        results = [train_steps(bench, 10) for _ in range(2)]
        seconds[True] = time_step(bench)
    finally:
        choose_algorithms(deterministic=False)
    cost = round(seconds[True] / seconds[False], 2)
    return {"same": all(map(torch.equal, *results)), "times_as_long": cost}


def time_step(bench: Bench, count: int = 20) -> float:
    """Seconds of our step at a batch of 4."""
    step, _ = make_our_step(bench.folder, **bench.options(batch_size=4))
    return 4 / time_steps(step, 4, count)["images_per_second"]


def find_waits(bench: Bench) -> dict[str, Any]:
    """Whether a step ever waits for the GPU, which is an error here."""
    trainer = make_trainer(bench.folder, **bench.options())
    batches = iter(trainer.data_loader)
    for number in range(4):
        if number == 2 and bench.device == "cuda":
            torch.cuda.set_sync_debug_mode("error")
        try:
            trainer._iteration(trainer, next(batches))
        finally:
            if bench.device == "cuda":
                torch.cuda.set_sync_debug_mode("default")
    return {"waits": False}


def train_steps(bench: Bench, count: int) -> list[torch.Tensor]:
    trainer = make_trainer(bench.folder, **bench.options(batch_size=2))
    batches = iter(trainer.data_loader)
    for _ in range(count):
        trainer._iteration(trainer, next(batches))
    return [each.detach().clone() for each in trainer.generators.t1w_to_t2w.parameters()]


def run_training(bench: Bench, *, with_torchrun: bool, **changes: Any) -> dict[str, Any]:
    """The documented command, validation included; seconds from start to end."""
    files = ["'configs/train.json'", *(["'configs/multi_gpu_train.json'"] if with_torchrun else [])]
    start = ["torch.distributed.run", "--nproc_per_node=1", "-m"] if with_torchrun else []
    output_dir = bench.folder / f"run_{time.monotonic_ns()}"
    options = bench.options(dataset_dir=bench.folder, output_dir=output_dir, **changes)
    if with_torchrun:
        options.pop("device")
    command = [sys.executable, "-W", "ignore", "-m", *start, "monai.bundle", "run", "training"]
    command += ["--config_file", f"[{','.join(files)}]"]
    command += [word for name, value in options.items() for word in (f"--{name}", str(value))]
    began = time.perf_counter()
    found = subprocess.run(command, cwd=PROJECT / "bundle", capture_output=True, text=True)
    if found.returncode:
        raise RuntimeError(found.stderr[-1500:])
    seconds = time.perf_counter() - began
    rate = [line for line in found.stderr.replace("\r", "\n").splitlines() if "image/s" in line]
    return {"seconds": round(seconds, 1), "progress": rate[-1][-120:] if rate else ""}


def measure_inference(bench: Bench) -> dict[str, Any]:
    """A 1 mm head of 160 slices, file to file; the second of two in one process."""
    inference.write_head(bench.folder / "head.nii.gz")
    inference.write_model(bench.folder)
    seconds = [inference.run_ours(bench.folder, bench.device) for _ in range(2)]
    return {"seconds": round(seconds[1], 2), "first_seconds": round(seconds[0], 2)}

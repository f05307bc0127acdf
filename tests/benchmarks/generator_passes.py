"""The generators' part of one training step, against what the earlier system computed."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import torch
from scripts.cyclegan import Generators, translate_cycles
from scripts.networks import ResnetGenerator
from torch import Tensor

REPEATS = 7
FEATURES, BLOCKS, SIZE = 16, 6, 128


def time_median(work: Callable[[], object]) -> float:
    """Median seconds of a few runs after one that warms up."""
    work()
    seconds = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds)


def make_generator(seed: int) -> ResnetGenerator:
    torch.manual_seed(seed)
    return ResnetGenerator(
        in_channels=1, out_channels=1, features=FEATURES, blocks=BLOCKS, upsampling="resize"
    )


def translate_with_eight_passes(generators: Generators, t1w: Tensor, t2w: Tensor) -> Tensor:
    """The earlier system: every pass by itself, and each fake twice."""
    there, back = generators.t1w_to_t2w, generators.t2w_to_t1w
    fake_t2w, fake_t1w = there(t1w), back(t2w)
    images = [fake_t2w, fake_t1w, back(fake_t2w), there(fake_t1w), there(t2w), back(t1w)]
    images += [there(t1w), back(t2w)]
    return torch.stack([image.abs().mean() for image in images]).sum()


def translate_as_we_do(generators: Generators, t1w: Tensor, t2w: Tensor) -> Tensor:
    images = translate_cycles(generators, {"t1w": t1w, "t2w": t2w}, with_identity=True)
    return torch.stack([image.abs().mean() for image in images.values()]).sum()


def measure() -> dict[str, object]:
    """Speed of forward and backward passes of both generators, ours over the earlier system's."""
    generators = Generators(make_generator(0), make_generator(1))
    t1w, t2w = torch.rand(2, 1, 1, SIZE, SIZE) * 2 - 1
    ours = time_median(lambda: translate_as_we_do(generators, t1w, t2w).backward())
    theirs = time_median(lambda: translate_with_eight_passes(generators, t1w, t2w).backward())
    return {
        "name": f"generator passes of a step, fp32, {FEATURES} features, {BLOCKS} blocks, batch 1",
        "value": round(theirs / ours, 3),
        "unit": "times as fast",
        "reference": "eight separate passes, each fake computed twice, in the same run",
    }

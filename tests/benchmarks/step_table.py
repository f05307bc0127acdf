"""What each measure gives a training step, how its time grows, and what the arithmetic takes.

``python -m tests.benchmarks.step_table`` prints it, in about five minutes on two cores.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import torch
from scripts.precision import PRECISIONS

from tests.benchmarks.training_step import (
    MEASURES,
    Comparison,
    compare_all,
    make_earlier_step,
    make_our_step,
    time_alternating,
    wait_for,
)
from tests.slice_dataset_fixture import SIZE, write_slice_dataset

GROWTH = (  # what differs from 64 features, batch 1 and 128 x 128
    {},
    {"batch_size": 2},
    {"batch_size": 4},
    {"batch_size": 8},
    {"features": 16},
    {"features": 32},
    {"size": 192},
    {"size": 256},
)


def measure_growth(folder: Path, rounds: int = 2, **options: Any) -> list[dict[str, Any]]:
    """Seconds an image of the earlier step and of the default recipe, by batch, size, features."""
    rows = []
    for change in GROWTH:
        settings: dict[str, Any] = {"precision": "bf16", **options, **change}
        size = settings.pop("size", SIZE)
        step, trainer = make_our_step(folder, size=size, **settings)
        earlier = make_earlier_step(trainer, size=size)
        seconds = time_alternating({"earlier": earlier, "ours": step}, rounds)
        images = settings.get("batch_size", 1)
        rows.append({"change": change, **{name: each / images for name, each in seconds.items()}})
    return rows


def measure_peak_gflops(dtype: torch.dtype, device: str = "cpu", size: int = 2048) -> float:
    """Products and sums a second, in 10^9, of a large matrix product: what a device can do."""
    left, right = (torch.randn(size, size, device=device).to(dtype) for _ in range(2))

    def multiply() -> None:
        left @ right
        wait_for(torch.device(device))

    return 2 * size**3 / time_alternating({"product": multiply})["product"] / 1e9


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = write_slice_dataset(Path(name) / "data")
        print_measures(compare_all(folder))
        for row in measure_growth(folder):
            words = ", ".join(f"{key} {value}" for key, value in row["change"].items())
            ratio = row["earlier"] / row["ours"]
            print(f"{words or 'as it is':16} {row['earlier']:6.3f} s {row['ours']:6.3f} s an image "
                  f"{ratio:5.2f}x", flush=True)  # fmt: skip


def print_measures(found: dict[str, Comparison]) -> None:
    """Seconds, ratio, products and sums, and what these would take at a matrix product's speed."""
    peaks = {name: measure_peak_gflops(PRECISIONS[name]) for name in ("fp32", "bf16")}
    for name, peak in peaks.items():
        print(f"a matrix product in {name}: {peak:.0f} GFLOP/s")
    for name, each in found.items():
        floor = each.gflop / peaks[MEASURES[name]["precision"]]
        print(f"{name:30} {each.earlier_seconds:6.3f} s {each.earlier_gflop:6.1f} GFLOP -> "
              f"{each.seconds:6.3f} s {each.gflop:6.1f} GFLOP {each.ratio:5.2f}x "
              f"(arithmetic {floor:6.3f} s)", flush=True)  # fmt: skip


if __name__ == "__main__":
    main()

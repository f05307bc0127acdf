"""Runs every benchmark and writes one JSON list: ``python -m tests.benchmarks FILE``."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from tests.benchmarks import (
    data_stages,
    data_storage,
    evaluation,
    generator_passes,
    inference,
    pruning,
    step_memory,
    training_step,
)

BENCHMARKS = (
    generator_passes,
    training_step,
    step_memory,
    inference,
    evaluation,
    data_stages,
    data_storage,
    pruning,
)
COMMAND = "make bench"


def run_alone(measure: Callable[[], Any]) -> Any:
    """In a new process each: what it starts would inherit the peak memory of those before."""
    with ProcessPoolExecutor(max_workers=1, mp_context=get_context("spawn")) as executor:
        return executor.submit(measure).result()


def main() -> None:
    target = Path(sys.argv[1])
    measured = [run_alone(benchmark.measure) for benchmark in BENCHMARKS]
    rows = [row for found in measured for row in (found if isinstance(found, list) else [found])]
    figures = [{**row, "command": COMMAND} for row in rows]
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(json.dumps(figures, indent=4) + "\n")
    for figure in figures:
        print(f"{figure['name']}: {figure['value']} {figure['unit']} ({figure['reference']})")


if __name__ == "__main__":
    main()

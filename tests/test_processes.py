"""Several processes train as one does, with the batch that they have together."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from monai.bundle import ConfigParser
from scripts.checkpoints import list_checkpoints, load_checkpoint
from scripts.processes import join_processes, select_device

from tests.parallel_steps import take_steps, take_steps_together
from tests.slice_dataset_fixture import BUNDLE
from tests.training_runs import SMALL, list_tensors, train


def test_two_processes_give_the_weights_of_one_and_may_change_places(
    tmp_path: Path, dataset_dir: Path
) -> None:
    """Two steps by two, two by one and two by two again, with image pool and augmentation."""
    one, both = tmp_path / "one.pt", tmp_path / "both.pt"
    take_steps(dataset_dir, one, 0, 6)
    take_steps_together(2, dataset_dir, both, 0, 2)
    take_steps(dataset_dir, both, 2, 4)
    take_steps_together(2, dataset_dir, both, 4, 6)
    expected, found = (list_tensors(torch.load(path, weights_only=True)) for path in (one, both))
    assert expected.keys() == found.keys()
    assert len(expected) > 100
    different = [
        name
        for name, value in expected.items()
        if not torch.allclose(found[name].double(), value.double(), rtol=1e-6, atol=1e-6)
    ]
    assert different == []


def start_together(dataset_dir: Path, output_dir: Path, **options: Any) -> subprocess.Popen[str]:
    """The documented command, in two processes on the CPU."""
    files = "['configs/train.json','configs/multi_gpu_train.json']"
    settings = SMALL | {"dataset_dir": dataset_dir, "output_dir": output_dir} | options
    settings.pop("device")
    command = [sys.executable, "-W", "ignore", "-m", "torch.distributed.run", "--nproc_per_node=2"]
    command += ["-m", "monai.bundle", "run", "training", "--config_file", files]
    for name, value in settings.items():
        command += [f"--{name}", str(value)]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    return subprocess.Popen(command, cwd=BUNDLE, env=environment, **pipes)


def measure_difference(left: Path, right: Path) -> float:
    """Largest relative difference of a weight of the averages, as a root mean square."""
    both = [load_checkpoint(path)["average_t1w_to_t2w"]["network"] for path in (left, right)]
    names = [name for name in both[0] if name.endswith("weight")]  # biases here have no effect
    return max(
        float((both[0][name] - both[1][name]).norm() / both[0][name].norm()) for name in names
    )


@pytest.mark.slow
def test_the_documented_command_trains_as_one_process_does_and_one_goes_on(
    tmp_path: Path, dataset_dir: Path
) -> None:
    """As one that computes a batch in two parts: in float32 the order of sums matters to Adam."""
    train(dataset_dir, tmp_path / "one", max_epochs=3, accumulation=2)
    running = start_together(dataset_dir, tmp_path / "both", workers=1)
    output, _ = running.communicate(timeout=300)
    assert running.returncode == 0, output[-3000:]
    train(dataset_dir, tmp_path / "both", max_epochs=3, accumulation=2, resume=True)
    last = "checkpoint_00000009.pt"
    assert measure_difference(tmp_path / "one" / last, tmp_path / "both" / last) < 1e-6
    figures = [load_checkpoint(tmp_path / name / last)["evaluator"] for name in ("one", "both")]
    assert figures[0]["best_metric_epoch"] == figures[1]["best_metric_epoch"]
    assert figures[0]["best_metric"] == pytest.approx(figures[1]["best_metric"], rel=1e-6)


@pytest.mark.slow
def test_sigterm_ends_all_processes_with_one_checkpoint(tmp_path: Path, dataset_dir: Path) -> None:
    """As schedulers send it: to torchrun, which tells its processes one after the other."""
    running = start_together(dataset_dir, tmp_path, max_epochs=100, epoch_length=100)
    deadline = time.monotonic() + 120
    while not list_checkpoints(tmp_path) and time.monotonic() < deadline:
        time.sleep(0.5)
    time.sleep(2)
    running.send_signal(signal.SIGTERM)
    output, _ = running.communicate(timeout=100)
    assert output.count("the training stops with a checkpoint") == 2, output[-3000:]
    stopped_at = load_checkpoint(list_checkpoints(tmp_path)[-1])["trainer"]["iteration"]
    assert stopped_at % 100 != 0
    epochs = stopped_at // 100 + 1
    train(dataset_dir, tmp_path, max_epochs=epochs, epoch_length=100, resume=True)
    assert list_checkpoints(tmp_path)[-1].name == f"checkpoint_{100 * epochs:08d}.pt"


def test_without_torchrun_the_overlay_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    with pytest.raises(RuntimeError, match="torchrun --nproc_per_node=2 -m monai.bundle run"):
        join_processes(device="cpu")


def test_each_process_of_a_machine_takes_its_own_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOCAL_RANK", "3")
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    assert select_device() == torch.device("cuda", 3)
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert select_device() == torch.device("cpu")


def test_the_overlay_begins_as_training_does() -> None:
    ours, overlay = (
        ConfigParser.load_config_file(str(BUNDLE / "configs" / f"{name}.json"))["initialize"]
        for name in ("train", "multi_gpu_train")
    )
    assert overlay[:-1] == ours

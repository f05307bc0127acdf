"""A training that is killed, or finds the disk full, goes on to the bit from what was saved."""

from __future__ import annotations

import io
import os
import resource
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from ignite.engine import Events
from scripts.checkpoints import list_checkpoints, load_newest_checkpoint

from tests.forked_processes import get_forking_context
from tests.slice_dataset_fixture import BUNDLE
from tests.training_runs import SMALL, list_tensors, make_workflow, train

OPTIONS = {"max_epochs": 4, "sampling": "shuffled"}
LAST = "checkpoint_00000012.pt"


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, dataset_dir: Path) -> Path:
    """Four epochs of three steps that nothing disturbed."""
    output_dir = tmp_path_factory.mktemp("finished")
    train(dataset_dir, output_dir, **OPTIONS)
    return output_dir


def assert_same_results(left: Path, right: Path) -> None:
    """The last checkpoint, the shipped models, their discriminators and the best ones."""
    names = [path.relative_to(left) for path in sorted(left.rglob("*.pt"))]
    names = [
        name for name in names if not name.parts[0].startswith(".") and "best/." not in str(name)
    ]
    names = [name for name in names if not name.name.startswith("checkpoint") or name.name == LAST]
    assert len(names) == 1 + 2 + 2 + 2 * 3
    for name in names:
        both = [
            list_tensors(torch.load(folder / name, weights_only=True)) for folder in (left, right)
        ]
        assert both[0].keys() == both[1].keys()
        assert all(torch.equal(both[0][each], both[1][each]) for each in both[0]), name
    assert (left / "best/best.csv").read_bytes() == (right / "best/best.csv").read_bytes()


def kill_self() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def run_child(work: Callable[..., object], *arguments: Path) -> int:
    """Exit code of a process that does the work.

    It forks from a server without threads: forked from here, it might wait for ever for a lock
    that a thread of this process held.
    """
    child = get_forking_context().Process(target=work, args=arguments)
    child.start()
    child.join(timeout=120)
    hangs = child.is_alive()
    child.kill()
    child.join()
    assert not hangs
    assert child.exitcode is not None
    return child.exitcode


def kill_in_step(dataset_dir: Path, output_dir: Path) -> None:
    workflow = make_workflow(dataset_dir=str(dataset_dir), output_dir=str(output_dir), **OPTIONS)
    trainer = workflow.parser.get_parsed_content("train#trainer")
    trainer.add_event_handler(Events.ITERATION_COMPLETED(once=8), kill_self)
    workflow.run()


def kill_in_save(dataset_dir: Path, output_dir: Path, *, name: str, number: int) -> None:
    """Die when half of the n-th checkpoint (or model) is on the disk."""
    save, seen = torch.save, []

    def save_half(content: Any, file: Any, **options: Any) -> None:
        is_checkpoint = "trainer" in content
        seen.append(is_checkpoint)
        if is_checkpoint == (name == "checkpoint") and seen.count(is_checkpoint) == number:
            buffer = io.BytesIO()
            save(content, buffer, **options)
            half = buffer.getvalue()[: buffer.tell() // 2]
            if isinstance(file, Path):
                file.write_bytes(half)
            else:
                file.write(half)
                file.flush()
            kill_self()
        save(content, file, **options)

    torch.save = save_half
    train(dataset_dir, output_dir, **OPTIONS)


def kill_before_rename(dataset_dir: Path, output_dir: Path) -> None:
    """Die when the third checkpoint is whole, but has not its name yet."""
    replace = Path.replace

    def replace_or_die(source: Path, target: Path) -> Path:
        if Path(target).name == "checkpoint_00000009.pt":
            kill_self()
        return replace(source, target)

    Path.replace = replace_or_die
    train(dataset_dir, output_dir, **OPTIONS)


MOMENTS: dict[str, tuple[Callable[[Path, Path], None], str]] = {
    "in a step": (kill_in_step, "checkpoint_00000006.pt"),
    "in the first checkpoint": (partial(kill_in_save, name="checkpoint", number=1), ""),
    "in a checkpoint": (
        partial(kill_in_save, name="checkpoint", number=3),
        "checkpoint_00000006.pt",
    ),
    "in a model": (partial(kill_in_save, name="model", number=10), "checkpoint_00000009.pt"),
    "before a rename": (kill_before_rename, "checkpoint_00000006.pt"),
}


QUICK = "in a checkpoint"  # the others in `make test-full`


@pytest.mark.parametrize(
    "moment", [pytest.param(m, marks=pytest.mark.slow if m != QUICK else ()) for m in MOMENTS]
)
def test_a_killed_training_goes_on_to_the_bit(
    tmp_path: Path, dataset_dir: Path, finished: Path, moment: str
) -> None:
    work, newest = MOMENTS[moment]
    assert run_child(work, dataset_dir, tmp_path) == -signal.SIGKILL
    found = load_newest_checkpoint(tmp_path)
    assert (found[0].name if found else "") == newest
    train(dataset_dir, tmp_path, resume=True, **OPTIONS)
    assert_same_results(tmp_path, finished)
    assert list(tmp_path.rglob(".unfinished*")) == []


def train_with_limit(dataset_dir: Path, output_dir: Path, report: Path) -> None:
    """No file may grow beyond 500 kB, half of a checkpoint: the system refuses the rest."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (500_000, 500_000))
    try:
        train(dataset_dir, output_dir, resume=True, **OPTIONS)
    except RuntimeError as error:
        cause: BaseException = error
        while cause.__cause__ is not None and not isinstance(cause, OSError):
            cause = cause.__cause__
        report.write_text(str(cause))
        os._exit(3)


@pytest.mark.slow
def test_a_checkpoint_that_finds_no_room_leaves_the_last_one_and_says_so(
    tmp_path: Path, dataset_dir: Path, finished: Path
) -> None:
    output_dir = tmp_path / "run"
    train(dataset_dir, output_dir, **(OPTIONS | {"max_epochs": 2}))
    before = (output_dir / "checkpoint_00000006.pt").read_bytes()
    report = tmp_path / "report.txt"
    assert run_child(train_with_limit, dataset_dir, output_dir, report) == 3
    assert "checkpoint_00000009.pt: could not be written" in report.read_text()
    assert "make room, then go on with --resume true" in report.read_text()
    assert list_checkpoints(output_dir)[-1].read_bytes() == before
    assert list(output_dir.glob(".unfinished*")) == []
    train(dataset_dir, output_dir, resume=True, **OPTIONS)
    assert_same_results(output_dir, finished)


FULL_DISK = """
mount -t tmpfs -o size={size}k tmpfs {mount} || exit 77
{command} && exit 1
test -f {mount}/run/checkpoint_00000003.pt || exit 2
mount -o remount,size=100m {mount} || exit 77
{command} || exit 3
cp -r {mount}/run {kept}
"""


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("unshare") is None, reason="needs a file system of its own")
def test_a_training_on_a_full_disk_goes_on_when_there_is_room(
    tmp_path: Path, dataset_dir: Path, finished: Path
) -> None:
    """A tmpfs that takes one checkpoint, but not two."""
    mount, kept = tmp_path / "small", tmp_path / "kept"
    mount.mkdir()
    size = (finished / LAST).stat().st_size // 1024
    options = SMALL | OPTIONS | {"dataset_dir": dataset_dir, "output_dir": mount / "run"}
    words = [f"--{name} {value}" for name, value in options.items()]
    command = f"{sys.executable} -W ignore -m monai.bundle run training --resume true"
    command += f" --config_file configs/train.json {' '.join(words)}"
    script = FULL_DISK.format(size=int(1.9 * size), mount=mount, kept=kept, command=command)
    unshare = ["unshare", "--map-root-user", "--mount", "sh", "-c", script]
    found = subprocess.run(unshare, cwd=BUNDLE, capture_output=True, text=True, timeout=300)
    if found.returncode == 77 or "unshare failed" in found.stderr:
        pytest.skip("no permission to mount")
    assert found.returncode == 0, found.stdout[-2000:] + found.stderr[-2000:]
    assert "could not be written" in found.stderr
    assert_same_results(kept, finished)

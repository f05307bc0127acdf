"""One training at a time in a folder."""

from __future__ import annotations

import errno
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from scripts import run_lock
from scripts.run_lock import LOCK

from tests.training_runs import find_error, train

HOLD = """
import sys
from filelock import FileLock
with FileLock(sys.argv[1], timeout=0):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_folder_where_another_process_trains_is_refused_until_it_ends(
    dataset_dir: Path, tmp_path: Path
) -> None:
    """As when a scheduler starts a job again before the first one has died."""
    run = tmp_path / "run"
    run.mkdir()
    begun = run / ".unfinished-checkpoint_00000300.pt"
    begun.write_bytes(b"half")
    command = [sys.executable, "-c", HOLD, str(run / LOCK)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        with pytest.raises(RuntimeError) as caught:
            train(dataset_dir, run, max_epochs=1, resume=True)
        assert "another training is writing there" in find_error(caught)
        assert begun.exists()
        other.communicate()
    train(dataset_dir, run, max_epochs=1, resume=True)
    train(dataset_dir, run, max_epochs=2, resume=True)
    assert not begun.exists()
    # a process that ended well holds nothing
    subprocess.run(command, input="", text=True, check=True, stdout=subprocess.DEVNULL)


def test_a_file_system_without_locks_is_warned_about(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(run_lock.FileLock, "acquire", fail)
    trainer = SimpleNamespace(lock=None)
    run_lock.lock_run(cast(Any, trainer), output_dir=str(tmp_path))
    assert trainer.lock is None
    assert "this file system has no locks" in caplog.text

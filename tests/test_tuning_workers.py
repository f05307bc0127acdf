"""The documented command: twenty short trainings by two workers, one of which is killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path

import pandas as pd
import pytest

from tests.postgresql_server import running_postgresql
from tests.slice_dataset_fixture import BUNDLE
from tests.tuning_runs import write_space
from tests.waiting import wait_for

pytestmark = pytest.mark.slow
TRIALS = 20


@pytest.fixture(scope="module")
def phantom(tmp_path_factory) -> Path:
    """Five simulated heads, of which one validates."""
    out = tmp_path_factory.mktemp("phantom") / "data"
    command = [sys.executable, "-m", "data_prep", "phantom", str(out), "--subjects=5", "--seed=0"]
    subprocess.run(command, cwd=BUNDLE.parent, check=True)
    return out


def start_worker(data: Path, folder: Path, storage: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-W", "ignore", "-m", "scripts.tune", "run", "--study=phantom"]
    command += [f"--n_trials={TRIALS}", f"--dataset_dir={data}", f"--space={folder}/space.json"]
    command += [f"--output_dir={folder}", "--device=cpu", "--heartbeat=2", "--threshold=0.1"]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "TUNING_STORAGE": storage}
    return subprocess.Popen(command, cwd=BUNDLE, env=environment, start_new_session=True)


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_a_study_of_two_workers_ends_complete_after_one_is_killed(tmp_path, phantom, kind):
    write_space(tmp_path / "space.json")
    begun = tmp_path / "phantom" / "trials"
    with running_postgresql() if kind == "postgresql" else nullcontext("") as storage:
        first, second = (start_worker(phantom, tmp_path, storage) for _ in range(2))
        wait_for(lambda: len(list(begun.glob("*/tensorboard"))) >= 5, 300)
        first.send_signal(signal.SIGKILL)  # its training must end by itself
        assert second.wait(900) == 0
        assert first.wait() == -signal.SIGKILL
    table = pd.read_csv(tmp_path / "phantom" / "trials.csv")
    states = table["state"].value_counts()
    assert states["finished"] + states["pruned"] == TRIALS
    assert states.get("lost", 0) <= 1  # it may have been killed between two trials
    assert len(table) == TRIALS + states.get("lost", 0)
    assert set(table.loc[table["state"] == "lost", "trial"]) == set(table["repeats"].dropna())
    kept = table[table["state"] != "lost"]
    assert not kept.duplicated("learning_rate").any()
    for name in ("best.json", "consensus.json", "pages/index.html"):
        assert (tmp_path / "phantom" / name).is_file()

"""Many sessions on many processes: what dies is done again, what cannot be used is named."""

from __future__ import annotations

import gc
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from distributed import LocalCluster
from distributed.utils import LoopRunner, _CollectErrorThread

from data_prep import executor, subject, threads
from data_prep.bids_inputs import BidsInputs, build_from_bids
from data_prep.build import BuildOptions
from data_prep.cluster import Workers
from data_prep.dataset_options import DatasetOptions
from data_prep.event_loop import running_loop
from data_prep.executor import run_for_each
from data_prep.stages import DEFAULT_BUNDLE
from data_prep.worker_check import describe_problem, describe_software
from tests.slice_dataset_files import read_files
from tests.small_heads import make_quick_bundle, save_dataset
from tests.waiting import wait_for


def is_fit() -> str:
    return ""


def run(work: Any, items: list[Any], workers: Workers, check: Any = is_fit) -> list[Any]:
    results = run_for_each(
        work, items, workers=workers, name=str, on_death=lambda item, reason: reason, check=check
    )
    return list(results)


def die_once(folder: Path, item: int) -> int:
    """Kill the own process the first time that item 2 is met."""
    if item == 2 and not (folder / "died").exists():
        (folder / "died").touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return item * item


def die_always(item: int) -> int:
    if item == 2:
        os.kill(os.getpid(), signal.SIGKILL)
    return item * item


def take_memory(item: int, gigabytes: float = 2.5) -> str:
    """Item 1 fills it, slowly enough to be seen."""
    filled = []
    for _ in range(round(10 * gigabytes) if item == 1 else 0):
        filled.append(bytearray(b"1" * 100_000_000))
        time.sleep(0.1)
    return f"kept {len(filled)}"


@pytest.mark.slow
def test_what_a_dead_worker_had_is_done_by_another(tmp_path):
    assert sorted(run(partial(die_once, tmp_path), [1, 2, 3, 4], Workers(2))) == [1, 4, 9, 16]
    assert (tmp_path / "died").exists()


@pytest.mark.slow
def test_an_item_that_kills_every_worker_is_given_up_and_the_others_are_done():
    found = run(die_always, [1, 2, 3, 4], Workers(2))
    assert sorted(result for result in found if isinstance(result, int)) == [1, 9, 16]
    (reason,) = [result for result in found if isinstance(result, str)]
    assert "died 2 times" in reason
    assert "Find a machine with more" in reason


@pytest.mark.slow
def test_a_worker_that_takes_more_memory_than_it_has_is_ended():
    *others, reason = sorted(run(take_memory, [1, 2, 3], Workers(2, memory_gb=1.0)))
    assert others == ["kept 0", "kept 0"]
    assert "died 2 times; it may need more memory than it has (2.0 GB)" in reason


@pytest.mark.slow
def test_what_is_too_large_for_a_share_gets_the_memory_of_all():
    """The programs alone take 0.7 GB."""
    found = run(partial(take_memory, gigabytes=0.8), [1, 2, 3], Workers(2, memory_gb=1.0))
    assert sorted(found) == ["kept 0", "kept 0", "kept 8"]


def test_a_session_has_one_thread_and_leaves_the_others_their_own(monkeypatch):
    monkeypatch.setattr(subject, "_prepare", lambda task: torch.get_num_threads())
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        assert subject.prepare_session(None) == 1
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize(
    ("settings", "message"),
    [({"count": 0}, "workers 0. Expected 1"), ({"count": 1, "memory_gb": -1}, "memory_gb -1")],
)
def test_impossible_settings_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        Workers(**settings)


@pytest.mark.parametrize("place", ["tcp://127.0.0.1:9", "nonsense", "absent.json"])
def test_a_scheduler_that_is_not_there_is_named(place, monkeypatch):
    monkeypatch.setattr("data_prep.cluster.CONNECT_SECONDS", 1)
    with pytest.raises(ValueError, match=f"no dask scheduler answers at '{place}'"):
        run(die_always, [1], Workers(1, scheduler=place))


@pytest.mark.parametrize(
    ("workers", "threads", "check", "message"),
    [
        (0, 1, is_fit, "no worker has joined"),
        (1, 2, is_fit, "--nthreads 1"),
        (1, 1, partial(str, "it has numpy 1.0"), "cannot be used: it has numpy 1.0"),
    ],
)
def test_a_cluster_that_cannot_be_used_says_why(workers, threads, check, message):
    with (
        running_loop() as loop,
        LocalCluster(
            n_workers=workers,
            threads_per_worker=threads,
            processes=False,
            dashboard_address="127.0.0.1:0",
            loop=loop,
        ) as cluster,
        pytest.raises(ValueError, match=message),
    ):
        run(die_always, [1], Workers(1, scheduler=cluster.scheduler_address), check)


def note_folder(folder: Path) -> str:
    """Unfit as soon as the folder is there, as a worker that joins a running cluster."""
    return "it joined late" if folder.exists() else ""


def test_a_worker_that_becomes_unfit_later_does_no_more(tmp_path):
    late = tmp_path / "late"
    with (
        running_loop() as loop,
        LocalCluster(
            n_workers=1,
            threads_per_worker=1,
            processes=False,
            dashboard_address="127.0.0.1:0",
            loop=loop,
        ) as cluster,
        pytest.raises(ValueError, match="cannot be used: it joined late"),
    ):
        workers = Workers(1, scheduler=cluster.scheduler_address)
        run(Path.mkdir, [late, tmp_path / "other"], workers, partial(note_folder, late))
    assert not (tmp_path / "other").exists()


def test_a_thread_that_begins_late_is_waited_for(monkeypatch):
    """dask gives up with an AssertionError after ten seconds."""
    start, calls = LoopRunner.start, []

    def start_late(runner: LoopRunner) -> None:
        calls.append(runner)
        if len(calls) == 1:
            raise AssertionError
        start(runner)

    monkeypatch.setattr(LoopRunner, "start", start_late)
    with running_loop() as loop:
        assert loop.asyncio_loop.is_running()
    assert len(calls) == 2


class UnclosedClient:
    """In a cycle, as one in the traceback of its error; closing it takes dask's lock."""

    def __init__(self) -> None:
        self.itself = self

    def __del__(self) -> None:
        LoopRunner().stop()


@pytest.mark.timeout(60)
def test_a_client_that_nobody_closed_is_not_waited_for_while_a_loop_starts(monkeypatch):
    """Though the collector comes by within the lock."""

    class CollectingThread(_CollectErrorThread):
        def __init__(self, *arguments, **options):
            gc.collect()
            super().__init__(*arguments, **options)

    monkeypatch.setattr("distributed.utils._CollectErrorThread", CollectingThread)
    gc.disable()
    try:
        UnclosedClient()
        with running_loop() as loop:
            assert loop.asyncio_loop.is_running()
    finally:
        gc.enable()


def test_a_machine_on_which_no_thread_begins_is_said_to_be_overloaded(monkeypatch):
    def fail(_: LoopRunner) -> None:
        raise AssertionError

    monkeypatch.setattr(LoopRunner, "start", fail)
    with pytest.raises(OSError, match="this machine is overloaded"), running_loop():
        pass


def wait_long(begun: Path) -> None:
    begun.touch()
    time.sleep(60)


def end_workers(cluster: LocalCluster, begun: Path) -> None:
    wait_for(begun.exists)
    cluster.scale(0)


@pytest.mark.slow
def test_without_any_worker_left_it_does_not_wait_for_ever(monkeypatch, tmp_path):
    """As when a cluster's time is over."""
    monkeypatch.setattr(executor, "LOOK_SECONDS", 0.1)
    monkeypatch.setattr(executor, "PATIENCE_SECONDS", 0.3)
    with (
        running_loop() as loop,
        LocalCluster(
            n_workers=1, threads_per_worker=1, dashboard_address="127.0.0.1:0", loop=loop
        ) as cluster,
    ):
        ender = threading.Thread(target=end_workers, args=(cluster, tmp_path / "begun"))
        ender.start()
        with pytest.raises(ValueError, match="no worker is left"):
            run(wait_long, [tmp_path / "begun"], Workers(1, scheduler=cluster.scheduler_address))
        ender.join()


@pytest.mark.parametrize(
    ("cores", "memory_gb", "expected"), [(8, 64, 8), (8, 16, 5), (64, 64, 21), (2, 1, 1)]
)
def test_as_many_workers_as_have_memory(monkeypatch, cores, memory_gb, expected):
    monkeypatch.setattr(threads, "count_cores", lambda: cores)
    monkeypatch.setattr(threads, "MEMORY_LIMIT", memory_gb * 1e9)
    assert threads.count_workers() == expected


def test_a_worker_with_other_software_or_without_the_folders_is_unfit(tmp_path):
    methods = ("none", "deepbet")
    software = describe_software(DEFAULT_BUNDLE, methods)
    check = partial(describe_problem, DEFAULT_BUNDLE)
    assert check([tmp_path], methods, software) == ""
    assert "does not see" in check([tmp_path, tmp_path / "absent"], methods, software)
    for name in ("numpy", "brain extraction deepbet"):
        words = check([tmp_path], methods, software | {name: "1.0"})
        assert words.startswith(f"it has {name} ")
        assert "Expected 1.0" in words
    assert "HD-BET" in check([tmp_path], ("hd-bet",), software)


@contextmanager
def start(*arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    """A program of dask, ended by its own id."""
    environment = os.environ | {"OMP_NUM_THREADS": "1", "DASK_DISTRIBUTED__WORKER__DAEMON": "False"}
    process = subprocess.Popen(
        [sys.executable, "-m", "dask", *arguments], env=environment, stderr=subprocess.DEVNULL
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def build(out: Path, folder: Path, workers: Workers) -> None:
    inputs = BidsInputs({"heads": folder}, DatasetOptions({"heads": "none"}, (), {}))
    assert build_from_bids(out, inputs, BuildOptions(make_quick_bundle(), workers)).left_out == 0


def kill_after_the_first(process: subprocess.Popen[bytes], out: Path) -> None:
    wait_for(lambda: list(out.glob("sessions/*/*.json")))
    process.kill()


@pytest.mark.slow
def test_two_workers_of_a_scheduler_of_which_one_is_killed_build_what_one_process_does(tmp_path):
    folder = save_dataset(tmp_path / "heads", pairs=2, t1w_only=1, t2w_only=1)
    build(tmp_path / "alone", folder, Workers(1))
    file, out = tmp_path / "scheduler.json", tmp_path / "out"
    worker = ["worker", "--scheduler-file", str(file), "--nthreads", "1", "--no-nanny"]
    worker += ["--no-dashboard", "--local-directory", str(tmp_path)]
    scheduler = ["scheduler", "--host", "127.0.0.1", "--port", "0", "--no-dashboard"]
    with start(*scheduler, "--scheduler-file", str(file)):
        wait_for(file.exists)
        with start(*worker) as first, start(*worker):
            address = json.loads(file.read_text())["address"]
            wait_for(lambda: count_workers(address) == 2)
            killer = threading.Thread(target=kill_after_the_first, args=(first, out))
            killer.start()
            build(out, folder, Workers(1, scheduler=str(file)))
            killer.join()
            assert first.poll() is not None
    assert read_files(out) == read_files(tmp_path / "alone")
    shutil.rmtree(out)


def count_workers(address: str) -> int:
    from distributed import Client

    with Client(address) as client:
        return len(client.scheduler_info(n_workers=-1)["workers"])

"""Studies: any number of workers, started and killed at will, and trials that fail."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from contextlib import contextmanager, nullcontext
from multiprocessing.process import BaseProcess
from pathlib import Path

import optuna
import pandas as pd
import pytest
import torch
from optuna.exceptions import StorageInternalError
from optuna.storages import RDBStorage
from optuna.trial import TrialState
from scripts import tune
from scripts.run_lock import LOCK
from scripts.tuning import trials as trial_module
from scripts.tuning import worker
from scripts.tuning.storage import (
    MOST_RETRIES,
    find_url,
    hide,
    open_storage,
    repeat_trial,
    reported,
)
from scripts.tuning.studies import open_study
from scripts.tuning.trial_process import (
    TrialError,
    Validation,
    describe_death,
    describe_failure,
    running_trial,
)
from scripts.tuning.trial_table import make_table
from scripts.tuning.trials import REASON, TrialSettings, is_hopeless

from tests.forked_processes import get_forking_context
from tests.postgresql_server import find_free_port, running_postgresql
from tests.slice_dataset_fixture import BUNDLE, write_slice_dataset
from tests.tuning_runs import SPACE, load_space, work_quickly, write_space
from tests.waiting import wait_for

pytestmark = pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
CONFIGS = BUNDLE / "configs"


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    return write_slice_dataset(tmp_path_factory.mktemp("blobs"))


@pytest.fixture(scope="module", autouse=True)
def _forking() -> None:
    """Trials fork from a server that has imported all."""
    get_forking_context()


def start_worker(*arguments) -> BaseProcess:
    process = get_forking_context().Process(target=work_quickly, args=arguments)
    process.start()
    return process


def read_pairs(path: Path) -> list[list[str]]:
    """Trial and process of each line."""
    return [line.split() for line in path.read_text().splitlines()] if path.is_file() else []


def read_study(url) -> list[optuna.trial.FrozenTrial]:
    storage = open_storage(url, heartbeat_s=1)
    trials = optuna.load_study(study_name="quick", storage=storage).trials
    storage.remove_session()
    storage.engine.dispose()
    return trials


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_two_workers_of_which_one_is_killed_do_all_trials_and_none_twice(tmp_path, data, kind):
    server = running_postgresql() if kind == "postgresql" else nullcontext("")
    write_space(tmp_path / "space.json", pruner=None)
    with server as storage:
        workers = [start_worker(tmp_path, data, storage, 12, 0.3) for _ in range(2)]
        wait_for(lambda: len(read_pairs(tmp_path / "ran")) >= 4)
        number, killed = map(int, read_pairs(tmp_path / "ran")[-1])
        os.kill(killed, signal.SIGKILL)
        for process in workers:
            process.join(60)
        assert sorted(process.exitcode for process in workers) == [-9, 0]
        known = read_study(find_url(storage, tmp_path))
    states = [trial.state for trial in known]
    assert states.count(TrialState.COMPLETE) == 12
    (lost,) = [trial for trial in known if trial.state == TrialState.FAIL]
    assert lost.number == number
    (repeated,) = [trial for trial in known if trial.system_attrs.get("failed_trial") is not None]
    assert (repeated.system_attrs["failed_trial"], repeated.params) == (lost.number, lost.params)
    ran = [trial for trial, _ in read_pairs(tmp_path / "ran")]
    assert len(ran) == len(set(ran)) == 13
    others = [trial.params["learning_rate"] for trial in known if trial is not lost]
    assert len(set(others)) == 12


def test_stopped_and_started_again_a_study_proposes_what_it_would_have(tmp_path, data):
    found = []
    for stops in ([6], [2, 5, 6]):
        folder = tmp_path / f"{len(stops)}"
        folder.mkdir()
        write_space(folder / "space.json", pruner=None)
        for trials in stops:
            process = start_worker(folder, data, "", trials, 0.0)
            process.join(60)
            assert process.exitcode == 0
        found.append([trial.params for trial in read_study(find_url("", folder))])
    assert found[0] == found[1]
    assert len(found[0]) == 6


def run(data, tmp_path, *, trials=3, name="study", keep_weights=False, **changes) -> Path:
    """In this process, each trial in one of its own."""
    space = write_space(tmp_path / "space.json", **changes)
    options = {"study": name, "n_trials": trials, "dataset_dir": str(data), "space": str(space)}
    options |= {"output_dir": str(tmp_path), "keep_weights": keep_weights}
    tune.run(**options, device="cpu", heartbeat=5)
    return tmp_path / name


def read_trials(folder: Path) -> pd.DataFrame:
    return pd.read_csv(folder / "trials.csv", dtype={"reason": str}).fillna({"reason": ""})


@pytest.fixture(scope="module")
def studied(data, tmp_path_factory) -> Path:
    """Four trials, some of which have an impossible decoder."""
    folder = tmp_path_factory.mktemp("studied")
    decoder = {"type": "categorical", "choices": ["resize", "nothing"]}
    parameters = {**SPACE["parameters"], "upsampling": decoder}
    sampler = {"_target_": "optuna.samplers.RandomSampler"}
    return run(data, folder, trials=4, parameters=parameters, sampler=sampler, pruner=None)


def test_trials_train_and_the_table_tells_what_became_of_each(studied):
    table = read_trials(studied)
    assert set(table["state"]) == {"finished", "failed"}
    failed = table[table["state"] == "failed"]
    assert set(failed["upsampling"]) == {"nothing"}
    assert failed["reason"].str.contains("nothing").all()
    finished = table[table["state"] == "finished"]
    assert finished["t2w_ssim"].between(0, 1).all()
    assert (finished["epoch"] == 3).all()
    assert (table["lambda_identity"].isna() == (table["upsampling"] == "nothing")).all()


def test_the_best_trial_is_a_recipe_and_its_training_can_be_run_again(studied):
    table = read_trials(studied).query("state == 'finished'")
    best = table.loc[table["t2w_ssim"].idxmax()]
    recipe = json.loads((studied / "best.json").read_text())
    assert recipe["learning_rate"] == best["learning_rate"]
    assert (recipe["features"], recipe["key_metric"]) == (4, "t2w_ssim")
    assert "max_epochs" not in recipe
    assert "not confirmed" in recipe["_desc_"]
    folder = studied / "trials" / f"{best['trial']:04d}"
    overrides = json.loads((folder / "overrides.json").read_text())
    assert overrides["max_epochs"] == 3
    assert overrides["key_metric"] == "t2w_ssim"
    written = {path.name.split(".")[0] for path in folder.iterdir() if path.name != LOCK}
    assert written == {"overrides", "tensorboard", "training"}


@pytest.mark.slow
def test_the_best_recipe_and_the_default_are_trained_to_the_end_and_compared(
    data, studied, tmp_path
):
    shutil.copytree(studied, tmp_path / "study")
    short = {**SPACE["fixed"], **SPACE["shortened"], "max_epochs": 2}
    options = {"study": "study", "dataset_dir": str(data), "output_dir": str(tmp_path)}
    options |= {"top": 1, "seeds": "0,1", "overrides": json.dumps(short), "device": "cpu"}
    said = tune.confirm(**options)
    assert "Keep the default." in said  # one validation subject shows nothing
    content = json.loads((tmp_path / "study" / "confirmation" / "confirmation.json").read_text())
    assert {row["kind"] for row in content["rows"]} == {"model", "trivial"}
    assert {(row["model"], row["seed"]) for row in content["by_seed"]} == {
        (model, seed) for seed in (0, 1) for model in ("default", find_best(studied))
    }
    assert tune.confirm(**options) == said


def find_best(folder: Path) -> str:
    table = read_trials(folder).query("state == 'finished'")
    return f"trial_{table.loc[table['t2w_ssim'].idxmax(), 'trial']:04d}"


@pytest.mark.slow
def test_weights_are_kept_where_asked_and_are_worth_what_the_table_says(data, tmp_path):
    folder = run(data, tmp_path, trials=1, pruner=None, keep_weights="true")
    (value,) = read_trials(folder)["t2w_ssim"]
    (checkpoint,) = folder.glob("trials/0000/checkpoint_*.pt")
    validated = torch.load(checkpoint, weights_only=True)["evaluator"]
    assert validated["best_metric"] == pytest.approx(value)
    assert (checkpoint.parent / "model.pt").is_file()


def test_a_trial_that_dies_fails_with_its_reason_and_the_study_goes_on(data, tmp_path, monkeypatch):
    real, deaths = trial_module.running_trial, iter([signal.SIGKILL, signal.SIGSEGV])

    @contextmanager
    def kill_it(*arguments, **options):
        with real(*arguments, **options) as running:
            if (number := next(deaths, None)) is not None:
                os.kill(running._process.pid, number)
            yield running

    monkeypatch.setattr(trial_module, "running_trial", kill_it)
    table = read_trials(run(data, tmp_path))
    assert list(table["state"]) == ["failed", "failed", "finished"]
    assert "ended by SIGKILL; it may have run out of memory" in table["reason"][0]
    assert "ended by SIGSEGV" in table["reason"][1]


def test_losses_that_are_no_numbers_fail_the_trial(data, tmp_path, monkeypatch):
    monkeypatch.setattr(worker, "MOST_FAILURES", 2)
    huge = {"type": "float", "low": 1e30, "high": 1e31}
    with pytest.raises(
        ValueError, match="the last 2 trials of this worker all failed, .*not a finite"
    ):
        run(data, tmp_path, trials=9, parameters={"learning_rate": huge})


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (torch.OutOfMemoryError("CUDA out of memory. Tried\nmore"), "out of memory: CUDA out of m"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory"), "out of memory: Default"),
        (ValueError("a\nb"), "ValueError: a"),
    ],
)
def test_a_failure_is_one_line(error, words):
    assert describe_failure(error).startswith(words)
    assert "\n" not in describe_failure(error)


def test_a_process_that_leaves_without_a_word_is_told_by_its_code():
    assert describe_death(3) == "its process ended with code 3"


def open_again(folder: Path, data: Path, *, heartbeat_s=5, **changes) -> optuna.Study:
    space, content = load_space(folder / "other.json", **changes)
    storage = open_storage(find_url("", folder / "study"), heartbeat_s=heartbeat_s)
    options = {"content": content, "dataset_dir": data, "configs": CONFIGS}
    return open_study("study", storage, space, **options)


def test_a_study_of_another_space_or_other_data_is_refused(data, tmp_path):
    (tmp_path / "study").mkdir()
    assert open_again(tmp_path, data).trials == []
    with pytest.raises(ValueError, match="another search space: .*fixed#features: found 8"):
        open_again(tmp_path, data, fixed={**SPACE["fixed"], "features": 8})
    other = write_slice_dataset(tmp_path / "other", slices=5)
    with pytest.raises(ValueError, match="begun on another slice dataset"):
        open_again(tmp_path, other)
    assert open_again(tmp_path, data, _desc_="other words").trials == []
    with pytest.raises(ValueError, match="begun with another --heartbeat"):
        open_again(tmp_path, data, heartbeat_s=6)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"storage": "mysql://a/b"}, "expected a file by sqlite, or postgresql"),
        ({"storage": "nonsense"}, "--storage is no address"),
        ({"storage": "postgresql://me:se@cret@host/db"}, "an @ in the password as %40"),
        ({"storage": "postgresql://me@host:port/db"}, "--storage is no address"),
        ({"timeout": "2h"}, "--timeout 2h: expected a number"),
        ({"threshold": -1}, "--threshold -1"),
        ({"device": "cuda:7"}, "PyTorch sees"),
        ({"dataset_dir": "/nowhere"}, "Expected a slice dataset"),
        ({"study": "../up"}, "can be that of a folder"),
        ({"n_trials": 0}, "--n_trials 0"),
        ({"space": "/none.json"}, "there is no such config file"),
    ],
)
def test_bad_options_are_refused(data, tmp_path, options, message):
    space = write_space(tmp_path / "space.json")
    usual = {"study": "s", "dataset_dir": str(data), "space": str(space), "n_trials": 1}
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        tune.run(**usual | options, output_dir=str(tmp_path / "out"))


def test_a_database_that_is_down_is_named_without_its_password(data, tmp_path):
    pytest.importorskip("psycopg")
    storage = f"postgresql://me:secret@127.0.0.1:{find_free_port()}/studies"
    with pytest.raises(
        ConnectionError, match="does not answer as it should.*run the same"
    ) as raised:
        tune.run(
            study="s",
            dataset_dir=str(data),
            space=str(write_space(tmp_path / "space.json")),
            storage=storage,
            output_dir=str(tmp_path / "out"),
        )
    assert "secret" not in str(raised.value)
    assert "me:***@127.0.0.1" in str(raised.value)


def test_a_password_may_come_by_the_environment(monkeypatch, tmp_path):
    monkeypatch.setenv("TUNING_STORAGE", "postgresql://me:secret@host/db")
    url = find_url("", tmp_path)
    assert (url.password, url.drivername) == ("secret", "postgresql+psycopg")
    assert "secret" not in hide(url)
    monkeypatch.setenv("TUNING_STORAGE", "postgresql://host/db?user=me&password=secret")
    assert "secret" not in hide(find_url("", tmp_path))


def make_study(tmp_path, data, **changes):
    space, content = load_space(tmp_path / "space.json", **changes)
    url = find_url("", tmp_path)
    storage = open_storage(url, heartbeat_s=1)
    options = {"content": content, "dataset_dir": data, "configs": CONFIGS}
    study = open_study("s", storage, space, **options)
    return study, storage, url, TrialSettings(space, BUNDLE, tmp_path, data, "cpu")


def test_a_trial_that_died_before_its_first_sign_of_life_is_made_up_for(
    data, tmp_path, monkeypatch
):
    """Optuna itself never notices: it looks for signs that have stopped."""
    study, storage, url, settings = make_study(tmp_path, data, pruner=None)
    with pytest.warns(UserWarning, match="Heartbeat"):
        study.ask()
    monkeypatch.setattr(worker, "SILENT_BEATS", 0)
    monkeypatch.setattr(worker, "run_trial", lambda trial, settings: (0.5,))
    worker.work(study, storage, url, settings, trials=2, timeout_s=None, seed=0)
    assert [t.state.name for t in study.trials] == ["FAIL", "COMPLETE", "COMPLETE"]


def test_a_trial_that_is_stopped_by_hand_is_run_again_first(data, tmp_path, monkeypatch):
    study, storage, url, settings = make_study(tmp_path, data, pruner=None)

    def stop(trial, settings):
        trial.suggest_float("learning_rate", 1e-4, 1e-3, log=True)
        raise KeyboardInterrupt

    monkeypatch.setattr(worker, "run_trial", stop)
    with pytest.raises(KeyboardInterrupt):
        worker.work(study, storage, url, settings, trials=1, timeout_s=None, seed=0)
    monkeypatch.setattr(worker, "run_trial", lambda trial, settings: (0.5,))
    worker.work(study, storage, url, settings, trials=1, timeout_s=None, seed=0)
    first, second = study.trials
    assert (first.state, second.state) == (TrialState.FAIL, TrialState.COMPLETE)
    assert second.params == first.params


def test_what_repeats_a_trial_has_its_values_and_nothing_else_of_it(data, tmp_path, caplog):
    """Else it would count as begun, as failed, or as pruned before at Hyperband's rungs."""
    study, *_ = make_study(tmp_path, data, pruner=None)
    with pytest.warns(UserWarning, match="Heartbeat"):
        trial = study.ask()
    trial.suggest_float("learning_rate", 1e-4, 1e-3, log=True)
    trial.set_user_attr(REASON, "not of the next")
    trial.report(0.5, 1)
    study.tell(trial, state=TrialState.FAIL)
    for number in range(MOST_RETRIES + 1):
        repeat_trial(study, study.trials[number])
    repeated = study.trials[1]
    assert repeated.params == trial.params
    assert (repeated.user_attrs, repeated.intermediate_values) == ({}, {})
    assert repeated.system_attrs == {"failed_trial": 0, "deaths": 1}
    assert len(study.trials) == 1 + MOST_RETRIES
    assert "trial 3 is given up: 4 workers died of it" in caplog.text


def test_a_stop_just_after_a_trial_does_not_repeat_it(data, tmp_path, monkeypatch):
    study, storage, url, settings = make_study(tmp_path, data, pruner=None)
    monkeypatch.setattr(worker, "run_trial", lambda *_: (0.5,))

    def finish_and_stop(*arguments, **options):
        real(*arguments, **options)
        raise KeyboardInterrupt

    real = study.optimize
    monkeypatch.setattr(study, "optimize", finish_and_stop)
    with pytest.raises(KeyboardInterrupt):
        worker.work(study, storage, url, settings, trials=2, timeout_s=None, seed=0)
    assert [trial.state for trial in study.trials] == [TrialState.COMPLETE]


def test_stops_by_hand_never_use_up_a_trial(data, tmp_path, monkeypatch):
    study, storage, url, settings = make_study(tmp_path, data, pruner=None)

    def stop(trial, settings):
        raise KeyboardInterrupt

    monkeypatch.setattr(worker, "run_trial", stop)
    for _ in range(6):
        with pytest.raises(KeyboardInterrupt):
            worker.work(study, storage, url, settings, trials=1, timeout_s=None, seed=0)
    assert study.trials[-1].state == TrialState.WAITING
    assert study.trials[-1].system_attrs["deaths"] == 0


def test_a_database_that_goes_down_in_a_trial_is_named(data, tmp_path, monkeypatch):
    """Optuna stumbles over its own variable when it cannot store a result."""
    study, storage, url, settings = make_study(tmp_path, data, pruner=None)

    def go_down(*_, **__):
        raise StorageInternalError("gone")

    def lose_it(trial, settings):
        for name in ("set_trial_state_values", "get_trial"):
            monkeypatch.setattr(study._storage, name, go_down)
        go_down()

    monkeypatch.setattr(worker, "run_trial", lose_it)
    with pytest.raises(ConnectionError, match="does not answer as it should: gone"), reported(url):
        worker.work(study, storage, url, settings, trials=1, timeout_s=None, seed=0)


def test_a_sign_of_life_that_cannot_be_stored_ends_no_training(data, tmp_path, monkeypatch, caplog):
    _, storage, *_ = make_study(tmp_path, data, pruner=None)

    def fail(*_):
        raise StorageInternalError("locked")

    monkeypatch.setattr(RDBStorage, "record_heartbeat", fail)
    storage.record_heartbeat(1)
    assert "a sign of life could not be stored: locked" in caplog.text


def test_a_worker_that_only_fails_leaves_the_study_to_others(data, tmp_path, monkeypatch):
    study, storage, url, settings = make_study(tmp_path, data, pruner=None)
    is_good = iter([True, *[False] * 20])

    def fail(trial, settings):
        if next(is_good):
            return (0.5,)
        trial.set_user_attr(REASON, "the GPU is full")
        raise TrialError("the GPU is full")

    monkeypatch.setattr(worker, "run_trial", fail)
    for trials in (6, 11):
        with pytest.raises(ValueError, match="last 5 trials of this worker .*the GPU is full"):
            worker.work(study, storage, url, settings, trials=50, timeout_s=None, seed=0)
        assert len(study.trials) == trials


def test_a_trial_that_was_taken_for_dead_ends_nothing(data, tmp_path, monkeypatch, caplog):
    """As after a pause of the machine: another worker has its trial now."""
    study, storage, url, settings = make_study(tmp_path, data, pruner=None)
    other = optuna.load_study(study_name="s", storage=storage)

    def be_overtaken(trial, settings):
        if trial.number == 0:
            other.tell(0, state=TrialState.FAIL)
            trial.report(0.5, 1)
        return (0.5,)

    monkeypatch.setattr(worker, "run_trial", be_overtaken)
    worker.work(study, storage, url, settings, trials=2, timeout_s=None, seed=0)
    assert "trial 0 was taken for dead" in caplog.text
    assert [t.state.name for t in study.trials] == ["FAIL", "COMPLETE", "COMPLETE"]


def test_after_the_time_no_further_trial_begins(data, tmp_path, monkeypatch):
    study, storage, url, settings = make_study(tmp_path, data, pruner=None)
    monkeypatch.setattr(worker, "run_trial", lambda *_: (time.sleep(0.3), (0.5,))[1])
    worker.work(study, storage, url, settings, trials=9, timeout_s=0.2, seed=0)
    assert len(study.trials) == 1


class Hopeless:
    """A trial that a pruner would stop at once."""

    def report(self, value: float, epoch: int) -> None: ...

    def should_prune(self) -> bool:
        return True


@pytest.mark.parametrize(("is_last", "stopped"), [(False, True), (True, False)])
def test_a_trial_whose_training_is_done_is_not_pruned(tmp_path, is_last, stopped):
    space, _ = load_space(tmp_path / "space.json")
    validation = Validation(3, {"t2w_ssim": 0.1}, 8, is_last)
    assert is_hopeless(Hopeless(), validation, space) == stopped


def test_a_pruned_trial_has_the_best_value_that_a_validation_found(data, tmp_path):
    study, *_, settings = make_study(tmp_path, data, pruner=None)
    measured = {1: 0.2, 2: 0.4, 3: 0.3}
    pruned = optuna.trial.TrialState.PRUNED
    study.add_trial(optuna.trial.create_trial(state=pruned, intermediate_values=measured))
    assert make_table(study, settings.space)["t2w_ssim"].tolist() == [0.4]
    assert worker.describe_outcome(study.trials[0]) == "trial 0: pruned after epoch 3"


def test_what_fails_counts_and_is_not_repeated(data, tmp_path, monkeypatch):
    study, storage, url, settings = make_study(tmp_path, data, pruner=None)

    def fail_every_second(trial, settings):
        if trial.number % 2:
            trial.set_user_attr(REASON, "bad luck")
            raise TrialError("bad luck")
        return (0.5,)

    monkeypatch.setattr(worker, "run_trial", fail_every_second)
    worker.work(study, storage, url, settings, trials=6, timeout_s=None, seed=0)
    assert [t.state.name for t in study.trials] == ["COMPLETE", "FAIL"] * 3


@pytest.mark.slow
def test_hopeless_trials_take_fewer_steps(data, tmp_path):
    """One good trial, then ones that learn nothing, with and without a pruner."""
    rate = {"type": "categorical", "choices": [1e-3, 1e-12]}
    sampler = {"_target_": "optuna.samplers.BruteForceSampler"}
    pruner = {"_target_": "optuna.pruners.ThresholdPruner", "lower": 0.9}
    epochs = {}
    for name, chosen in (("pruned", pruner), ("whole", None)):
        (tmp_path / name).mkdir()
        changes = {"parameters": {"learning_rate": rate}, "sampler": sampler, "pruner": chosen}
        table = read_trials(run(data, tmp_path / name, trials=2, **changes))
        epochs[name] = table["epoch"].sum()
        assert set(table["state"]) == {"pruned" if chosen else "finished"}
    assert (epochs["pruned"], epochs["whole"]) == (2, 6)


@pytest.mark.slow
def test_several_objectives_give_a_front(data, tmp_path):
    changes = {"objectives": ["t2w_ssim", "generator_parameters"], "pruner": None}
    folder = run(data, tmp_path, trials=3, **changes)
    table = read_trials(folder)
    sizes = table.groupby("blocks")["generator_parameters"].first()
    assert (sizes > 0).all()
    values = table[["t2w_ssim", "generator_parameters"]].to_numpy()
    front = {
        f"trial_{number:04d}.json"
        for number, (ssim, size) in enumerate(values)
        if not any(
            (o[0] >= ssim) & (o[1] <= size) & ((o[0] > ssim) | (o[1] < size)) for o in values
        )
    }
    assert {path.name for path in folder.glob("front/*.json")} == front
    assert not (folder / "best.json").exists()


@pytest.mark.slow
def test_a_metric_without_pairs_can_be_sought(data, tmp_path):
    folder = run(data, tmp_path, trials=1, objectives=["t2w_unpaired_error"], pruner=None)
    assert read_trials(folder)["t2w_unpaired_error"].between(0, 10).all()


@pytest.mark.slow
def test_the_process_of_a_trial_does_not_outlive_its_worker(data, tmp_path):
    """A worker that is killed must not leave a training behind that another repeats."""
    code = (
        "import sys, time; from pathlib import Path; from tests.test_tuning import begin_training; "
        "begin_training(Path(sys.argv[1]), Path(sys.argv[2]))"
    )
    root = BUNDLE.parent
    environment = os.environ | {"PYTHONPATH": f"{root}:{BUNDLE}"}
    process = subprocess.Popen([sys.executable, "-c", code, data, tmp_path], env=environment)
    wait_for((tmp_path / "pid").is_file)
    wait_for(lambda: (tmp_path / "pid").read_text() != "")
    child = int((tmp_path / "pid").read_text())
    os.kill(child, 0)
    process.kill()
    process.wait()
    wait_for(lambda: not is_alive(child))
    assert not is_alive(child)


def is_alive(pid: int) -> bool:
    try:
        return "Z" not in Path(f"/proc/{pid}/stat").read_text().split(")")[-1][:3]
    except (FileNotFoundError, ProcessLookupError):
        return False


def begin_training(data: Path, folder: Path) -> None:
    files = [CONFIGS / "train.json", folder / "recipe.json"]
    long = {**SPACE["fixed"], **SPACE["shortened"], "max_epochs": 10_000}
    files[1].write_text(json.dumps(long))
    places = {"bundle_root": str(BUNDLE), "dataset_dir": str(data), "output_dir": str(folder / "o")}
    with running_trial(files, places, bundle=BUNDLE, judged=False) as running:
        (folder / "pid").write_text(str(running._process.pid))
        time.sleep(600)

"""A worker of a study: takes trials until the study has as many as it should."""

from __future__ import annotations

import logging
import time
import warnings
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime, timedelta

import optuna
from optuna.exceptions import ExperimentalWarning, UpdateFinishedTrialError
from optuna.storages import RDBStorage
from optuna.study import Study
from optuna.trial import FrozenTrial, Trial, TrialState
from sqlalchemy.engine import URL

from scripts.tuning.storage import exclusive, repeat_trial
from scripts.tuning.trial_process import TrialError
from scripts.tuning.trials import BEGUN, REASON, SECONDS, TrialSettings, run_trial

logger = logging.getLogger(__name__)

WAIT_S = 5.0  # between two looks at what others do
MOST_FAILURES = 5  # in a row, after which a worker takes no further trial
SILENT_BEATS = 10  # after which a trial that never began is lost
ENDED = (TrialState.COMPLETE, TrialState.PRUNED)


@dataclass(frozen=True)
class Progress:
    """How far a study is.

    Attributes:
        ended: trials that need not be run again: finished, pruned, or failed for a reason.
        running: trials that somebody works on, or did when he died.
        waiting: trials of dead workers, to be run again.
    """

    ended: int
    running: int
    waiting: int


def count_trials(trials: list[FrozenTrial]) -> Progress:
    """Count the trials of a study by what becomes of them."""
    states = [trial.state for trial in trials]
    failed = sum(is_failure(trial) for trial in trials)
    return Progress(
        sum(states.count(state) for state in ENDED) + failed,
        states.count(TrialState.RUNNING),
        states.count(TrialState.WAITING),
    )


def is_failure(trial: FrozenTrial) -> bool:
    """Whether a trial failed by itself, and not because its worker was ended."""
    return trial.state == TrialState.FAIL and REASON in trial.user_attrs


def work(
    study: Study,
    storage: RDBStorage,
    url: URL,
    settings: TrialSettings,
    *,
    trials: int,
    timeout_s: float | None,
    seed: int,
) -> None:
    """Run trials beside any number of other workers, until together they have done enough.

    Args:
        study: what is worked on.
        storage: in which it is.
        url: of the storage.
        settings: of its trials.
        trials: of the study, all workers together.
        timeout_s: after which no further trial begins; None for no end.
        seed: of the proposals; each trial has its own by its number.

    Raises:
        ValueError: several trials of this worker failed in a row.
    """
    end = None if timeout_s is None else time.monotonic() + timeout_s
    failures = 0
    while end is None or time.monotonic() < end:
        lock = ExitStack()
        with lock:
            lock.enter_context(exclusive(url))
            _give_up_dead(study, storage)
            known = study.get_trials(deepcopy=False)
            progress = count_trials(known)
            if progress.ended >= trials:
                return
            if progress.waiting or progress.ended + progress.running < trials:
                study.sampler = settings.space.make_sampler(seed + len(known))
                failed = _run_one(study, settings, lock)
                failures = _count_failures(failures, failed)
                _log_progress(study, trials)
                continue
        logger.info("%d trials are left, which other workers run; waiting", progress.running)
        time.sleep(WAIT_S)


def _give_up_dead(study: Study, storage: RDBStorage) -> None:
    """Note which trials give no sign of life, and have them run again.

    Optuna finds those that gave one once; a worker may have died before.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        optuna.storages.fail_stale_trials(study)
    long_ago = datetime.now() - timedelta(seconds=SILENT_BEATS * (storage.heartbeat_interval or 0))
    for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        started = trial.datetime_start
        if BEGUN not in trial.user_attrs and started is not None and started < long_ago:
            study.tell(trial.number, state=TrialState.FAIL, skip_if_finished=True)


def _run_one(study: Study, settings: TrialSettings, lock: ExitStack) -> FrozenTrial | None:
    """Take one trial; others may take theirs as soon as it is registered.

    Returns:
        The trial, where it failed.
    """
    taken: list[int] = []

    def objective(trial: Trial) -> tuple[float, ...]:
        trial.set_user_attr(BEGUN, True)  # before others look
        lock.close()
        taken.append(trial.number)
        return run_trial(trial, settings)

    try:
        study.optimize(objective, n_trials=1, catch=(TrialError,))
    except (UpdateFinishedTrialError, ValueError) as error:
        if not taken or study.trials[taken[0]].state == TrialState.RUNNING:
            raise
        logger.warning("trial %d was taken for dead and given to another: %s", taken[0], error)
    except KeyboardInterrupt:
        stopped = [study.trials[number] for number in taken]
        if stopped and stopped[0].state == TrialState.FAIL:
            repeat_trial(study, stopped[0], died=False)
        raise
    trial = study.trials[taken[0]]
    logger.info("%s", describe_outcome(trial))
    return trial if is_failure(trial) else None


def _count_failures(before: int, failed: FrozenTrial | None) -> int:
    """Failures of this worker in a row; ValueError where it had better stop.

    A full GPU or a wrong option would use up the study while other workers do well.
    """
    count = before + 1 if failed is not None else 0
    if failed is not None and count >= MOST_FAILURES:
        raise ValueError(
            f"the last {count} trials of this worker all failed, trial {failed.number} because of: "
            f"{failed.user_attrs[REASON]}. Correct that, then run the same command again."
        )
    return count


def _log_progress(study: Study, trials: int) -> None:
    """Say how far the study is, and when it may end."""
    known = study.get_trials(deepcopy=False)
    progress = count_trials(known)
    times = [t.user_attrs.get(SECONDS, 0.0) for t in known if t.state.is_finished()]
    mean_s = sum(times) / max(1, len(times))
    left_s = mean_s * (trials - progress.ended) / max(1, progress.running + 1)
    logger.info(
        "%d of %d trials are done; about %s left with %s",
        *(progress.ended, trials, format_duration(left_s)),
        "1 worker" if not progress.running else f"{progress.running + 1} workers",
    )


def describe_outcome(trial: FrozenTrial) -> str:
    """One line about a trial that has ended."""
    if trial.state == TrialState.COMPLETE:
        return f"trial {trial.number}: {', '.join(f'{value:.4g}' for value in trial.values or [])}"
    if trial.state == TrialState.PRUNED:
        return f"trial {trial.number}: pruned after epoch {max(trial.intermediate_values)}"
    return f"trial {trial.number}: failed, {trial.user_attrs.get(REASON, 'with its worker')}"


def format_duration(seconds: float) -> str:
    """A duration to look at: minutes below two hours, then hours."""
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"

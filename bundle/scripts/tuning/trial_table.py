"""All trials of a study as a table."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import pandas as pd
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from scripts.tuning.search_space import SearchSpace
from scripts.tuning.storage import REPEATED
from scripts.tuning.trials import EPOCHS, REASON, SECONDS
from scripts.tuning.worker import is_failure

WORDS = {
    TrialState.COMPLETE: "finished",
    TrialState.PRUNED: "pruned",
    TrialState.RUNNING: "running",
    TrialState.WAITING: "waiting",
}
FAILED, LOST, GIVEN_UP = "failed", "lost", "given up"  # by itself; with its worker


def make_table(study: Study, space: SearchSpace) -> pd.DataFrame:
    """One row a trial.

    Columns are `trial`, `state` (finished, pruned, failed, lost, given up, running or waiting; a
    lost one was repeated by another, one that was given up was not), the objectives, the
    parameters, the last validated `epoch`, `seconds`, the trial that it `repeats`, and the
    `reason` of a failure. Values are the best that a validation found, also those of a pruned
    trial, which are no result: its training was not done.
    """
    trials = study.get_trials(deepcopy=False)
    repeated = {trial.system_attrs.get(REPEATED) for trial in trials}
    rows = [_describe(trial, space, repeated) for trial in trials]
    columns = ["trial", "state", *(o.name for o in space.objectives)]
    columns += [parameter.name for parameter in space.parameters]
    columns += ["epoch", "seconds", "repeats", "reason"]
    table = pd.DataFrame(rows, columns=list(dict.fromkeys(columns)))
    return table.astype({"epoch": "Int64", "repeats": "Int64"})


def _describe(
    trial: FrozenTrial, space: SearchSpace, repeated: Collection[int | None]
) -> dict[str, Any]:
    attributes = trial.user_attrs
    row = {
        "trial": trial.number,
        "state": name_state(trial, repeated),
        "epoch": attributes.get(EPOCHS),
        "seconds": attributes.get(SECONDS),
        "repeats": trial.system_attrs.get(REPEATED),
        "reason": attributes.get(REASON, ""),
    }
    return {**row, **space.read_chosen(trial), **_read_values(trial, space)}


def name_state(trial: FrozenTrial, repeated: Collection[int | None]) -> str:
    """What became of a trial, in a word."""
    if trial.state in WORDS:
        return WORDS[trial.state]
    if is_failure(trial):
        return FAILED
    return LOST if trial.number in repeated else GIVEN_UP


def _read_values(trial: FrozenTrial, space: SearchSpace) -> dict[str, float]:
    """Values of the objectives, as far as they are known."""
    if trial.state == TrialState.COMPLETE and trial.values is not None:
        names = [objective.name for objective in space.objectives]
        return dict(zip(names, trial.values, strict=True))
    if trial.intermediate_values:
        objective = space.objectives[0]
        choose = min if objective.direction == "minimize" else max
        return {objective.name: choose(trial.intermediate_values.values())}
    return {}


def list_finished(study: Study) -> Sequence[FrozenTrial]:
    """Trials whose training went to its end."""
    return study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))

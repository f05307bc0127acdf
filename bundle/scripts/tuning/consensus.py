"""The mean of good trials, as the earlier system made its recipe; a hint, and no optimum."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from scripts.tuning.parameters import Parameter

WARNING = (
    "Mean of the good trials, weighted by their objective. A mean of optima need not be one: what "
    "lies between two good recipes may be bad. Compare it by `python -m scripts.tune confirm`."
)


@dataclass(frozen=True)
class Finished:
    """A finished trial.

    Attributes:
        value: of its objective, which is the better the larger.
        chosen: values of the parameters, by name.
    """

    value: float
    chosen: Mapping[str, Any]


def merge_equal(trials: Sequence[Finished]) -> list[Finished]:
    """Count equal recipes once, by the mean of their values."""
    values: dict[str, list[float]] = defaultdict(list)
    recipes: dict[str, Mapping[str, Any]] = {}
    for trial in trials:
        key = json.dumps(trial.chosen, sort_keys=True)
        values[key].append(trial.value)
        recipes[key] = trial.chosen
    return [Finished(sum(v) / len(v), recipes[key]) for key, v in values.items()]


def compute_consensus(
    trials: Sequence[Finished], parameters: Sequence[Parameter], *, threshold: float
) -> dict[str, Any]:
    """Means over the trials above a threshold, weighted by their values.

    Whole numbers and steps are rounded to the nearest value that the range has; categories are
    put to the vote with the same weights. A parameter that matters in some trials only is
    averaged over those, and left out where the consensus of others makes it matter no more.

    Args:
        trials: finished ones, equal recipes merged or not.
        parameters: of the search space.
        threshold: on the objective.

    Returns:
        Values by parameter.

    Raises:
        ValueError: no trial is above the threshold, or one is negative, which weighs nothing.
    """
    good = [trial for trial in trials if trial.value > threshold]
    if not good:
        best = max((trial.value for trial in trials), default=float("nan"))
        raise ValueError(
            f"of {len(trials)} finished trials none is above {threshold}; the best has {best:.4g}. "
            "Take a lower --threshold."
        )
    if min(trial.value for trial in good) <= 0:
        raise ValueError(f"threshold {threshold}: values of 0 or less cannot weigh. Take 0.")
    found: dict[str, Any] = {}
    for parameter in parameters:
        having = [trial for trial in good if parameter.name in trial.chosen]
        if having and parameter.is_wanted(found):
            found[parameter.name] = _average(parameter, having)
    return found


def _average(parameter: Parameter, trials: Sequence[Finished]) -> Any:
    pairs = [(trial.value, trial.chosen[parameter.name]) for trial in trials]
    if parameter.kind == "categorical":
        votes: dict[str, float] = defaultdict(float)
        for weight, value in pairs:
            votes[json.dumps(value)] += weight
        return json.loads(max(votes, key=votes.__getitem__))
    total = sum(weight for weight, _ in pairs)
    return parameter.place(sum(weight * value for weight, value in pairs) / total)

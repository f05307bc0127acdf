"""What a study seeks: figures of validation subjects, and what they cost."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from scripts.evaluation.evaluator import VALIDATION_FIGURE_NAMES
from scripts.evaluation.key_metric import is_smaller_better

# Of both generators; of a whole trial, whose machine it depends on.
COSTS = ("generator_parameters", "seconds")


@dataclass(frozen=True)
class Objective:
    """A figure that is to become large or small.

    Attributes:
        name: of a figure of validation such as `t2w_ssim`, or one of `COSTS`.
    """

    name: str

    @property
    def is_measured(self) -> bool:
        """Whether validations measure it."""
        return self.name not in COSTS

    @property
    def direction(self) -> Literal["minimize", "maximize"]:
        """As Optuna calls it."""
        small = not self.is_measured or is_smaller_better(self.name)
        return "minimize" if small else "maximize"


def parse_objectives(names: Any, *, place: str) -> tuple[Objective, ...]:
    """Read the section `objectives` of a search space.

    Raises:
        ValueError: none, an unknown one, one that is named twice, or costs alone.
    """
    known = (*VALIDATION_FIGURE_NAMES, *COSTS)
    if not isinstance(names, Sequence) or isinstance(names, str) or not names:
        raise ValueError(f"{place}: objectives are {names!r}. Expected a list of names.")
    if unknown := [name for name in names if name not in known]:
        raise ValueError(f"{place}: no objective {unknown[0]!r}. Expected some of {known}.")
    objectives = tuple(Objective(name) for name in names)
    if len(set(names)) < len(names) or not objectives[0].is_measured:
        raise ValueError(
            f"{place}: objectives are {names!r}. Expected different ones, of which the first is "
            f"none of {', '.join(COSTS)}: it also decides which epoch of a training counts."
        )
    return objectives


def find_values(
    objectives: Sequence[Objective],
    validations: Mapping[int, Mapping[str, float]],
    costs: Mapping[str, float],
) -> list[float]:
    """What a finished trial is worth: its figures after the epoch that the first one liked best.

    Args:
        objectives: what is sought.
        validations: figures by epoch.
        costs: by the names of `COSTS`.

    Raises:
        ValueError: nothing was validated, an objective was not measured, or is no number.
    """
    first = objectives[0]
    numbers = {epoch: figures[first.name] for epoch, figures in validations.items()}
    finite = {epoch: value for epoch, value in numbers.items() if math.isfinite(value)}
    if not finite:
        raise ValueError(f"{first.name} was never a number. Found {list(numbers.values())}.")
    choose = min if first.direction == "minimize" else max
    figures = {**validations[choose(finite, key=finite.__getitem__)], **costs}
    values = [figures[objective.name] for objective in objectives]
    for objective, value in zip(objectives, values, strict=True):
        if not math.isfinite(value):
            raise ValueError(f"{objective.name} is {value} at the best epoch.")
    return values


def check_measured(objectives: Sequence[Objective], figures: Mapping[str, float]) -> None:
    """Raise ValueError where a validation lacks an objective."""
    for objective in objectives:
        if objective.is_measured and objective.name not in figures:
            raise ValueError(
                f"the objective {objective.name} was not measured; found {', '.join(figures)}. "
                "Without registered pairs choose one that needs none; to measure such beside "
                'paired ones, say "val_unpaired_always": true in the section "shortened".'
            )

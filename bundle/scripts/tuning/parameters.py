"""Hyperparameters that a study varies: their kinds, their ranges, and when they matter."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from optuna.trial import Trial

KINDS = ("float", "int", "categorical")
KEYS = {
    "float": {"type", "low", "high", "log", "step", "if"},
    "int": {"type", "low", "high", "log", "step", "if"},
    "categorical": {"type", "choices", "if"},
}


@dataclass(frozen=True)
class Parameter:
    """One hyperparameter.

    Attributes:
        name: id in `train.json`, "a#b" for the entry b of a.
        kind: one of `KINDS`.
        low: smallest value, of numbers.
        high: largest value, of numbers.
        log: whether magnitudes are equally likely, not values.
        step: distance of neighbouring values; None for any.
        choices: values, of a category.
        conditions: the values of other parameters with which this one matters.
    """

    name: str
    kind: str
    low: float = 0.0
    high: float = 0.0
    log: bool = False
    step: float | None = None
    choices: tuple[Any, ...] = ()
    conditions: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)

    def is_wanted(self, chosen: Mapping[str, Any]) -> bool:
        """Whether it matters beside the values that others have."""
        return all(
            name in chosen and chosen[name] in allowed for name, allowed in self.conditions.items()
        )

    def can_be(self, value: Any) -> bool:
        """Whether a value is one of its own."""
        if self.kind == "categorical":
            return value in self.choices
        is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
        return is_number and self.low <= value <= self.high

    def suggest(self, trial: Trial) -> Any:
        """Ask for a value."""
        if self.kind == "categorical":
            stored = [store_choice(each) for each in self.choices]
            return self.read(trial.suggest_categorical(self.name, stored))
        if self.kind == "int":
            step = 1 if self.step is None else int(self.step)
            return trial.suggest_int(
                self.name, int(self.low), int(self.high), step=step, log=self.log
            )
        return trial.suggest_float(self.name, self.low, self.high, step=self.step, log=self.log)

    def read(self, stored: Any) -> Any:
        """A value as the config holds it, from what Optuna has stored."""
        if self.kind != "categorical":
            return stored
        return next(each for each in self.choices if store_choice(each) == stored)

    def place(self, value: float) -> float | int:
        """The nearest number that the range has; of two as near, the larger."""
        if self.step is not None or self.kind == "int":
            step = self.step or 1
            value = self.low + math.floor((value - self.low) / step + 0.5) * step
        value = min(max(value, self.low), self.high)
        return round(value) if self.kind == "int" else value


def store_choice(choice: Any) -> Any:
    """A choice as Optuna can store it: lists, as of a schedule, become text."""
    return json.dumps(choice) if isinstance(choice, (list, dict)) else choice


def suggest_values(parameters: tuple[Parameter, ...], trial: Trial) -> dict[str, Any]:
    """A value for every parameter that matters beside those before it."""
    chosen: dict[str, Any] = {}
    for parameter in parameters:
        if parameter.is_wanted(chosen):
            chosen[parameter.name] = parameter.suggest(trial)
    return chosen


def parse_parameters(entries: Mapping[str, Any], *, place: str) -> tuple[Parameter, ...]:
    """Read the section `parameters` of a search space.

    Args:
        entries: a description by the parameter's id.
        place: file, for errors.

    Raises:
        ValueError: names the parameter, what was found and what was expected.
    """
    if not isinstance(entries, Mapping) or not entries:
        raise ValueError(f"{place}: no parameters. Expected ids of train.json with their ranges.")
    parsed: dict[str, Parameter] = {}
    for name, entry in entries.items():
        parsed[name] = _parse(name, entry, parsed, f"{place}, parameter {name}")
    return tuple(parsed.values())


def _parse(name: str, entry: Any, before: Mapping[str, Parameter], place: str) -> Parameter:
    kind = entry.get("type") if isinstance(entry, Mapping) else None
    if kind not in KINDS:
        raise ValueError(f"{place}: type is {kind!r}. Expected {', '.join(KINDS)}.")
    if unknown := sorted(set(entry) - KEYS[kind] - {"_desc_"}):
        raise ValueError(
            f"{place}: {unknown[0]} is unknown. Expected {', '.join(sorted(KEYS[kind]))}."
        )
    conditions = _parse_conditions(entry.get("if", {}), before, place)
    if kind == "categorical":
        return Parameter(name, kind, choices=_parse_choices(entry, place), conditions=conditions)
    low, high, step = (_parse_number(entry, key, kind, place) for key in ("low", "high", "step"))
    if low is None or high is None or not low < high:
        raise ValueError(
            f"{place}: the range from {low} to {high} is empty. Expected low below high."
        )
    log = entry.get("log", False)
    if not isinstance(log, bool) or (log and (low <= 0 or step is not None)):
        raise ValueError(
            f"{place}: log is {log!r} from {low} with step {step}. Expected true or false; true "
            "wants a low above 0 and no step."
        )
    if step is not None and not 0 < step <= high - low:
        raise ValueError(f"{place}: step is {step}. Expected one above 0, up to {high - low}.")
    return Parameter(name, kind, low, high, log, step, conditions=conditions)


def _parse_number(entry: Mapping[str, Any], key: str, kind: str, place: str) -> float | None:
    value = entry.get(key)
    if value is None:
        return None
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not is_number or not math.isfinite(value) or (kind == "int" and value != int(value)):
        raise ValueError(f"{place}: {key} is {value!r}. Expected a number of the type {kind}.")
    return int(value) if kind == "int" else float(value)


def _parse_choices(entry: Mapping[str, Any], place: str) -> tuple[Any, ...]:
    choices = entry.get("choices")
    if not isinstance(choices, list) or len({json.dumps(each) for each in choices}) < 2:
        raise ValueError(f"{place}: choices are {choices!r}. Expected two different ones or more.")
    return tuple(choices)


def _parse_conditions(
    entry: Any, before: Mapping[str, Parameter], place: str
) -> dict[str, tuple[Any, ...]]:
    if not isinstance(entry, Mapping) or not all(isinstance(v, list) for v in entry.values()):
        raise ValueError(
            f'{place}: if is {entry!r}. Expected lists of values by parameter: {{"blocks": [6]}}.'
        )
    if unknown := [name for name in entry if name not in before]:
        raise ValueError(
            f"{place}: it depends on {unknown[0]}, which is no parameter before it. "
            f"Found before it: {', '.join(before) or 'none'}."
        )
    for name, values in entry.items():
        wrong = [value for value in values if not before[name].can_be(value)]
        if wrong or not values:
            found = repr(wrong[0]) if wrong else "no value"
            raise ValueError(f"{place}: it depends on {name} being {found}, which it never is.")
    return {name: tuple(values) for name, values in entry.items()}

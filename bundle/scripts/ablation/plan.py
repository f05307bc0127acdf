"""A plan of trainings that differ by one change at a time, read from JSON and checked."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from monai.bundle import ConfigParser

from scripts.ablation.goals import REAL, TRIVIAL, GoalSettings
from scripts.config_options import format_names
from scripts.config_references import load_config, without_description
from scripts.tuning.full_trainings import PLACES, FullTraining
from scripts.tuning.search_space import check_names, read_training_config

KEYS = {"_desc_", "rows", "shortened", "evaluated", "goals"}
ROW_KEYS = {"_desc_", "from", "overlays", "change", "seeds"}


@dataclass(frozen=True)
class Row:
    """One recipe of an ablation.

    Attributes:
        name: unique.
        words: what it changes, for people.
        parent: name of the row that it changes; "" for train.json itself.
        overlay: of train.json.
        seeds: that it is trained with.
    """

    name: str
    words: str
    parent: str
    overlay: Mapping[str, Any]
    seeds: tuple[int, ...]


@dataclass(frozen=True)
class Plan:
    """What is trained and compared.

    Attributes:
        words: about all of it.
        rows: in the order of the table; the first is what the others are compared with.
        evaluated: options of evaluate.json, for all rows.
        goals: that one of the rows is held against; None for none.
    """

    words: str
    rows: tuple[Row, ...]
    evaluated: Mapping[str, Any]
    goals: GoalSettings | None

    def list_trainings(
        self, datasets: Sequence[Path], folder: Path, *, split: str
    ) -> list[FullTraining]:
        """All trainings, those with the first seed first.

        Args:
            datasets: slice datasets, such as folds; each row is trained on each.
            folder: that they write to, in folders named after datasets, rows and seeds.
            split: part that is evaluated.
        """
        seeds = sorted({seed for row in self.rows for seed in row.seeds})
        return [
            FullTraining(
                recipe=row.name,
                overlay={**row.overlay, "seed": seed},
                seed=seed,
                folder=folder.resolve() / name / row.name / f"seed_{seed}",
                dataset_dir=dataset,
                split=split,
            )
            for seed in seeds
            for name, dataset in _name_datasets(datasets).items()
            for row in self.rows
            if seed in row.seeds
        ]

    def select(self, names: Sequence[str]) -> Plan:
        """The same with some of its rows; ValueError for a name that it has not."""
        known = [row.name for row in self.rows]
        if unknown := [name for name in names if name not in known]:
            raise ValueError(f"no row is called {unknown[0]}. Found: {', '.join(known)}.")
        kept = tuple(row for row in self.rows if row.name in names)
        return replace(self, rows=kept)

    def select_seeds(self, seeds: Sequence[int]) -> Plan:
        """The same with some of its seeds; ValueError for one that no row has."""
        known = {seed for row in self.rows for seed in row.seeds}
        if unknown := sorted(set(seeds) - known):
            raise ValueError(f"no row has seed {unknown[0]}. Found: {sorted(known)}.")
        rows = (replace(row, seeds=tuple(sorted({*row.seeds} & {*seeds}))) for row in self.rows)
        return replace(self, rows=tuple(row for row in rows if row.seeds))


def _name_datasets(datasets: Sequence[Path]) -> dict[str, Path]:
    named = {path.resolve().name: path for path in datasets}
    if len(named) < len(datasets):
        raise ValueError("two slice datasets have folders of one name. Rename one of them.")
    return named


def load_plan(path: Path, configs: Path) -> Plan:
    """Read a plan.

    Args:
        path: JSON file: `rows` by name, each with what it changes (`change`, or `overlays`, files
            in the folder of configs) of which row (`from`; train.json if absent) and how many
            `seeds`; `shortened`, for all rows, between overlays and changes; `evaluated`.
        configs: folder of the bundle's configs.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: names the row, what was found and what was expected.
    """
    content = _read(path)
    shortened = dict(content.get("shortened", {}))
    parser = ConfigParser(read_training_config(configs, ()))
    check_names(shortened, parser, f"{path}: shortened")
    rows: dict[str, Row] = {}
    layers: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {}
    for name, entry in content["rows"].items():
        place = f"{path}: {name}"
        _check_name(name, place)
        _check_row(entry, rows, place)
        overlaid, inherited = layers.get(entry.get("from", ""), ({}, {}))
        overlays = _read_overlays(entry, configs)
        for overlay in overlays.values():
            overlaid = overlaid | overlay
        changed = inherited | entry.get("change", {})
        check_names([*overlaid, *changed], parser, place)
        layers[name] = (overlaid, changed)
        merged = {**overlaid, **shortened, **changed}
        _check_effect(overlays, entry.get("change", {}), inherited, merged, place)
        seeds = tuple(range(entry.get("seeds", 1)))
        rows[name] = Row(name, entry.get("_desc_", ""), entry.get("from", ""), merged, seeds)
    return Plan(
        words=content.get("_desc_", ""),
        rows=tuple(rows.values()),
        evaluated=_read_evaluated(content, configs, f"{path}: evaluated"),
        goals=_read_goals(content.get("goals"), rows, path),
    )


def _read_evaluated(content: Mapping[str, Any], configs: Path, place: str) -> dict[str, Any]:
    evaluated = content.get("evaluated", {})
    if not isinstance(evaluated, dict):
        raise ValueError(f"{place} is {evaluated!r}. Expected an object of options.")
    parser = ConfigParser(read_training_config(configs, ["evaluate.json"]))
    for name in evaluated:
        if re.split("#|::", name)[0] in PLACES:
            raise ValueError(f"{place}: {name} is decided by the command. Leave it out.")
        if name not in parser:
            wrong = format_names([name], [str(key) for key in parser.config]).replace("--", "")
            raise ValueError(f"{place}: neither evaluate.json nor train.json has an id {wrong}.")
    return evaluated


def _read_overlays(entry: Mapping[str, Any], configs: Path) -> dict[str, dict[str, Any]]:
    files = entry.get("overlays", [])
    return {file: without_description(load_config(configs / file)) for file in files}


def _check_effect(
    overlays: Mapping[str, Mapping[str, Any]],
    change: Mapping[str, Any],
    inherited: Mapping[str, Any],
    merged: Mapping[str, Any],
    place: str,
) -> None:
    """ValueError for an overlay of a row that something else overrules in silence.

    That is a row above, by any change, or `shortened`, by all that the overlay sets: shorter than
    a recipe is what it is for.
    """
    last = {name: value for overlay in overlays.values() for name, value in overlay.items()}
    for file, overlay in overlays.items():
        meant = [name for name in overlay if name not in change and overlay[name] == last[name]]
        lost = [name for name in meant if merged[name] != overlay[name]]
        if overruled := [name for name in lost if name in inherited]:
            raise ValueError(
                f"{place}: {file} sets {', '.join(overruled)}, but so does the change of a row "
                "above, which comes after all overlays. Set them in this row's own change."
            )
        if meant and lost == meant:
            raise ValueError(
                f"{place}: {file} has no effect, since shortened sets {', '.join(lost)} for all "
                "rows. Set them in this row's own change, or leave the overlay out."
            )


def _read_goals(content: Any, rows: Mapping[str, Row], path: Path) -> GoalSettings | None:
    if content is None:
        return None
    try:
        goals = GoalSettings(**content)
    except TypeError as error:
        raise ValueError(f"{path}: goals: {error}.") from error
    for name in filter(None, (goals.recipe, goals.reference, goals.ceiling)):
        if name not in rows:
            raise ValueError(f"{path}: goals name {name}. Expected rows: {', '.join(rows)}.")
    return goals


def _read(path: Path) -> dict[str, Any]:
    try:
        content = load_config(path)
    except json.JSONDecodeError as error:
        raise ValueError(f"{path}: is no JSON ({error}).") from error
    if not isinstance(content, dict) or not content.get("rows"):
        raise ValueError(f"{path}: has no rows. Expected at least one, by name.")
    if unknown := set(content) - KEYS:
        raise ValueError(f"{path}: {min(unknown)} is unknown. Expected {', '.join(sorted(KEYS))}.")
    return content


def _check_name(name: str, place: str) -> None:
    if name in (*TRIVIAL, REAL):
        raise ValueError(f"{place}: tables have a row of this name already. Choose another.")
    if not re.fullmatch(r"\w[\w .+-]*", name):
        raise ValueError(
            f"{place}: found {name!r} as the name of a row, which is one of a folder too. Expected "
            "letters, digits, spaces and .+-_ only, a letter or digit first."
        )


def _check_row(entry: Any, before: Mapping[str, Row], place: str) -> None:
    if not isinstance(entry, dict) or (unknown := set(entry) - ROW_KEYS):
        wrong = f"{min(unknown)} is unknown" if isinstance(entry, dict) else "is no object"
        raise ValueError(f"{place}: {wrong}. Expected {', '.join(sorted(ROW_KEYS))}.")
    if (parent := entry.get("from", "")) and parent not in before:
        raise ValueError(f"{place}: from {parent!r}. Expected a row above: {', '.join(before)}.")
    seeds = entry.get("seeds", 1)
    if not isinstance(seeds, int) or seeds < 1:
        raise ValueError(f"{place}: seeds is {seeds!r}. Expected a number from 1.")

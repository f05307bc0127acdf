"""A search space: what a study varies, what all its trials share, and who proposes and prunes."""

from __future__ import annotations

import json
import re
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from monai.bundle import ConfigParser
from optuna.exceptions import ExperimentalWarning
from optuna.pruners import BasePruner, NopPruner
from optuna.samplers import BaseSampler
from optuna.trial import FrozenTrial

from scripts.config_options import format_names
from scripts.config_references import load_config, without_description
from scripts.errors import find_cause
from scripts.tuning.objectives import Objective, parse_objectives
from scripts.tuning.parameters import Parameter, parse_parameters

REQUIRED = {"parameters", "objectives", "sampler"}
OPTIONAL = {"_desc_", "overlays", "fixed", "shortened", "pruner"}
# What the tuning itself decides of each trial.
OURS = frozenset({"bundle_root", "dataset_dir", "output_dir", "models_dir", "key_metric", "resume"})
CHOSEN_ON = "validation"


@dataclass(frozen=True)
class SearchSpace:
    """What a study is made of.

    Attributes:
        parameters: that vary.
        objectives: what is sought; one, or several for a front.
        overlays: config files upon train.json, relative to the folder of configs.
        fixed: values of the recipe that do not vary.
        shortened: values by which trials are shorter than a training; no part of the recipe.
        sampler: config of the class that proposes values.
        pruner: config of the class that stops hopeless trials; None for none.
    """

    parameters: tuple[Parameter, ...]
    objectives: tuple[Objective, ...]
    overlays: tuple[str, ...]
    fixed: Mapping[str, Any]
    shortened: Mapping[str, Any]
    sampler: Mapping[str, Any]
    pruner: Mapping[str, Any] | None

    def make_sampler(self, seed: int) -> BaseSampler:
        """The sampler, with random numbers of its own for every trial."""
        return _instantiate({**self.sampler, "seed": seed}, BaseSampler, "sampler")

    def make_pruner(self) -> BasePruner:
        """The pruner."""
        if self.pruner is None:
            return NopPruner()
        return _instantiate(self.pruner, BasePruner, "pruner")

    @property
    def choice(self) -> dict[str, str]:
        """By which figure a training chooses its epoch: the one by which trials were chosen."""
        return {"key_metric": self.objectives[0].name}

    def read_recipe(self, configs: Path) -> dict[str, Any]:
        """What all recipes of this space have in common, as an overlay of train.json alone."""
        recipe: dict[str, Any] = {}
        for name in self.overlays:
            recipe |= load_config(configs / name)
        return without_description(recipe | dict(self.fixed)) | self.choice

    def find(self, name: str) -> Parameter:
        """The parameter of a name."""
        return next(each for each in self.parameters if each.name == name)

    def read_chosen(self, trial: FrozenTrial) -> dict[str, Any]:
        """Values of a trial as the config holds them."""
        return {name: self.find(name).read(stored) for name, stored in trial.params.items()}


def load_search_space(path: Path, configs: Path) -> tuple[SearchSpace, str]:
    """Read and check a search space.

    Args:
        path: JSON file.
        configs: folder of the bundle's configs.

    Returns:
        The space, and its content as text by which spaces compare.

    Raises:
        FileNotFoundError: there is no such file, or no such overlay.
        ValueError: names the entry, what was found and what was expected.
    """
    try:
        content = load_config(path)
    except json.JSONDecodeError as error:
        raise ValueError(f"{path}: is no JSON ({error}).") from error
    if not isinstance(content, dict):
        raise ValueError(f"{path}: holds a {type(content).__name__}. Expected an object.")
    compared = json.dumps(without_description(content))
    return parse_search_space(compared, configs, place=str(path)), compared


def parse_search_space(text: str, configs: Path, *, place: str) -> SearchSpace:
    """Read and check a search space from JSON text; see `load_search_space`."""
    content = json.loads(text)
    keys = set(content) if isinstance(content, dict) else set()
    if (missing := REQUIRED - keys) or (unknown := keys - REQUIRED - OPTIONAL):
        wrong = f"{min(missing)} is missing" if missing else f"{min(unknown)} is unknown"
        raise ValueError(f"{place}: {wrong}. Expected {', '.join(sorted(REQUIRED | OPTIONAL))}.")
    _check_sections(content, place)
    space = SearchSpace(
        parse_parameters(content["parameters"], place=place),
        parse_objectives(content["objectives"], place=place),
        tuple(content.get("overlays", ())),
        dict(content.get("fixed") or {}),
        dict(content.get("shortened") or {}),
        content["sampler"],
        content.get("pruner"),
    )
    _check_ids(space, configs, place)
    space.make_sampler(0)
    _check_pruner(space, place)
    return space


def read_training_config(configs: Path, overlays: Sequence[str]) -> dict[str, Any]:
    """`train.json` with overlays, unresolved."""
    files = [configs / name for name in ("train.json", *overlays)]
    for file in files:
        if not file.is_file():
            raise FileNotFoundError(f"{file}: there is no such config file.")
    config: dict[str, Any] = ConfigParser.load_config_files([str(file) for file in files])
    return config


def _check_ids(space: SearchSpace, configs: Path, place: str) -> None:
    """ValueError for an id that train.json has not, that is no number or word, or that is ours."""
    parser = ConfigParser(read_training_config(configs, space.overlays))
    varied = [parameter.name for parameter in space.parameters]
    named = [*varied, *space.fixed, *space.shortened]
    check_names(named, parser, place)
    for name in varied:
        if isinstance(parser[name], dict):
            raise ValueError(f"{place}: {name} is a component. Expected a number, word or list.")
    if twice := [name for name in set(named) if named.count(name) > 1]:
        raise ValueError(f"{place}: {twice[0]} is named in two sections. Keep one.")
    given = {**parser.config, **space.fixed, **space.shortened}
    split = given["evaluated_split"]
    if "evaluated_split" in varied or split != CHOSEN_ON:
        raise ValueError(
            f"{place}: evaluated_split is {split!r}. Expected {CHOSEN_ON!r}: nothing is chosen on "
            "subjects that are to judge the choice."
        )


def check_names(names: Iterable[str], parser: ConfigParser, place: str) -> None:
    """Raise ValueError for ids that train.json has not, or that are not for a recipe to set."""
    for name in names:
        if name.split("#")[0] in OURS:
            raise ValueError(f"{place}: {name} is decided by the tuning. Leave it out.")
        if name not in parser:
            known = [str(key) for key in parser.config]
            wrong = format_names([name], known).replace("--", "")
            raise ValueError(f"{place}: train.json has no id {wrong}.")
    check_chosen_on(names, place)


def check_chosen_on(names: Iterable[str], place: str) -> None:
    """Raise ValueError for ids by which a training would choose on other subjects."""
    for name in names:
        if re.split("#|::", name)[0] == "validate":
            raise ValueError(
                f"{place}: {name} changes what is validated. Leave it out: nothing is chosen on "
                "subjects that are to judge the choice."
            )


def _check_sections(content: Mapping[str, Any], place: str) -> None:
    """ValueError where a section is no object, or says what the command line does."""
    for name in ("fixed", "shortened", "sampler", "pruner"):
        found = content.get(name)
        if not isinstance(found, dict) and not (found is None and name != "sampler"):
            raise ValueError(f"{place}: {name} is {found!r}. Expected an object.")
    if "seed" in content["sampler"]:
        raise ValueError(f"{place}: sampler has a seed. Leave it out: --seed gives it.")


def _check_pruner(space: SearchSpace, place: str) -> None:
    if len(space.objectives) > 1 and space.pruner is not None:
        raise ValueError(f"{place}: trials of several objectives cannot be pruned. Leave it out.")
    if space.pruner is not None and not space.objectives[0].is_measured:
        raise ValueError(
            f"{place}: {space.objectives[0].name} is known at the end only, so nothing can be "
            "pruned by it. Leave the pruner out."
        )
    space.make_pruner()


def _instantiate(config: Mapping[str, Any], kind: type[Any], name: str) -> Any:
    """A class of Optuna from its config; ValueError where it is none, or refuses its options."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ExperimentalWarning)  # of options that were asked for
            made = ConfigParser({"made": dict(config)}).get_parsed_content("made")
    except (RuntimeError, ValueError, TypeError, ImportError) as error:
        cause = find_cause(error)
        raise ValueError(f"{name} {dict(config)}: cannot be made ({cause}).") from error
    if not isinstance(made, kind):
        raise ValueError(
            f"{name} {dict(config)}: makes a {type(made).__name__}. Expected a {kind.__name__}, as "
            f'by "_target_": "optuna.{name}s. ...".'
        )
    return made

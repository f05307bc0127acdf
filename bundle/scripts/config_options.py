"""Options that MONAI would accept in silence: names that nothing reads, paths that it changes."""

from __future__ import annotations

import difflib
import inspect
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import torch
from monai.bundle import ReferenceResolver

from scripts.config_references import load_config

MONAI_IDS = frozenset(  # what MONAI adds: metadata, and the ids of --tracking mlflow
    ["_meta_", "tracking_uri", "experiment_name", "run_name", "is_not_rank0", "save_execute_config"]
)
PATHS = frozenset(["input", "checkpoint", "reference", "candidates"])  # and what ends as follows
PATH_ENDINGS = ("_dir", "_dirs")
PATH_LISTS = frozenset(["candidates", "ensemble_dirs"])
PRETRAINED_DIRS = ("pretrained_dir", "pretrained_discriminators_dir")
EXPRESSIONS = ("$", "@", "%")  # how values begin that MONAI evaluates
LEAST = {  # of options with which torch would fail later on, or nothing would be done in silence
    "seed": 0,
    "pool_size": 0,
    **dict.fromkeys(["features", "discriminator_features", "epoch_length", "batch_size"], 1),
    **dict.fromkeys(["val_batch_size", "val_max_subjects", "val_slice_step"], 1),
    **dict.fromkeys(["ranking_slice_step", "segmenter_slice_step"], 1),
    **dict.fromkeys(["max_epochs", "val_interval", "checkpoint_interval", "log_interval"], 1),
}


def check_option_names(*, configs_dir: str, configs: Sequence[str]) -> None:
    """Fail when the config that calls this holds a top-level id that nothing knows or reads.

    Or a path that is not the one that was typed, see `check_path`, or what cannot be meant by a
    number, see `check_number` and `check_least`.
    Known is what some configs define, read is what another entry refers to: so a misspelt
    `--max_epocs 3` is an error, the `--plane` of another config too, and an overlay may bring
    components of its own.

    Args:
        configs_dir: folder of the bundle's configs.
        configs: names of those whose options may be given: what is run, what may be laid over it,
            and what shares its command lines.
    """
    folder = Path(configs_dir)
    if not folder.is_dir():
        raise FileNotFoundError(
            f"{folder}: there are no configs. Run in the bundle's folder, or pass --bundle_root."
        )
    resolver = _find_resolver()
    names = {name.split(ReferenceResolver.sep)[0] for name in resolver.items} - {""}
    files = [folder / name for name in configs]
    defaults = [load_config(path) for path in files if path.is_file()]
    known = MONAI_IDS.union(*defaults)
    unknown = sorted(names - known - _list_references(resolver))
    if unknown:
        raise ValueError(_describe(unknown, known) + _name_owners(unknown, folder))
    for name in sorted(names):
        value = resolver.items[name].get_config()
        if name in PATHS or name.endswith(PATH_ENDINGS):
            check_path(name, value)
        check_least(name, value)
        for config in defaults:
            check_number(name, value, default=config.get(name))


def check_path(name: str, value: Any) -> None:
    """Fail when the command line or MONAI have made another thing of a path than what was typed.

    Args:
        name: of the option.
        value: a path, a list of them where the option takes several, None, or what MONAI
            evaluates.
    """
    if value is None or isinstance(value, dict):
        return
    several = name in PATH_LISTS and isinstance(value, (list, tuple))
    for path in value if several else [value]:
        if not isinstance(path, (str, os.PathLike)):
            raise ValueError(
                f"{name} is {path!r}, where a path was expected: the command line reads 2024_01 "
                "as a number and a,b as a list. Write the path with a leading ./ or /, and "
                "without commas."
            )
        if "::" in str(path) and not str(path).startswith(EXPRESSIONS):
            raise ValueError(
                f"{name} is {str(path)!r}: MONAI reads # as ::, so this is not the path that was "
                "given. Name one without # and ::, such as a link to it."
            )


def check_number(name: str, value: Any, *, default: Any) -> None:
    """Fail when an option that is a number, or a whole one, is given as something else.

    Args:
        name: of the option.
        value: what was given; what MONAI evaluates, and lists and components, are passed over.
        default: what a config has. Only numbers are compared with.
    """
    if isinstance(default, bool) or not isinstance(default, (int, float)):
        return
    is_word = isinstance(value, str) and not value.startswith(EXPRESSIONS)
    is_part = isinstance(default, int) and isinstance(value, float) and not value.is_integer()
    if is_word or isinstance(value, bool) or is_part:
        kind = "whole number" if isinstance(default, int) else "number"
        raise ValueError(f"{name} is {value!r}; expected a {kind}, such as --{name} {default}.")


def check_least(name: str, value: Any) -> None:
    """Fail when an option is less than what anything could be done with.

    Args:
        name: of the option.
        value: what was given; all but numbers is passed over.
    """
    if isinstance(value, (int, float)) and value < LEAST.get(name, value):
        raise ValueError(f"{name} is {value}; expected {LEAST[name]} or more.")


def check_pretrained(*, pretrained: bool | str) -> None:
    """Fail when a folder of trained networks is named, but the training would begin without them.

    Args:
        pretrained: whether it begins with them.
    """
    resolver = _find_resolver()
    for name in PRETRAINED_DIRS:
        folder = resolver.items[name].get_config()
        is_default = isinstance(folder, dict) or str(folder).startswith(EXPRESSIONS)
        if not is_default and not is_on(pretrained):
            raise ValueError(
                f"{name} is {str(folder)!r}, but pretrained is false: the networks would begin "
                f"with random weights. Pass --pretrained true, or leave out --{name}."
            )


def check_device(device: torch.device | str) -> None:
    """Fail when torch knows no such device, or the machine has none."""
    try:
        found = torch.device(device)
    except RuntimeError as error:
        raise ValueError(f"device is {device!r}; expected cpu, cuda or cuda:N.") from error
    if found.type == "cuda" and (found.index or 0) >= torch.cuda.device_count():
        raise ValueError(
            f"device is {str(found)!r}, but PyTorch sees {torch.cuda.device_count()} CUDA devices. "
            "Pass --device cpu, or install a CUDA build of PyTorch and a driver."
        )


def is_on(value: bool | str) -> bool:
    """Read a switch, of which the command line makes a word: --resume false is "false"."""
    words = {"true": True, "false": False}
    if str(value).lower() not in words:
        raise ValueError(f"Found {value!r} for a switch; expected true or false.")
    return words[str(value).lower()]


def _find_resolver() -> ReferenceResolver:
    """Return the resolver that instantiates our caller: MONAI hands it to nobody."""
    frame = inspect.currentframe()
    while frame is not None:
        owner = frame.f_locals.get("self")
        if isinstance(owner, ReferenceResolver):
            return owner
        frame = frame.f_back
    raise RuntimeError("check_option_names works only as a component of a config that MONAI runs.")


def _list_references(resolver: ReferenceResolver) -> set[str]:
    texts = (item.get_config() for item in resolver.items.values())
    return {
        reference.split(ReferenceResolver.sep)[0]
        for text in texts
        if isinstance(text, str)
        for reference in ReferenceResolver.match_refs_pattern(text)
    }


def _describe(unknown: Iterable[str], known: Iterable[str]) -> str:
    return (
        f"Unknown option {format_names(unknown, known)}: the config does not define it, and none "
        "of its entries reads it."
    )


def _name_owners(unknown: Iterable[str], folder: Path) -> str:
    """Say of which other configs some options are."""
    configs = {path.name: load_config(path) for path in sorted(folder.glob("*.json"))}
    owners = {
        name: [file for file, content in configs.items() if name in content] for name in unknown
    }
    return "".join(
        f" {name} belongs to {' and '.join(files)}; leave it out here."
        for name, files in owners.items()
        if files
    )


def format_names(unknown: Iterable[str], known: Iterable[str]) -> str:
    """Return unknown option names, each with the known one that it resembles."""
    hints = []
    for name in unknown:
        close = difflib.get_close_matches(name, known, n=1)
        hints.append(f"--{name}" + (f" (did you mean --{close[0]}?)" if close else ""))
    return ", ".join(hints)

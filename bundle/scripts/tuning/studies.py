"""Studies: one search space on one slice dataset, whoever works on it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import optuna
from optuna.storages import RDBStorage
from optuna.study import Study

from scripts.config_references import list_differences
from scripts.tuning.search_space import SearchSpace, read_training_config

# Attributes of a study: what must be the same for all its workers.
SPACE, DATA, CONFIG, HEARTBEAT = "search_space", "slice_dataset", "training_config", "heartbeat_s"
OTHERWISE = {
    DATA: "on another slice dataset",
    CONFIG: "with another train.json, or overlays of it",
    HEARTBEAT: "with another --heartbeat",
}


def open_study(
    name: str,
    storage: RDBStorage,
    space: SearchSpace,
    *,
    content: str,
    dataset_dir: Path,
    configs: Path,
) -> Study:
    """Make a study, or go on with it.

    Args:
        name: of the study.
        storage: database.
        space: what is searched.
        content: of the space, as of `load_search_space`.
        dataset_dir: slice dataset of all trials.
        configs: folder of the bundle's configs.

    Raises:
        ValueError: the study was begun with another space, other data or another train.json.
    """
    data = hash_dataset(dataset_dir)  # before anything is stored
    study = optuna.create_study(
        study_name=name,
        storage=storage,
        directions=[objective.direction for objective in space.objectives],
        pruner=space.make_pruner(),
        load_if_exists=True,
    )
    config = json.dumps(read_training_config(configs, space.overlays), sort_keys=True)
    found = {
        DATA: data,
        CONFIG: hashlib.sha256(config.encode()).hexdigest(),
        HEARTBEAT: storage.heartbeat_interval,
    }
    if SPACE in study.user_attrs:
        _check_same(study, content, found)
    else:
        for key, value in (*found.items(), (SPACE, content)):
            study.set_user_attr(key, value)
    return study


def _check_same(study: Study, content: str, found: Mapping[str, Any]) -> None:
    """Raise ValueError where a study was begun with something else."""
    name = study.study_name
    stored = json.loads(study.user_attrs[SPACE])
    if stored != json.loads(content):
        differences = list_differences(json.loads(content), stored, at="search space")
        raise ValueError(
            f"study {name} was begun with another search space: {next(differences)}. Name another "
            "--study, or give the space that it was begun with."
        )
    for key, value in found.items():
        if study.user_attrs[key] != value:
            raise ValueError(
                f"study {name} was begun {OTHERWISE[key]}. Name another --study, or give what it "
                "was begun with."
            )


def load_study(name: str, storage: RDBStorage) -> Study:
    """A study that is there.

    Raises:
        ValueError: it is not; names those that are.
    """
    known = optuna.get_all_study_names(storage)
    if name not in known:
        raise ValueError(f"no study {name}. Found: {', '.join(sorted(known)) or 'none'}.")
    return optuna.load_study(study_name=name, storage=storage)


def hash_dataset(folder: Path) -> str:
    """What makes two slice datasets the same for training: slices, each with its hash, and splits.

    Raises:
        FileNotFoundError: it is no slice dataset.
    """
    table = folder / "slices.parquet"
    if not table.is_file():
        raise FileNotFoundError(
            f"{table}: there is no such file. Expected a slice dataset, made by "
            "`python -m data_prep`."
        )
    return hashlib.sha256(table.read_bytes()).hexdigest()

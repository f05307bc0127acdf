"""Tuning of the training: ``python -m scripts.tune run --help``, inside the bundle.

Any number of workers may run the same command, on one machine or many; each may be stopped and
started again at will.
"""

from __future__ import annotations

import json
import logging
import signal
import sys
from pathlib import Path
from types import FrameType
from typing import Any

from fire.decorators import SetParseFn
from optuna.study import Study
from sqlalchemy.engine import URL

from scripts.command_line import run_command
from scripts.config_options import is_on
from scripts.config_references import load_config
from scripts.tuning.confirmation import (
    DEFAULT,
    compare_recipes,
    find_decisive,
    write_confirmation,
)
from scripts.tuning.full_trainings import Confirmation, train_all
from scripts.tuning.results import select_recipes, write_results
from scripts.tuning.search_space import SearchSpace, load_search_space, parse_search_space
from scripts.tuning.storage import find_url, hide, open_storage, reported
from scripts.tuning.studies import SPACE, load_study, open_study
from scripts.tuning.trials import TrialSettings
from scripts.tuning.worker import work

BUNDLE = Path(__file__).resolve().parents[1]
CONFIGS = BUNDLE / "configs"
STOPPED = 130  # exit code, as of Ctrl-C


@SetParseFn(str, "study", "storage", "device")  # a study "7" is no number
def run(
    *,
    study: str,
    n_trials: int = 100,
    dataset_dir: str = "data",
    space: str = "configs/tuning/default.json",
    storage: str = "",
    output_dir: str = "outputs/tuning",
    timeout: float = 0.0,
    device: str = "",
    seed: int = 0,
    heartbeat: int = 60,
    threshold: float = 0.5,
    keep_weights: bool | str = False,
) -> str:
    """Work on a study until it has enough trials, then write tables, recipes and pages.

    Run it as often as there are GPUs; every one works on the same study. Stopped, it goes on.

    Args:
        study: its name; its results go to a folder of that name in output_dir.
        n_trials: of the study, all workers together: finished, pruned and failed ones.
        dataset_dir: slice dataset.
        space: JSON file of what is searched, see configs/tuning.
        storage: postgresql://USER:PASSWORD@HOST/DATABASE for workers on many machines, or the
            environment variable TUNING_STORAGE; a file of SQLite in the study's folder if absent.
        output_dir: folder of the studies; trials train there.
        timeout: seconds after which no further trial begins; 0 for no end.
        device: of the trainings, such as cuda:1; what train.json chooses if absent.
        seed: of the proposals.
        heartbeat: seconds between signs of life; after three without one a trial is dead, and
            another worker runs it again.
        threshold: on the objective, of the trials whose mean is consensus.json.
        keep_weights: true leaves the models and checkpoints of all trials, hundreds of MB each.
    """
    check_study_name(study)
    check_number("n_trials", n_trials, at_least=1)
    check_number("heartbeat", heartbeat, at_least=1)
    folder = Path(output_dir) / study
    found, content = load_search_space(Path(space), CONFIGS)
    keeps = is_on(keep_weights)
    settings = TrialSettings(found, BUNDLE, folder, Path(dataset_dir), device, keeps)
    url = find_url(storage, folder)
    opened = open_storage(url, heartbeat_s=heartbeat)
    with reported(url):
        begun = open_study(study, opened, found, content=content, dataset_dir=Path(dataset_dir))
        try:
            end = timeout or None
            work(begun, opened, url, settings, trials=n_trials, timeout_s=end, seed=seed)
        except KeyboardInterrupt:
            report_results(begun, found, folder, threshold)
            sys.exit(STOPPED)
        return report_results(begun, found, folder, threshold)


@SetParseFn(str, "study", "storage")
def report(
    *, study: str, storage: str = "", output_dir: str = "outputs/tuning", threshold: float = 0.5
) -> str:
    """Write tables, recipes and pages of a study as it is now; workers may be at it.

    Args:
        study: its name.
        storage: as of `run`.
        output_dir: as of `run`.
        threshold: as of `run`.
    """
    folder = Path(output_dir) / study
    url = find_url(storage, folder)
    known, found = open_known(study, url, folder)
    with reported(url):
        return report_results(known, found, folder, threshold)


@SetParseFn(str, "study", "recipes", "seeds", "overrides", "storage", "device")
def confirm(
    *,
    study: str,
    dataset_dir: str = "data",
    top: int = 3,
    recipes: str = "",
    seeds: str = "0,1,2",
    overrides: str = "{}",
    storage: str = "",
    output_dir: str = "outputs/tuning",
    device: str = "",
) -> str:
    """Train the best recipes and the default at full length, and say whether one is better.

    Every recipe is trained with every seed and evaluated on all validation subjects; run it again
    to go on where it was stopped. The test part stays closed.

    Args:
        study: its name; results go to the folder `confirmation` of its folder.
        dataset_dir: slice dataset.
        top: number of the study's best recipes; 0 for none.
        recipes: further overlays of train.json, commas between, such as consensus.json.
        seeds: commas between.
        overrides: JSON, of every training, as {"max_epochs": 20} for all of another length.
        storage: as of `run`.
        output_dir: as of `run`.
        device: of the trainings; what train.json chooses if absent.
    """
    folder = Path(output_dir) / study
    known, space = open_known(study, find_url(storage, folder), folder)
    chosen = {
        DEFAULT: {},
        **select_recipes(known, space, CONFIGS, top=top),
        **read_recipes(recipes),
    }
    given = read_overrides(overrides) | ({"device": device} if device else {})
    confirmation = Confirmation(
        chosen, read_seeds(seeds), folder / "confirmation", BUNDLE, Path(dataset_dir), given
    )
    train_all(confirmation)
    comparison, figure = find_decisive(space.objectives[0])
    content = compare_recipes(confirmation, seed=0)
    return write_confirmation(content, confirmation, comparison=comparison, figure=figure)


def read_recipes(names: str) -> dict[str, dict[str, Any]]:
    """Overlays by the names of their files."""
    paths = [Path(name.strip()) for name in names.split(",") if name.strip()]
    found = {path.stem: load_config(path) for path in paths}
    if len(found) < len(paths) or DEFAULT in found:
        raise ValueError(f"--recipes {names}: expected files of different names, none {DEFAULT!r}.")
    return found


def read_seeds(text: str) -> tuple[int, ...]:
    """Different whole numbers from 0."""
    words = [word.strip() for word in text.strip("()[]").split(",") if word.strip()]
    if not words or not all(word.isdigit() for word in words) or len(set(words)) < len(words):
        raise ValueError(f"--seeds {text}: expected different whole numbers, commas between.")
    return tuple(int(word) for word in words)


def read_overrides(text: str) -> dict[str, Any]:
    """Values by id, from JSON."""
    try:
        found = json.loads(text)
    except json.JSONDecodeError as error:
        raise ValueError(f"--overrides {text}: no JSON ({error}).") from error
    if not isinstance(found, dict):
        raise ValueError(f'--overrides {text}: expected JSON such as {{"max_epochs": 20}}.')
    return found


def open_known(study: str, url: URL, folder: Path) -> tuple[Study, SearchSpace]:
    """A study that was begun, and its search space."""
    check_study_name(study)
    if url.get_backend_name() == "sqlite" and not Path(str(url.database)).is_file():
        raise FileNotFoundError(f"{url.database}: there is no such study. Begin it by `run`.")
    opened = open_storage(url, heartbeat_s=60)
    with reported(url):
        known = load_study(study, opened)
        content = known.user_attrs.get(SPACE)
    if content is None:
        raise ValueError(f"study {study} in {hide(url)} was not begun by `run`.")
    return known, parse_search_space(content, CONFIGS, place=f"study {study}")


def report_results(study: Study, space: SearchSpace, folder: Path, threshold: float) -> str:
    """Write all results and say where they are."""
    page = write_results(study, space, folder, CONFIGS, threshold=threshold)
    return f"Written: {folder}: trials.csv and the recipes; {page}"


def check_study_name(name: object) -> None:
    """Raise ValueError for what cannot be a folder's name."""
    text = str(name)
    if not text or text.startswith(".") or "/" in text or "\\" in text:
        raise ValueError(f"--study {text!r}: expected a name that can be that of a folder.")


def check_number(option: str, value: object, *, at_least: int) -> None:
    """Raise ValueError for what is no such number."""
    if isinstance(value, bool) or not isinstance(value, int) or value < at_least:
        raise ValueError(f"--{option} {value}: expected a whole number from {at_least}.")


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def main() -> None:
    """Tune."""
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s")
    signal.signal(signal.SIGTERM, _interrupt)  # as schedulers end a job
    commands = {"run": run, "report": report, "confirm": confirm}
    run_command(commands, name="python -m scripts.tune")


if __name__ == "__main__":
    main()

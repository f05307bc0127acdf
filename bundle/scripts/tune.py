"""Tuning of the training: ``python -m scripts.tune run --help``, inside the bundle.

Any number of workers may run the same command, on one machine or many; each may be stopped and
started again at will.
"""

from __future__ import annotations

from pathlib import Path

from fire.decorators import SetParseFn
from monai.bundle import ConfigParser
from optuna import logging as optuna_logging
from optuna.study import Study
from sqlalchemy.engine import URL

from scripts.command_line import run_long_command
from scripts.config_options import check_device, is_on
from scripts.tuning.candidates import announce_trainings, check_confirmable, leave_out
from scripts.tuning.confirmation import (
    DEFAULT,
    EVALUATED,
    Confirmation,
    compare_recipes,
    find_decisive,
    write_confirmation,
)
from scripts.tuning.full_trainings import TrainingPlace, train_all
from scripts.tuning.options import (
    check_number,
    check_real,
    check_study_name,
    list_set,
    read_overrides,
    read_recipes,
    read_seeds,
)
from scripts.tuning.results import select_recipes, write_results
from scripts.tuning.search_space import (
    SearchSpace,
    check_names,
    load_search_space,
    parse_search_space,
    read_training_config,
)
from scripts.tuning.storage import find_url, hide, open_storage, reported
from scripts.tuning.studies import SPACE, load_study, open_study
from scripts.tuning.trials import TrialSettings
from scripts.tuning.worker import work

BUNDLE = Path(__file__).resolve().parents[1]
CONFIGS = BUNDLE / "configs"


@SetParseFn(str, "study", "dataset_dir", "space", "storage", "output_dir", "device")
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
    check_real("timeout", timeout)
    check_real("threshold", threshold)
    if device:
        check_device(device)
    folder = Path(output_dir) / study
    found, content = load_search_space(Path(space), CONFIGS)
    keeps = is_on(keep_weights)
    data = Path(dataset_dir)
    settings = TrialSettings(found, BUNDLE, folder, data, device, keeps)
    url = find_url(storage, folder)
    opened = open_storage(url, heartbeat_s=heartbeat)
    with reported(url):
        begun = open_study(study, opened, found, content=content, dataset_dir=data, configs=CONFIGS)
        try:
            end = timeout or None
            work(begun, opened, url, settings, trials=n_trials, timeout_s=end, seed=seed)
        except KeyboardInterrupt:
            report_results(begun, found, folder, threshold)
            raise
        return report_results(begun, found, folder, threshold)


@SetParseFn(str, "study", "storage", "output_dir")
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


@SetParseFn(
    *(str, "study", "dataset_dir", "recipes", "seeds", "overrides"),
    *("storage", "output_dir", "device"),
)
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
        recipes: further overlays of train.json, commas between; of files that are not found from
            here, those of the study's folder, such as consensus.json.
        seeds: commas between.
        overrides: JSON, of every training, as {"max_epochs": 20} for all of another length.
        storage: as of `run`.
        output_dir: as of `run`.
        device: of the trainings; what train.json chooses if absent.
    """
    check_number("top", top, at_least=0)
    folder = Path(output_dir) / study
    known, space = open_known(study, find_url(storage, folder), folder)
    check_confirmable(known, Path(dataset_dir))
    chosen = {
        DEFAULT: {},
        **select_recipes(known, space, CONFIGS, top=top),
        **read_recipes(recipes, folder),
    }
    given = read_overrides(overrides)
    parser = ConfigParser(read_training_config(CONFIGS, ()))
    for place, values in (("--overrides", given), *chosen.items()):
        check_names(list_set(values, besides=space.choice), parser, place)
    given |= space.choice
    confirmation = Confirmation(
        chosen, read_seeds(seeds), folder / "confirmation", Path(dataset_dir), given
    )
    announce_trainings(confirmation)
    failed = train_all(confirmation.list_trainings(), TrainingPlace(BUNDLE, device, EVALUATED))
    confirmation = leave_out(confirmation, failed)
    comparison, figure = find_decisive(space.objectives[0])
    content = compare_recipes(confirmation, seed=0)
    return write_confirmation(content, confirmation, comparison=comparison, figure=figure)


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


def main() -> None:
    """Tune."""
    optuna_logging.set_verbosity(optuna_logging.ERROR)  # what matters of it is said here
    run_long_command(
        {"run": run, "report": report, "confirm": confirm}, name="python -m scripts.tune"
    )


if __name__ == "__main__":
    main()

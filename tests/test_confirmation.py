"""A tuned recipe is taken only where it is better than the default, subject by subject."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest
from filelock import FileLock
from scripts import tune
from scripts.tuning import candidates, full_trainings, options
from scripts.tuning.confirmation import (
    Confirmation,
    _compare_seeds,
    compare_recipes,
    find_better,
    find_decisive,
    is_above_chance,
    write_confirmation,
)
from scripts.tuning.full_trainings import FullTraining, TrainingPlace, note_origin, train_all
from scripts.tuning.objectives import Objective
from scripts.tuning.trial_process import TrialError

from tests.slice_dataset_fixture import BUNDLE, write_slice_dataset
from tests.tuning_runs import load_space

SUBJECTS = 8
PLACE = TrainingPlace(BUNDLE)
# Of the default by seed, and how much the others are above it: for all, and for each subject.
DEFAULT = {0: 0.50, 1: 0.52, 2: 0.48}


def write_evaluation(folder: Path, ssim: list[float]) -> None:
    """As `run evaluate` writes it, of a model and a trivial row."""
    rows = ["model,kind,comparison,dataset,subject_id,session,ssim,psnr,mae"]
    for number, value in enumerate(ssim):
        subject = f"t2w,d,d_sub-{number:02d},,"
        rows.append(f"chosen,model,{subject}{value},{20 + value},{1 - value}")
        rows.append(f"copy,trivial,{subject}0.1,10,0.5")
    folder.mkdir(parents=True)
    (folder / "metrics.csv").write_text("\n".join(rows) + "\n")
    summary = {"format_version": 1, "split": "validation", "datasets": ["d"], "paired": True}
    (folder / "summary.json").write_text(json.dumps(summary))


def make_confirmation(
    folder: Path, gains: dict[str, dict[int, list[float]]], *, subjects: int = SUBJECTS
) -> Confirmation:
    """Trainings whose SSIM is above the default's by a gain a subject, by recipe and seed."""
    recipes = {"default": {}, **{name: {"learning_rate": 0.001} for name in gains}}
    confirmation = Confirmation(recipes, (0, 1, 2), folder, folder, {})
    for training in confirmation.list_trainings():
        gain = gains.get(training.recipe, {}).get(training.seed, [0.0] * subjects)
        start = DEFAULT[training.seed]
        write_evaluation(training.folder / "evaluation", [start + g for g in gain])
    return confirmation


def gain(mean: float) -> list[float]:
    return [mean + 0.001 * (number - SUBJECTS / 2 + 0.5) for number in range(SUBJECTS)]


def test_a_recipe_that_is_better_beyond_the_chance_of_seeds_is_confirmed(tmp_path):
    """That of the middle is better with each seed too, but not by the same."""
    gains = {
        "good": {0: gain(0.04), 1: gain(0.041), 2: gain(0.039)},
        "chance": {0: gain(0.09), 1: gain(0.02), 2: gain(0.01)},
        "worse": {0: gain(-0.02), 1: gain(-0.02), 2: gain(-0.02)},
    }
    confirmation = make_confirmation(tmp_path, gains)
    content = compare_recipes(confirmation, seed=0)
    found = {
        row["model"]: row["mean"]
        for row in content["differences"]
        if (row["comparison"], row["figure"], row["other"]) == ("t2w", "ssim", "default")
    }
    assert found == pytest.approx({"good": 0.04, "chance": 0.04, "worse": -0.02})
    assert find_better(content, comparison="t2w", figure="ssim") == ["good"]
    assert find_better(content, comparison="t2w", figure="mae") == ["good"]
    said = write_confirmation(content, confirmation, comparison="t2w", figure="ssim")
    assert "good is better than the default" in said
    assert json.loads((tmp_path / "confirmed.json").read_text())["learning_rate"] == 0.001
    assert "copy" in (tmp_path / "confirmation.html").read_text()


def test_a_mean_whose_interval_holds_nothing_is_no_gain(tmp_path):
    wide = [0.2, -0.15] * (SUBJECTS // 2)
    confirmation = make_confirmation(tmp_path, {"wide": {0: wide, 1: wide, 2: wide}})
    (tmp_path / "confirmed.json").write_text("{}")  # of an earlier look with fewer seeds
    content = compare_recipes(confirmation, seed=0)
    said = write_confirmation(content, confirmation, comparison="t2w", figure="ssim")
    assert "Keep the default" in said
    assert not (tmp_path / "confirmed.json").exists()


def test_a_subject_of_two_sessions_counts_once_in_the_mean_of_a_seed(tmp_path):
    confirmation = Confirmation({"tuned": {}}, (0,), tmp_path, tmp_path, {})
    rows = [("sub-01", "ses-01", 0.1), ("sub-01", "ses-02", 0.3), ("sub-02", "ses-01", 0.6)]
    table = pd.DataFrame(
        {"model": "tuned", "comparison": "t2w", "dataset": "d", "subject_id": subject}
        | {"session": f"{session} seed 0", "ssim": value, "psnr": value, "mae": value}
        for subject, session, value in rows
    )
    found = _compare_seeds(table, confirmation)
    assert [row["ssim"] for row in found] == pytest.approx([(0.2 + 0.6) / 2])


def test_the_interval_over_seeds_is_students():
    """By hand: mean 2, deviation 1, t(2) of 97.5 % is 4.303; 2 < 4.303 / sqrt(3) < 3."""
    assert not is_above_chance([1.0, 2.0, 3.0], level=0.95)
    assert is_above_chance([2.0, 3.0, 4.0], level=0.95)
    assert not is_above_chance([2.0, 3.0, 4.0], level=0.99)
    assert not is_above_chance([3.0, 3.0], level=0.95)


def test_a_single_subject_confirms_nothing(tmp_path):
    confirmation = make_confirmation(tmp_path, {"good": {0: [0.1], 1: [0.1], 2: [0.1]}}, subjects=1)
    content = compare_recipes(confirmation, seed=0)
    said = write_confirmation(content, confirmation, comparison="t2w", figure="ssim")
    assert "Keep the default" in said


def test_the_figure_that_was_sought_decides():
    assert find_decisive(Objective("t1w_psnr")) == ("t1w", "psnr")
    assert find_decisive(Objective("t2w_unpaired_error")) == ("t2w", "ssim")


def test_trainings_choose_their_epoch_by_what_was_sought(tmp_path, monkeypatch):
    """Those of the default too; a recipe that says the same is no contradiction, another is."""
    space, _ = load_space(tmp_path / "space.json", objectives=["t1w_ssim"])
    (tmp_path / "best.json").write_text('{"key_metric": "t1w_ssim", "pool_size": 0}')
    (tmp_path / "odd.json").write_text('{"key_metric": "t2w_ssim"}')
    monkeypatch.setattr(tune, "open_known", lambda *_: (None, space))
    monkeypatch.setattr(tune, "select_recipes", lambda *_, top: {})
    for name in ("check_confirmable", "announce_trainings"):
        monkeypatch.setattr(tune, name, lambda *_: None)
    begun = []

    def train(trainings, _):
        begun.extend(training.overlay for training in trainings)
        raise KeyboardInterrupt

    monkeypatch.setattr(tune, "train_all", train)
    options = {"study": "s", "dataset_dir": str(tmp_path), "top": 0, "seeds": "0"}
    with pytest.raises(KeyboardInterrupt):
        tune.confirm(recipes=str(tmp_path / "best.json"), **options)
    assert begun == [
        {"key_metric": "t1w_ssim", "seed": 0},
        {"key_metric": "t1w_ssim", "pool_size": 0, "seed": 0},
    ]
    with pytest.raises(ValueError, match="odd: key_metric is decided by the tuning"):
        tune.confirm(recipes=str(tmp_path / "odd.json"), **options)


def test_what_is_done_is_not_done_again_and_what_failed_is(tmp_path, monkeypatch, caplog):
    (tmp_path / "slices.parquet").touch()
    recipes = {"default": {}, "other": {"learning_rate": 0.001}}
    confirmation = Confirmation(recipes, (0, 1), tmp_path, tmp_path, {"max_epochs": 2})
    done, fails = [], iter([False, True])

    def train(training, _):
        if next(fails, False):
            raise TrialError("out of memory")
        done.append((training.recipe, training.seed))

    def evaluate(training, _):
        (training.folder / "evaluation").mkdir(parents=True)
        (training.folder / "evaluation" / "report.html").touch()

    monkeypatch.setattr(full_trainings, "_train", train)
    monkeypatch.setattr(full_trainings, "_evaluate", evaluate)
    assert train_all(confirmation.list_trainings(), PLACE) == {"other"}
    assert done == [("default", 0), ("default", 1), ("other", 1)]
    assert f"other, seed 0, {tmp_path.name}: out of memory. See" in caplog.text
    assert train_all(confirmation.list_trainings(), PLACE) == set()
    assert done[3:] == [("other", 0)]
    recipe = json.loads((tmp_path / "other" / "seed_1" / "recipe.json").read_text())
    assert recipe == {"learning_rate": 0.001, "max_epochs": 2, "seed": 1}


def test_what_another_worker_trains_is_waited_for(tmp_path, monkeypatch):
    (tmp_path / "slices.parquet").touch()
    confirmation = Confirmation({"default": {}}, (0,), tmp_path, tmp_path, {})
    (training,) = confirmation.list_trainings()
    note_origin(training, PLACE)
    lock, waits = FileLock(training.folder / ".lock"), []
    lock.acquire()

    def finish(_):
        waits.append(lock.is_locked)
        (training.folder / "evaluation").mkdir()
        (training.folder / "evaluation" / "report.html").touch()
        lock.release()

    monkeypatch.setattr(full_trainings.time, "sleep", finish)
    assert train_all(confirmation.list_trainings(), PLACE) == set()
    assert waits == [True]


def test_without_the_default_there_is_nothing_to_compare(tmp_path):
    recipes = {"default": {}, "other": {}, "third": {}}
    confirmation = Confirmation(recipes, (0,), tmp_path, tmp_path, {})
    assert set(candidates.leave_out(confirmation, {"other"}).recipes) == {"default", "third"}
    for failed in ({"default"}, {"other", "third"}):
        with pytest.raises(ValueError, match="nothing is left to compare"):
            candidates.leave_out(confirmation, failed)


def make_training(folder: Path, *, slices: str = "some", **overlay: float) -> FullTraining:
    data = folder / slices
    data.mkdir(exist_ok=True)
    (data / "slices.parquet").write_text(slices)
    return FullTraining("default", overlay, 0, folder / "run", data)


@pytest.mark.parametrize("left", ["checkpoint_00000003.pt", "evaluation_test"])
def test_another_training_in_the_same_folder_is_refused(tmp_path, left):
    note_origin(make_training(tmp_path, learning_rate=5.0), PLACE)
    training = make_training(tmp_path, learning_rate=1.0)
    note_origin(training, PLACE)  # nothing had been trained
    (training.folder / left).touch()
    note_origin(training, PLACE)
    for other, name in (
        (make_training(tmp_path, learning_rate=2.0), "recipe.json"),
        (make_training(tmp_path, slices="others", learning_rate=1.0), "origin.json"),
    ):
        with pytest.raises(ValueError, match=f"{training.folder}: {name} says that another"):
            train_all([other], PLACE)


def test_other_options_of_the_evaluation_are_refused_once_there_is_one(tmp_path):
    training = make_training(tmp_path, learning_rate=1.0)
    note_origin(training, PLACE)
    (training.folder / "checkpoint_00000003.pt").touch()
    longer = TrainingPlace(BUNDLE, evaluated={"segmenter_steps": 7})
    note_origin(training, longer)
    noted = json.loads((training.folder / "origin.json").read_text())
    assert noted["evaluated"] == {"segmenter_steps": 7}
    (training.folder / "evaluation_test").mkdir()
    note_origin(training, longer)
    with pytest.raises(ValueError, match=f"{training.folder}: origin.json says that another"):
        train_all([training], PLACE)


def test_what_another_worker_evaluates_with_other_options_is_not_taken_over(tmp_path, monkeypatch):
    training = make_training(tmp_path, learning_rate=1.0)
    note_origin(training, TrainingPlace(BUNDLE, evaluated={"segmenter_steps": 7}))
    (training.folder / "checkpoint_00000003.pt").touch()
    lock = FileLock(training.folder / ".lock")
    lock.acquire()

    def finish(_):
        training.evaluation.mkdir()
        (training.evaluation / "report.html").touch()
        lock.release()

    monkeypatch.setattr(full_trainings.time, "sleep", finish)
    with pytest.raises(ValueError, match="evaluated with other options"):
        train_all([training], PLACE)


def test_a_recipe_is_not_noted_while_another_worker_trains_there(tmp_path, monkeypatch):
    training, other = (make_training(tmp_path, learning_rate=rate) for rate in (1.0, 2.0))
    note_origin(training, PLACE)
    lock = FileLock(training.folder / ".lock")
    lock.acquire()

    def leave_something(_):
        (training.folder / "checkpoint_00000003.pt").touch()
        lock.release()

    monkeypatch.setattr(full_trainings.time, "sleep", leave_something)
    with pytest.raises(ValueError, match="another recipe was trained"):
        train_all([other], PLACE)
    noted = json.loads((training.folder / "recipe.json").read_text())
    assert noted == {"learning_rate": 1.0}


@pytest.mark.parametrize(
    ("read", "text", "message"),
    [
        (options.read_seeds, "0,0", "different whole numbers"),
        (options.read_seeds, "0,", "different whole numbers"),
        (options.read_seeds, "a", "different whole numbers"),
        (options.read_overrides, "{", "no JSON"),
        (options.read_overrides, "3", "expected JSON such as"),
        (options.read_recipes, "a/default.json", "there is no such config file"),
    ],
)
def test_bad_options_are_refused(read, text, message):
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        read(text, *([Path()] if read is options.read_recipes else []))


def test_a_recipe_may_lie_in_the_folder_of_the_study(tmp_path):
    (tmp_path / "consensus.json").write_text('{"pool_size": 3}')
    found = options.read_recipes("consensus.json", tmp_path)
    assert found == {"consensus": {"pool_size": 3}}


@pytest.mark.parametrize("seeds", [(0, 1, 2), (0, 1)])
def test_what_cannot_confirm_anything_is_said_before_it_trains(tmp_path, caplog, seeds):
    data = write_slice_dataset(tmp_path / "data")  # one validation subject with a pair
    caplog.set_level("INFO")
    candidates.announce_trainings(Confirmation({"default": {}, "a": {}}, seeds, tmp_path, data, {}))
    assert f"{2 * len(seeds)} trainings (2 recipes, {len(seeds)} seeds)" in caplog.text
    assert "No recipe can be confirmed so" in caplog.text


def test_seeds_are_read_as_a_command_line_gives_them():
    assert options.read_seeds("(0, 1, 2)") == options.read_seeds("0,1,2") == (0, 1, 2)

"""A training without pairs measures, chooses and ships by native slices."""

from __future__ import annotations

import csv
import logging
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from scripts.checkpoints import list_checkpoints
from scripts.evaluation.evaluator import FIGURE_NAMES, CycleGanEvaluator
from scripts.evaluation.hidden_codes import HiddenCodeTest
from scripts.evaluation.key_metric import UNPAIRED_FIGURE_NAMES, is_better
from scripts.evaluation.measurement import FigureSettings
from scripts.evaluation.native_slices import ContrastSlices
from scripts.evaluation.trivial_rows import fit_trivial_rows
from scripts.evaluation.unpaired import measure_unpaired, select_half
from scripts.evaluation.unpaired_validation import check_key_metric
from scripts.handlers import describe_figures
from scripts.slice_tables import read_slices
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from tests.slice_dataset_fixture import write_slice_dataset
from tests.training_runs import find_error, make_workflow, train

OPTIONS = {
    "val_unpaired_slices": 4,
    "val_batch_size": 4,
    "validate#unpaired_settings#patches": 500,
    "validate#unpaired_settings#projections": 8,
}


@pytest.fixture(scope="module")
def unpaired_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """T1w of some subjects, T2w of others, in training and validation."""
    return write_slice_dataset(
        tmp_path_factory.mktemp("unpaired"),
        splits=("train", "train", "validation", "validation"),
        contrasts={0: ("T1w",), 1: ("T2w",), 2: ("T1w",), 3: ("T2w",)},
    )


@pytest.fixture(scope="module")
def paired_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_slice_dataset(tmp_path_factory.mktemp("paired"))


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, unpaired_dir: Path) -> Path:
    output_dir = tmp_path_factory.mktemp("out")
    train(unpaired_dir, output_dir, max_epochs=3, models_kept=2, **OPTIONS)
    return output_dir


def make_evaluator(dataset_dir: Path, **options: Any) -> CycleGanEvaluator:
    workflow = make_workflow(dataset_dir=str(dataset_dir), **(OPTIONS | options))
    return workflow.parser.get_parsed_content("validate#evaluator")


def load(path: Path) -> dict[str, Any]:
    return torch.load(path, weights_only=True)


def test_without_pairs_the_smallest_unpaired_error_is_shipped(run: Path) -> None:
    with (run / "best/best.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["metric"] for row in rows] == ["t2w_unpaired_error"] * 2
    values = [float(row["value"]) for row in rows]
    assert values == sorted(values)
    best = load(list_checkpoints(run)[-1])["evaluator"]
    assert best == {
        "key_metric_name": "t2w_unpaired_error",
        "best_metric": values[0],
        "best_metric_epoch": int(rows[0]["epoch"]),
    }
    for name in ("model.pt", "model_t2w_to_t1w.pt"):
        shipped, kept = (
            load(path / name) for path in (run, run / f"best/epoch_000{rows[0]['epoch']}")
        )
        assert all(torch.equal(shipped[key], kept[key]) for key in kept)


def test_a_resumed_training_without_pairs_ends_with_the_same_best(
    run: Path, unpaired_dir: Path, tmp_path: Path
) -> None:
    for epochs in (1, 3):
        options = {"max_epochs": epochs, "models_kept": 2, "resume": True}
        train(unpaired_dir, tmp_path, **options, **OPTIONS)
    table = Path("best/best.csv")
    assert (tmp_path / table).read_bytes() == (run / table).read_bytes()
    checkpoints = [load(list_checkpoints(folder)[-1])["evaluator"] for folder in (run, tmp_path)]
    assert checkpoints[0] == checkpoints[1]
    first, second = (load(folder / "model.pt") for folder in (run, tmp_path))
    assert all(torch.equal(first[key], second[key]) for key in first)


def test_kept_models_are_chosen_among_on_unpaired_validation(
    run: Path, unpaired_dir: Path, caplog: pytest.LogCaptureFixture
) -> None:
    workflow = make_workflow(
        "evaluate.json",
        run_id="evaluate",
        dataset_dir=str(unpaired_dir),
        output_dir=str(run),
        candidates=str(run / "best/*"),
        **OPTIONS,
    )
    choice = workflow.parser.get_parsed_content("choice")
    with (run / "best/best.csv").open() as file:
        order = [f"epoch_{int(row['epoch']):04d}" for row in csv.DictReader(file)]
    assert [each.label for each in choice.ranked] == order
    assert choice.key_metric == "t2w_unpaired_error"


def test_figures_are_those_of_an_evaluation(unpaired_dir: Path) -> None:
    evaluator = make_evaluator(unpaired_dir)
    evaluator.run(3)
    assert evaluator.unpaired is not None and evaluator.state.best_metric_epoch == 3
    rows = measure_unpaired(
        evaluator,
        dataset_dir=str(unpaired_dir),
        split="validation",
        label="model",
        slices=1,
        slice_distance_mm=3.0,
        figures=FigureSettings(
            batch_size=4,
            edge=0.1,
            stride=4,
            hidden_codes=HiddenCodeTest(sigma=0.01, slice_step=1, seed=0),
            dice_slice_step=1,
            seed=0,
        ),
        settings=evaluator.unpaired.settings,  # type: ignore[attr-defined]
        fits=fit_trivial_rows(str(unpaired_dir), max_subjects=1, max_slices=4),
    )
    for target in ("t2w", "t1w"):
        trivial = {
            (row["model"], row["figure"]): row["value"]
            for row in rows
            if row["kind"] == "trivial" and row["direction"] == target
        }
        distances = [(row, "sliced_wasserstein") for row in ("copy", "inverted", "mean")]
        assert set(trivial) == {*distances, ("copy", "ngf"), ("inverted", "ngf")}
        # A T2w of these blobs is the T1w inverted, and inverting turns no edge.
        assert trivial[distances[1]] < trivial[distances[0]]
        assert trivial["inverted", "ngf"] == pytest.approx(trivial["copy", "ngf"], abs=1e-4)
    found = {(r["direction"], r["figure"]): r["value"] for r in rows if r["model"] == "model"}
    metrics = evaluator.state.metrics
    assert set(metrics) == set(UNPAIRED_FIGURE_NAMES)
    for target, source in (("t2w", "t1w"), ("t1w", "t2w")):
        for name in ("sliced_wasserstein", "ngf"):
            assert metrics[f"{target}_{name}"] == found[target, name]
        for name in ("ssim", "psnr", "mae"):
            assert metrics[f"{source}_native_cycle_{name}"] == found[target, f"cycle_{name}"]
        error = found[target, "sliced_wasserstein"] + found[target, "cycle_mae"]
        assert metrics[f"{target}_unpaired_error"] == error


def test_halves_of_the_real_subjects_hold_as_many_of_each_dataset() -> None:
    subject_ids = tuple(f"{name}_sub-{number}" for name in "ab" for number in range(4))
    slices = ContrastSlices(
        torch.zeros(16, 1, 2, 2),
        torch.ones(16, 1, 2, 2, dtype=torch.bool),
        tuple(subject_id for subject_id in subject_ids for _ in range(2)),
        tuple("a" * 8 + "b" * 8),
    )
    halves = [select_half(slices, seed=seed).tolist() for seed in range(5)]
    for half in halves:
        assert half[::2] == half[1::2]  # a subject stays together
        assert sum(half[:8]) == sum(half[8:]) == 4
    assert halves[0] == select_half(slices, seed=0).tolist()
    assert len({tuple(half) for half in halves}) > 1


def test_native_slices_are_read_once(unpaired_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    evaluator = make_evaluator(unpaired_dir)
    evaluator.run(1)
    first = dict(evaluator.state.metrics)
    monkeypatch.setattr("scripts.evaluation.native_slices.read_image", None)
    evaluator.run(2)
    assert evaluator.state.metrics == first
    assert evaluator.state.best_metric_epoch == 1  # an equal value is no better one


def test_pairs_save_the_time_unless_unpaired_figures_are_asked_for(paired_dir: Path) -> None:
    evaluator = make_evaluator(paired_dir)
    evaluator.run()
    assert evaluator.state.key_metric_name == "t2w_ssim"
    assert set(evaluator.state.metrics) == {*FIGURE_NAMES, "translation"}
    for options in ({"key_metric": "t2w_sliced_wasserstein"}, {"val_unpaired_always": "true"}):
        both = make_evaluator(paired_dir, **options)
        both.run()
        names = {*FIGURE_NAMES, *UNPAIRED_FIGURE_NAMES, "translation"}
        assert set(both.state.metrics) == names
        assert both.state.best_metric == both.state.metrics[both.state.key_metric_name]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"key_metric": "t2w_ngf", "val_unpaired_slices": 0}, "or --val_unpaired_slices is 0"),
        ({"key_metric": "t2w_ngf", "evaluated_split": "test"}, "the validated part lacks one"),
    ],
)
def test_an_unpaired_key_metric_without_slices_is_an_error_before_training(
    options: dict[str, Any], words: str, tmp_path: Path, unpaired_dir: Path
) -> None:
    with pytest.raises(RuntimeError) as error:
        train(unpaired_dir, tmp_path, **(OPTIONS | options))
    assert words in find_error(error)
    assert list(tmp_path.iterdir()) == []


def test_what_chooses_without_pairs_is_said(
    unpaired_dir: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    check_key_metric(make_evaluator(unpaired_dir))
    assert "t2w_unpaired_error chooses the models" in caplog.text
    check_key_metric(make_evaluator(unpaired_dir, key_metric="t2w_ssim"))
    assert "no registered pairs to measure t2w_ssim with" in caplog.text


def test_the_progress_line_and_tensorboard_show_them(run: Path, unpaired_dir: Path) -> None:
    evaluator = make_evaluator(unpaired_dir)
    assert describe_figures(evaluator).startswith("nothing to validate with")
    evaluator.run(2)
    line = describe_figures(evaluator)
    value = evaluator.state.metrics["t2w_sliced_wasserstein"]
    assert f"t2w_sliced_wasserstein {value:.3f}" in line
    assert line.endswith(", epoch 2)") and "best t2w_unpaired_error" in line
    events = EventAccumulator(str(run / "tensorboard"))
    events.Reload()
    tags = {f"validation/{name}" for name in UNPAIRED_FIGURE_NAMES}
    assert tags <= set(events.Tags()["scalars"])


def test_a_number_beats_none_and_none_beats_nothing() -> None:
    assert is_better("t2w_ssim", -0.5, math.nan)
    assert not is_better("t2w_ssim", math.nan, math.nan)
    assert not is_better("t2w_ssim", math.inf, 0.1)
    assert is_better("t1w_sliced_wasserstein", 0.1, 0.2)
    assert is_better("t2w_ngf", 0.2, 0.1)


def test_native_slices_are_of_the_validated_part(unpaired_dir: Path) -> None:
    evaluator = make_evaluator(unpaired_dir)
    assert evaluator.unpaired is not None
    images = evaluator.unpaired.images  # type: ignore[attr-defined]
    table = read_slices(unpaired_dir, split="validation")
    found = {name: {image.subject_id for image in each} for name, each in images.items()}
    assert found == {"T1w": {"blobs_sub-03"}, "T2w": {"blobs_sub-04"}}
    assert set.union(*found.values()) == set(table["subject_id"])
    assert {name: len(each) for name, each in images.items()} == {"T1w": 4, "T2w": 4}

"""The engine of an evaluation: its passes, its figures, and which figure counts as the best."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from ignite.engine import Events
from scripts.evaluation.evaluator import CycleGanEvaluator, TranslationMetrics
from scripts.evaluation.metrics import masked_mae, masked_psnr, masked_ssim

from tests.slice_dataset_fixture import write_slice_dataset
from tests.training_runs import count_passes, make_workflow


@pytest.fixture(scope="module")
def dataset_dir(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(write_slice_dataset(tmp_path_factory.mktemp("blobs")))


def make_evaluator(dataset_dir: str, **options: Any) -> CycleGanEvaluator:
    workflow = make_workflow(dataset_dir=dataset_dir, **options)
    return workflow.parser.get_parsed_content("validate#evaluator")


def test_evaluation_takes_four_passes_a_batch(dataset_dir: str) -> None:
    evaluator = make_evaluator(dataset_dir)
    passes = [
        count_passes(network)
        for network in (evaluator.generators.t1w_to_t2w, evaluator.generators.t2w_to_t1w)
    ]
    evaluator.run()
    assert passes == [[2, 2], [2, 2]]  # 12 slices, every sixth


def test_figures_are_those_of_the_metrics_on_each_subject(dataset_dir: str) -> None:
    evaluator = make_evaluator(dataset_dir, evaluated_split="train", val_batch_size=3)
    evaluator.run()
    dataset = evaluator.data_loader.dataset
    items = [dataset[number] for number in range(2)]  # the first of four subjects
    t1w, t2w, mask = (
        torch.stack([item[name] for item in items]) for name in ("t1w", "t2w", "mask")
    )
    images = {name: (image + 1) / 2 for name, image in evaluator.translate(t1w, t2w).items()}
    both = images["fake_t2w"], images["real_t2w"], mask
    cycle = images["reconstructed_t1w"], images["real_t1w"], mask
    expected = {
        "ssim": masked_ssim(*both, data_range=1.0),
        "psnr": masked_psnr(*both, data_range=1.0),
        "mae": masked_mae(*both, data_range=1.0),
    }
    metric = evaluator_metric(evaluator)
    found = {(name, subject): figures for _, name, subject, figures in metric.list_subjects()}
    ours = found["t2w", "blobs_sub-01"]
    assert {name: ours[name] for name in expected} == pytest.approx(expected, rel=1e-5)
    ssim = masked_ssim(*cycle, data_range=1.0)
    assert found["t1w_cycle", "blobs_sub-01"]["ssim"] == pytest.approx(ssim, rel=1e-5)
    means = [found["t2w", f"blobs_sub-0{n}"]["psnr"] for n in range(1, 5)]
    assert evaluator.state.metrics["t2w_psnr"] == pytest.approx(sum(means) / 4)


def evaluator_metric(evaluator: CycleGanEvaluator) -> TranslationMetrics:
    """Return the metric that is attached to an evaluator."""
    handlers = evaluator._event_handlers[Events.EPOCH_COMPLETED]
    owners = [getattr(handler, "__self__", None) for handler, _, _ in handlers]
    return next(owner for owner in owners if isinstance(owner, TranslationMetrics))


def test_of_three_slices_the_centre_is_measured(dataset_dir: str) -> None:
    evaluator = make_evaluator(dataset_dir, slices=3)
    evaluator.run()
    assert 0 < evaluator.state.metrics["t2w_mae"] < 1


def test_the_smaller_error_is_the_better_one(dataset_dir: str) -> None:
    by_error = make_evaluator(dataset_dir, key_metric="t2w_mae")
    by_likeness = make_evaluator(dataset_dir, key_metric="t2w_ssim")
    assert by_error.metric_cmp_fn(0.1, 0.2)
    assert by_likeness.metric_cmp_fn(0.2, 0.1)
    assert not by_likeness.metric_cmp_fn(float("nan"), 0.1)


def test_an_unknown_key_metric_is_an_error(dataset_dir: str) -> None:
    with pytest.raises(RuntimeError) as error:
        make_evaluator(dataset_dir, key_metric="ssim")
    assert "key_metric is 'ssim'; expected one of ('t2w_ssim'," in str(error.value.__cause__)


def test_the_best_figure_counts_only_for_its_own_metric(
    dataset_dir: str, caplog: pytest.LogCaptureFixture
) -> None:
    state = {"key_metric_name": "t2w_ssim", "best_metric": 0.9, "best_metric_epoch": 4}
    evaluator = make_evaluator(dataset_dir)
    evaluator.load_state_dict(state)
    assert evaluator.state_dict() == state
    other = make_evaluator(dataset_dir, key_metric="t1w_psnr")
    other.load_state_dict(state)
    assert other.state.best_metric_epoch == -1
    assert "was t2w_ssim and is t1w_psnr now" in caplog.text


def test_a_training_of_unpaired_folders_needs_no_pairs(tmp_path: Path) -> None:
    write_slice_dataset(tmp_path, splits=("train", "train"), contrasts={0: ("T1w",), 1: ("T2w",)})
    evaluator = make_evaluator(str(tmp_path))
    evaluator.run()
    assert evaluator.state.metrics == {}

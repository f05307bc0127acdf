"""A training goes on as if it had never stopped, or says what does not fit."""

from __future__ import annotations

import logging
import multiprocessing
import os
import re
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from ignite.engine import Events
from scripts.checkpoints import list_checkpoints, load_checkpoint, save_whole
from torch import Tensor

from tests.training_runs import find_error, make_workflow, train

MODELS = ("model.pt", "model_t2w_to_t1w.pt")


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, dataset_dir: Path) -> Path:
    """Four epochs without a stop: shuffled, augmented, without workers."""
    output_dir = tmp_path_factory.mktemp("finished")
    train(dataset_dir, output_dir, max_epochs=4, sampling="shuffled")
    return output_dir


def flatten(content: Any, name: str = "") -> dict[str, Any]:
    """Name every leaf of nested dicts and lists."""
    if isinstance(content, dict):
        content = list(content.items())
    elif isinstance(content, (list, tuple)):
        content = list(enumerate(content))
    else:
        return {name: content}
    return {
        key: leaf for part, each in content for key, leaf in flatten(each, f"{name}/{part}").items()
    }


def assert_same(left: Path, right: Path) -> None:
    first, second = flatten(load_checkpoint(left)), flatten(load_checkpoint(right))
    assert first.keys() == second.keys()
    different = [
        name
        for name, value in first.items()
        if not (
            torch.equal(value, second[name]) if isinstance(value, Tensor) else value == second[name]
        )
    ]
    assert different == []


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
@pytest.mark.parametrize("workers", [0, 2])
def test_two_and_two_epochs_are_four_to_the_bit(
    tmp_path: Path, dataset_dir: Path, finished: Path, workers: int
) -> None:
    options = {"sampling": "shuffled", "workers": workers}
    train(dataset_dir, tmp_path, max_epochs=2, **options)
    train(dataset_dir, tmp_path, max_epochs=4, resume=True, **options)
    assert multiprocessing.active_children() == []
    assert_same(tmp_path / "checkpoint_00000012.pt", finished / "checkpoint_00000012.pt")
    for name in MODELS:
        assert_same(tmp_path / name, finished / name)


def test_a_stop_within_an_epoch_changes_nothing(
    tmp_path: Path, dataset_dir: Path, finished: Path
) -> None:
    workflow = make_workflow(
        dataset_dir=str(dataset_dir), output_dir=str(tmp_path), max_epochs=4, sampling="shuffled"
    )
    trainer = workflow.parser.get_parsed_content("train#trainer")
    saver = workflow.parser.get_parsed_content("train#handlers")[-1]

    def stop(engine: Any) -> None:
        if engine.state.iteration == 4:
            saver.save(engine)
            engine.terminate()

    trainer.add_event_handler(Events.ITERATION_COMPLETED, stop)
    workflow.run()
    assert list_checkpoints(tmp_path)[-1].name == "checkpoint_00000004.pt"
    train(dataset_dir, tmp_path, max_epochs=4, sampling="shuffled", resume=True)
    assert_same(tmp_path / "checkpoint_00000012.pt", finished / "checkpoint_00000012.pt")


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
@pytest.mark.parametrize(
    ("step", "workers"),
    [
        pytest.param(2, 0, marks=pytest.mark.slow),
        (4, 2),
        pytest.param(6, 0, marks=pytest.mark.slow),
    ],
)
def test_sigterm_saves_and_the_training_goes_on_to_the_bit(
    tmp_path: Path, dataset_dir: Path, finished: Path, step: int, workers: int
) -> None:
    """Within an epoch (of three steps), in a group of processes with workers, at its end."""
    options = {"max_epochs": 4, "sampling": "shuffled", "workers": workers}
    workflow = make_workflow(dataset_dir=str(dataset_dir), output_dir=str(tmp_path), **options)
    trainer = workflow.parser.get_parsed_content("train#trainer")
    earlier = signal.getsignal(signal.SIGTERM)

    def terminate(engine: Any) -> None:
        if engine.state.iteration == step:
            for process in (*multiprocessing.active_children(), multiprocessing.current_process()):
                os.kill(process.pid, signal.SIGTERM)

    trainer.add_event_handler(Events.ITERATION_STARTED, terminate)
    with pytest.raises(SystemExit) as ended:
        workflow.run()
    assert ended.value.code == 143
    assert multiprocessing.active_children() == []
    assert signal.getsignal(signal.SIGTERM) == earlier
    assert list_checkpoints(tmp_path)[-1].name == f"checkpoint_{step:08d}.pt"
    train(dataset_dir, tmp_path, resume=True, **options)
    assert_same(tmp_path / "checkpoint_00000012.pt", finished / "checkpoint_00000012.pt")
    for name in MODELS:
        assert_same(tmp_path / name, finished / name)


def test_a_used_folder_is_not_overwritten(dataset_dir: Path, finished: Path) -> None:
    before = (finished / "model.pt").read_bytes()
    with pytest.raises(RuntimeError) as error:
        train(dataset_dir, finished, max_epochs=6)
    assert "a training has been here already. Go on with --resume true" in find_error(error)
    assert (finished / "model.pt").read_bytes() == before


def test_a_finished_training_is_left_as_it_is(
    dataset_dir: Path, finished: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    before = {path.name: path.stat().st_mtime_ns for path in finished.glob("*.pt")}
    train(dataset_dir, finished, max_epochs=4, sampling="shuffled", resume=True)
    assert {path.name: path.stat().st_mtime_ns for path in finished.glob("*.pt")} == before
    assert "Trained for 4 epochs already" in caplog.text


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"features": 6}, r"this is of other networks(?s:.*)Pass the --features"),
        ({"epoch_length": 7}, "was trained with --epoch_length 3, found 7"),
        # Halves that are dealt anew would show networks both contrasts of one head.
        ({"sampling": "disjoint"}, "was trained with --sampling shuffled, found disjoint"),
    ],
)
def test_what_the_checkpoint_had_otherwise_is_an_error(
    dataset_dir: Path, finished: Path, change: dict[str, Any], message: str
) -> None:
    options = {"max_epochs": 6, "resume": True, "sampling": "shuffled"} | change
    with pytest.raises(RuntimeError) as error:
        train(dataset_dir, finished, **options)
    assert re.search(message, find_error(error))


@pytest.mark.parametrize(("began", "now"), [("true", "false"), ("false", "true")])
def test_a_training_goes_on_from_the_start_that_it_had(
    tmp_path: Path, dataset_dir: Path, finished: Path, began: str, now: str
) -> None:
    """A fine-tuned one is not pulled to the inverted source, a new one is until its time is up."""
    content = load_checkpoint(finished / "checkpoint_00000012.pt")
    content["trainer"]["pretrained"] = began == "true"
    save_whole(content, tmp_path / "checkpoint_00000012.pt")
    with pytest.raises(RuntimeError) as error:
        train(dataset_dir, tmp_path, max_epochs=6, resume=True, pretrained=now)
    assert f"began with --pretrained {began}, found {now}" in find_error(error)
    assert f"Pass --pretrained {began}" in find_error(error)


def test_a_checkpoint_that_does_not_say_how_it_began_goes_on(
    tmp_path: Path, dataset_dir: Path, finished: Path
) -> None:
    content = load_checkpoint(finished / "checkpoint_00000012.pt")
    assert content["trainer"].pop("pretrained") is False
    save_whole(content, tmp_path / "checkpoint_00000012.pt")
    options = {"resume": True, "pretrained": True, "sampling": "shuffled"}
    workflow = train(dataset_dir, tmp_path, max_epochs=4, **options)
    trainer = workflow.parser.get_parsed_content("train#trainer")
    assert (trainer.state.iteration, trainer.state.pretrained) == (12, None)


@pytest.mark.parametrize(
    ("part", "weight", "message"),
    [
        ("patch_contrast", 0.0, "with a --lambda_contrast above 0, found 0. Pass the former"),
        ("more", 0.5, "with --lambda_contrast 0, found more, whose networks it does not hold"),
    ],
)
def test_a_contrastive_loss_that_only_one_of_both_has_is_an_error(
    tmp_path: Path, dataset_dir: Path, finished: Path, part: str, weight: float, message: str
) -> None:
    content = load_checkpoint(finished / "checkpoint_00000012.pt")
    save_whole(content | {part: {}}, tmp_path / "checkpoint_00000012.pt")
    options = {"lambda_contrast": weight, "sampling": "shuffled"}
    with pytest.raises(RuntimeError) as error:
        train(dataset_dir, tmp_path, max_epochs=6, resume=True, **options)
    assert f"checkpoint_00000012.pt: was trained {message}" in find_error(error)


def test_a_checkpoint_that_lacks_a_part_is_named(
    tmp_path: Path, dataset_dir: Path, finished: Path
) -> None:
    content = load_checkpoint(finished / "checkpoint_00000012.pt")
    del content["pool_t2w"]
    save_whole(content, tmp_path / "checkpoint_00000012.pt")
    with pytest.raises(RuntimeError) as error:
        train(dataset_dir, tmp_path, max_epochs=6, resume=True, sampling="shuffled")
    assert "checkpoint_00000012.pt: is of a training with other parts" in find_error(error)
    assert "pool_t2w" in find_error(error)


def test_a_resume_takes_the_learning_rate_and_betas_that_are_asked_for_now(
    tmp_path: Path, dataset_dir: Path, caplog: pytest.LogCaptureFixture
) -> None:
    options = {"constant_epochs": 1, "decay_epochs": 4}
    train(dataset_dir, tmp_path, max_epochs=2, **options)
    changes = {"learning_rate": 1e-6, "betas": [0.4, 0.9]}
    workflow = train(dataset_dir, tmp_path, max_epochs=3, resume=True, **options, **changes)
    assert "The learning rate was [0.0002] and is [1e-06] now." in caplog.text
    saved = load_checkpoint(tmp_path / "checkpoint_00000009.pt")
    for name in ("generator", "discriminator"):
        assert saved[f"{name}_schedule"]["base_lrs"] == [1e-6]
        group = saved[f"{name}_optimizer"]["param_groups"][0]
        assert group["lr"] == pytest.approx(0.5e-6)  # after one constant epoch, two of four
        assert tuple(group["betas"]) == (0.4, 0.9)
    assert workflow.parser.get_parsed_content("train#trainer").state.iteration == 9


def test_a_resume_in_another_layout_keeps_each_weights_moments(
    tmp_path: Path, dataset_dir: Path
) -> None:
    """The fused optimiser walks through memory; moments in another order would be others'."""
    for name in ("usual", "other"):
        train(dataset_dir, tmp_path / name, max_epochs=1)
    train(dataset_dir, tmp_path / "usual", max_epochs=2, resume=True)
    train(dataset_dir, tmp_path / "other", max_epochs=2, resume=True, memory_format="channels_last")
    both = [
        load_checkpoint(tmp_path / name / "checkpoint_00000006.pt") for name in ("usual", "other")
    ]
    weights = [content["t1w_to_t2w"]["blocks.0.layers.0.weight"] for content in both]
    assert (weights[0] - weights[1]).norm() / weights[0].norm() < 0.01


def test_a_training_in_fp32_goes_on_in_fp16(tmp_path: Path, dataset_dir: Path) -> None:
    """As from a CPU to a GPU that has no bf16."""
    train(dataset_dir, tmp_path, max_epochs=1)
    train(dataset_dir, tmp_path, max_epochs=2, precision="fp16", resume=True)
    assert load_checkpoint(tmp_path / "checkpoint_00000006.pt")["scaler"]["scale"] > 0


def test_a_training_without_its_checkpoints_does_not_remove_its_best_models(
    tmp_path: Path, dataset_dir: Path
) -> None:
    train(dataset_dir, tmp_path, max_epochs=3)
    for path in list_checkpoints(tmp_path):
        path.unlink()
    before = {path: path.read_bytes() for path in tmp_path.rglob("*.pt")}
    with pytest.raises(RuntimeError) as error:
        train(dataset_dir, tmp_path, max_epochs=4, resume=True)
    assert "there is no checkpoint to go on from" in find_error(error)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*.pt")} == before


def test_what_a_killed_training_left_half_written_is_removed(
    tmp_path: Path, dataset_dir: Path
) -> None:
    train(dataset_dir, tmp_path, max_epochs=1)
    for folder in (tmp_path, tmp_path / "best", tmp_path / "learning"):
        folder.mkdir(exist_ok=True)
        (folder / ".unfinished-1").write_bytes(b"half")
    train(dataset_dir, tmp_path, max_epochs=2, resume=True)
    assert list(tmp_path.rglob(".unfinished*")) == []


def test_resume_in_an_empty_folder_starts_a_training(tmp_path: Path, dataset_dir: Path) -> None:
    train(dataset_dir, tmp_path, max_epochs=1, resume=True)
    assert len(list_checkpoints(tmp_path)) == 1


def test_a_worse_validation_after_a_resume_keeps_the_better_model(
    tmp_path: Path, dataset_dir: Path
) -> None:
    train(dataset_dir, tmp_path, max_epochs=1)
    raise_best_metric(list_checkpoints(tmp_path)[-1])
    before = {name: (tmp_path / name).read_bytes() for name in MODELS}
    train(dataset_dir, tmp_path, max_epochs=2, resume=True)
    assert {name: (tmp_path / name).read_bytes() for name in MODELS} == before
    best = load_checkpoint(list_checkpoints(tmp_path)[-1])["evaluator"]
    assert best == {"key_metric_name": "t2w_ssim", "best_metric": 0.99, "best_metric_epoch": 1}


def raise_best_metric(path: Path) -> None:
    """Make the best model so far better than any that is to come."""
    content = load_checkpoint(path)
    content["evaluator"]["best_metric"] = 0.99
    save_whole(content, path)

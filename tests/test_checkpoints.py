"""What a checkpoint and a model hold, and that no save damages what was there."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from scripts.checkpoints import (
    list_checkpoints,
    load_checkpoint,
    load_newest_checkpoint,
    save_whole,
)
from torch import Tensor

from tests.slice_dataset_fixture import write_slice_dataset
from tests.training_runs import make_workflow, train


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, dataset_dir: Path) -> Path:
    """One epoch of three steps, validated since it is the last."""
    output_dir = tmp_path_factory.mktemp("finished")
    train(dataset_dir, output_dir, max_epochs=1, val_interval=5)
    return output_dir


def test_a_checkpoint_holds_everything(finished: Path) -> None:
    content = load_checkpoint(finished / "checkpoint_00000003.pt")
    assert set(content) == {
        *("t1w_to_t2w", "t2w_to_t1w", "discriminator_t1w", "discriminator_t2w"),
        *("average_t1w_to_t2w", "average_t2w_to_t1w", "pool_t1w", "pool_t2w", "scaler"),
        *("generator_optimizer", "discriminator_optimizer"),
        *("generator_schedule", "discriminator_schedule", "evaluator", "trainer"),
    }
    assert content["trainer"]["iteration"] == 3
    assert content["generator_schedule"]["last_epoch"] == 1
    assert len(content["pool_t1w"]["images"]) == 3


def test_models_are_bare_state_dicts_of_the_averages(finished: Path) -> None:
    model = load_checkpoint(finished / "model.pt")
    assert all(isinstance(value, Tensor) for value in model.values())
    assert model.keys() == load_checkpoint(finished / "checkpoint_00000003.pt")["t1w_to_t2w"].keys()
    sizes = json.loads((finished / "discriminators" / "sizes.json").read_text())
    assert sizes == {"discriminator_downsamplings": 3}


def test_without_pairs_the_latest_average_is_shipped(tmp_path: Path) -> None:
    folder = write_slice_dataset(
        tmp_path / "data", splits=("train", "train"), contrasts={0: ("T1w",), 1: ("T2w",)}
    )
    train(folder, tmp_path / "out", max_epochs=1)
    content = load_checkpoint(list_checkpoints(tmp_path / "out")[-1])
    average = content["average_t1w_to_t2w"]["network"]
    model = load_checkpoint(tmp_path / "out" / "model.pt")
    assert all(torch.equal(model[name], average[name]) for name in model)


def test_old_checkpoints_are_removed_but_never_newer_ones(
    tmp_path: Path, dataset_dir: Path
) -> None:
    (tmp_path / "checkpoint_00000099.pt").write_bytes(b"of another time")
    workflow = make_workflow(dataset_dir=str(dataset_dir), output_dir=str(tmp_path))
    trainer = workflow.parser.get_parsed_content("train#trainer")
    saver = workflow.parser.get_parsed_content("train#handlers")[-1]
    for iteration in (1, 2, 3):
        trainer.state.iteration = iteration
        saver.save(trainer)
    names = [path.name for path in list_checkpoints(tmp_path)]
    assert names == [f"checkpoint_{n:08}.pt" for n in (2, 3, 99)]


def test_a_damaged_newest_checkpoint_is_skipped_with_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for number in (1, 2, 3):
        save_whole({"weights": torch.full((100,), float(number))}, checkpoint(tmp_path, number))
    flip_a_bit(checkpoint(tmp_path, 2))
    truncate(checkpoint(tmp_path, 3))
    found = load_newest_checkpoint(tmp_path)
    assert found is not None
    assert found[0] == checkpoint(tmp_path, 1)
    assert float(found[1]["weights"][0]) == 1.0
    assert "checkpoint_00000003.pt is damaged and skipped" in caplog.text
    assert "checkpoint_00000002.pt is damaged and skipped" in caplog.text


def test_only_damaged_checkpoints_are_an_error(tmp_path: Path) -> None:
    checkpoint(tmp_path, 1).write_bytes(b"")
    with pytest.raises(ValueError, match="all 1 checkpoints are damaged. Delete them, or choose"):
        load_newest_checkpoint(tmp_path)


def checkpoint(folder: Path, number: int) -> Path:
    return folder / f"checkpoint_{number:08}.pt"


def flip_a_bit(path: Path) -> None:
    """Damage the weights, which torch.load alone would not notice."""
    content = bytearray(path.read_bytes())
    place = content.index(torch.tensor([2.0, 2.0, 2.0, 2.0]).numpy().tobytes())
    content[place] ^= 1
    path.write_bytes(bytes(content))


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-50])


def test_a_save_that_fails_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "model.pt"
    save_whole({"weights": torch.ones(2)}, path)

    class Unsaveable:
        def __reduce__(self) -> tuple[Any, ...]:
            raise OSError("No space left on device")

    with pytest.raises(OSError, match="No space left"):
        save_whole({"weights": torch.zeros(2), "more": Unsaveable()}, path)
    assert torch.equal(load_checkpoint(path)["weights"], torch.ones(2))
    assert [path.name for path in tmp_path.iterdir()] == ["model.pt"]


def test_of_weights_that_are_no_numbers_nothing_is_saved(tmp_path: Path, dataset_dir: Path) -> None:
    workflow = make_workflow(dataset_dir=str(dataset_dir), output_dir=str(tmp_path))
    trainer = workflow.parser.get_parsed_content("train#trainer")
    *_, models, _, saver = workflow.parser.get_parsed_content("train#handlers")
    with torch.no_grad():
        next(trainer.generators.t2w_to_t1w.parameters())[0] = float("inf")
        next(trainer.averages[1].network.parameters())[0] = float("nan")
    trainer.state.epoch = trainer.state.iteration = models.evaluator.state.best_metric_epoch = 1
    for save in (saver.save, models):
        with pytest.raises(FloatingPointError, match="a weight is not a finite number. Nothing"):
            save(trainer)
    assert list(tmp_path.glob("*.pt")) == []

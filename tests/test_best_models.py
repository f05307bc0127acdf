"""The best few models stay on the disk, whatever stops and resumes the training."""

from __future__ import annotations

import csv
import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from scripts.best_models import BestModels
from scripts.evaluation.candidates import find_candidates
from scripts.whole_files import write_text
from torch import nn

DIRECTIONS = ("t1w_to_t2w", "t2w_to_t1w")
MODELS = ("model.pt", "model_t2w_to_t1w.pt")


class Run:
    """A training whose validations give the values that a test invents; an epoch has 10 steps."""

    def __init__(self, folder: Path, *, metric: str = "t2w_ssim", count: int = 2) -> None:
        self.folder, self.metric, self.count = folder, metric, count

    def validate(
        self, values: dict[int, float], *, start: int = 0, best: int = -1, resume: bool = True
    ) -> dict[str, float]:
        """Validate epochs after a start from one of them; return the table, best first."""
        networks = {name: SimpleNamespace(network=nn.Linear(1, 1)) for name in DIRECTIONS}
        state = SimpleNamespace(key_metric_name=self.metric, metrics={}, best_metric_epoch=best)
        handler = BestModels(
            folder=str(self.folder / "best"),
            models_dir=str(self.folder),
            checkpoints_dir=str(self.folder),
            averages=networks,  # type: ignore[arg-type]
            evaluator=SimpleNamespace(state=state),  # type: ignore[arg-type]
            interval=1,
            count=self.count,
            resume=resume,
            checkpoint_interval=1,
        )
        engine: Any = SimpleNamespace(state=SimpleNamespace(rank=0, iteration=10 * start))
        handler.start(engine)
        for epoch, value in values.items():
            engine.state.epoch, engine.state.iteration = epoch, 10 * epoch
            state.metrics[self.metric] = value
            with torch.no_grad():
                for each in networks.values():
                    each.network.weight.fill_(epoch)
            handler(engine)
        return self.read_table()

    def read_table(self) -> dict[str, float]:
        with (self.folder / "best/best.csv").open() as file:
            return {
                f"epoch_{int(row['epoch']):04d}": float(row["value"])
                for row in csv.DictReader(file)
            }

    def list_folders(self) -> list[str]:
        return sorted(path.name for path in (self.folder / "best").glob("epoch_*"))

    def save_checkpoint(self, epoch: int) -> None:
        write_text(self.folder / f"checkpoint_{10 * epoch:08d}.pt", "")


def read_weight(path: Path) -> float:
    return float(torch.load(path, weights_only=True)["weight"])


def test_the_best_stay_and_the_table_lists_them_in_order(tmp_path: Path) -> None:
    run = Run(tmp_path)
    table = run.validate({1: 0.3, 2: 0.5, 3: 0.1, 4: 0.4})
    assert list(table.items()) == [("epoch_0002", 0.5), ("epoch_0004", 0.4)]
    assert run.list_folders() == ["epoch_0002", "epoch_0004"]
    for name in MODELS:
        assert read_weight(tmp_path / "best/epoch_0002" / name) == 2.0
    assert (tmp_path / "best/best.csv").read_text().splitlines()[:2] == [
        "epoch,iteration,metric,value",
        "2,20,t2w_ssim,0.5",
    ]


def test_the_smaller_error_stays(tmp_path: Path) -> None:
    table = Run(tmp_path, metric="t2w_unpaired_error").validate({1: 0.3, 2: 0.5, 3: 0.1})
    assert list(table) == ["epoch_0003", "epoch_0001"]


def test_of_equal_values_the_earlier_stay(tmp_path: Path) -> None:
    table = Run(tmp_path).validate({1: 0.3, 2: 0.3, 3: 0.3})
    assert list(table) == ["epoch_0001", "epoch_0002"]


@pytest.mark.parametrize("nothing", [math.nan, math.inf])
def test_what_is_no_number_is_never_among_the_best(tmp_path: Path, nothing: float) -> None:
    assert list(Run(tmp_path).validate({1: nothing, 2: -0.5, 3: nothing})) == ["epoch_0002"]


def test_a_stop_after_epochs_that_the_checkpoint_does_not_know_changes_nothing(
    tmp_path: Path,
) -> None:
    values = {1: 0.3, 2: 0.5, 3: 0.6, 4: 0.7, 5: 0.2, 6: 0.65}
    whole, stopped = Run(tmp_path / "whole"), Run(tmp_path / "stopped")
    expected = whole.validate(values)
    stopped.validate({1: 0.3, 2: 0.5})
    stopped.save_checkpoint(2)
    stopped.validate({3: 0.6, 4: 0.7}, start=2)
    rest = {epoch: value for epoch, value in values.items() if epoch > 2}
    assert stopped.validate(rest, start=2) == expected
    assert stopped.list_folders() == whole.list_folders() == ["epoch_0004", "epoch_0006"]


def test_models_that_later_epochs_replaced_return_when_those_do_not(tmp_path: Path) -> None:
    run = Run(tmp_path)
    run.validate({1: 0.3, 2: 0.5})
    run.save_checkpoint(2)
    run.validate({3: 0.6, 4: 0.7}, start=2)
    assert run.list_folders() == ["epoch_0003", "epoch_0004"]
    write_text(tmp_path / "model.pt", "of epoch 4")
    assert list(run.validate({}, start=2, best=2)) == ["epoch_0002", "epoch_0001"]
    assert read_weight(tmp_path / "best/epoch_0001/model.pt") == 1.0
    assert read_weight(tmp_path / "model.pt") == 2.0  # what is shipped is the best again


def test_replaced_models_go_when_every_checkpoint_knows_it(tmp_path: Path) -> None:
    run = Run(tmp_path)
    run.validate({1: 0.3, 2: 0.5})
    run.save_checkpoint(2)
    run.validate({3: 0.6}, start=2)
    assert [path.name for path in tmp_path.glob("best/.replaced-*/*")] == ["epoch_0001"]
    (tmp_path / "checkpoint_00000020.pt").unlink()
    run.save_checkpoint(3)
    run.validate({4: 0.1}, start=3)
    assert list(tmp_path.glob("best/.replaced-*")) == []


def test_another_key_metric_starts_over_once_it_has_a_model(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    Run(tmp_path).validate({1: 0.3, 2: 0.5})
    run = Run(tmp_path, metric="t2w_mae")
    run.validate({3: math.nan}, start=2)
    assert run.list_folders() == ["epoch_0001", "epoch_0002"]
    assert list(run.validate({4: 0.9}, start=3)) == ["epoch_0004"]
    assert "the key metric is t2w_mae now, so that 2 models" in caplog.text
    assert run.list_folders() == ["epoch_0004"]


def test_nothing_of_others_is_removed_or_overwritten(tmp_path: Path) -> None:
    theirs = tmp_path / "best/epoch_0002/notes.txt"
    write_text(theirs, "mine")
    run = Run(tmp_path)
    run.validate({1: 0.3, 3: 0.4, 4: 0.5})
    assert theirs.read_text() == "mine"
    with pytest.raises(FileExistsError, match="epoch_0002: is in the way"):
        run.validate({2: 0.9}, start=1)


def test_a_new_training_leaves_the_models_of_an_earlier_one(tmp_path: Path) -> None:
    Run(tmp_path).validate({1: 0.3})
    with pytest.raises(FileExistsError, match="holds the best models of an earlier training"):
        Run(tmp_path).validate({}, resume=False)
    assert Run(tmp_path).list_folders() == ["epoch_0001"]


def test_all_that_lies_beside_the_table_can_be_chosen_among(tmp_path: Path) -> None:
    Run(tmp_path).validate({1: 0.3, 2: 0.5, 3: 0.6})
    found = find_candidates(str(tmp_path / "best/*"))
    assert [each.label for each in found] == ["epoch_0002", "epoch_0003"]

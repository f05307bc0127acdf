"""What is said to give the same bytes does so."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from scripts.reproducibility import choose_algorithms

from tests.slice_dataset_fixture import write_slice_dataset
from tests.training_runs import train


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG", raising=False)
    yield
    choose_algorithms(deterministic=False)


def test_a_deterministic_training_has_no_operation_of_chance_and_the_usual_bytes(
    tmp_path: Path,
) -> None:
    write_slice_dataset(tmp_path / "data")
    for name, deterministic in (("usual", False), ("again", False), ("deterministic", True)):
        train(
            tmp_path / "data", tmp_path / name, max_epochs=1, deterministic=deterministic, workers=0
        )
        assert torch.are_deterministic_algorithms_enabled() == deterministic
        assert torch.backends.cudnn.benchmark != deterministic
    usual, *others = (
        torch.load(tmp_path / name / "model.pt", weights_only=True)
        for name in ("usual", "again", "deterministic")
    )
    for other in others:
        assert all(torch.equal(usual[name], other[name]) for name in usual)


def test_the_switch_is_read_as_the_command_line_gives_it() -> None:
    choose_algorithms(deterministic="true")
    assert torch.are_deterministic_algorithms_enabled()
    choose_algorithms(deterministic="false")
    assert not torch.are_deterministic_algorithms_enabled()

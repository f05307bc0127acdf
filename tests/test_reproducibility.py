"""What is said to give the same bytes does so."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from scripts.objectives import compute_discriminators, compute_generators
from scripts.reproducibility import choose_algorithms

from tests.exact_training import make_trainer
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


def list_operations(node: Any, seen: set[Any]) -> set[str]:
    """Names of all that gradients pass through."""
    if node is None or node in seen:
        return set()
    seen.add(node)
    found = [list_operations(parent, seen) for parent, _ in node.next_functions]
    return {node.name()}.union(*found)


def test_no_gradient_passes_through_what_pytorch_calls_nondeterministic(tmp_path: Path) -> None:
    """On a GPU; see torch.use_deterministic_algorithms, which a CPU does not tell apart."""
    trainer = make_trainer(write_slice_dataset(tmp_path), precision="fp32", lambda_structure=1.0)
    real, masks = trainer.prepare_batch(next(iter(trainer.data_loader)), torch.device("cpu"))
    weights = trainer.weights.at(1).to_tensors(real["t1w"])
    _, losses = compute_generators(
        trainer.generators, trainer.discriminators, real, masks, weights, trainer.structure_loss
    )
    judged = compute_discriminators(trainer.discriminators, real, real)
    seen: set[Any] = set()
    found = set()
    for loss in (losses["generator_loss"], *judged.values()):
        found |= list_operations(loss.grad_fn, seen)
    assert "ConvolutionBackward0" in found
    wrong = ("ReflectionPad", "ReplicationPad", "Upsample", "Grid", "Cumsum", "Median")
    wrong += ("AdaptiveAvgPool", "AdaptiveMaxPool", "AvgPool3D", "FractionalMaxPool", "MaxPool")
    assert [name for name in found if any(word in name for word in wrong)] == []

"""Ten steps of the engine give the weights of a plain implementation: unjoined, plain layers."""

from __future__ import annotations

import copy
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import torch
from scripts.cyclegan import Generators
from scripts.objectives import compute_discriminators, compute_generators
from torch import Tensor

from tests.earlier_system import EarlierStep
from tests.exact_training import make_exact, make_trainer
from tests.plain_networks import copy_plainly
from tests.slice_dataset_fixture import write_slice_dataset
from tests.training_runs import find_error

STEPS = 10
NAMES = ("t1w_to_t2w", "t2w_to_t1w")


@pytest.fixture(scope="module")
def dataset(tmp_path_factory) -> Path:
    return write_slice_dataset(tmp_path_factory.mktemp("blobs"))


def make_plain(trainer: Any, upsampling: str = "resize") -> EarlierStep:
    both = [getattr(trainer.generators, name) for name in NAMES]
    return EarlierStep(
        Generators(*[copy_plainly(network, upsampling=upsampling) for network in both]),
        copy.deepcopy(trainer.discriminators),
        cycle=5.0,
        identity=0.5,
        fakes_once=True,
    )


def train_both(
    trainer: Any, plain: EarlierStep, dtype: torch.dtype
) -> list[tuple[dict[str, Tensor], dict[str, Tensor]]]:
    """Losses of both after every step."""
    return [
        (trainer._iteration(trainer, batch)[0], plain(batch["t1w"], batch["t2w"]))
        for batch in list_batches(trainer, dtype)
    ]


def list_batches(trainer: Any, dtype: torch.dtype) -> list[dict[str, Any]]:
    batches = islice(trainer.data_loader, STEPS)
    return [batch | {name: batch[name].to(dtype) for name in ("t1w", "t2w")} for batch in batches]


def list_networks(trainer: Any, plain: EarlierStep) -> list[tuple[Any, Any]]:
    pairs = [(getattr(trainer.generators, name), getattr(plain.generators, name)) for name in NAMES]
    judges = ("t1w", "t2w")
    return pairs + [
        (getattr(trainer.discriminators, name), getattr(plain.discriminators, name))
        for name in judges
    ]


@pytest.mark.parametrize(
    "upsampling", ["resize", pytest.param("transposed", marks=pytest.mark.slow)]
)
def test_losses_and_weights_of_ten_steps_are_equal_in_float64(dataset, upsampling):
    trainer = make_exact(dataset, upsampling=upsampling)
    plain = make_plain(trainer, upsampling)
    for ours, theirs in train_both(trainer, plain, torch.float64):
        for name, loss in theirs.items():
            torch.testing.assert_close(ours[name], loss, rtol=1e-9, atol=1e-9)
    for ours, theirs in list_networks(trainer, plain):
        for left, right in zip(ours.parameters(), theirs.parameters(), strict=True):
            # Biases before instance norm have no effect: Adam follows the rounding of a zero.
            torch.testing.assert_close(left, right, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize(("precision", "bound"), [("fp32", 0.01), ("bf16", 0.03)])
def test_losses_of_ten_steps_stay_within_a_bound(dataset, precision, bound):
    """Relative to the plain step: Adam divides by small gradients, so rounding grows with steps."""
    trainer = make_trainer(dataset, precision=precision)
    plain = make_plain(trainer)
    for ours, theirs in train_both(trainer, plain, torch.float32):
        for name, loss in theirs.items():
            assert abs(float(ours[name]) / float(loss) - 1) < bound, name


@pytest.mark.slow
def test_a_batch_in_parts_gives_the_weights_of_the_whole(dataset):
    """With structure loss and image pool, which see the whole batch."""
    options = {"batch_size": 4, "lambda_structure": 1.0, "pool_size": 5}
    whole, parts = (make_exact(dataset, accumulation=parts, **options) for parts in (1, 2))
    for batch in list_batches(whole, torch.float64):
        both = [trainer._iteration(trainer, batch)[0] for trainer in (whole, parts)]
        assert both[0].keys() == both[1].keys()
        for name, value in both[0].items():
            torch.testing.assert_close(both[1][name], value, rtol=1e-6, atol=1e-7)


def test_a_batch_that_cannot_be_split_is_an_error(dataset):
    trainer = make_exact(dataset, batch_size=2, accumulation=3)
    with pytest.raises(ValueError, match="accumulation is 3, but a process has 2 images"):
        trainer._iteration(trainer, list_batches(trainer, torch.float64)[0])


def make_inputs(trainer: Any) -> tuple[Any, ...]:
    """What `compute_generators` is called with."""
    real, masks = trainer.prepare_batch(next(iter(trainer.data_loader)), torch.device("cpu"))
    weights = trainer.weights.at(1).to_tensors(real["t1w"])
    return trainer.generators, trainer.discriminators, real, masks, weights, trainer.structure_loss


def test_both_halves_of_a_step_compile_in_one_piece(dataset):
    trainer = make_trainer(dataset, precision="bf16", lambda_structure=1.0)
    inputs = make_inputs(trainer)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = torch._dynamo.explain(compute_generators)(*inputs)
        judged = torch._dynamo.explain(compute_discriminators)(inputs[1], inputs[2], inputs[2])
    assert [found.graph_count, judged.graph_count] == [1, 1]


@pytest.mark.slow
def test_a_compiled_step_gives_the_losses_of_the_plain_one(dataset):
    plain, compiled = (
        make_trainer(dataset, precision="fp32", compilation=kind, lambda_structure=1.0)
        for kind in ("none", "default")
    )
    for batch in list_batches(plain, torch.float32):
        both = [trainer._iteration(trainer, batch)[0] for trainer in (plain, compiled)]
        for name in both[0]:
            if "_loss" in name:
                assert abs(float(both[1][name]) / float(both[0][name]) - 1) < 0.01, name


def test_an_unknown_compilation_is_an_error(dataset):
    with pytest.raises(RuntimeError) as error:
        make_trainer(dataset, precision="fp32", compilation="fast")
    assert "compilation is 'fast'; expected one of ('none', 'default'," in find_error(error)

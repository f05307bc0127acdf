"""Ten steps of the engine give the weights of a plain implementation: unjoined, plain layers."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from monai.bundle import ConfigParser
from scripts.cyclegan import Generators
from torch import Tensor

from tests.earlier_system import EarlierStep
from tests.plain_networks import copy_plainly
from tests.slice_dataset_fixture import BUNDLE, write_slice_dataset

STEPS = 10
NAMES = ("t1w_to_t2w", "t2w_to_t1w")


@pytest.fixture(scope="module")
def dataset(tmp_path_factory) -> Path:
    return write_slice_dataset(tmp_path_factory.mktemp("blobs"))


def make_trainer(dataset: Path, *, precision: str, upsampling: str = "resize") -> Any:
    """The trainer of train.json without augmentation, pool and handlers, small networks."""
    parser = ConfigParser()
    parser.read_config(str(BUNDLE / "configs" / "train.json"))
    settings = {
        "bundle_root": str(BUNDLE), "dataset_dir": str(dataset), "device": "cpu", "workers": 0,
        "features": 4, "blocks": 1, "discriminator_features": 4, "batch_size": 2, "pool_size": 0,
        "lambda_identity": 0.5, "lambda_structure": 0.0, "lambda_cycle_t1w": 5.0,
        "lambda_cycle_t2w": 5.0, "augmentation": None, "precision": precision,
        "upsampling": upsampling,
    }  # fmt: skip
    for name, value in settings.items():
        assert name in parser, name
        parser[name] = value
    parser["train"]["handlers"] = []
    trainer = parser.get_parsed_content("train#trainer")
    trainer.state.epoch = 1
    return trainer


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
    batches = iter(trainer.data_loader)
    found = []
    for _ in range(STEPS):
        batch = next(batches)
        batch |= {name: batch[name].to(dtype) for name in ("t1w", "t2w")}
        ours = trainer._iteration(trainer, batch)[0]
        found.append((ours, plain(batch["t1w"], batch["t2w"])))
    return found


def list_networks(trainer: Any, plain: EarlierStep) -> list[tuple[Any, Any]]:
    pairs = [(getattr(trainer.generators, name), getattr(plain.generators, name)) for name in NAMES]
    judges = ("t1w", "t2w")
    return pairs + [
        (getattr(trainer.discriminators, name), getattr(plain.discriminators, name))
        for name in judges
    ]


@pytest.mark.parametrize("upsampling", ["resize", "transposed"])
def test_losses_and_weights_of_ten_steps_are_equal_in_float64(dataset, upsampling):
    trainer = make_trainer(dataset, precision="fp32", upsampling=upsampling)
    for network in (*vars(trainer.generators).values(), *vars(trainer.discriminators).values()):
        network.double()
    for average in trainer.averages:
        average.network.double()
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

"""The trainer of train.json for single steps, in float64 where a test asks for it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from monai.bundle import ConfigParser

from tests.slice_dataset_fixture import BUNDLE


def build_trainer(dataset: Path, **options: Any) -> Any:
    """The trainer that train.json describes, without handlers, in its first epoch."""
    parser = ConfigParser()
    parser.read_config(str(BUNDLE / "configs" / "train.json"))
    settings = {"bundle_root": str(BUNDLE), "dataset_dir": str(dataset), "workers": 0, **options}
    for name, value in settings.items():
        assert name in parser, name
        parser[name] = value
    parser["train"]["handlers"] = []
    trainer = parser.get_parsed_content("train#trainer")
    trainer.state.epoch = 1
    return trainer


def make_trainer(
    dataset: Path, *, precision: str, upsampling: str = "resize", **options: Any
) -> Any:
    """With small networks, without augmentation and pool."""
    settings = {
        "device": "cpu", "features": 4, "blocks": 1, "discriminator_features": 4, "batch_size": 2,
        "learning_rate_rule": "none", "pool_size": 0, "lambda_identity": 0.5,
        "lambda_structure": 0.0, "lambda_inversion": 0.0,
        "lambda_cycle_t1w": 5.0, "lambda_cycle_t2w": 5.0,
        "augmentation": None, "precision": precision, "upsampling": upsampling, **options,
    }  # fmt: skip
    return build_trainer(dataset, **settings)


def make_exact(dataset: Path, **options: Any) -> Any:
    """The same in float64."""
    trainer = make_trainer(dataset, precision="fp32", **options)
    judges = (trainer.discriminators.t1w, trainer.discriminators.t2w)
    for network in (*vars(trainer.generators).values(), *judges):
        network.double()
    for average in trainer.averages:
        average.network.double()
    return trainer

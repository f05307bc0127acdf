"""A training that starts from trained models, with their discriminators or without."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from scripts.checkpoints import load_checkpoint
from scripts.cyclegan import Discriminators
from scripts.networks import PatchDiscriminator
from scripts.resume import _load_discriminators, start_training
from scripts.shipped_models import load_discriminators

from tests.training_runs import find_error, make_workflow, train


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, dataset_dir: Path) -> Path:
    """One epoch of three steps."""
    output_dir = tmp_path_factory.mktemp("finished")
    train(dataset_dir, output_dir, max_epochs=1)
    return output_dir


def test_a_training_can_start_from_shipped_models(
    tmp_path: Path, dataset_dir: Path, finished: Path
) -> None:
    workflow = make_workflow(
        dataset_dir=str(dataset_dir), pretrained=True, pretrained_dir=str(finished)
    )
    parsed = workflow.parser.get_parsed_content
    start_training(
        parsed("train#trainer"),
        objects=parsed("checkpoint_objects"),
        output_dir=str(tmp_path),
        models_dir=str(tmp_path),
        resume=False,
        averages=parsed("averages"),
        pretrained=True,
        pretrained_dir=str(finished),
        pretrained_discriminators_dir=parsed("pretrained_discriminators_dir"),
        sampled_by={"pair_datasets": None},
    )
    assert parsed("train#trainer").state_dict()["pretrained"] is True
    model = load_checkpoint(finished / "model.pt")
    for network in (parsed("t1w_to_t2w"), parsed("averages")["t1w_to_t2w"].network):
        assert all(torch.equal(model[name], value) for name, value in network.state_dict().items())
    judge = load_checkpoint(finished / "discriminators" / "discriminator_t2w.pt")
    loaded = parsed("discriminator_t2w").state_dict()
    assert all(torch.equal(judge[name], value) for name, value in loaded.items())


def test_discriminators_are_those_of_the_folder_of_models(tmp_path: Path) -> None:
    """As a training leaves them, and as a bundle holds them."""
    trained, bundle = tmp_path / "models", tmp_path / "bundle" / "models"
    (trained / "discriminators").mkdir(parents=True)
    for models, found in (
        (tmp_path / "run", tmp_path / "run" / "discriminators"),
        (trained, trained / "discriminators"),
        (bundle, tmp_path / "bundle" / "discriminators"),
    ):
        workflow = make_workflow(dataset_dir=str(tmp_path), pretrained_dir=str(models))
        assert workflow.parser.get_parsed_content("pretrained_discriminators_dir") == str(found)


def test_without_discriminators_they_begin_anew_and_half_of_them_is_an_error(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    judges = {"t1w": torch.nn.Linear(1, 1), "t2w": torch.nn.Linear(1, 1)}
    load_discriminators(str(tmp_path), judges)
    assert "they begin anew" in caplog.text
    torch.save(judges["t1w"].state_dict(), tmp_path / "discriminator_t1w.pt")
    with pytest.raises(FileNotFoundError, match=r"discriminator_t2w\.pt: missing beside"):
        load_discriminators(str(tmp_path), judges)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"normalization": "spectral"}, r"of other discriminators \(.*--discriminator_norm"),
        ({"features": 6}, "of other discriminators .*Pass the --discriminator_features"),
        ({"downsamplings": 4}, "trained with --discriminator_downsamplings 3, found 4. Pass"),
    ],
)
def test_discriminators_of_another_kind_are_told_by_their_options(
    tmp_path: Path, options: dict[str, Any], message: str
) -> None:
    sizes = {"in_channels": 1, "features": 4, "downsamplings": 3, "normalization": "instance"}
    trained, other = PatchDiscriminator(**sizes), PatchDiscriminator(**(sizes | options))
    for name in ("t1w", "t2w"):
        torch.save(trained.state_dict(), tmp_path / f"discriminator_{name}.pt")
    (tmp_path / "sizes.json").write_text('{"discriminator_downsamplings": 3}')
    load_discriminators(str(tmp_path), {"t1w": trained, "t2w": trained})
    trainer: Any = SimpleNamespace(discriminators=Discriminators(other, other))
    with pytest.raises(ValueError, match=f"(?s){message}.*name an empty folder with --pretrained"):
        _load_discriminators(trainer, str(tmp_path))


def test_missing_shipped_models_are_named(tmp_path: Path, dataset_dir: Path) -> None:
    with pytest.raises(RuntimeError) as error:
        train(dataset_dir, tmp_path, pretrained=True, pretrained_dir=str(tmp_path / "absent"))
    assert "model.pt: there is no such model" in find_error(error)
    assert "model_t2w_to_t1w.pt with --pretrained_dir." in find_error(error)


@pytest.mark.parametrize("option", ["pretrained_dir", "pretrained_discriminators_dir"])
@pytest.mark.parametrize("pretrained", [False, "false"])
def test_models_to_start_from_that_would_not_be_taken_are_an_error(
    tmp_path: Path, option: str, pretrained: bool | str
) -> None:
    """Named they are wanted, also where the folder is the default one."""
    options = {"pretrained": pretrained, option: "models"}
    workflow = make_workflow(dataset_dir=str(tmp_path), output_dir=str(tmp_path), **options)
    with pytest.raises(RuntimeError) as error:
        workflow.run()
    assert f"{option} is 'models', but pretrained is false" in find_error(error)
    assert "Pass --pretrained true, or leave out" in find_error(error)

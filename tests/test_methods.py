"""Ways to train beside the plain one: pairs, patch contrast, spectral norm, judged augmentation."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from scripts.checkpoints import list_checkpoints, load_checkpoint
from scripts.image_panels import make_panel
from scripts.losses import ssim_loss
from scripts.networks import PatchDiscriminator, initialise_weights
from scripts.objectives import _compute_paired_losses

from tests.one_step import CPU, NETWORKS, Step
from tests.training_runs import (
    AUGMENTATION,
    count_passes,
    find_error,
    list_tensors,
    make_workflow,
    train,
)

PAIRED = ("recipes/paired.json",)


def make_trainer(dataset_dir: Path, *overlays: str, **options: Any) -> Any:
    names = ("lambda_identity", "lambda_structure", "lambda_inversion")
    settings = {"augmentation": None, **dict.fromkeys(names, 0.0)} | options
    workflow = make_workflow(*overlays, dataset_dir=str(dataset_dir), **settings)
    return workflow.parser.get_parsed_content("train#trainer")


def take(trainer: Any) -> dict[str, torch.Tensor]:
    output: dict[str, torch.Tensor] = trainer._iteration(trainer, next(iter(trainer.data_loader)))[
        0
    ]
    return output


def test_paired_training_pays_for_the_distance_from_the_registered_image(
    dataset_dir: Path,
) -> None:
    trainer = make_trainer(dataset_dir, *PAIRED)
    batch = next(iter(trainer.data_loader))
    output = trainer._iteration(trainer, batch)[0]
    real, masks = trainer.prepare_batch(batch, CPU)
    known = masks["t2w"] | ~masks["t1w"]
    for name in ("t1w", "t2w"):
        difference = (output[f"fake_{name}"] - real[name]).abs()
        each = [part[seen].mean() for part, seen in zip(difference, known, strict=True)]
        torch.testing.assert_close(output[f"paired_loss_{name}"], torch.stack(each).mean())
    total = 10 * (output["paired_loss_t1w"] + output["paired_loss_t2w"])
    torch.testing.assert_close(output["generator_loss"], total)


def test_paired_training_can_pay_for_structural_dissimilarity_too(dataset_dir: Path) -> None:
    trainer = make_trainer(dataset_dir, *PAIRED, lambda_paired_ssim=4.0)
    batch = next(iter(trainer.data_loader))
    output = trainer._iteration(trainer, batch)[0]
    real, masks = trainer.prepare_batch(batch, CPU)
    total = 0.0
    for name in ("t1w", "t2w"):
        shared = masks["t1w"] & masks["t2w"]
        expected = ssim_loss(output[f"fake_{name}"], real[name], mask=shared)
        torch.testing.assert_close(output[f"paired_ssim_loss_{name}"], expected)
        total += 4 * expected + 10 * output[f"paired_loss_{name}"]
    torch.testing.assert_close(output["generator_loss"], total)


def test_what_only_one_image_of_a_pair_shows_costs_nothing(dataset_dir: Path) -> None:
    """Not beside it either, where the windows of SSIM reach across the edge."""
    image = torch.rand(1, 1, 32, 32, generator=torch.Generator().manual_seed(0)) * 2 - 1
    masks = {name: torch.ones(1, 1, 32, 32, dtype=torch.bool) for name in ("t1w", "t2w")}
    masks["t2w"][..., 16:] = False
    real = {"t1w": image, "t2w": image.where(masks["t2w"], -1.0)}
    weights = {"paired": torch.tensor(1.0), "paired_ssim": torch.tensor(1.0)}
    losses = _compute_paired_losses("t2w", {"fake_t2w": image}, real, masks, weights)
    assert set(losses) == {"paired_loss_t2w", "paired_ssim_loss_t2w"}
    assert all(float(loss) == pytest.approx(0, abs=1e-6) for loss in losses.values())


def test_an_epoch_without_any_loss_is_an_error_before_the_training(dataset_dir: Path) -> None:
    trainer = make_trainer(dataset_dir, *PAIRED, lambda_paired=[[1, 5.0], [2, 0.0]])
    with pytest.raises(ValueError, match="epoch 2: the weights of all losses"):
        trainer.run()


def test_paired_training_leaves_the_discriminators_alone(dataset_dir: Path) -> None:
    trainer = make_trainer(dataset_dir, *PAIRED)
    before = [each.clone() for each in trainer.discriminators.t2w.parameters()]
    output = take(trainer)
    after = list(trainer.discriminators.t2w.parameters())
    assert all(torch.equal(*both) for both in zip(before, after, strict=True))
    assert not any("adversarial" in name or "discriminator" in name for name in output)


def test_a_training_that_pays_for_no_cycle_takes_no_way_back(dataset_dir: Path) -> None:
    trainer = make_trainer(dataset_dir, *PAIRED)
    generators = (trainer.generators.t1w_to_t2w, trainer.generators.t2w_to_t1w)
    passes = [count_passes(generator) for generator in generators]
    output = take(trainer)
    assert passes == [[2], [2]]  # one call each, of a batch of two
    assert not any("reconstructed" in name or "cycle" in name for name in output)
    assert make_panel(output, count=1).shape == (1, 2 * 128, 2 * 128)  # real and fake alone


def test_a_few_pairs_are_translated_in_the_same_calls(dataset_dir: Path) -> None:
    step = Step(str(dataset_dir), lambda_identity=0.0, pair_subjects=1, lambda_paired=2.0)
    passes = {name: count_passes(step.networks[name]) for name in NETWORKS}
    output = step.take()
    assert passes["t1w_to_t2w"] == passes["t2w_to_t1w"] == [4, 2]
    of_cycle = 10 * sum(output[f"cycle_consistency_loss_{name}"] for name in ("t1w", "t2w"))
    adversarial = sum(output[f"adversarial_loss_{name}"] for name in ("t1w", "t2w"))
    paired = sum(output[f"paired_loss_{name}"] for name in ("t1w", "t2w"))
    torch.testing.assert_close(output["generator_loss"], of_cycle + adversarial + 2 * paired)


@pytest.mark.parametrize("place", ["disk", "device"])
def test_a_few_pairs_are_one_slice_with_one_geometry(dataset_dir: Path, place: str) -> None:
    options = AUGMENTATION | {"intensity": 0.0, "noise_sigma": 0.0}
    trainer = make_trainer(
        dataset_dir, pair_subjects=1, augmentation=options, sampling="shuffled", slices_on=place
    )
    batch = next(iter(trainer.data_loader))
    _, masks = trainer.prepare_batch(batch, CPU)
    assert batch["pair_t1w_subject_id"] == batch["pair_t2w_subject_id"]
    assert torch.equal(masks["pair_t1w"], masks["pair_t2w"])
    assert not torch.equal(masks["t1w"], masks["pair_t1w"])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"lambda_paired": 1.0}, "lambda_paired is above 0, but no registered pairs are drawn"),
        ({"lambda_paired_ssim": 1.0}, "lambda_paired_ssim is above 0, but no registered pairs"),
        ({"pair_subjects": 99}, "pair_subjects is 99, but [0-9]+ subjects"),
        (
            {"pair_subjects": 1, "pair_datasets": ["blobs", "other"]},
            r"of which \['other'\] have no registered pairs .* Expected names among \['blobs'\]",
        ),
        ({"pair_datasets": "blobs"}, r"pair_datasets is \['blobs'\], but no pairs are drawn"),
    ],
)
def test_pairs_that_are_not_there_are_an_error(
    dataset_dir: Path, tmp_path: Path, options: dict[str, Any], message: str
) -> None:
    with pytest.raises((RuntimeError, ValueError)) as error:
        train(dataset_dir, tmp_path, **options)
    assert re.search(message, find_error(error))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"pair_subjects": 1}, "pair_subjects is above 0, but lambda_paired and lambda_paired_"),
        ({"sampling": "paired"}, "sampling is 'paired', but lambda_paired .* --sampling shuffled"),
        (
            {"pair_subjects": 1, "sampling": "paired", "lambda_paired": 1.0},
            "sampling is 'paired', .*pair_subjects 0",
        ),
    ],
)
def test_pairs_that_would_not_be_compared_are_an_error(
    dataset_dir: Path, tmp_path: Path, options: dict[str, Any], message: str
) -> None:
    with pytest.raises((RuntimeError, ValueError)) as error:
        train(dataset_dir, tmp_path, **options)
    assert re.search(message, find_error(error))
    assert list(tmp_path.rglob("*.pt")) == []


def test_spectral_norm_bounds_every_convolution_and_keeps_the_seeded_weights() -> None:
    sizes = {"in_channels": 1, "features": 4, "downsamplings": 3}
    networks = [
        initialise_weights(
            PatchDiscriminator(**sizes, normalization=kind), standard_deviation=0.02, seed=1
        )
        for kind in ("instance", "spectral")
    ]
    plain, spectral = ([m for m in n.modules() if isinstance(m, torch.nn.Conv2d)] for n in networks)
    image = torch.rand(1, 1, 64, 64, generator=torch.Generator().manual_seed(0))
    for _ in range(50):  # each call takes one step of the power iteration
        networks[1](image)
    for one, other in zip(plain, spectral, strict=True):
        assert torch.equal(one.weight, other.parametrizations.weight.original)
        largest = torch.linalg.matrix_norm(other.weight.flatten(1), ord=2)
        assert largest.item() == pytest.approx(1.0, abs=0.02)
    assert not any(isinstance(module, torch.nn.InstanceNorm2d) for module in networks[1].modules())


def test_an_unknown_normalization_is_an_error() -> None:
    with pytest.raises(ValueError, match="normalization is 'batch'; expected instance or spectral"):
        PatchDiscriminator(in_channels=1, features=4, downsamplings=3, normalization="batch")


def test_real_images_and_fakes_are_judged_after_changes_of_their_own(dataset_dir: Path) -> None:
    trainer = make_trainer(dataset_dir, differentiable_augmentation=True, pool_size=0)
    batch = next(iter(trainer.data_loader))
    real, _ = trainer.prepare_batch(batch, CPU)
    augmentation, draws = trainer.discriminators.augmentation, real["draws_t2w"]
    seen: list[torch.Tensor] = []
    trainer.discriminators.t2w.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    output = trainer._iteration(trainer, batch)[0]
    fake = output["fake_t2w"]
    torch.testing.assert_close(seen[0].detach(), augmentation(fake, draws[:, 2]))
    both = torch.cat([augmentation(real["t2w"], draws[:, 0]), augmentation(fake, draws[:, 1])])
    torch.testing.assert_close(seen[1], both)


@pytest.mark.parametrize(
    "options",
    [
        pytest.param({"lambda_contrast": 1.0}, marks=pytest.mark.slow),
        {"discriminator_normalization": "spectral", "differentiable_augmentation": True},
        pytest.param({"pair_subjects": 1, "lambda_paired": 5.0}, marks=pytest.mark.slow),
    ],
)
def test_a_stopped_training_goes_on_to_the_same_weights(
    tmp_path: Path, dataset_dir: Path, options: dict[str, Any]
) -> None:
    train(dataset_dir, tmp_path / "whole", max_epochs=2, **options)
    train(dataset_dir, tmp_path / "parts", max_epochs=1, **options)
    train(dataset_dir, tmp_path / "parts", max_epochs=2, resume=True, **options)
    whole, parts = (
        list_tensors(load_checkpoint(list_checkpoints(tmp_path / name)[-1]))
        for name in ("whole", "parts")
    )
    assert whole.keys() == parts.keys()
    assert all(torch.equal(whole[name], parts[name]) for name in whole)

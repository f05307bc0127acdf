"""One step of training is the one in the paper, and costs no more passes than it must."""

from __future__ import annotations

import copy

import pytest
import torch
from scripts.cyclegan import frozen
from scripts.optimization import scale_learning_rate
from torch import Tensor, nn
from torch.nn.functional import l1_loss, mse_loss

from tests.one_step import NETWORKS, Step
from tests.slice_dataset_fixture import write_slice_dataset
from tests.training_runs import AUGMENTATION, count_passes


@pytest.fixture(scope="module")
def dataset_dir(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(write_slice_dataset(tmp_path_factory.mktemp("blobs")))


def is_equal(left: list[Tensor], right: list[Tensor]) -> bool:
    return all(torch.equal(*both) for both in zip(left, right, strict=True))


def test_a_step_translates_six_batches_in_four_calls(dataset_dir: str) -> None:
    step = Step(dataset_dir)
    passes = {name: count_passes(step.networks[name]) for name in NETWORKS}
    step.take()
    assert passes["t1w_to_t2w"] == passes["t2w_to_t1w"] == [4, 2]  # batches of two
    assert passes["discriminator_t1w"] == passes["discriminator_t2w"] == [2, 4]


def test_without_identity_its_two_passes_are_saved(dataset_dir: str) -> None:
    step = Step(dataset_dir, lambda_identity=0.0)
    passes = {name: count_passes(step.networks[name]) for name in NETWORKS}
    losses = step.take()
    assert passes["t1w_to_t2w"] == passes["t2w_to_t1w"] == [2, 2]
    assert not any("identity" in name for name in losses)


def test_each_sides_step_leaves_the_other_side_alone(dataset_dir: str) -> None:
    step = Step(dataset_dir)
    real, masks = step.prepare(step.batch)
    before = {name: step.copy_weights(name) for name in NETWORKS}
    images = step.trainer._update_generators(
        real, masks, step.trainer.weights.at(1).to_tensors(real["t1w"])
    )
    between = {name: step.copy_weights(name) for name in NETWORKS}
    assert all(
        parameter.grad is None
        for name in ("discriminator_t1w", "discriminator_t2w")
        for parameter in step.networks[name].parameters()
    )
    step.trainer._update_discriminators(real, images)
    after = {name: step.copy_weights(name) for name in NETWORKS}
    for name in NETWORKS:
        judges = name.startswith("discriminator")
        assert is_equal(before[name], between[name]) == judges
        assert is_equal(between[name], after[name]) != judges


def test_frozen_networks_learn_again_after_an_error() -> None:
    network = nn.Linear(1, 1)
    with pytest.raises(RuntimeError), frozen(network):
        assert not network.weight.requires_grad
        raise RuntimeError
    assert network.weight.requires_grad


class PlainCycleGan:
    """The step of Zhu et al. 2017 as they describe it: no joined batches, nothing frozen."""

    def __init__(self, networks: dict[str, nn.Module]) -> None:
        self.t1w_to_t2w, self.t2w_to_t1w, self.judge_t1w, self.judge_t2w = (
            copy.deepcopy(networks[name]) for name in NETWORKS
        )
        ways = [*self.t1w_to_t2w.parameters(), *self.t2w_to_t1w.parameters()]
        self.of_generators = torch.optim.Adam(ways, lr=2e-4, betas=(0.5, 0.999))
        self.of_judges = [
            torch.optim.Adam(judge.parameters(), lr=2e-4, betas=(0.5, 0.999))
            for judge in (self.judge_t1w, self.judge_t2w)
        ]

    def step(self, t1w: Tensor, t2w: Tensor) -> dict[str, float]:
        fake_t2w, fake_t1w = self.t1w_to_t2w(t1w), self.t2w_to_t1w(t2w)
        losses = {
            "adversarial_loss_t1w": least_squares(self.judge_t1w(fake_t1w), 1.0),
            "adversarial_loss_t2w": least_squares(self.judge_t2w(fake_t2w), 1.0),
            "cycle_consistency_loss_t1w": l1_loss(self.t2w_to_t1w(fake_t2w), t1w),
            "cycle_consistency_loss_t2w": l1_loss(self.t1w_to_t2w(fake_t1w), t2w),
            "identity_loss_t1w": l1_loss(self.t2w_to_t1w(t1w), t1w),
            "identity_loss_t2w": l1_loss(self.t1w_to_t2w(t2w), t2w),
        }
        weights = (1.0, 1.0, 10.0, 10.0, 5.0, 5.0)
        total = sum(w * loss for w, loss in zip(weights, losses.values(), strict=True))
        self.of_generators.zero_grad()
        total.backward()  # type: ignore[union-attr]
        self.of_generators.step()
        losses["generator_loss"] = total  # type: ignore[assignment]
        for name, judge, optimizer, real, fake in (
            ("t1w", self.judge_t1w, self.of_judges[0], t1w, fake_t1w.detach()),
            ("t2w", self.judge_t2w, self.of_judges[1], t2w, fake_t2w.detach()),
        ):
            loss = 0.5 * (least_squares(judge(real), 1.0) + least_squares(judge(fake), 0.0))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses[f"discriminator_{name}_loss"] = loss
        return {name: float(loss.detach()) for name, loss in losses.items()}


def least_squares(decision: Tensor, wanted: float) -> Tensor:
    return mse_loss(decision, torch.full_like(decision, wanted))


def test_losses_and_weights_are_those_of_a_plain_implementation(dataset_dir: str) -> None:
    step = Step(dataset_dir, pool_size=0).to_double()
    plain = PlainCycleGan(step.networks)
    for _ in range(4):
        losses = step.take()
        expected = plain.step(step.batch["t1w"], step.batch["t2w"])
        found = {name: float(losses[name]) for name in expected}
        assert found == pytest.approx(expected, rel=1e-6)
    theirs = dict(plain.t1w_to_t2w.named_parameters())
    for name, ours in step.networks["t1w_to_t2w"].named_parameters():
        if name.endswith("weight"):  # a bias before instance norm has no effect, its step is noise
            torch.testing.assert_close(ours, theirs[name], atol=1e-7, rtol=0)  # steps are 2e-4


def test_bf16_gives_the_losses_of_fp32_to_a_hundredth(dataset_dir: str) -> None:
    exact, rough = (Step(dataset_dir, precision=name).take() for name in ("fp32", "bf16"))
    losses = {name for name in exact if "_loss" in name}
    assert rough["fake_t2w"].dtype == torch.float32
    for name in losses:
        assert float(rough[name]) == pytest.approx(float(exact[name]), rel=0.01)


def test_structure_is_compared_between_a_real_image_and_its_own_fake(dataset_dir: str) -> None:
    seen: list[tuple[Tensor, Tensor, Tensor]] = []

    def remember(source: Tensor, synthetic: Tensor, *, mask: Tensor) -> Tensor:
        seen.append((source, synthetic, mask))
        return (source - synthetic).abs().mean()

    step = Step(dataset_dir, lambda_structure=2.0)
    step.trainer.structure_loss = remember
    output = step.take()
    of_t2w = next(call for call in seen if torch.equal(call[0], output["real_t2w"]))
    assert torch.equal(of_t2w[1], output["fake_t1w"])
    assert torch.equal(of_t2w[2], step.batch["t2w_mask"])
    structure = output["structure_loss_t1w"] + output["structure_loss_t2w"]
    rest = sum(
        weight * (output[f"{name}_t1w"] + output[f"{name}_t2w"])
        for name, weight in (
            ("adversarial_loss", 1.0),
            ("cycle_consistency_loss", 10.0),
            ("identity_loss", 5.0),
        )
    )
    torch.testing.assert_close(output["generator_loss"], rest + 2 * structure)


def test_a_step_names_its_losses_and_keeps_them_on_the_device(dataset_dir: str) -> None:
    step = Step(dataset_dir, lambda_structure=1.0)
    output = step.take()
    assert float(output["loss"]) == float(output["generator_loss"])
    names = ("adversarial", "cycle_consistency", "identity", "structure")
    assert {f"{name}_loss_{contrast}" for name in names for contrast in ("t1w", "t2w")} <= set(
        output
    )
    assert all(isinstance(value, Tensor) and not value.requires_grad for value in output.values())


def test_the_same_sample_is_augmented_alike_in_any_batch(dataset_dir: str) -> None:
    step = Step(dataset_dir, augmentation=AUGMENTATION)
    together, _ = step.prepare(step.batch)
    second = {name: value[1:] for name, value in step.batch.items()}
    alone, _ = step.prepare(second)
    torch.testing.assert_close(alone["t1w"], together["t1w"][1:], atol=1e-6, rtol=0)
    assert not torch.equal(together["t1w"], step.batch["t1w"])


def test_paired_images_share_their_geometry(dataset_dir: str) -> None:
    options = AUGMENTATION | {"intensity": 0.0, "noise_sigma": 0.0}
    for sampling, equal in (("paired", True), ("shuffled", False)):
        step = Step(dataset_dir, augmentation=options, sampling=sampling)
        _, masks = step.prepare(step.batch)
        assert torch.equal(masks["t1w"], masks["t2w"]) == equal


def test_the_average_follows_the_generators(dataset_dir: str) -> None:
    step = Step(dataset_dir)
    average = step.trainer.averages[0]
    start = [parameter.clone() for parameter in average.network.parameters()]
    step.take()
    now = step.copy_weights("t1w_to_t2w")
    for first, latest, mean in zip(start, now, average.network.parameters(), strict=True):
        torch.testing.assert_close(mean, 0.1 * first + 0.9 * latest)  # warm-up: (1 + 0)/(10 + 0)


@pytest.mark.parametrize(("rule", "rate"), [("sqrt", 4e-4), ("linear", 8e-4), ("none", 2e-4)])
def test_the_learning_rate_follows_the_batch(dataset_dir: str, rule: str, rate: float) -> None:
    assert scale_learning_rate(2e-4, batch_size=4, rule=rule) == pytest.approx(rate)
    step = Step(dataset_dir, batch_size=4, learning_rate_rule=rule)
    for optimizer in (step.trainer.generator_optimizer, step.trainer.discriminator_optimizer):
        assert optimizer.param_groups[0]["lr"] == pytest.approx(rate)


def test_the_layout_of_the_networks_can_be_chosen(dataset_dir: str) -> None:
    usual, other = (
        Step(dataset_dir, memory_format=name) for name in ("contiguous_format", "channels_last")
    )
    weight = other.networks["t1w_to_t2w"].blocks[0].layers[0].weight
    assert weight.is_contiguous(memory_format=torch.channels_last)
    assert not weight.is_contiguous()
    both = [step.take() for step in (usual, other)]
    torch.testing.assert_close(both[0]["loss"], both[1]["loss"], rtol=1e-4, atol=0)


def test_the_average_forgets_by_images_not_by_steps(dataset_dir: str) -> None:
    decays = [
        Step(dataset_dir, ema_decay=0.9, batch_size=size).trainer.averages[0].decay
        for size in (1, 4)
    ]
    assert decays == pytest.approx([0.9, 0.9**4])


def test_weights_follow_the_epoch(dataset_dir: str) -> None:
    step = Step(
        dataset_dir,
        lambda_identity=[[1, 0], [2, 4.0]],
        lambda_structure=[[2, 0.5], [3, 0]],
        lambda_cycle_t1w=[[1, 1], [3, 3]],
    )
    names = {
        1: {"cycle_consistency_loss": 1.0, "structure_loss": 0.5},
        2: {"cycle_consistency_loss": 2.0, "structure_loss": 0.5, "identity_loss": 4.0},
        3: {"cycle_consistency_loss": 3.0, "identity_loss": 4.0},
    }
    for epoch, expected in names.items():
        step.trainer.state.epoch = epoch
        losses = step.take()
        found = {name.removesuffix("_t1w") for name in losses if name.endswith("_loss_t1w")}
        assert found == {*expected, "adversarial_loss"}
        total = losses["adversarial_loss_t1w"] + losses["adversarial_loss_t2w"]
        for name, weight in expected.items():
            other = 10.0 if name == "cycle_consistency_loss" else weight
            total = total + weight * losses[f"{name}_t1w"] + other * losses[f"{name}_t2w"]
        assert float(losses["generator_loss"]) == pytest.approx(float(total), rel=1e-5)

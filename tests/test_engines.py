"""One step of training is the one in the paper, and costs no more passes than it must."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from ignite.engine import Events
from monai.bundle import ConfigWorkflow
from scripts.cyclegan import frozen
from scripts.ema import MovingAverage
from scripts.evaluation.evaluator import CycleGanEvaluator, TranslationMetrics
from scripts.evaluation.metrics import masked_mae, masked_psnr, masked_ssim
from scripts.optimization import linear_decay, make_schedule, scale_learning_rate
from scripts.precision import make_scaler, select_precision
from torch import Tensor, nn
from torch.nn.functional import l1_loss, mse_loss

from tests.slice_dataset_fixture import write_slice_dataset
from tests.training_runs import AUGMENTATION, make_workflow

NETWORKS = ("t1w_to_t2w", "t2w_to_t1w", "discriminator_t1w", "discriminator_t2w")
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def dataset_dir(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(write_slice_dataset(tmp_path_factory.mktemp("blobs")))


class Step:
    """A trainer, its four networks and one batch."""

    def __init__(self, dataset_dir: str, **options: Any) -> None:
        plain = {"lambda_structure": 0.0, "lambda_inversion": 0.0}
        cycle = {"lambda_cycle_t1w": 10.0, "lambda_cycle_t2w": 10.0}
        options = {"augmentation": None, **plain, **cycle} | options
        workflow: ConfigWorkflow = make_workflow(dataset_dir=dataset_dir, **options)
        self.trainer = workflow.parser.get_parsed_content("train#trainer")
        self.networks = {name: workflow.parser.get_parsed_content(name) for name in NETWORKS}
        self.batch = next(iter(self.trainer.data_loader))

    def to_double(self) -> Step:
        """Compute in float64, where rounding does not grow into another training."""
        for network in [*self.networks.values(), *(a.network for a in self.trainer.averages)]:
            network.double()
        for name in ("t1w", "t2w"):
            self.batch[name] = self.batch[name].double()
        return self

    def prepare(self, batch: dict[str, Any]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        return self.trainer.prepare_batch(batch, CPU)

    def take(self) -> dict[str, Tensor]:
        output = self.trainer._iteration(self.trainer, self.batch)
        return output[0]

    def copy_weights(self, name: str) -> list[Tensor]:
        return [parameter.detach().clone() for parameter in self.networks[name].parameters()]


def count_passes(network: nn.Module) -> list[int]:
    """Return a list that grows by the batch size of each call."""
    sizes: list[int] = []
    network.register_forward_hook(lambda _, inputs, __: sizes.append(len(inputs[0])))
    return sizes


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


def test_the_average_reaches_its_decay_and_goes_on_after_loading() -> None:
    source = nn.Linear(1, 1, bias=False)
    average = MovingAverage(source, decay=0.2)
    average.load_state_dict({"network": {"weight": torch.tensor([[1.0]])}, "updates": 1000})
    with torch.no_grad():
        source.weight.fill_(2.0)
    average.update()
    assert float(average.network.weight) == pytest.approx(0.2 * 1 + 0.8 * 2)
    assert average.state_dict()["updates"] == 1001


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


def test_an_unknown_rule_is_an_error() -> None:
    with pytest.raises(ValueError, match="learning_rate_rule is 'root'; expected one of"):
        scale_learning_rate(2e-4, batch_size=4, rule="root")


def test_the_average_forgets_by_images_not_by_steps(dataset_dir: str) -> None:
    decays = [
        Step(dataset_dir, ema_decay=0.9, batch_size=size).trainer.averages[0].decay
        for size in (1, 4)
    ]
    assert decays == pytest.approx([0.9, 0.9**4])


def test_the_learning_rate_is_constant_and_then_falls_to_zero() -> None:
    factors = [linear_decay(epoch, constant_epochs=2, decay_epochs=4) for epoch in range(7)]
    assert factors == [1.0, 1.0, 1.0, 0.75, 0.5, 0.25, 0.0]
    assert linear_decay(999, constant_epochs=2, decay_epochs=0) == 1.0


def test_a_training_that_outlasts_its_learning_rate_is_an_error() -> None:
    optimizer = torch.optim.Adam([nn.Parameter(torch.zeros(1))])
    with pytest.raises(ValueError, match="would be 0 after epoch 6, but max_epochs is 7"):
        make_schedule(optimizer, constant_epochs=2, decay_epochs=4, max_epochs=7)


def test_precision_follows_the_device(monkeypatch: pytest.MonkeyPatch) -> None:
    for capability, expected in (((9, 0), torch.bfloat16), ((7, 5), torch.float16)):
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _, found=capability: found)
        assert select_precision("auto", torch.device("cuda")) == expected
    for native, expected in ((True, torch.bfloat16), (False, torch.float32)):
        monkeypatch.setattr("scripts.precision._has_native_bf16", lambda found=native: found)
        assert select_precision("auto", CPU) == expected
    assert select_precision("fp16", CPU) == torch.float16
    with pytest.raises(ValueError, match="'half'; expected 'auto' or one of"):
        select_precision("half", CPU)


def test_only_fp16_scales_its_losses() -> None:
    assert make_scaler(precision="fp16", device="cpu").is_enabled()
    assert not make_scaler(precision="bf16", device="cpu").is_enabled()


def make_evaluator(dataset_dir: str, **options: Any) -> CycleGanEvaluator:
    workflow = make_workflow(dataset_dir=dataset_dir, **options)
    return workflow.parser.get_parsed_content("validate#evaluator")


def test_evaluation_takes_four_passes_a_batch(dataset_dir: str) -> None:
    evaluator = make_evaluator(dataset_dir)
    passes = [
        count_passes(network)
        for network in (evaluator.generators.t1w_to_t2w, evaluator.generators.t2w_to_t1w)
    ]
    evaluator.run()
    assert passes == [[2, 2], [2, 2]]  # 12 slices, every sixth


def test_figures_are_those_of_the_metrics_on_each_subject(dataset_dir: str) -> None:
    evaluator = make_evaluator(dataset_dir, evaluated_split="train", val_batch_size=3)
    evaluator.run()
    dataset = evaluator.data_loader.dataset
    items = [dataset[number] for number in range(2)]  # the first of four subjects
    t1w, t2w, mask = (
        torch.stack([item[name] for item in items]) for name in ("t1w", "t2w", "mask")
    )
    images = {name: (image + 1) / 2 for name, image in evaluator.translate(t1w, t2w).items()}
    both = images["fake_t2w"], images["real_t2w"], mask
    cycle = images["reconstructed_t1w"], images["real_t1w"], mask
    expected = {
        "ssim": masked_ssim(*both, data_range=1.0),
        "psnr": masked_psnr(*both, data_range=1.0),
        "mae": masked_mae(*both, data_range=1.0),
    }
    metric = evaluator_metric(evaluator)
    found = {(name, subject): figures for _, name, subject, figures in metric.list_subjects()}
    ours = found["t2w", "blobs_sub-01"]
    assert {name: ours[name] for name in expected} == pytest.approx(expected, rel=1e-5)
    ssim = masked_ssim(*cycle, data_range=1.0)
    assert found["t1w_cycle", "blobs_sub-01"]["ssim"] == pytest.approx(ssim, rel=1e-5)
    means = [found["t2w", f"blobs_sub-0{n}"]["psnr"] for n in range(1, 5)]
    assert evaluator.state.metrics["t2w_psnr"] == pytest.approx(sum(means) / 4)


def evaluator_metric(evaluator: CycleGanEvaluator) -> TranslationMetrics:
    """Return the metric that is attached to an evaluator."""
    handlers = evaluator._event_handlers[Events.EPOCH_COMPLETED]
    owners = [getattr(handler, "__self__", None) for handler, _, _ in handlers]
    return next(owner for owner in owners if isinstance(owner, TranslationMetrics))


def test_of_three_slices_the_centre_is_measured(dataset_dir: str) -> None:
    evaluator = make_evaluator(dataset_dir, slices=3)
    evaluator.run()
    assert 0 < evaluator.state.metrics["t2w_mae"] < 1


def test_the_smaller_error_is_the_better_one(dataset_dir: str) -> None:
    by_error = make_evaluator(dataset_dir, key_metric="t2w_mae")
    by_likeness = make_evaluator(dataset_dir, key_metric="t2w_ssim")
    assert by_error.metric_cmp_fn(0.1, 0.2)
    assert by_likeness.metric_cmp_fn(0.2, 0.1)
    assert not by_likeness.metric_cmp_fn(float("nan"), 0.1)


def test_an_unknown_key_metric_is_an_error(dataset_dir: str) -> None:
    with pytest.raises(RuntimeError) as error:
        make_evaluator(dataset_dir, key_metric="ssim")
    assert "key_metric is 'ssim'; expected one of ('t2w_ssim'," in str(error.value.__cause__)


def test_the_best_figure_counts_only_for_its_own_metric(
    dataset_dir: str, caplog: pytest.LogCaptureFixture
) -> None:
    state = {"key_metric_name": "t2w_ssim", "best_metric": 0.9, "best_metric_epoch": 4}
    evaluator = make_evaluator(dataset_dir)
    evaluator.load_state_dict(state)
    assert evaluator.state_dict() == state
    other = make_evaluator(dataset_dir, key_metric="t1w_psnr")
    other.load_state_dict(state)
    assert other.state.best_metric_epoch == -1
    assert "was t2w_ssim and is t1w_psnr now" in caplog.text


def test_a_training_of_unpaired_folders_needs_no_pairs(tmp_path: Path) -> None:
    write_slice_dataset(tmp_path, splits=("train", "train"), contrasts={0: ("T1w",), 1: ("T2w",)})
    evaluator = make_evaluator(str(tmp_path))
    evaluator.run()
    assert evaluator.state.metrics == {}


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

"""The engine that trains the four networks of CycleGAN; `evaluator` holds the other."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any

import torch
from filelock import BaseFileLock
from ignite.engine import Events
from monai.engines import Trainer
from monai.engines.utils import IterationEvents
from monai.engines.workflow import Workflow
from torch import Tensor
from torch.optim import Optimizer
from torch.utils.data import DataLoader

from scripts.batches import PrepareBatch, join_parts, split_batch
from scripts.compilation import compile_function
from scripts.cyclegan import Discriminators, Generators, Images, frozen
from scripts.datasets import stop_workers
from scripts.ema import MovingAverage
from scripts.image_pool import ImagePool
from scripts.loss_weights import WeightSchedule
from scripts.objectives import StructureLoss, compute_discriminators, compute_generators
from scripts.patch_contrast import PatchContrast
from scripts.precision import autocast, select_precision
from scripts.processes import average_gradients, gather_batch, take_share
from scripts.sampling import GlobalSampler

logger = logging.getLogger(__name__)


class CycleGanTrainer(Trainer):
    """Trains both generators and both discriminators, one optimiser for each kind.

    `state.output` is a list of one dict for the whole batch: the images of `translate_cycles`,
    every loss by its name, and `loss`, all tensors on the device. So an iteration never waits for
    the device; a handler that reads a number does. (MONAI's `decollate` would read all of them.)

    `state.pretrained` says in checkpoints whether the networks began as shipped ones; None where
    that is not known. `state.fixed` says what else a training keeps, see `fixed_options`.

    Args:
        device: where the networks are.
        max_epochs: last epoch.
        epoch_length: steps of an epoch.
        train_data_loader: batches of `UnpairedSlices`.
        prepare_batch: makes images and masks on the device of a batch.
        generators: both, trained by `generator_optimizer`.
        discriminators: both, trained by `discriminator_optimizer`.
        generator_optimizer: of both generators.
        discriminator_optimizer: of both discriminators.
        averages: of the generators, updated after every step.
        pools: earlier fakes, `t1w` and `t2w`.
        weights: of the generators' losses, by epoch.
        structure_loss: called with a real image, its fake and `mask=`.
        patch_contrast: trained by `generator_optimizer` too; None where its weight is always 0.
        scaler: of the losses; does something in fp16 only.
        precision: see `select_precision`.
        compilation: see `compile_function`.
        accumulation: parts of a batch that are computed one after the other, to save memory.
        train_handlers: MONAI or ignite handlers.
    """

    def __init__(
        self,
        *,
        device: torch.device | str,
        max_epochs: int,
        epoch_length: int,
        train_data_loader: DataLoader[Any],
        prepare_batch: PrepareBatch,
        generators: Generators,
        discriminators: Discriminators,
        generator_optimizer: Optimizer,
        discriminator_optimizer: Optimizer,
        averages: Sequence[MovingAverage],
        pools: dict[str, ImagePool],
        weights: WeightSchedule,
        structure_loss: StructureLoss,
        patch_contrast: PatchContrast | None,
        scaler: torch.amp.GradScaler,
        precision: str,
        compilation: str,
        accumulation: int,
        train_handlers: Sequence[Any],
    ) -> None:
        super().__init__(
            device=device,
            max_epochs=max_epochs,
            data_loader=train_data_loader,
            epoch_length=epoch_length,
            prepare_batch=prepare_batch,
            decollate=False,
            handlers=[handler for handler in train_handlers if handler is not None],
        )
        self.state.pretrained = self.state.fixed = None
        self.state_dict_user_keys.extend(["pretrained", "fixed"])
        self.generators = generators
        self.discriminators = discriminators
        self.generator_optimizer = generator_optimizer
        self.discriminator_optimizer = discriminator_optimizer
        self.averages = averages
        self.pools = pools
        self.weights = weights
        self.structure_loss = structure_loss
        self.patch_contrast = patch_contrast
        self.loss_scaler = scaler
        self.lock: BaseFileLock | None = None
        self.precision = select_precision(precision, self.state.device)
        self.accumulation = accumulation
        self._compute_generators = compile_function(compute_generators, compilation)
        self._compute_discriminators = compile_function(compute_discriminators, compilation)
        self.add_event_handler(Events.EPOCH_STARTED, _go_on_within_epoch)

    def run(self) -> None:
        """Train until `max_epochs`, or leave a training that has got there as it is."""
        with ExitStack() as self.resources:  # files and bars of handlers, also after an error
            if self.lock is not None:
                self.resources.callback(self.lock.release, force=True)
            self._check_weights()
            if self.state.epoch >= self.state.max_epochs:
                logger.info(
                    "Trained for %d epochs already; a larger --max_epochs goes on.",
                    self.state.epoch,
                )
                return
            self.resources.callback(stop_workers, self.data_loader)
            Workflow.run(self)  # Trainer.run would make a deprecated scaler for CUDA

    def _check_weights(self) -> None:
        used = [name for name in ("paired", "paired_ssim") if self.weights.uses(name)]
        if used and not self.prepare_batch.has_pairs:
            raise ValueError(
                f"lambda_{used[0]} is above 0, but no registered pairs are drawn. Expected "
                "--sampling paired, or the pairs of some subjects: --pair_subjects 3."
            )
        if self.prepare_batch.has_pairs and not used:
            drawn, instead = (
                ("pair_subjects is above 0", "--pair_subjects 0")
                if self.prepare_batch.pairs
                else ("sampling is 'paired'", "--sampling shuffled")
            )
            raise ValueError(
                f"{drawn}, but lambda_paired and lambda_paired_ssim are 0, so that these pairs "
                f"would be drawn for nothing. Expected --lambda_paired 10, or {instead}."
            )
        for epoch in range(self.state.epoch + 1, self.state.max_epochs + 1):
            if not any(vars(self.weights.at(epoch)).values()):
                raise ValueError(
                    f"epoch {epoch}: the weights of all losses (lambda_*) are 0, so that there is "
                    "nothing to learn. Expected at least one above 0."
                )

    def _iteration(self, engine: Any, batchdata: dict[str, Any]) -> list[dict[str, Tensor]]:
        torch.compiler.cudagraph_mark_step_begin()
        real, masks = self.prepare_batch(batchdata, self.state.device)
        weights = self.weights.at(self.state.epoch).to_tensors(real["t1w"])
        output = self._update_generators(real, masks, weights)
        if "adversarial" in weights:
            output |= self._update_discriminators(real, output)
        self.loss_scaler.update()
        for average in self.averages:
            average.update()
        self.state.output = [output | {"loss": output["generator_loss"]}]
        self.fire_event(IterationEvents.MODEL_COMPLETED)
        return self.state.output

    def _update_generators(
        self, real: Images, masks: Images, weights: dict[str, Tensor]
    ) -> dict[str, Tensor]:
        parts = zip(
            split_batch(real, self.accumulation),
            split_batch(masks, self.accumulation),
            strict=True,
        )
        self.generator_optimizer.zero_grad(set_to_none=True)
        found = [self._learn_generators(*part, weights) for part in parts]
        self._step(self.generator_optimizer)
        return join_parts(found)

    def _learn_generators(
        self, real: Images, masks: Images, weights: dict[str, Tensor]
    ) -> dict[str, Tensor]:
        judges = (self.discriminators.t1w, self.discriminators.t2w)
        with autocast(self.state.device, self.precision), frozen(*judges):
            images, losses = self._compute_generators(
                self.generators,
                self.discriminators,
                real,
                masks,
                weights,
                self.structure_loss,
                self.patch_contrast,
            )
        self._backward(losses["generator_loss"])
        return {name: value.detach() for name, value in (images | losses).items()}

    def _update_discriminators(self, real: Images, images: Images) -> dict[str, Tensor]:
        fakes = {
            name: take_share(self.pools[name].query(gather_batch(images[f"fake_{name}"])))
            for name in ("t1w", "t2w")
        }
        parts = zip(
            split_batch(real, self.accumulation),
            split_batch(fakes, self.accumulation),
            strict=True,
        )
        self.discriminator_optimizer.zero_grad(set_to_none=True)
        found = [self._learn_discriminators(*part) for part in parts]
        self._step(self.discriminator_optimizer)
        return join_parts(found)

    def _learn_discriminators(self, real: Images, fakes: Images) -> dict[str, Tensor]:
        with autocast(self.state.device, self.precision):
            losses = self._compute_discriminators(self.discriminators, real, fakes)
        self._backward(torch.stack(list(losses.values())).sum())
        return {name: loss.detach() for name, loss in losses.items()}

    def _backward(self, loss: Tensor) -> None:
        self.loss_scaler.scale(loss / self.accumulation).backward()

    def _step(self, optimizer: Optimizer) -> None:
        average_gradients([each for group in optimizer.param_groups for each in group["params"]])
        self.loss_scaler.step(optimizer)


def _go_on_within_epoch(trainer: CycleGanTrainer) -> None:
    """After a resume in mid-epoch, draw the samples that are left of it."""
    sampler = getattr(trainer.data_loader, "sampler", None)
    if isinstance(sampler, GlobalSampler):
        sampler.set_step(trainer.state.iteration)
